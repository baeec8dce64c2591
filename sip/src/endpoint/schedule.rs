//! All deadlines of an endpoint in one ordered structure.
//!
//! Decides what is due first. Refuses to know what being due means.

use std::{collections::BTreeSet, time::Instant};

/// Deadlines of many owners, at most one each. The owner keeps its own deadline, in the slot that
/// [`Schedule::set`] is given, so that it can be found and moved.
#[derive(Debug)]
pub(super) struct Schedule<O: Ord + Copy> {
    queue: BTreeSet<(Instant, O)>,
}

impl<O: Ord + Copy> Schedule<O> {
    pub(super) fn new() -> Schedule<O> {
        Schedule { queue: BTreeSet::new() }
    }

    /// Moves `owner`'s deadline from `slot` to `at`.
    pub(super) fn set(&mut self, owner: O, slot: &mut Option<Instant>, at: Option<Instant>) {
        if *slot == at {
            return;
        }
        if let Some(old) = slot.take() {
            self.queue.remove(&(old, owner));
        }
        if let Some(at) = at {
            self.queue.insert((at, owner));
        }
        *slot = at;
    }

    /// The earliest deadline.
    pub(super) fn first(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The owner that is due longest by `now`. Its deadline stays until [`Schedule::set`] moves it.
    pub(super) fn due(&self, now: Instant) -> Option<O> {
        self.queue.first().filter(|(at, _)| *at <= now).map(|(_, owner)| *owner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_earliest_owner_is_due_first_and_a_moved_deadline_leaves_no_trace() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut schedule = Schedule::new();
        let (mut one, mut two) = (None, None);
        schedule.set(1_u8, &mut one, Some(now + second));
        schedule.set(2, &mut two, Some(now + second * 2));
        schedule.set(1, &mut one, Some(now + second * 3));
        assert_eq!(schedule.first(), Some(now + second * 2));
        assert_eq!(schedule.due(now + second), None);
        assert_eq!(schedule.due(now + second * 5), Some(2));
        schedule.set(2, &mut two, None);
        assert_eq!(schedule.due(now + second * 5), Some(1));
        schedule.set(1, &mut one, None);
        assert_eq!((schedule.first(), one, two), (None, None, None));
    }
}
