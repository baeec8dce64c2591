//! What a switchboard may ask of the rest of the server.
//!
//! Decides the seam between calls, which are pure, and storage, speech and configuration, which are
//! not; and counts calls over all workers. Refuses to know how any of it is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use sip::sdp::MAX_KEY_BYTES;

use crate::message::SpoolCommand;
use crate::prompt::Utterance;
use crate::served::Served;
use crate::speech::Spoken;
use crate::spool_writer::{SpoolBusy, SpoolHealth};

/// What a switchboard may ask. Nothing here waits.
pub(crate) trait Surroundings: 'static {
    /// The name of this mailbox server, by which the directory has it.
    fn name(&self) -> String;

    /// The configuration that is served now.
    fn served(&self) -> Arc<Served>;

    /// Whether the server is being taken out of service.
    fn is_draining(&self) -> bool;

    /// Whether recordings can be stored.
    fn storage(&self) -> SpoolHealth;

    /// Hands a command to the spool.
    ///
    /// # Errors
    /// When the spool cannot keep up.
    fn spool(&self, command: SpoolCommand) -> Result<(), SpoolBusy>;

    /// Bytes for a key that nobody can guess; `None` if the machine has none.
    fn secret(&self) -> Option<[u8; MAX_KEY_BYTES]>;

    /// The audio of a sentence, which is ordered if it is not there yet.
    fn speak(&self, utterance: &Utterance) -> Spoken;
}

/// The calls of all workers together, which `maxCallsAllowed` limits.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallSlots {
    taken: Arc<AtomicU32>,
    shown: Gauge,
}

/// The place of one call. It is free again when this is dropped, also by a panic.
#[derive(Debug)]
pub(crate) struct CallSlot(CallSlots);

impl CallSlots {
    /// A place for one more call, if fewer than `limit` are taken.
    pub(crate) fn take(&self, limit: u32) -> Option<CallSlot> {
        let one_more = |taken| (taken < limit).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        self.shown.inc();
        Some(CallSlot(self.clone()))
    }

    /// How many places are taken.
    pub(crate) fn taken(&self) -> u32 {
        self.taken.load(Ordering::Acquire)
    }

    /// The same, for metrics.
    pub(crate) fn gauge(&self) -> Gauge {
        self.shown.clone()
    }
}

impl Drop for CallSlot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
        self.0.shown.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_call_is_gone() {
        let slots = CallSlots::default();
        let first = slots.take(2).unwrap();
        let second = slots.take(2).unwrap();
        assert!(slots.take(2).is_none());
        assert!(slots.take(1).is_none(), "the limit was lowered");
        drop(first);
        assert_eq!((slots.taken(), slots.gauge().get()), (1, 1));
        assert!(slots.take(2).is_some());
        drop(second);
        assert_eq!((slots.taken(), slots.gauge().get()), (0, 0));
        assert!(slots.take(0).is_none());
    }
}
