//! The server transactions of an endpoint.
//!
//! Decides which requests are copies, and forgets a transaction once it has ended. Refuses to know
//! what requests ask for.

use std::{collections::HashMap, time::Instant};

use super::{
    CallKey, Owner, Transmit,
    identity::{MergeId, TransactionId},
    schedule::Schedule,
};
use crate::{
    Peer,
    transaction::{ServerInvite, ServerOther, Tick},
};

#[derive(Debug)]
pub(super) struct Table {
    rows: HashMap<TransactionId, Row>,
    /// The transactions whose requests may reach us on a second path.
    merges: HashMap<MergeId, TransactionId>,
}

#[derive(Debug)]
struct Row {
    machine: Machine,
    /// Where responses go.
    to: Peer,
    merge: Option<MergeId>,
    deadline: Option<Instant>,
}

#[derive(Debug)]
enum Machine {
    Invite {
        machine: ServerInvite,
        /// The call that this INVITE made or changes. None if it was refused at once.
        call: Option<CallKey>,
    },
    Other(ServerOther),
}

/// A new INVITE transaction.
pub(super) struct NewInvite {
    pub(super) machine: ServerInvite,
    pub(super) call: Option<CallKey>,
    pub(super) merge: Option<MergeId>,
    pub(super) to: Peer,
}

impl Table {
    pub(super) fn new() -> Table {
        Table { rows: HashMap::new(), merges: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn contains(&self, id: TransactionId) -> bool {
        self.rows.contains_key(&id)
    }

    /// What answers the request that came again, if anything.
    pub(super) fn again(&self, id: TransactionId) -> Option<Transmit> {
        let row = self.rows.get(&id)?;
        let bytes = match &row.machine {
            Machine::Invite { machine, .. } => machine.invite_again(),
            Machine::Other(machine) => machine.request_again(),
        };
        bytes.map(|bytes| Transmit { peer: row.to, bytes: bytes.to_vec() })
    }

    /// Whether the request of an open transaction has come on another path (RFC 3261
    /// section 8.2.2.2).
    pub(super) fn is_merged(&self, merge: MergeId) -> bool {
        self.merges.contains_key(&merge)
    }

    pub(super) fn add_invite(&mut self, id: TransactionId, new: NewInvite, schedule: &mut Schedule<Owner>) {
        if let Some(merge) = new.merge {
            self.merges.insert(merge, id);
        }
        let machine = Machine::Invite { machine: new.machine, call: new.call };
        self.rows.insert(id, Row { machine, to: new.to, merge: new.merge, deadline: None });
        self.settle(id, schedule);
    }

    pub(super) fn add_other(
        &mut self,
        id: TransactionId,
        machine: ServerOther,
        to: Peer,
        schedule: &mut Schedule<Owner>,
    ) {
        self.rows.insert(id, Row { machine: Machine::Other(machine), to, merge: None, deadline: None });
        self.settle(id, schedule);
    }

    /// The INVITE transaction `id`: whether it has no final response yet, and its call.
    pub(super) fn invite(&self, id: TransactionId) -> Option<(bool, Option<CallKey>)> {
        match &self.rows.get(&id)?.machine {
            Machine::Invite { machine, call } => Some((machine.is_proceeding(), *call)),
            Machine::Other(_) => None,
        }
    }

    /// Moves the INVITE transaction `id` by `step`; gives where its responses go. `None` if there is
    /// no such transaction, or `step` gives `false`.
    pub(super) fn move_invite(
        &mut self,
        id: TransactionId,
        schedule: &mut Schedule<Owner>,
        step: impl FnOnce(&mut ServerInvite) -> bool,
    ) -> Option<Peer> {
        let row = self.rows.get_mut(&id)?;
        let to = row.to;
        let moved = match &mut row.machine {
            Machine::Invite { machine, .. } => step(machine),
            Machine::Other(_) => false,
        };
        self.settle(id, schedule);
        moved.then_some(to)
    }

    /// Moves on what is due by `now`: what to do, and the message for [`Tick::Resend`].
    pub(super) fn handle_timeout(
        &mut self,
        id: TransactionId,
        now: Instant,
        schedule: &mut Schedule<Owner>,
    ) -> (Tick, Option<Transmit>) {
        let Some(row) = self.rows.get_mut(&id) else {
            return (Tick::Nothing, None);
        };
        let due = match &mut row.machine {
            Machine::Invite { machine, .. } => match machine.handle_timeout(now) {
                Tick::Resend => {
                    let bytes = machine.response().to_vec();
                    (Tick::Resend, Some(Transmit { peer: row.to, bytes }))
                }
                tick @ (Tick::Nothing | Tick::GiveUp) => (tick, None),
            },
            Machine::Other(machine) => {
                machine.handle_timeout(now);
                (Tick::Nothing, None)
            }
        };
        self.settle(id, schedule);
        due
    }

    /// Plans the next deadline of `id`, or forgets it if it has ended.
    fn settle(&mut self, id: TransactionId, schedule: &mut Schedule<Owner>) {
        let Some(row) = self.rows.get_mut(&id) else {
            return;
        };
        let (ended, deadline) = match &row.machine {
            Machine::Invite { machine, .. } => (machine.is_terminated(), machine.deadline()),
            Machine::Other(machine) => (machine.is_terminated(), machine.deadline()),
        };
        schedule.set(Owner::Transaction(id), &mut row.deadline, deadline);
        if ended
            && let Some(row) = self.rows.remove(&id)
            && let Some(merge) = row.merge
        {
            self.merges.remove(&merge);
        }
    }
}
