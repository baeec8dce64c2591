//! What all connections of a server hold in memory, together.
//!
//! Decides whether one of them may hold more. Refuses to know what the bytes are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes for all.
#[derive(Debug)]
pub(crate) struct Pool {
    most: usize,
    taken: AtomicUsize,
    /// What is taken here is taken there, too.
    whole: Option<Arc<Pool>>,
}

/// What one of them holds; dropping it gives that back.
#[derive(Debug)]
pub(crate) struct Share {
    pool: Arc<Pool>,
    bytes: usize,
}

impl Pool {
    pub(crate) fn new(most: usize) -> Self {
        Pool { most, taken: AtomicUsize::new(0), whole: None }
    }

    /// A part of another one.
    pub(crate) fn part_of(whole: &Arc<Pool>, most: usize) -> Self {
        Pool { whole: Some(Arc::clone(whole)), ..Pool::new(most) }
    }

    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { pool: Arc::clone(self), bytes: 0 }
    }

    fn take(&self, more: usize) -> bool {
        let fits = self.taken.fetch_add(more, Ordering::Relaxed) + more <= self.most
            && self.whole.as_ref().is_none_or(|whole| whole.take(more));
        if !fits {
            self.taken.fetch_sub(more, Ordering::Relaxed);
        }
        fits
    }

    fn give_back(&self, less: usize) {
        self.taken.fetch_sub(less, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.give_back(less);
        }
    }
}

impl Share {
    /// Makes it so large; false, and as large as it was, if all together would hold too much.
    pub(crate) fn resize(&mut self, bytes: usize) -> bool {
        if bytes > self.bytes {
            if !self.pool.take(bytes - self.bytes) {
                return false;
            }
            self.bytes = bytes;
        } else {
            self.shrink(bytes);
        }
        true
    }

    /// Makes it so large, if it is larger.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        if less > 0 {
            self.pool.give_back(less);
            self.bytes = bytes;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_hold_so_much_and_not_a_byte_more() {
        let pool = Arc::new(Pool::new(100));
        let (mut one, mut other) = (pool.share(), pool.share());
        assert!(one.resize(60));
        assert!(other.resize(40));
        assert!(!other.resize(41));
        assert!(one.resize(59));
        assert!(other.resize(41));
        drop(one);
        assert!(other.resize(100));
        assert!(!other.resize(101));
    }

    #[test]
    fn a_part_has_so_much_of_the_whole_and_leaves_the_rest_to_others() {
        let whole = Arc::new(Pool::new(100));
        let part = Arc::new(Pool::part_of(&whole, 60));
        let (mut one, mut other) = (part.share(), whole.share());
        assert!(one.resize(60));
        assert!(!one.resize(61));
        assert!(other.resize(40));
        assert!(!other.resize(41));
        drop(one);
        assert!(other.resize(100));
        assert!(!part.share().resize(1));
    }
}
