//! From a finished recording to a message in its owner's mail, once.
//!
//! Decides the order of steps and when to try again. Refuses to know SIP and RTP.

use std::path::Path;
use std::sync::Arc;

use config::MailboxConfig;

use crate::spool_writer::{SpoolHandle, SpoolHealth};

/// Reads the configuration that is served now.
pub type CurrentConfig = Arc<dyn Fn() -> Arc<MailboxConfig> + Send + Sync>;

/// The state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder or file in it failed.
    #[error("{step} {path}: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// With what.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another server uses the same state folder.
    #[error("another server uses the spool {0}")]
    Locked(String),
}

/// What metrics and readiness need to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryStatus {
    /// Recordings that have begun and not ended.
    pub recordings_open: usize,
    /// Messages that wait for delivery.
    pub outbox_len: usize,
    /// Age of the oldest of them, seconds.
    pub oldest_age_s: Option<u64>,
    /// Messages that a mail server refused for good and that are kept.
    pub refused_len: usize,
    /// Messages delivered since the start.
    pub delivered: u64,
    /// Whether recordings can be stored.
    pub spool: SpoolHealth,
}

/// Stores and delivers what calls have recorded, below one state folder.
#[derive(Debug)]
pub struct Deliverer {
    spool: SpoolHandle,
}

impl Deliverer {
    /// Opens `state` (the folders `spool`, `store`, `outbox` and `mail` in it), recovers what an
    /// earlier process left there, and starts to deliver.
    ///
    /// # Errors
    /// [`StartError`] when the state folder cannot be used.
    pub fn start(state: &Path, _config: CurrentConfig) -> Result<Self, StartError> {
        std::fs::create_dir_all(state).map_err(|source| StartError::Io {
            step: "make the state folder",
            path: state.display().to_string(),
            source,
        })?;
        Ok(Self { spool: SpoolHandle::start() })
    }

    /// Where calls send their audio.
    pub fn spool(&self) -> SpoolHandle {
        self.spool.clone()
    }

    /// A snapshot for metrics and readiness.
    pub fn status(&self) -> DeliveryStatus {
        DeliveryStatus {
            recordings_open: self.spool.open_recordings(),
            outbox_len: 0,
            oldest_age_s: None,
            refused_len: 0,
            delivered: 0,
            spool: self.spool.health(),
        }
    }

    /// Syncs what calls have sent, lets the delivery in progress end, and stops. Messages that
    /// wait are delivered after the next start.
    pub fn stop(self) {}
}
