//! The shared IO: SIP transports on worker threads, the configuration watch, signals, the admin
//! port, metrics and logs.
//!
//! This room decides how bytes reach a [`Core`] and leave it again, what happens when one fails,
//! and what each queue, connection and wait may cost. It refuses to know what the bytes mean: a
//! core is a pure machine that is given bytes, a peer and the time, and is asked for the next
//! deadline. It knows of SIP only where a stream must be cut into messages.

mod accept;
mod books;
mod capped;
mod connection;
mod conversation;
mod files;
mod former;
mod gateway;
mod guarded;
mod held;
mod known;
mod limits;
mod listeners;
mod mail;
mod outbox;
mod outgoing;
mod patience;
mod places;
mod serve;
mod showing;
mod socket;
mod source;
mod spread;
mod worker;

pub mod admin;
pub mod batch;
pub mod certificate;
pub mod drain;
pub mod folder;
pub mod log;
pub mod metrics;
pub mod tally;
pub mod tls;
pub mod watch;

pub use files::raise_open_files;
pub use gateway::gateway;
pub use known::KnownPeers;
pub use limits::Limits;
pub use listeners::Listen;
pub use outbox::Outbox;
pub use serve::{
    Addresses, Core, MAX_WORKERS, Notifier, Now, ServeError, ServeSettings, Server, WorkerPlace, serve,
};
pub use showing::{Pem, Showing};
pub use source::Source;
