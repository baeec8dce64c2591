//! [`Plan`]: what should be written, in the order in which to write it.
//!
//! Decides the order and how a write changes what is observed. Refuses to know how anything is
//! written.

use config::{MailboxConfig, RouterConfig};

use crate::defaults::DefaultObject;
use crate::problem::Problem;
use crate::status::ObjectStatus;
use crate::workloads::{Workload, WorkloadRef};
use crate::world::{Awaited, Generations, Key, ObjectRef, Observed};

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
}

/// One thing to write. Each is written whole or not at all.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// The configuration of a UMService. Those come before the routers', so that nobody is sent
    /// to a server that does not know them yet.
    Mailbox(Key, Box<MailboxConfig>),
    /// The configuration of a UMCallRouter.
    Router(Key, Box<RouterConfig>),
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

impl Write {
    /// Whether servers need it: it goes before what only people read.
    pub(crate) fn is_for_servers(&self) -> bool {
        match self {
            Write::Mailbox(..) | Write::Router(..) | Write::Workload(_) | Write::Remove(_) => true,
            Write::Status(..) | Write::Forget(_) | Write::Default(_) => false,
        }
    }

    /// The object that it makes for another one, if it does.
    pub(crate) fn made(&self) -> Option<ObjectRef> {
        match self {
            Write::Default(default) => Some(default.object()),
            Write::Mailbox(..)
            | Write::Router(..)
            | Write::Workload(_)
            | Write::Remove(_)
            | Write::Status(..)
            | Write::Forget(_) => None,
        }
    }

    /// What is observed once this was written.
    pub fn apply(self, observed: &mut Observed) {
        match self {
            Write::Mailbox(key, config) => {
                observed.services.insert(key, *config);
            }
            Write::Router(key, config) => {
                observed.routers.insert(key, *config);
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
