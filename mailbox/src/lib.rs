//! The mailbox server: calls, media, recording, store and delivery.

mod delivery;
mod dtmf;
mod level;
mod message;
mod prompt;
mod reorder;
mod resample;
mod rtp;
mod served;
mod server;
mod speech;
mod spool_writer;
mod timeline;
mod tone;

pub use delivery::{CurrentConfig, Deliverer, DeliveryStatus, StartError as DeliveryStartError};
pub use message::{Codec, EndedBy, MessageId, RecordingFacts, SpoolCommand};
pub use server::{Server, ServerPaths, StartError};
pub use spool_writer::{SpoolBusy, SpoolHandle, SpoolHealth};
