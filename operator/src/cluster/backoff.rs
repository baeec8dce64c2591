//! [`Retries`]: when what failed is tried again.
//!
//! Decides that it is tried more and more rarely, and never given up, and that another text for the
//! same object is tried at once. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// What failed is tried again after this time, and then after twice the time before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// 1 s * 2^5 is 32 s: it gets no rarer.
const MAX_DOUBLINGS: u32 = 5;

/// What could not be written, by namespace and by what it is called.
#[derive(Debug, Default)]
pub(super) struct Retries(BTreeMap<String, BTreeMap<String, Failed>>);

#[derive(Clone, Copy, Debug)]
struct Failed {
    /// What should have been written.
    text: u64,
    times: u32,
    retry_at: Instant,
}

impl Retries {
    /// `what` could not be written; `text` stands for what it should say. Says whether that is news.
    pub(super) fn failed(&mut self, namespace: &str, what: &str, text: u64, now: Instant) -> bool {
        let of_namespace = self.0.entry(namespace.into()).or_default();
        let times = of_namespace.get(what).map_or(0, |failed| failed.times.saturating_add(1));
        let retry_at = now + FIRST_PAUSE * (1 << times.min(MAX_DOUBLINGS));
        of_namespace.insert(what.into(), Failed { text, times, retry_at });
        times == 0
    }

    /// Whether `what` failed with this text, and its time has not come.
    pub(super) fn waits(&self, namespace: &str, what: &str, text: impl Fn() -> u64, now: Instant) -> bool {
        let failed = self.0.get(namespace).and_then(|of_namespace| of_namespace.get(what));
        failed.is_some_and(|failed| failed.retry_at > now && failed.text == text())
    }

    /// Nothing else of `namespace` is still to be written.
    pub(super) fn keep(&mut self, namespace: &str, failed: &BTreeSet<String>) {
        if let Some(of_namespace) = self.0.get_mut(namespace) {
            of_namespace.retain(|what, _| failed.contains(what));
        }
        self.0.retain(|_, of_namespace| !of_namespace.is_empty());
    }

    /// The namespaces of which something is to be tried again.
    pub(super) fn due(&self, now: Instant) -> impl Iterator<Item = String> {
        let is_due = move |of_namespace: &BTreeMap<String, Failed>| {
            of_namespace.values().any(|failed| failed.retry_at <= now)
        };
        let due = self.0.iter().filter(move |(_, of_namespace)| is_due(of_namespace));
        due.map(|(namespace, _)| namespace.clone())
    }

    /// When the next of them is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.values().flat_map(BTreeMap::values).map(|failed| failed.retry_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_more_and_more_rarely_and_never_given_up() {
        let (mut now, mut retries) = (Instant::now(), Retries::default());
        let mut pauses = Vec::new();
        for time in 0..8 {
            assert_eq!(retries.failed("a", "one", 7, now), time == 0);
            assert_eq!(retries.due(now).count(), 0, "it is not tried at once");
            assert!(retries.waits("a", "one", || 7, now));
            let at = retries.deadline().unwrap();
            pauses.push((at - now).as_secs());
            now = at;
            assert_eq!(retries.due(now).collect::<Vec<_>>(), ["a"]);
            assert!(!retries.waits("a", "one", || 7, now));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 32, 32]);
        retries.keep("a", &BTreeSet::new());
        assert_eq!(retries.deadline(), None);
        assert!(retries.failed("a", "one", 7, now));
        assert_eq!(retries.deadline(), Some(now + Duration::from_secs(1)));
    }

    #[test]
    fn what_waits_holds_up_neither_another_object_nor_another_text() {
        let (now, mut retries) = (Instant::now(), Retries::default());
        retries.failed("a", "one", 7, now);
        assert!(!retries.waits("a", "one", || 8, now));
        assert!(!retries.waits("a", "two", || 7, now));
        assert!(!retries.waits("b", "one", || 7, now));
        retries.failed("a", "two", 9, now);
        retries.keep("a", &BTreeSet::from(["two".to_owned()]));
        assert!(!retries.waits("a", "one", || 7, now));
        assert!(retries.waits("a", "two", || 9, now));
    }
}
