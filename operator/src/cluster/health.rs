//! [`Health`]: what the admin port says about the operator.
//!
//! Decides when its main loop is stuck, when it is ready, and which troubles keep it from that: what it cannot do as long as they
//! last, such as hearing of changes. Refuses to know who asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use runtime::admin::Component;
use runtime::metrics::Registry;

/// Whatever is in trouble tries again within half a minute; a trouble that was not seen for longer
/// than that is over.
const TROUBLE_LASTS: Duration = Duration::from_secs(40);

/// It tries again within seconds at first. A watch that then works says nothing until there is
/// something to say, so a trouble that does not come back is over.
const FIRST_TROUBLE_LASTS: Duration = Duration::from_secs(4);

/// Each try is about twice as long after the one before, half of that more by chance: three times as
/// long as it has gone on, there must have been another one.
const PATIENCE: u32 = 3;

/// The main loop turns at least this often, even if there is nothing to do.
pub(super) const BEAT: Duration = Duration::from_secs(10);

/// A main loop that has not turned for this long is stuck: each request to the API server ends
/// within 45 s, and each plan is made within a few.
const STUCK: Duration = Duration::from_secs(120);

/// What the admin port says about the operator.
#[derive(Debug, Default)]
pub struct Health {
    /// When the main loop turned last, once it has begun to.
    turned: Mutex<Option<Instant>>,
    stands_by: AtomicBool,
    synced: AtomicBool,
    leads: AtomicBool,
    rounds: AtomicU64,
    writes: AtomicU64,
    refused: AtomicU64,
    problems: AtomicU64,
    /// What is wrong, by what it is about.
    troubles: Mutex<BTreeMap<String, Trouble>>,
}

/// What there is to count, at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    /// It holds the Lease.
    pub(super) leads: bool,
    /// It can do its work, or stands by.
    pub(super) is_ready: bool,
    /// What is wrong with objects.
    pub(super) problems: u64,
    /// Times that a namespace was looked at.
    pub(super) rounds: u64,
    /// What was written.
    pub(super) writes: u64,
    /// What could not be written.
    pub(super) refused: u64,
}

/// Something that goes wrong each time that it is tried.
#[derive(Debug)]
struct Trouble {
    first: Instant,
    last: Instant,
    message: String,
}

impl Trouble {
    /// Whether it goes on at `now`, as far as anybody can know.
    fn lasts(&self, now: Instant) -> bool {
        let limit = FIRST_TROUBLE_LASTS + (self.last - self.first) * PATIENCE;
        now.duration_since(self.last) < limit.min(TROUBLE_LASTS)
    }
}

impl Health {
    /// The main loop turns: it waits for something, or gets on with its work.
    pub(super) fn turn(&self) {
        *self.turned.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether the main loop turns at `now`.
    fn live_at(&self, now: Instant) -> bool {
        let turned = self.turned.lock().unwrap_or_else(PoisonError::into_inner);
        turned.is_none_or(|turned| now.saturating_duration_since(turned) < STUCK)
    }

    /// It waits for the Lease, or has it.
    pub(super) fn stand_by(&self, stands_by: bool) {
        self.stands_by.store(stands_by, Ordering::Relaxed);
        self.leads.store(!stands_by, Ordering::Relaxed);
    }

    /// Every object has been seen.
    pub(super) fn synced(&self) {
        self.synced.store(true, Ordering::Relaxed);
    }

    /// A namespace was looked at.
    pub(super) fn count_round(&self) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
    }

    /// Something was written, or could not be.
    pub(super) fn count_write(&self, was_written: bool) {
        let count = if was_written { &self.writes } else { &self.refused };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// So much is wrong with objects now.
    pub(super) fn count_problems(&self, problems: usize) {
        self.problems.store(problems as u64, Ordering::Relaxed);
    }

    /// What there is to count.
    pub(super) fn figures(&self) -> Figures {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Figures {
            leads: self.leads.load(Ordering::Relaxed),
            is_ready: self.ready().is_ok(),
            problems: read(&self.problems),
            rounds: read(&self.rounds),
            writes: read(&self.writes),
            refused: read(&self.refused),
        }
    }

    /// Has `registry` show what there is to count.
    pub fn publish(self: &Arc<Self>, registry: &mut Registry) {
        super::metrics::publish(self, registry);
    }

    /// `what` is in trouble; says so in the log when that is news.
    pub(super) fn trouble(&self, what: &str, message: &str) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let before = troubles.remove(what).filter(|before| before.lasts(now));
        let first = before.as_ref().map_or(now, |before| before.first);
        troubles.insert(what.into(), Trouble { first, last: now, message: message.into() });
        if before.is_none_or(|before| before.message != message) {
            tracing::warn!(what, "{message}; it is tried again, and what is known goes on being used");
        }
    }

    /// `what` is in no trouble any more.
    pub(super) fn well(&self, what: &str) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        if troubles.remove(what).is_some() {
            tracing::info!(what, "it works again");
        }
    }

    /// Whether it can do its work at `now`, and why not.
    fn ready_at(&self, now: Instant) -> Result<(), String> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let lasting = troubles.iter().filter(|(_, trouble)| trouble.lasts(now));
        let mut lines: Vec<String> =
            lasting.map(|(what, trouble)| format!("{what}: {}", trouble.message)).collect();
        if !self.stands_by.load(Ordering::Relaxed) && !self.synced.load(Ordering::Relaxed) {
            lines.insert(0, "it has not seen every object yet".into());
        }
        if lines.is_empty() { Ok(()) } else { Err(lines.join("; ")) }
    }
}

impl Component for Health {
    fn name(&self) -> &str {
        "operator"
    }

    fn live(&self) -> bool {
        self.live_at(Instant::now())
    }

    fn ready(&self) -> Result<(), String> {
        self.ready_at(Instant::now())
    }

    /// How many times a namespace was looked at.
    fn generation(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_main_loop_that_is_stuck_is_not_live() {
        let health = Health::default();
        assert!(health.live_at(Instant::now() + 10 * STUCK), "it has not begun");
        health.turn();
        assert!(health.live_at(Instant::now() + BEAT));
        assert!(!health.live_at(Instant::now() + STUCK));
        health.turn();
        assert!(health.live_at(Instant::now()));
    }

    #[test]
    fn an_operator_says_what_keeps_it_from_being_ready() {
        let health = Health::default();
        let now = Instant::now();
        assert_eq!(health.ready_at(now), Err("it has not seen every object yet".into()));
        health.stand_by(true);
        assert_eq!(health.ready_at(now), Ok(()));
        health.stand_by(false);
        health.synced();
        health.trouble("watch of Pods", "connection refused");
        health.trouble("Lease", "no answer");
        assert_eq!(
            health.ready_at(Instant::now()),
            Err("Lease: no answer; watch of Pods: connection refused".into())
        );
        health.well("Lease");
        assert_eq!(health.ready_at(Instant::now()), Err("watch of Pods: connection refused".into()));
        assert_eq!(health.ready_at(Instant::now() + TROUBLE_LASTS), Ok(()), "it was not seen again");
    }

    #[test]
    fn a_trouble_is_over_when_it_must_have_been_tried_again() {
        let first = Instant::now();
        let after = |seconds| first + Duration::from_secs(seconds);
        let trouble = |last| Trouble { first, last: after(last), message: "no answer".into() };
        // Seen once; for 5 s; and for so long that it is tried every half a minute.
        for (last, until) in [(0, 4), (5, 5 + 19), (300, 340)] {
            assert!(trouble(last).lasts(after(until - 1)), "{last}");
            assert!(!trouble(last).lasts(after(until)), "{last}");
        }
    }
}
