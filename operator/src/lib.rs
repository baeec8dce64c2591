//! From the objects that a person writes to the configuration that servers read.
//!
//! One verb: [`reconcile`] looks at a [`World`] and says in a [`Plan`] what should be written and
//! what is wrong ([`Problem`]). It is pure and total: whatever is in the world, there is a plan,
//! and a mistake in one object harms no other. [`Standalone`] gives it a folder as its world and
//! carries its plans out on a disk; [`cluster`] gives it the objects of a Kubernetes cluster.
//!
//! This room refuses to know SIP, calls and how servers are started.

mod admit;
mod build;
mod check;
pub mod cluster;
mod counts;
mod defaults;
mod dereference;
mod directory;
mod disk;
mod events;
mod exposure;
mod folder;
mod gateways;
mod guards;
mod hosting;
mod hunt_groups;
mod identify;
mod key_file;
mod kinds;
mod mailboxes;
mod memory;
mod names;
mod node;
mod parse;
mod plan;
mod problem;
mod reconcile;
mod resolve;
mod resolver;
mod rotation;
mod routing;
mod schema;
mod secret;
mod served;
mod settled;
mod shared;
mod site;
mod standalone;
mod status;
mod status_file;
mod store;
mod store_keys;
mod suggest;
mod token_key;
mod told;
mod translate;
mod trial;
mod turn;
mod validate;
mod workloads;
mod world;
mod written;

pub use defaults::{DefaultObject, DefaultSpec};
pub use memory::Effort;
pub use names::{Answer, Answers, Askers, Family, Question, Wanted};
pub use plan::{PartWrite, Plan, Write};
pub use problem::{Located, Problem};
pub use reconcile::{Reconciler, reconcile};
pub use shared::{PerObject, Shared, Sliced};
pub use site::{AdminPeers, Cluster, Image, Instance};
pub use standalone::{Preview, Served, Standalone, StandaloneError, Step, preview};
pub use status::ObjectStatus;
pub use store_keys::StoreKeys;
pub use token_key::NoChance;
pub use told::Told;
pub use workloads::{ADMIN_PORT, Workload, WorkloadKind, WorkloadRef};
pub use world::{
    Awaited, Generations, Key, Object, ObjectRef, Observed, PartName, PartRef, Phase, TlsSecret, Waits,
    World, WrittenKeys, WrittenPart,
};
