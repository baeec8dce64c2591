//! The mailbox server: calls, media, recording, store and delivery.
//!
//! This room decides what happens from the INVITE that a router redirected here to the message in
//! its owner's mail. It refuses to know Kubernetes, and where its configuration comes from.
//!
//! The core of it is pure: a `Switchboard` for each worker, which is given bytes and the time. The
//! shell around it is [`Server`].

mod admission;
mod call;
mod call_facts;
mod caller;
mod carrier;
mod chance;
mod compose;
mod delivery;
mod delivery_metrics;
mod desk;
mod dtmf;
mod level;
mod maildir;
mod message;
mod metrics;
mod negotiation;
mod outbox;
mod player;
mod prompt;
mod receiver;
mod recording;
mod refusal;
mod reorder;
mod resample;
mod rtp;
mod served;
mod server;
mod session;
mod smtp;
mod speech;
mod spool;
mod spool_batch;
mod spool_writer;
mod srtp;
mod store;
mod store_error;
mod store_s3;
mod stores;
mod surroundings;
mod switchboard;
#[cfg(test)]
mod tests;
mod timeline;
mod tone;
mod volumes;
mod wav;

pub use delivery::{CurrentConfig, Deliverer, DeliveryStatus, StartError as DeliveryStartError};
pub use message::{Codec, EndedBy, MessageId, RecordingFacts, SpoolCommand};
pub use server::{Server, ServerPaths, StartError};
pub use spool_writer::{SpoolBusy, SpoolError, SpoolHandle, SpoolHealth};

#[cfg(test)]
#[path = "fixtures_tests.rs"]
mod fixtures;
