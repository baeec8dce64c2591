//! A request that waits for its answer.
//!
//! Decides when it is sent once more and when it is given up (RFC 3261 sections 17.1.1.2 and
//! 17.1.2.2). Refuses to know what it asks for.

use std::time::{Duration, Instant};

use super::super::message::Hop;
use super::super::plan::Transport;

/// The estimate of a round trip, RFC 3261 section 17.1.1.1.
pub(super) const T1: Duration = Duration::from_millis(500);
/// The longest pause between two copies of a request that is no INVITE.
pub(super) const T2: Duration = Duration::from_secs(4);
/// How long a request waits for its answer: 64 × T1.
pub(super) const GIVE_UP: Duration = Duration::from_secs(32);
/// A request that waits for its answer and is repeated until it has one.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) bytes: Vec<u8>,
    pub(super) hop: Hop,
    pub(super) label: String,
    pub(super) repeat_at: Option<Instant>,
    pub(super) interval: Duration,
    pub(super) longest: Duration,
    pub(super) give_up_at: Instant,
}

impl Pending {
    pub(super) fn new(bytes: Vec<u8>, hop: Hop, label: String, longest: Duration, now: Instant) -> Self {
        let repeat_at = match hop.transport {
            Transport::Udp => Some(now + T1),
            Transport::Tcp => None,
        };
        Self { bytes, hop, label, repeat_at, interval: T1, longest, give_up_at: now + GIVE_UP }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.repeat_at.map_or(self.give_up_at, |at| at.min(self.give_up_at))
    }

    /// Whether a copy is due; the next one then is due after twice the time, at most `longest`.
    pub(super) fn repeat(&mut self, now: Instant) -> bool {
        let Some(at) = self.repeat_at.filter(|at| now >= *at) else { return false };
        self.interval = (self.interval * 2).min(self.longest);
        self.repeat_at = Some(at + self.interval);
        true
    }
}
