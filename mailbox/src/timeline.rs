//! Where each piece of audio belongs in a recording.
//!
//! Decides the place of a packet from its RTP timestamp, so that a loss leaves a gap of the right
//! length, and from its arrival where the timestamp cannot be believed. Refuses to know what is
//! recorded.

use std::time::Instant;

use crate::message::TICKS_PER_SECOND;
use crate::rtp::ticks;

/// A timestamp that lies further ahead of the packet's arrival than this is not believed: 5 s. No
/// network delivers the future; the sender has set its clock anew.
const MAX_AHEAD_TICKS: u32 = 5 * TICKS_PER_SECOND;

/// The places of one recording, in ticks of 8 kHz since its first sample.
#[derive(Debug)]
pub(crate) struct Timeline {
    began: Instant,
    /// A timestamp of the sender's clock and its place; `None` until a packet of this source was placed.
    anchor: Option<(u32, u32)>,
    end: u32,
}

impl Timeline {
    /// A recording that begins now.
    #[must_use]
    pub(crate) fn new(began: Instant) -> Self {
        Timeline { began, anchor: None, end: 0 }
    }

    /// Forgets the sender's clock: another source follows, with a clock of its own.
    pub(crate) fn change_source(&mut self) {
        self.anchor = None;
    }

    /// The place of a piece of `length` ticks. Places never overlap and never go back. The first
    /// piece of a recording is at 0, whenever it comes: nobody needs the wait before it.
    pub(crate) fn place(&mut self, timestamp: u32, length: u32, arrived: Instant) -> u32 {
        let arrival = ticks(arrived.saturating_duration_since(self.began));
        let believed = self.anchor.and_then(|(anchor, place)| {
            let ahead = timestamp.wrapping_sub(anchor);
            // Half a turn ahead is a step back.
            let at = if ahead < 1 << 31 { place.checked_add(ahead)? } else { return None };
            (at >= self.end && at <= arrival.saturating_add(MAX_AHEAD_TICKS)).then_some(at)
        });
        let at = match believed {
            Some(at) => at,
            None if self.end == 0 => 0,
            None => self.end.max(arrival),
        };
        self.anchor = Some((timestamp, at));
        self.end = at.saturating_add(length);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_loss_leaves_a_gap_over_the_wrap_of_the_clock() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut timeline = Timeline::new(began);
        assert_eq!(timeline.place(u32::MAX - 99, 160, at(15)), 0, "the first piece, whenever it comes");
        assert_eq!(timeline.place(60, 160, at(35)), 160);
        assert_eq!(timeline.place(380, 160, at(75)), 480, "one packet is missing");
    }

    #[test]
    fn another_source_goes_on_at_its_arrival() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut timeline = Timeline::new(began);
        timeline.place(1_000, 160, at(20));
        timeline.change_source();
        assert_eq!(timeline.place(77, 160, at(100)), 800);
        assert_eq!(timeline.place(237, 160, at(120)), 960);
        timeline.change_source();
        assert_eq!(timeline.place(5, 160, at(121)), 1_120, "never over what is there");
    }

    #[test]
    fn a_clock_that_was_set_anew_is_not_believed() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut timeline = Timeline::new(began);
        timeline.place(1_000_000, 160, at(20));
        assert_eq!(timeline.place(0, 160, at(60)), 480, "back");
        assert_eq!(timeline.place(160, 160, at(80)), 640, "and on from there");
        assert_eq!(timeline.place(48_000, 160, at(100)), 800, "six seconds ahead");
        assert_eq!(timeline.place(48_080, 160, at(120)), 960, "overlapping");
    }
}
