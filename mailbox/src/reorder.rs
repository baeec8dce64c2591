//! The order of packets of one source: repairs reordering, drops duplicates, counts losses.
//!
//! Decides in which order items come out and when waiting for a missing one ends. Refuses to know
//! what an item is and what the time is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Packets that may wait for an earlier one: 5 × 20 ms, the time in which reordering on a
/// network happens.
pub(crate) const WINDOW: usize = 5;

/// A packet waits no longer than this for an earlier one, so that the end of a talkspurt does not
/// stay in the window.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// A sequence number further ahead than this is a new start of the source, not a loss
/// (RFC 3550 appendix A.1, `MAX_DROPOUT`).
const MAX_DROPOUT: u64 = 3_000;

/// One further behind than this is a new start too, not a late packet (`MAX_MISORDER`).
const MAX_MISORDER: u64 = 100;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It waits in the window, or can be taken out.
    Kept,
    /// It was there before.
    Duplicate,
    /// The window had given it up.
    Late,
    /// It is too far from its neighbours: dropped, unless the next one continues it.
    Stray,
    /// The source has started anew: take out what waits, and put this packet in a fresh window.
    NewStart,
}

/// An item that came out of the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Released<T> {
    /// When it arrived.
    pub(crate) arrived: Instant,
    /// How many packets before it are missing for good.
    pub(crate) lost_before: u64,
    /// What was put in.
    pub(crate) item: T,
}

/// The packets of one source on their way into order.
#[derive(Debug)]
pub(crate) struct Window<T> {
    /// Next number to come out; `None` until the first packets are in order.
    next: Option<u64>,
    /// Highest number seen, from which 16-bit numbers are widened.
    highest: Option<u64>,
    /// Which of the 64 numbers before `next` came out, nearest in bit 0: tells duplicates from
    /// late packets.
    recent: u64,
    held: BTreeMap<u64, (Instant, T)>,
    /// The number after a stray one, which would prove a new start (RFC 3550 appendix A.1).
    suspect: Option<u16>,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Window { next: None, highest: None, recent: 0, held: BTreeMap::new(), suspect: None }
    }
}

impl<T> Window<T> {
    /// Puts a packet in. After [`Verdict::Kept`], take out what [`Window::pop`] gives.
    pub(crate) fn push(&mut self, sequence: u16, item: T, now: Instant) -> Verdict {
        let number = self.widen(sequence);
        let newest = self.highest.unwrap_or(number);
        if number > newest + MAX_DROPOUT || number + MAX_MISORDER < newest {
            if self.suspect != Some(sequence) {
                self.suspect = Some(sequence.wrapping_add(1));
                return Verdict::Stray;
            }
            return Verdict::NewStart;
        }
        self.suspect = None;
        if let Some(next) = self.next
            && number < next
        {
            let back = next - number - 1;
            let seen = back < 64 && self.recent >> back & 1 == 1;
            return if seen { Verdict::Duplicate } else { Verdict::Late };
        }
        if self.held.contains_key(&number) {
            return Verdict::Duplicate;
        }
        self.highest = Some(newest.max(number));
        self.held.insert(number, (now, item));
        Verdict::Kept
    }

