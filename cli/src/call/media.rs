//! The audio of one call as RTP packets, through `webrtc-rtp`.
//!
//! Decides what each packet carries and when it is due: one every 20 ms on a schedule that is
//! fixed when the call is answered, so that a late packet makes no later one late. Refuses to
//! know sockets and clocks.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use webrtc_rtp::{Header, Packet};
use webrtc_shared::marshal::{Marshal, Unmarshal};

use super::beep::BeepListener;
use super::plan::{CallPlan, Codec, Ending, Speak};
use super::report::MediaCounts;
use super::sdp::Agreed;

/// Samples of one packet: 20 ms at 8,000 Hz.
const FRAME: usize = 160;
/// The same as a step of the RTP timestamp.
const FRAME_TICKS: u32 = 160;
/// The same as time.
const FRAME_TIME: Duration = Duration::from_millis(20);
/// A beep has ended when nothing came for this long after it: three packets.
const PAUSE: Duration = Duration::from_millis(60);
/// Packets that a key is pressed for: 100 ms.
const KEY_FRAMES: u16 = 5;
/// The last packet of a key is sent three times (RFC 4733 section 2.5.1.4).
const KEY_END_COPIES: u16 = 3;
/// The event number of `#` (RFC 4733 table 3).
const EVENT_POUND: u8 = 11;
/// The volume of a key as −dBm0 (RFC 4733 section 2.3.3).
const EVENT_VOLUME: u8 = 10;
/// Silence that is sent between the last word and what ends the call, so that no BYE overtakes it: 100 ms.
const TAIL_FRAMES: u16 = 5;
/// What is said without a file: a second of silence.
const NOTHING_TO_SAY: usize = 8_000;
/// Samples of what was heard that are kept: an hour.
const MAX_HEARD: usize = 3_600 * 8_000;

/// What happened in the media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaEvent {
    /// The first packet came.
    FirstAudio,
    /// The beep has ended; the caller speaks now.
    BeepEnded,
    /// Everything was said.
    Spoken,
    /// The key was pressed and released.
    KeyPressed,
    /// Time to hang up.
    HangUp,
}

/// What the caller does with its mouth and its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saying {
    /// Keeps silent until the beep has ended.
    Listening,
    /// Keeps silent until this moment.
    Waiting(Instant),
    /// Says the audio from this byte on.
    Speaking(usize),
    /// Keeps silent for this many packets, then ends the call as planned.
    Tail(u16),
    /// Presses the key: packets sent so far, and the timestamp of the press.
    Key(u16, u32),
    /// Keeps silent until the call is over.
    Done,
}

/// The audio of one call.
#[derive(Debug)]
pub(crate) struct Media {
    agreed: Agreed,
    ending: Ending,
    audio: Vec<u8>,
    saying: Saying,
    next_at: Instant,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    listener: BeepListener,
    last_heard_at: Option<Instant>,
    /// Sequence number and timestamp of the newest packet that came, and the first timestamp.
    newest: Option<(u16, u32, u32)>,
    /// What was heard so far.
    pub(crate) heard: Vec<i16>,
    /// Packets in both directions.
    pub(crate) counts: MediaCounts,
}

impl Media {
    /// Begins with the media that was agreed on. `seed` gives the first sequence number, timestamp
    /// and the source identifier, which RFC 3550 section 5.1 wants random.
    pub(crate) fn new(agreed: Agreed, plan: &CallPlan, seed: u64, now: Instant) -> Self {
        let audio = plan
            .audio
            .as_ref()
            .map_or_else(|| vec![agreed.codec.silence(); NOTHING_TO_SAY], |audio| audio.bytes(agreed.codec));
        let saying = match plan.speak {
            Speak::AfterBeep => Saying::Listening,
            Speak::After(delay) => Saying::Waiting(now + delay),
        };
        let [a, b, c, d, e, f, g, h] = seed.to_be_bytes();
        Self {
            agreed,
            ending: plan.ending,
            audio,
            saying,
            next_at: now,
            sequence: u16::from_be_bytes([a, b]) >> 1,
            timestamp: u32::from_be_bytes([c, d, a, b]),
            ssrc: u32::from_be_bytes([e, f, g, h]),
            listener: BeepListener::default(),
            last_heard_at: None,
            newest: None,
            heard: Vec::new(),
            counts: MediaCounts::default(),
        }
    }

