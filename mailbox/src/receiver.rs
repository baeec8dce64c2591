//! What is heard on the line: from packets to audio in order and keys.
//!
//! Decides which packets of a call count, and follows a source that is replaced by another. Refuses
//! to know addresses (who may send was decided before) and what becomes of the audio.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use crate::dtmf::{Key, Keypad};
use crate::reorder::{Released, Verdict, Window};
use crate::rtp::Packet;

/// A packet longer than this is no telephone audio: 200 ms (RFC 3551 section 4.2).
const MAX_PAYLOAD_BYTES: usize = 1_600;

/// Something that the caller did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A piece of audio, in order.
    Audio {
        /// When its first sample was taken, in ticks of the sender's clock.
        timestamp: u32,
        /// When the packet arrived.
        arrived: Instant,
        /// Encoded samples.
        payload: Bytes,
    },
    /// A key was pressed.
    Key(Key),
    /// What follows comes from another source, with another clock.
    NewSource,
}

/// What happened to packets, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PacketCounts {
    /// Never arrived, or too late.
    pub(crate) lost: u64,
    /// Arrived after they had been given up.
    pub(crate) late: u64,
    /// Arrived twice.
    pub(crate) duplicate: u64,
    /// No RTP, out of any order, or too long.
    pub(crate) strange: u64,
}

/// The receiving end of one call.
#[derive(Debug)]
pub(crate) struct Receiver {
    audio_number: u8,
    event_number: Option<u8>,
    source: Option<u32>,
    window: Window<Piece>,
    keypad: Keypad,
    heard: VecDeque<Heard>,
    counts: PacketCounts,
}

#[derive(Debug)]
enum Piece {
    Audio(u32, Bytes),
    Event(u32, Bytes),
    /// Comfort noise and the like: it keeps its place in the order and says nothing.
    Other,
}

impl Receiver {
    /// The receiving end for audio, and perhaps telephone events, under these payload numbers.
    pub(crate) fn new(audio_number: u8, event_number: Option<u8>) -> Self {
        Receiver {
            audio_number,
            event_number,
            source: None,
            window: Window::default(),
            keypad: Keypad::default(),
            heard: VecDeque::new(),
            counts: PacketCounts::default(),
        }
    }

    /// Expects other payload numbers from now on.
    pub(crate) fn renumber(&mut self, audio_number: u8, event_number: Option<u8>) {
        (self.audio_number, self.event_number) = (audio_number, event_number);
    }

    /// Takes a datagram from the call's far end.
    pub(crate) fn push(&mut self, bytes: &[u8], now: Instant) {
        let Ok(packet) = Packet::parse(bytes) else {
            self.counts.strange += 1;
            return;
        };
        if packet.payload.len() > MAX_PAYLOAD_BYTES {
            self.counts.strange += 1;
            return;
        }
        if self.source.replace(packet.ssrc).is_some_and(|source| source != packet.ssrc) {
            self.flush();
            self.window = Window::default();
            self.heard.push_back(Heard::NewSource);
        }
        match self.window.push(packet.sequence, self.piece(&packet), now) {
            Verdict::Kept => self.release(now),
            Verdict::Duplicate => self.counts.duplicate += 1,
            Verdict::Late => self.counts.late += 1,
            Verdict::Stray => self.counts.strange += 1,
            Verdict::NewStart => {
                self.flush();
                self.window = Window::default();
                // A fresh window keeps whatever comes first.
                let _ = self.window.push(packet.sequence, self.piece(&packet), now);
            }
        }
    }

    /// A datagram that is not heard came from the call's far end.
    pub(crate) fn reject(&mut self) {
        self.counts.strange += 1;
    }

    /// Stops waiting for what has not come by now.
    pub(crate) fn release(&mut self, now: Instant) {
        while let Some(released) = self.window.pop(now) {
            self.hear(released);
        }
    }

