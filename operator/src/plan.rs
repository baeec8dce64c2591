//! [`Plan`]: what should be written, in the order in which to write it.
//!
//! Decides the order and how a write changes what is observed. Refuses to know how anything is
//! written.

use std::collections::BTreeSet;
use std::sync::Arc;

use config::parts::{MailboxIndex, Part, RouterIndex};

use crate::defaults::DefaultObject;
use crate::names::Wanted;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::status::ObjectStatus;
use crate::told::Told;
use crate::workloads::{Workload, WorkloadRef};
use crate::world::{Awaited, Generations, Key, ObjectRef, Observed, PartRef, WrittenKeys, WrittenPart};

/// Statuses of one plan, and no slice of a database is divided. Each is a request to an API server, which
/// takes a millisecond or two, and what changes in the meantime waits for the end of the plan.
pub(crate) const MAX_STATUSES: usize = 1_000;

/// What follows from a world.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Only what differs from what is observed, in the order in which to write it. After any
    /// number of them the next plan finishes the rest.
    pub writes: Vec<Write>,
    /// Everything that is wrong, the refused edits among it.
    pub problems: Vec<Problem>,
    /// The generations that the servers have once the plan is carried out.
    pub wanted: Generations,
    /// The objects that wait for them, or for earlier ones.
    pub awaited: Awaited,
    /// The names that somebody should ask for; the next world says what they lead to.
    pub names: Shared<Wanted>,
    /// The last object of which something is said, if there is more to be said than one plan says: the
    /// next plan goes on behind it.
    pub cut_after: Option<ObjectRef>,
}

/// One thing to write. Each is written whole or not at all.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// The keys of the redirect token of a namespace, in a cluster.
    TokenKeys(String, Box<WrittenKeys>),
    /// A part that the servers of a namespace share. Servers go on with what they have until an
    /// index names it.
    Part(PartRef, Box<PartWrite>),
    /// The index of a UMService. Those come before the routers', so that nobody is sent to a server
    /// that does not know them yet.
    Mailbox(Key, Box<MailboxIndex>),
    /// The index of a UMCallRouter.
    Router(Key, Box<RouterIndex>),
    /// An object that a server needs to run. It comes after the configurations, or its pods would
    /// wait for them.
    Workload(Box<Workload>),
    /// An object that no server needs any more goes.
    Remove(WorkloadRef),
    /// The status of an object.
    Status(ObjectRef, ObjectStatus),
    /// The object is gone, and its status goes with it.
    Forget(ObjectRef),
    /// An object that is made for another one. It comes last: what it leads to follows once it was
    /// seen.
    Default(Box<DefaultObject>),
}

/// What is written of a part.
#[derive(Clone, Debug, PartialEq)]
pub struct PartWrite {
    /// Its bytes.
    pub part: Part,
    /// What it tells servers, if it is the site part.
    pub site: Option<Arc<Told>>,
    /// The identities of the server objects that it belongs to; with the last of them it goes.
    pub owners: BTreeSet<String>,
}

impl Write {
    /// Whether servers need it: it goes before what only people read.
    pub(crate) fn is_for_servers(&self) -> bool {
        match self {
            Write::TokenKeys(..)
            | Write::Part(..)
            | Write::Mailbox(..)
            | Write::Router(..)
            | Write::Workload(_)
            | Write::Remove(_) => true,
            Write::Status(..) | Write::Forget(_) | Write::Default(_) => false,
        }
    }

    /// The object of whose status this is, if it is one.
    pub(crate) fn status(&self) -> Option<&ObjectRef> {
        match self {
            Write::Status(object, _) | Write::Forget(object) => Some(object),
            Write::TokenKeys(..)
            | Write::Part(..)
            | Write::Mailbox(..)
            | Write::Router(..)
            | Write::Workload(_)
            | Write::Remove(_)
            | Write::Default(_) => None,
        }
    }

    /// The keys of the redirect token, if it is they.
    pub(crate) fn token_keys(&self) -> Option<&WrittenKeys> {
        if let Write::TokenKeys(_, keys) = self { Some(keys) } else { None }
    }

    /// The object that it makes for another one, if it does.
    pub(crate) fn made(&self) -> Option<ObjectRef> {
        if let Write::Default(default) = self { Some(default.object()) } else { None }
    }

    /// What is observed once this was written.
    pub fn apply(self, observed: &mut Observed) {
        match self {
            Write::TokenKeys(_, keys) => {
                observed.token_keys = Some(*keys);
            }
            Write::Part(named, write) => {
                if let Some(site) = write.site {
                    observed.sites.insert(named.namespace.clone(), site);
                }
                observed.parts.insert(named, WrittenPart { part: write.part, owners: write.owners });
            }
            Write::Mailbox(key, index) => {
                observed.services.insert(key, *index);
            }
            Write::Router(key, index) => {
                observed.routers.insert(key, *index);
            }
            Write::Workload(workload) => {
                observed.workloads.insert(workload.object, workload.manifest);
            }
            Write::Remove(object) => {
                observed.workloads.remove(&object);
            }
            Write::Status(object, status) => {
                observed.statuses.insert(object, status);
            }
            Write::Forget(object) => {
                observed.statuses.remove(&object);
            }
            // It is among the objects then, and nothing that became of them.
            Write::Default(_) => {}
        }
    }
}
