//! From the objects that a person writes to the configuration that servers read.
//!
//! One verb: [`reconcile`] looks at a [`World`] and says in a [`Plan`] what should be written and
//! what is wrong ([`Problem`]). It is pure and total: whatever is in the world, there is a plan,
//! and a mistake in one object harms no other. [`Standalone`] gives it a folder as its world and
//! carries its plans out on a disk.
//!
//! This room refuses to know SIP, calls and how servers are started.

mod admit;
mod build;
mod check;
mod dereference;
mod folder;
mod identify;
mod node;
mod parse;
mod plan;
mod problem;
mod reconcile;
mod schema;
mod secret;
mod standalone;
mod status;
mod status_file;
mod store;
mod suggest;
mod translate;
mod validate;
mod world;

pub use plan::{Plan, Write};
pub use problem::{Located, Problem};
pub use reconcile::reconcile;
pub use standalone::{Preview, Standalone, StandaloneError, Step, preview};
pub use status::ObjectStatus;
pub use world::{Key, Object, ObjectRef, Observed, Served, TlsSecret, World};