    /// Takes out the next packet in order, if nothing before it is still waited for.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Released<T>> {
        let (&number, (arrived, _)) = self.held.first_key_value()?;
        let in_order = self.next == Some(number);
        let patient = self.held.len() <= WINDOW && self.oldest().unwrap_or(*arrived) + PATIENCE > now;
        if !in_order && patient {
            return None;
        }
        self.release()
    }

    /// Takes out the next packet whether or not an earlier one is missing.
    pub(crate) fn flush(&mut self) -> Option<Released<T>> {
        self.release()
    }

    /// When [`Window::pop`] should be called again although nothing arrived.
    #[must_use]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.oldest().map(|arrived| arrived + PATIENCE)
    }

    /// When the packet that waits longest arrived.
    fn oldest(&self) -> Option<Instant> {
        self.held.values().map(|(arrived, _)| *arrived).min()
    }

    fn release(&mut self) -> Option<Released<T>> {
        let (number, (arrived, item)) = self.held.pop_first()?;
        let lost_before = self.next.map_or(0, |next| number - next);
        self.recent =
            u32::try_from(lost_before + 1).ok().and_then(|by| self.recent.checked_shl(by)).unwrap_or(0) | 1;
        self.next = Some(number + 1);
        Some(Released { arrived, lost_before, item })
    }

    /// Widens a number that wraps at 16 bits to the nearest one that does not.
    fn widen(&self, sequence: u16) -> u64 {
        // The first number gets one turn of head start, so that earlier ones stay positive.
        let Some(highest) = self.highest else { return u64::from(sequence) + 0x1_0000 };
        let low = highest & 0xffff;
        let ahead = u64::from(sequence).wrapping_sub(low) & 0xffff;
        if ahead < 0x8000 { highest + ahead } else { (highest + ahead).saturating_sub(0x1_0000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pushed(window: &mut Window<u16>, sequence: u16, now: Instant) -> (Verdict, Vec<u16>) {
        let verdict = window.push(sequence, sequence, now);
        (verdict, std::iter::from_fn(|| window.pop(now)).map(|released| released.item).collect())
    }

    /// A window that has put `first` out, so that order is known.
    fn settled(first: u16, now: Instant) -> Window<u16> {
        let mut window = Window::default();
        assert_eq!(window.push(first, first, now), Verdict::Kept);
        assert_eq!(window.flush().unwrap().item, first);
        window
    }

    #[test]
    fn swapped_packets_come_out_in_order_over_the_wrap() {
        let now = Instant::now();
        let mut window = settled(65_533, now);
        assert_eq!(pushed(&mut window, 65_534, now), (Verdict::Kept, vec![65_534]));
        assert_eq!(pushed(&mut window, 0, now), (Verdict::Kept, vec![]));
        assert_eq!(pushed(&mut window, 65_535, now), (Verdict::Kept, vec![65_535, 0]));
        assert_eq!(pushed(&mut window, 1, now), (Verdict::Kept, vec![1]));
    }

    #[test]
    fn the_first_two_packets_may_be_swapped() {
        let now = Instant::now();
        let mut window = Window::default();
        assert_eq!(pushed(&mut window, 8, now), (Verdict::Kept, vec![]));
        assert_eq!(pushed(&mut window, 7, now), (Verdict::Kept, vec![]));
        assert_eq!(window.deadline(), Some(now + Duration::from_millis(100)));
        let later = now + Duration::from_millis(100);
        assert_eq!(pushed(&mut window, 9, later), (Verdict::Kept, vec![7, 8, 9]));
    }

    #[test]
    fn a_lost_packet_is_waited_for_until_five_others_wait() {
        let now = Instant::now();
        let mut window = settled(10, now);
        for sequence in 12..=16 {
            assert_eq!(pushed(&mut window, sequence, now), (Verdict::Kept, vec![]));
        }
        assert_eq!(window.push(17, 17, now), Verdict::Kept);
        let first = window.pop(now).unwrap();
        assert_eq!((first.item, first.lost_before), (12, 1));
        assert_eq!(window.pop(now).unwrap().lost_before, 0);
        assert_eq!(pushed(&mut window, 11, now).0, Verdict::Late);
        assert_eq!(pushed(&mut window, 12, now).0, Verdict::Duplicate);
    }

    #[test]
    fn patience_ends_after_a_tenth_of_a_second() {
        let now = Instant::now();
        let mut window = settled(10, now);
        assert_eq!(pushed(&mut window, 12, now), (Verdict::Kept, vec![]));
        assert_eq!(window.pop(now + Duration::from_millis(99)), None);
        assert_eq!(window.pop(now + Duration::from_millis(100)).unwrap().item, 12);
    }

    #[test]
    fn a_duplicate_in_the_window_is_dropped() {
        let now = Instant::now();
        let mut window = settled(10, now);
        assert_eq!(pushed(&mut window, 12, now), (Verdict::Kept, vec![]));
        assert_eq!(pushed(&mut window, 12, now), (Verdict::Duplicate, vec![]));
    }

    #[test]
    fn a_stray_number_is_dropped_and_two_in_a_row_are_a_new_start() {
        let now = Instant::now();
        let mut window = settled(10, now);
        assert_eq!(pushed(&mut window, 9_000, now), (Verdict::Stray, vec![]));
        assert_eq!(pushed(&mut window, 11, now), (Verdict::Kept, vec![11]));
        assert_eq!(pushed(&mut window, 9_000, now), (Verdict::Stray, vec![]));
        assert_eq!(pushed(&mut window, 9_001, now), (Verdict::NewStart, vec![]));
    }

    proptest! {
        /// Whatever a network does to a stream, what comes out is strictly ordered and was sent.
        #[test]
        fn what_comes_out_is_strictly_ordered(first: u16, steps in prop::collection::vec(-8i32..12, 1..200)) {
            let now = Instant::now();
            let mut window = Window::default();
            let mut at = 200_000 + i64::from(first);
            let (mut sent, mut out) = (Vec::new(), Vec::new());
            for step in steps {
                at += i64::from(step);
                sent.push(at);
                window.push(u16::try_from(at & 0xffff).unwrap(), at, now);
                out.extend(std::iter::from_fn(|| window.pop(now)).map(|released| released.item));
            }
            out.extend(std::iter::from_fn(|| window.flush()).map(|released| released.item));
            prop_assert!(out.windows(2).all(|pair| pair[0] < pair[1]), "{out:?}");
            prop_assert!(out.iter().all(|item| sent.contains(item)));
        }

        /// Reordering by at most the window loses nothing, and duplicates change nothing.
        #[test]
        fn reordering_within_the_window_loses_nothing(first: u16, shuffle in prop::collection::vec((0usize..5, any::<bool>()), 60)) {
            let now = Instant::now();
            // Each packet is delayed by at most four places: sorted by place plus delay.
            let mut order: Vec<(usize, u16, bool)> = shuffle.iter().enumerate()
                .map(|(place, (delay, twice))| (place + delay, u16::try_from(place).unwrap(), *twice)).collect();
            order.sort_by_key(|(slot, ..)| *slot);
            let mut window = Window::default();
            let mut out = Vec::new();
            for (_, place, twice) in order {
                for _ in 0..=u8::from(twice) {
                    window.push(first.wrapping_add(place), place, now);
                }
                out.extend(std::iter::from_fn(|| window.pop(now)).map(|released| released.item));
            }
            out.extend(std::iter::from_fn(|| window.flush()).map(|released| released.item));
            prop_assert_eq!(out, (0..60).collect::<Vec<u16>>());
        }
    }
}
