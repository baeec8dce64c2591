//! [`Settled`]: that nothing is to be written about a group of objects.
//!
//! Decides when their statuses need not be compared again: while nothing changed that they follow
//! from. Refuses to know what is said.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::plan::Write;
use crate::served::Servers;
use crate::shared::Shared;
use crate::status::{Compared, ObjectStatus};
use crate::world::{Key, Waits};

/// What it followed from that nothing is to be written about a group of objects.
#[derive(Debug)]
pub(crate) struct Settled<F> {
    pub(crate) statuses: Shared<BTreeMap<Key, ObjectStatus>>,
    pub(crate) awaited: Shared<BTreeMap<Key, Waits>>,
    pub(crate) servers: Arc<Servers>,
    /// Whatever else it followed from.
    pub(crate) from: F,
    /// Whether it depends on what servers say, because somebody waits for them.
    pub(crate) waits: bool,
}

/// What is to be said of a group, and which of its objects wait for servers.
pub(crate) struct Said {
    pub(crate) writes: Vec<Write>,
    pub(crate) awaited: Shared<BTreeMap<Key, Waits>>,
    /// Whether it was compared for that.
    pub(crate) was_compared: bool,
}

impl<F: PartialEq> Settled<F> {
    fn holds(&self, now: &Settled<F>) -> bool {
        self.statuses.is(&now.statuses)
            && self.awaited == now.awaited
            && self.from == now.from
            && if self.waits { self.servers == now.servers } else { self.servers.stand_as(&now.servers) }
    }

    /// What is to be said `now`, by `compare`, unless nothing was `before` and that still holds.
    pub(crate) fn say(
        before: &mut Option<Settled<F>>,
        mut now: Settled<F>,
        compare: impl FnOnce(&Settled<F>) -> Compared,
    ) -> Said {
        if before.as_ref().is_some_and(|before| before.holds(&now)) {
            return Said { writes: Vec::new(), awaited: now.awaited, was_compared: false };
        }
        let Compared { writes, awaited, waits } = compare(&now);
        now.waits = waits;
        let settles = writes.is_empty() && *now.awaited == awaited;
        let awaited = if settles { now.awaited.clone() } else { awaited.into() };
        *before = settles.then_some(now);
        Said { writes, awaited, was_compared: true }
    }
}