    /// Stops waiting for anything.
    pub(crate) fn flush(&mut self) {
        while let Some(released) = self.window.flush() {
            self.hear(released);
        }
    }

    /// The next thing that was heard.
    pub(crate) fn poll(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }

    /// When [`Receiver::release`] should be called although nothing arrived.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.window.deadline()
    }

    /// What happened so far.
    pub(crate) fn counts(&self) -> PacketCounts {
        self.counts
    }

    fn piece(&self, packet: &Packet<'_>) -> Piece {
        let payload = || Bytes::copy_from_slice(packet.payload);
        if packet.payload_type == self.audio_number && !packet.payload.is_empty() {
            Piece::Audio(packet.timestamp, payload())
        } else if Some(packet.payload_type) == self.event_number {
            Piece::Event(packet.timestamp, payload())
        } else {
            Piece::Other
        }
    }

    fn hear(&mut self, released: Released<Piece>) {
        self.counts.lost += released.lost_before;
        match released.item {
            Piece::Audio(timestamp, payload) => {
                self.heard.push_back(Heard::Audio { timestamp, arrived: released.arrived, payload });
            }
            Piece::Event(timestamp, payload) => {
                self.heard.extend(self.keypad.press(timestamp, &payload).map(Heard::Key));
            }
            Piece::Other => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn packet(payload_type: u8, sequence: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let timestamp = u32::from(sequence) * 160;
        Packet { marker: false, payload_type, sequence, timestamp, ssrc, payload }.write(&mut out);
        out
    }

    fn heard(receiver: &mut Receiver) -> Vec<Heard> {
        std::iter::from_fn(|| receiver.poll()).collect()
    }

    fn audio(sequence: u32, arrived: Instant) -> Heard {
        Heard::Audio { timestamp: sequence * 160, arrived, payload: Bytes::from_static(&[1]) }
    }

    #[test]
    fn audio_and_keys_come_out_in_the_order_in_which_they_were_sent() {
        let now = Instant::now();
        let later = now + Duration::from_millis(100);
        let mut receiver = Receiver::new(0, Some(101));
        for (payload_type, sequence) in [(0, 1), (0, 2), (101, 4), (13, 5), (0, 6)] {
            let payload: &[u8] = if payload_type == 101 { &[11, 10, 0, 80] } else { &[1] };
            receiver.push(&packet(payload_type, sequence, 7, payload), now);
        }
        assert_eq!(heard(&mut receiver), []);
        receiver.release(later);
        assert_eq!(
            heard(&mut receiver),
            [audio(1, now), audio(2, now), Heard::Key(Key::Pound), audio(6, now)],
            "comfort noise says nothing"
        );
        receiver.push(&packet(0, 3, 7, &[1]), later);
        receiver.push(&packet(0, 6, 7, &[1]), later);
        receiver.push(b"noise", later);
        receiver.push(&packet(0, 7, 7, &[0; 1_601]), later);
        assert_eq!(heard(&mut receiver), []);
        assert_eq!(receiver.counts(), PacketCounts { lost: 1, late: 1, duplicate: 1, strange: 2 });
    }

    #[test]
    fn another_source_takes_over_at_once_and_nothing_of_the_first_is_lost() {
        let now = Instant::now();
        let mut receiver = Receiver::new(0, None);
        receiver.push(&packet(0, 10, 7, &[1]), now);
        receiver.push(&packet(0, 500, 8, &[1]), now);
        receiver.flush();
        assert_eq!(heard(&mut receiver), [audio(10, now), Heard::NewSource, audio(500, now)]);
    }

    #[test]
    fn a_source_that_starts_anew_is_followed() {
        let now = Instant::now();
        let mut receiver = Receiver::new(0, None);
        for sequence in [10, 40_000, 40_001] {
            receiver.push(&packet(0, sequence, 7, &[1]), now);
        }
        receiver.flush();
        assert_eq!(heard(&mut receiver), [audio(10, now), audio(40_001, now)]);
    }
}
