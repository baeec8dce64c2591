//! The mailbox server: calls, media, recording, store and delivery.

mod delivery;
mod message;
mod spool_writer;

pub use delivery::{CurrentConfig, Deliverer, DeliveryStatus, StartError};
pub use message::{Codec, EndedBy, MessageId, RecordingFacts, SpoolCommand};
pub use spool_writer::{SpoolBusy, SpoolHandle, SpoolHealth};
