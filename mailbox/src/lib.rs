//! The mailbox server: calls, media, recording, store and delivery.

mod carrier;
mod compose;
mod delivery;
mod dtmf;
mod level;
mod maildir;
mod message;
mod outbox;
mod prompt;
mod reorder;
mod resample;
mod rtp;
mod served;
mod server;
mod smtp;
mod speech;
mod spool;
mod spool_batch;
mod spool_writer;
mod store;
mod timeline;
mod tone;
mod volumes;
mod wav;

pub use delivery::{CurrentConfig, Deliverer, DeliveryStatus, StartError as DeliveryStartError};
pub use message::{Codec, EndedBy, MessageId, RecordingFacts, SpoolCommand};
pub use server::{Server, ServerPaths, StartError};
pub use spool_writer::{SpoolBusy, SpoolError, SpoolHandle, SpoolHealth};
