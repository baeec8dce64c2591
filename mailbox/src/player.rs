//! Plays audio to the caller: a packet each 20 ms, by an absolute schedule.
//!
//! Decides when each packet is due and which one begins a talkspurt. Refuses to know what is
//! played, and to send: packets go into a buffer.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::message::Codec;
use crate::rtp::{PACKET_DURATION, PACKET_TICKS, Stream};

/// When this much is overdue, because the machine stood still, the schedule begins anew instead of
/// sending a burst that no jitter buffer would take: 10 packets.
const MAX_BEHIND: Duration = Duration::from_millis(200);

/// Audio on its way to the caller.
#[derive(Debug)]
pub(crate) struct Player {
    audio: Bytes,
    due: Instant,
    /// The next packet is the first after silence (RFC 3551 section 4.1).
    talkspurt: bool,
}

impl Player {
    /// Plays from `due` on, after silence.
    pub(crate) fn start(audio: Bytes, due: Instant) -> Self {
        Player { audio, due, talkspurt: true }
    }

    /// Plays right after what this one played.
    pub(crate) fn then(&self, audio: Bytes) -> Self {
        Player { audio, due: self.due, talkspurt: self.talkspurt }
    }

    /// When the next packet is due.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Whether everything was played.
    pub(crate) fn is_done(&self) -> bool {
        self.audio.is_empty()
    }

    /// Goes on from `now` after a pause.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.due = self.due.max(now);
        self.talkspurt = true;
    }

    /// Writes the next packet if it is due. The last one is filled up with silence.
    pub(crate) fn next(
        &mut self,
        codec: Codec,
        number: u8,
        stream: &mut Stream,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> bool {
        if self.is_done() || self.due > now {
            return false;
        }
        if now - self.due > MAX_BEHIND {
            self.resume(now);
        }
        let mut payload = [codec.silence(); PACKET_TICKS];
        let piece = self.audio.split_to(self.audio.len().min(PACKET_TICKS));
        payload[..piece.len()].copy_from_slice(&piece);
        stream.write(number, self.talkspurt, &payload, self.due, out);
        self.talkspurt = false;
        self.due += PACKET_DURATION;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::Packet;

    /// What was sent at `now`: marker, timestamp and the two ends of the payload.
    fn sent(player: &mut Player, stream: &mut Stream, now: Instant) -> Vec<(bool, u32, u8, u8)> {
        let mut packets = Vec::new();
        let mut out = Vec::new();
        while player.next(Codec::Pcmu, 0, stream, now, &mut out) {
            let packet = Packet::parse(&out).unwrap();
            packets.push((packet.marker, packet.timestamp, packet.payload[0], packet.payload[159]));
            out.clear();
        }
        packets
    }

    #[test]
    fn packets_follow_the_schedule_and_not_the_clock_of_the_thread() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (mut player, mut stream) = (Player::start(vec![1; 400].into(), start), Stream::new([0, 0]));
        assert_eq!(sent(&mut player, &mut stream, at(0)), [(true, 0, 1, 1)]);
        assert_eq!(sent(&mut player, &mut stream, at(19)), []);
        assert_eq!(sent(&mut player, &mut stream, at(27)), [(false, 160, 1, 1)]);
        assert_eq!(player.due(), at(40));
        assert_eq!(sent(&mut player, &mut stream, at(41)), [(false, 320, 1, 0xff)], "filled with silence");
        assert!(player.is_done());
    }

    #[test]
    fn a_machine_that_stood_still_does_not_send_a_burst() {
        let start = Instant::now();
        let (mut player, mut stream) = (Player::start(vec![1; 1_600].into(), start), Stream::new([0, 0]));
        assert_eq!(sent(&mut player, &mut stream, start).len(), 1);
        let later = start + Duration::from_secs(2);
        assert_eq!(sent(&mut player, &mut stream, later), [(true, 16_000, 1, 1)]);
    }

    #[test]
    fn what_follows_continues_the_talkspurt() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut stream = Stream::new([0, 0]);
        let mut first = Player::start(vec![1; 160].into(), start);
        sent(&mut first, &mut stream, start);
        let mut second = first.then(vec![2; 160].into());
        assert_eq!(sent(&mut second, &mut stream, at(10)), []);
        assert_eq!(sent(&mut second, &mut stream, at(20)), [(false, 160, 2, 2)]);
    }
}