    /// Where packets go.
    pub(crate) fn remote(&self) -> SocketAddr {
        self.agreed.remote
    }

    /// The codec that was agreed on.
    pub(crate) fn codec(&self) -> Codec {
        self.agreed.codec
    }

    /// What is said, in the agreed codec.
    pub(crate) fn audio(&self) -> &[u8] {
        &self.audio
    }

    /// Whether the caller still waits for a beep.
    pub(crate) fn is_listening(&self) -> bool {
        self.saying == Saying::Listening
    }

    /// When [`Media::handle_timeout`] is to be called.
    pub(crate) fn deadline(&self) -> Instant {
        match self.pause_at() {
            Some(pause) => pause.min(self.next_at),
            None => self.next_at,
        }
    }

    /// Takes a packet as it came.
    pub(crate) fn handle(&mut self, bytes: &[u8], from: SocketAddr, now: Instant) -> Option<MediaEvent> {
        let packet = Packet::unmarshal(&mut Bytes::copy_from_slice(bytes)).ok();
        let Some(packet) = packet.filter(|packet| from == self.agreed.remote && packet.header.version == 2)
        else {
            self.counts.strange_packets += 1;
            return None;
        };
        self.counts.received_packets += 1;
        if packet.header.payload_type != self.agreed.codec.payload_type() {
            return None;
        }
        let frame: Vec<i16> = packet.payload.iter().map(|&byte| self.agreed.codec.decode(byte)).collect();
        let first = self.newest.is_none();
        self.keep(&packet.header, &frame);
        self.last_heard_at = Some(now);
        if self.listener.hear(&frame) {
            return self.beep_ended();
        }
        first.then_some(MediaEvent::FirstAudio)
    }

