//! [`Retries`]: when what failed is tried again.
//!
//! Decides that it is tried more and more rarely, and never given up. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What failed is tried again after this time, and then after twice the time before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// 1 s * 2^5 is 32 s: it gets no rarer.
const MAX_DOUBLINGS: u32 = 5;

/// Namespaces of which something could not be written.
#[derive(Debug, Default)]
pub(super) struct Retries(BTreeMap<String, Failed>);

#[derive(Clone, Copy, Debug)]
struct Failed {
    times: u32,
    retry_at: Instant,
}

impl Retries {
    /// Something of `namespace` could not be written.
    pub(super) fn failed(&mut self, namespace: &str, now: Instant) {
        let times = self.0.get(namespace).map_or(0, |failed| failed.times.saturating_add(1));
        let retry_at = now + FIRST_PAUSE * (1 << times.min(MAX_DOUBLINGS));
        self.0.insert(namespace.into(), Failed { times, retry_at });
    }

    /// Everything of `namespace` is written.
    pub(super) fn succeeded(&mut self, namespace: &str) {
        self.0.remove(namespace);
    }

    /// The namespaces that are to be tried again.
    pub(super) fn due(&self, now: Instant) -> impl Iterator<Item = String> {
        self.0
            .iter()
            .filter(move |(_, failed)| failed.retry_at <= now)
            .map(|(namespace, _)| namespace.clone())
    }

    /// When the next of them is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.values().map(|failed| failed.retry_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_more_and_more_rarely_and_never_given_up() {
        let (mut now, mut retries) = (Instant::now(), Retries::default());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            retries.failed("a", now);
            assert_eq!(retries.due(now).count(), 0, "it is not tried at once");
            let at = retries.deadline().unwrap();
            pauses.push((at - now).as_secs());
            now = at;
            assert_eq!(retries.due(now).collect::<Vec<_>>(), ["a"]);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 32, 32]);
        retries.succeeded("a");
        assert_eq!(retries.deadline(), None);
        retries.failed("a", now);
        assert_eq!(retries.deadline(), Some(now + Duration::from_secs(1)));
    }
}
