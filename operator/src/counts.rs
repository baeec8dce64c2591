//! [`Counts`]: whether anything is claimed twice.
//!
//! Decides that from hashes, so that whoever claims something need not be looked at beside all others as long as
//! nothing is. Two things may have one hash: what looks claimed twice is told from each other by whoever asks.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How often each of many things is claimed, by its hash.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    counts: HashMap<u64, u32>,
    /// How many are claimed more than once.
    contested: usize,
}

impl Counts {
    /// Takes up one more claim.
    pub(crate) fn add(&mut self, claimed: impl Hash) {
        let count = self.counts.entry(hash(claimed)).or_default();
        *count += 1;
        self.contested += usize::from(*count == 2);
    }

    /// Takes back a claim that was taken up.
    pub(crate) fn remove(&mut self, claimed: impl Hash) {
        let hash = hash(claimed);
        let Some(count) = self.counts.get_mut(&hash) else { return };
        *count -= 1;
        self.contested -= usize::from(*count == 1);
        if *count == 0 {
            self.counts.remove(&hash);
        }
    }

    /// Whether anything may be claimed twice.
    pub(crate) fn is_contested(&self) -> bool {
        self.contested > 0
    }
}

fn hash(claimed: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    claimed.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_claimed_twice_is_contested_until_one_claim_goes() {
        let mut counts = Counts::default();
        for (claimed, contested) in [("a", false), ("b", false), ("a", true), ("a", true)] {
            counts.add(claimed);
            assert_eq!(counts.is_contested(), contested, "{claimed}");
        }
        for (claimed, contested, left) in [("b", true, 1), ("a", true, 1), ("a", false, 1), ("a", false, 0)] {
            counts.remove(claimed);
            assert_eq!((counts.is_contested(), counts.counts.len()), (contested, left), "{claimed}");
        }
        counts.remove("a");
        assert!(!counts.is_contested());
    }
}