    /// Writes the packets that are due at `now`, and says what that completed.
    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) -> Option<MediaEvent> {
        if self.pause_at().is_some_and(|at| now >= at) && self.listener.pause() {
            return self.beep_ended();
        }
        while now >= self.next_at {
            let event = self.next_packet(out);
            self.next_at += FRAME_TIME;
            if event.is_some() {
                return event;
            }
        }
        None
    }

    /// When the silence after a beep counts as its end.
    fn pause_at(&self) -> Option<Instant> {
        self.last_heard_at.filter(|_| self.listener.is_sounding()).map(|at| at + PAUSE)
    }

    fn beep_ended(&mut self) -> Option<MediaEvent> {
        if self.saying == Saying::Listening {
            self.saying = Saying::Speaking(0);
        }
        Some(MediaEvent::BeepEnded)
    }

    fn next_packet(&mut self, out: &mut Vec<Vec<u8>>) -> Option<MediaEvent> {
        if let Saying::Waiting(at) = self.saying
            && self.next_at >= at
        {
            self.saying = Saying::Speaking(0);
        }
        match self.saying {
            Saying::Speaking(from) => {
                let end = (from + FRAME).min(self.audio.len());
                let mut frame = self.audio[from..end].to_vec();
                frame.resize(FRAME, self.agreed.codec.silence());
                self.send_audio(frame, from == 0, out);
                self.saying = Saying::Speaking(end);
                if end == self.audio.len() {
                    self.saying = Saying::Tail(0);
                    return Some(MediaEvent::Spoken);
                }
            }
            Saying::Key(sent, pressed_at) => return self.send_key(sent, pressed_at, out),
            Saying::Tail(sent) if sent >= TAIL_FRAMES => return self.tail_is_over(out),
            Saying::Tail(_) | Saying::Listening | Saying::Waiting(_) | Saying::Done => {
                if let Saying::Tail(sent) = &mut self.saying {
                    *sent += 1;
                }
                self.send_audio(vec![self.agreed.codec.silence(); FRAME], false, out);
            }
        }
        None
    }

    fn tail_is_over(&mut self, out: &mut Vec<Vec<u8>>) -> Option<MediaEvent> {
        self.saying = Saying::Done;
        match self.ending {
            Ending::HangUp => Some(MediaEvent::HangUp),
            Ending::FarEnd => None,
            // A far end that takes no keys would wait for one in vain.
            Ending::Key if self.agreed.telephone_event.is_none() => Some(MediaEvent::HangUp),
            Ending::Key => self.send_key(0, self.timestamp, out),
        }
    }

    fn send_audio(&mut self, payload: Vec<u8>, marker: bool, out: &mut Vec<Vec<u8>>) {
        self.send(self.agreed.codec.payload_type(), marker, self.timestamp, payload, out);
        self.timestamp = self.timestamp.wrapping_add(FRAME_TICKS);
    }

    /// One packet of the key, or the three copies of its last (RFC 4733 section 2.5.1).
    fn send_key(&mut self, sent: u16, pressed_at: u32, out: &mut Vec<Vec<u8>>) -> Option<MediaEvent> {
        let number = self.agreed.telephone_event?;
        let is_last = sent + 1 >= KEY_FRAMES;
        let [high, low] = ((sent + 1) * 160).to_be_bytes();
        let end = if is_last { 0x80 } else { 0 };
        let copies = if is_last { KEY_END_COPIES } else { 1 };
        for _ in 0..copies {
            let payload = vec![EVENT_POUND, end | EVENT_VOLUME, high, low];
            self.send(number, sent == 0, pressed_at, payload, out);
        }
        self.timestamp = self.timestamp.wrapping_add(FRAME_TICKS);
        self.saying = if is_last { Saying::Done } else { Saying::Key(sent + 1, pressed_at) };
        is_last.then_some(MediaEvent::KeyPressed)
    }

    fn send(
        &mut self,
        payload_type: u8,
        marker: bool,
        timestamp: u32,
        payload: Vec<u8>,
        out: &mut Vec<Vec<u8>>,
    ) {
        let packet = Packet {
            header: Header {
                version: 2,
                marker,
                payload_type,
                sequence_number: self.sequence,
                timestamp,
                ssrc: self.ssrc,
                ..Header::default()
            },
            payload: Bytes::from(payload),
        };
        self.sequence = self.sequence.wrapping_add(1);
        if let Ok(bytes) = packet.marshal() {
            self.counts.sent_packets += 1;
            out.push(bytes.to_vec());
        }
    }

    /// Puts samples where their timestamp says, and counts what is missing before them.
    fn keep(&mut self, header: &Header, frame: &[i16]) {
        let (sequence, timestamp) = (header.sequence_number, header.timestamp);
        let (newest, _, first) = *self.newest.get_or_insert((sequence.wrapping_sub(1), timestamp, timestamp));
        let ahead = sequence.wrapping_sub(newest);
        // Half of the circle is ahead, the other half is behind (RFC 3550 appendix A.1).
        if ahead != 0 && ahead < 0x8000 {
            self.counts.lost_packets += u64::from(ahead) - 1;
            self.newest = Some((sequence, timestamp, first));
        } else if ahead != 0 {
            self.counts.lost_packets = self.counts.lost_packets.saturating_sub(1);
        }
        let at = usize::try_from(timestamp.wrapping_sub(first)).unwrap_or(usize::MAX);
        let Some(end) = at.checked_add(frame.len()).filter(|end| *end <= MAX_HEARD) else { return };
        if self.heard.len() < end {
            self.heard.resize(end, 0);
        }
        self.heard[at..end].copy_from_slice(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed() -> Agreed {
        Agreed { remote: "127.0.0.1:5004".parse().unwrap(), codec: Codec::Pcmu, telephone_event: Some(101) }
    }

    fn plan(audio: &[u8], ending: Ending) -> CallPlan {
        CallPlan {
            audio: Some(super::super::audio::Audio::Encoded(Codec::Pcmu, audio.to_vec())),
            speak: Speak::After(Duration::from_millis(40)),
            ending,
            ..CallPlan::new("sip:101@127.0.0.1")
        }
    }

    /// Every packet until `event`, with its time in ms.
    fn until(media: &mut Media, start: Instant, event: MediaEvent) -> Vec<(u128, Packet)> {
        let mut packets = Vec::new();
        for _ in 0..500 {
            let now = media.deadline();
            let mut out = Vec::new();
            let happened = media.handle_timeout(now, &mut out);
            packets.extend(out.into_iter().map(|bytes| {
                ((now - start).as_millis(), Packet::unmarshal(&mut Bytes::from(bytes)).unwrap())
            }));
            if happened == Some(event) {
                return packets;
            }
        }
        panic!("{event:?} never came");
    }

    #[test]
    fn packets_leave_every_20_ms_and_carry_the_audio_between_silence() {
        let start = Instant::now();
        let audio: Vec<u8> = (0..=255).chain(0..=99).collect();
        let mut media = Media::new(agreed(), &plan(&audio, Ending::HangUp), 1, start);
        let packets = until(&mut media, start, MediaEvent::HangUp);
        let times: Vec<u128> = packets.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [0, 20, 40, 60, 80, 100, 120, 140, 160, 180]);
        assert!(packets[..2].iter().all(|(_, packet)| packet.payload.iter().all(|&byte| byte == 0xFF)));
        let spoken: Vec<u8> = packets[2..5].iter().flat_map(|(_, packet)| packet.payload.to_vec()).collect();
        assert_eq!(spoken[..356], audio);
        assert!(packets[2].1.header.marker);
        let steps: Vec<u32> =
            packets.windows(2).map(|pair| pair[1].1.header.timestamp - pair[0].1.header.timestamp).collect();
        assert_eq!(steps, [160; 9]);
    }

    #[test]
    fn a_late_call_catches_up_on_the_same_schedule() {
        let start = Instant::now();
        let mut media = Media::new(agreed(), &plan(&[0; 1_600], Ending::HangUp), 1, start);
        let mut out = Vec::new();
        media.handle_timeout(start + Duration::from_millis(65), &mut out);
        assert_eq!(out.len(), 4);
        assert_eq!(media.deadline(), start + Duration::from_millis(80));
    }

    #[test]
    fn the_key_keeps_its_first_timestamp_and_its_end_is_sent_three_times() {
        let start = Instant::now();
        let mut media = Media::new(agreed(), &plan(&[0; 160], Ending::Key), 1, start);
        let packets = until(&mut media, start, MediaEvent::KeyPressed);
        let keys: Vec<&Packet> = packets
            .iter()
            .map(|(_, packet)| packet)
            .filter(|packet| packet.header.payload_type == 101)
            .collect();
        let payloads: Vec<&[u8]> = keys.iter().map(|packet| &packet.payload[..]).collect();
        assert_eq!(
            payloads,
            [
                [11, 10, 0, 160],
                [11, 10, 1, 64],
                [11, 10, 1, 224],
                [11, 10, 2, 128],
                [11, 138, 3, 32],
                [11, 138, 3, 32],
                [11, 138, 3, 32]
            ]
        );
        assert!(keys.iter().all(|packet| packet.header.timestamp == keys[0].header.timestamp));
        assert_eq!(keys.iter().filter(|packet| packet.header.marker).count(), 1);
    }

    #[test]
    fn a_lost_packet_leaves_a_gap_and_a_late_one_fills_it() {
        let start = Instant::now();
        let mut media = Media::new(agreed(), &plan(&[], Ending::FarEnd), 1, start);
        let mut packet = |sequence: u16, timestamp: u32, byte: u8| {
            let mut bytes = vec![0x80, 0];
            bytes.extend(sequence.to_be_bytes());
            bytes.extend(timestamp.to_be_bytes());
            bytes.extend([0, 0, 0, 9]);
            bytes.extend([byte; 2]);
            media.handle(&bytes, "127.0.0.1:5004".parse().unwrap(), start);
            (media.heard.clone(), media.counts.lost_packets)
        };
        assert_eq!(packet(65_535, 100, 0xFF), (vec![0, 0], 0));
        assert_eq!(packet(1, 104, 0x80), (vec![0, 0, 0, 0, 32_124, 32_124], 1));
        assert_eq!(packet(0, 102, 0), (vec![0, 0, -32_124, -32_124, 32_124, 32_124], 0));
    }

    #[test]
    fn packets_from_elsewhere_are_not_heard() {
        let start = Instant::now();
        let mut media = Media::new(agreed(), &plan(&[], Ending::FarEnd), 1, start);
        assert_eq!(media.handle(&[0x80; 20], "127.0.0.1:5006".parse().unwrap(), start), None);
        assert_eq!(media.counts.strange_packets, 1);
        assert!(media.heard.is_empty());
    }
}
