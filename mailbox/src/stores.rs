//! Which store messages go to, those that they went to before, and how the present one fares.
//!
//! Decides that a configuration which names another store takes effect at once, and that a message
//! which waits is still read where it was written, as long as this process knows that place.
//! Refuses to know messages.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use config::Code;

use crate::message::MessageId;
use crate::store::{Object, Store};
use crate::store_error::StoreError;

/// Stores that are remembered, the one of the server's own among them.
const REMEMBERED: usize = 4;

/// The stores of one server.
#[derive(Debug)]
pub(crate) struct Stores {
    /// Folder of the server's own store.
    own: PathBuf,
    /// The server's own store, and those that were opened beside it, the latest last.
    known: Mutex<Vec<(config::Store, Arc<Store>)>>,
    /// Why the present one cannot be used.
    trouble: Mutex<Option<String>>,
    failures: AtomicU64,
    recoveries: AtomicU64,
}

impl Stores {
    /// With the server's own store in the folder `own`.
    ///
    /// # Errors
    /// When that cannot be opened.
    pub(crate) fn open(own: &Path) -> io::Result<Self> {
        let first = (config::Store::Own, Arc::new(Store::in_folder(own)?));
        Ok(Self {
            own: own.to_owned(),
            known: Mutex::new(vec![first]),
            trouble: Mutex::default(),
            failures: AtomicU64::new(0),
            recoveries: AtomicU64::new(0),
        })
    }

    /// The store that the configuration names. One that cannot be opened is tried again by the next
    /// call.
    fn named(&self, wanted: &config::Store) -> Result<Arc<Store>, StoreError> {
        let mut known = lock(&self.known);
        if let Some((_, store)) = known.iter().find(|(name, _)| name == wanted) {
            return Ok(Arc::clone(store));
        }
        let in_folder = |path: &Path| {
            Store::in_folder(path).map_err(|error| StoreError::unusable(&path.display().to_string(), &error))
        };
        let store = Arc::new(match wanted {
            config::Store::Own => in_folder(&self.own),
            config::Store::Folder(path) => in_folder(path),
            config::Store::S3(s3) => Store::in_bucket(s3),
        }?);
        if known.len() == REMEMBERED {
            known.remove(1);
        }
        known.push((wanted.clone(), Arc::clone(&store)));
        Ok(store)
    }

    /// Creates an object: see [`Store::create`].
    ///
    /// # Errors
    /// When the store that is named can neither write nor read it.
    pub(crate) async fn create(
        &self,
        wanted: &config::Store,
        at: (&str, MessageId, Object),
        bytes: Bytes,
    ) -> Result<Bytes, StoreError> {
        let (mailbox, id, object) = at;
        let work = async { self.named(wanted)?.create(mailbox, id, object, bytes).await };
        self.observed(work.await)
    }

    /// Whether an object is in the store that is named.
    ///
    /// # Errors
    /// When it cannot say.
    pub(crate) async fn has(
        &self,
        wanted: &config::Store,
        at: (&str, MessageId, Object),
    ) -> Result<bool, StoreError> {
        let (mailbox, id, object) = at;
        let work = async { self.named(wanted)?.has(mailbox, id, object).await };
        self.observed(work.await)
    }

    /// Reads an object of a message that may have been stored before the configuration changed.
    ///
    /// # Errors
    /// What the store that is named said.
    pub(crate) async fn read(
        &self,
        wanted: &config::Store,
        at: (&str, MessageId, Object),
    ) -> Result<Bytes, StoreError> {
        let (mailbox, id, object) = at;
        let work = async { self.named(wanted)?.read(mailbox, id, object).await };
        let read = self.observed(work.await);
        if read.as_ref().is_err_and(StoreError::is_missing) {
            let known = lock(&self.known).clone();
            for (_, store) in known.iter().rev().filter(|(name, _)| name != wanted) {
                if let Ok(bytes) = store.read(mailbox, id, object).await {
                    return Ok(bytes);
                }
            }
        }
        read
    }

    /// Where an object lies in the store that is named, for people.
    pub(crate) fn place(&self, wanted: &config::Store, at: (&str, MessageId, Object)) -> String {
        let (mailbox, id, object) = at;
        self.named(wanted).map_or_else(|error| error.to_string(), |store| store.place(mailbox, id, object))
    }

    /// Looks whether the store that is named can be used.
    pub(crate) async fn probe(&self, wanted: &config::Store) {
        let work = async {
            let store = self.named(wanted)?;
            if wanted.is_own() { Ok(()) } else { store.probe().await }
        };
        // What it finds is observed, which is all that is asked of it.
        let _ = self.observed(work.await);
    }

    /// Learns from an outcome how the store fares, and says so when that changes.
    fn observed<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        let failure = outcome.as_ref().err().filter(|error| !error.is_missing());
        let mut trouble = lock(&self.trouble);
        if let Some(failure) = failure {
            self.failures.fetch_add(1, Ordering::Relaxed);
            let reason = failure.to_string();
            if trouble.as_ref() != Some(&reason) {
                tracing::error!(
                    code = Code::StoreUnavailable.id(), %reason,
                    "the message store cannot be used; messages wait in the spool"
                );
                *trouble = Some(reason);
            }
        } else if trouble.take().is_some() {
            self.recoveries.fetch_add(1, Ordering::Relaxed);
            tracing::info!("the message store can be used again");
        }
        drop(trouble);
        outcome
    }

    /// Why the store that is named cannot be used, as far as is known.
    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// What was asked of it and failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How often it came back: whoever waits for it tries again then.
    pub(crate) fn recoveries(&self) -> u64 {
        self.recoveries.load(Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "stores_tests.rs"]
mod tests;
