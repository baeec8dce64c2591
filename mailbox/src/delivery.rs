//! From a finished recording to a message in its owner's mail, once.
//!
//! ```text
//! Recorded -- audio.wav and facts.json stored, outbox entry added, spool released --> Queued
//! Queued   -- taken by the mail server, or in the Maildir; noted by one rename ----> Sent
//! Queued   -- refused for good: kept in outbox/refused, refused.json stored -------> (end)
//! Sent     -- delivered.json stored, outbox entry removed -------------------------> (end)
//! ```
//!
//! Every step is idempotent on the message's identity and safe on disk before the next begins, so
//! that a crash anywhere repeats at most one step. One window cannot be closed: SMTP has no way to
//! ask whether a message was taken. If the process dies between the server's 250 and the rename
//! right after it, or if that 250 is lost on the way, the message is sent again, under the same
//! Message-ID and with the same bytes.
//!
//! Decides the order of steps and when to try again. Refuses to know SIP, RTP and the spool's format.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use config::{Code, MailboxConfig};
use runtime::folder;
use runtime::metrics::Registry;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::carrier::{Carrier, Problem, Stage};
use crate::delivery_metrics::DeliveryMetrics;
use crate::message::MessageId;
use crate::outbox::Outbox;
use crate::spool_writer::{Finished, SpoolError, SpoolHandle, SpoolHealth, SpoolWriter};
use crate::stores::Stores;

/// Messages that may wait for delivery. Beyond it [`SpoolHandle::health`] is `OutboxFull`, so that new
/// calls are refused; those that go on are still taken.
pub(crate) const OUTBOX_MAX: usize = 10_000;
/// Messages that are worked on at once; each may hold a whole recording in memory.
const AT_ONCE: usize = 8;
/// First wait after a failure; it doubles with each further one.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest wait between two attempts: how late a message may be once the mail server is back.
const RETRY_MOST: Duration = Duration::from_secs(60);
/// How often the configuration is looked at: a change may cure what made a message wait.
const CONFIG_INTERVAL: Duration = Duration::from_secs(1);
/// How often a store is looked at that can be used: so long may it be away unnoticed while no
/// message is stored.
const STORE_INTERVAL: Duration = Duration::from_secs(60);
/// How often a store is looked at that cannot be used.
const STORE_RETRY: Duration = Duration::from_secs(5);
/// How long work in progress may go on after a stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the configuration that is served now.
pub type CurrentConfig = Arc<dyn Fn() -> Arc<MailboxConfig> + Send + Sync>;

/// The state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The spool failed, or belongs to another server.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Another folder failed.
    #[error("{step} {path}: {source}", path = path.display())]
    Io {
        /// What was being done.
        step: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What metrics and readiness need to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryStatus {
    /// Recordings that have begun and not ended.
    pub recordings_open: usize,
    /// Messages that wait for storage or delivery.
    pub outbox_len: usize,
    /// Age of the oldest of them, seconds.
    pub oldest_age_s: Option<u64>,
    /// Messages that a mail server refused for good since the start, and those kept from before.
    pub refused_len: u64,
    /// Messages delivered since the start.
    pub delivered: u64,
    /// Attempts since the start that failed and were put off.
    pub deferred: u64,
    /// Recordings since the start that a crash had cut short and that were recovered.
    pub recovered: u64,
    /// Syncs of the spool's journal since the start.
    pub syncs: u64,
    /// Audio frames since the start that found no room while the disk was full.
    pub frames_dropped: u64,
    /// Commands since the start that the spool refused because it could not keep up.
    pub commands_refused: u64,
    /// Whether recordings can be stored.
    pub spool: SpoolHealth,
    /// Why the message store cannot be used, as far as is known (`UM1209`).
    pub store_trouble: Option<String>,
    /// What was asked of the message store since the start and failed.
    pub store_failures: u64,
}

/// Counters that every message in work shares.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) refused: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) deferred: AtomicU64,
    pub(crate) recovered: AtomicU64,
}

/// Stores and delivers what calls have recorded, below one state folder. Dropping it stops it.
#[derive(Debug)]
pub struct Deliverer {
    handle: SpoolHandle,
    shared: Arc<Shared>,
    writer: SpoolWriter,
    stop: watch::Sender<bool>,
    /// Taken by the first stop.
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// What is in work, by message.
#[derive(Debug)]
struct Shared {
    /// Since when each message is in work, milliseconds since 1970.
    since_unix_ms: Mutex<BTreeMap<MessageId, u64>>,
    counters: Arc<Counters>,
    stores: Arc<Stores>,
}

/// How delivery goes about it; tests have ways of their own.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// The address by which mail servers are greeted.
    pub(crate) address: IpAddr,
    /// First wait after a failure.
    pub(crate) retry_first: Duration,
    /// Called after each step that a crash could follow.
    pub(crate) after_step: fn(&Path, &'static str),
}

impl Deliverer {
    /// Opens `state` (the folders `spool`, `store`, `outbox` and `mail` in it), recovers what an
    /// earlier process left there, and starts to deliver. Mail servers are greeted by `address`.
    ///
    /// # Errors
    /// [`StartError`] when the state folder cannot be used.
    pub fn start(state: &Path, config: CurrentConfig, address: IpAddr) -> Result<Self, StartError> {
        let settings = Settings { address, retry_first: RETRY_FIRST, after_step: |_, _| {} };
        Self::start_with(state, config, settings)
    }

    pub(crate) fn start_with(
        state: &Path,
        config: CurrentConfig,
        settings: Settings,
    ) -> Result<Self, StartError> {
        let failed = |step, path: PathBuf| move |source| StartError::Io { step, path, source };
        // Voice messages are private: nobody else may look into the state folder.
        for folder in [state.to_owned(), state.join("mail")] {
            folder::private(&folder).map_err(failed("make the folder", folder))?;
        }
        let stores = Stores::open(&state.join("store"))
            .map_err(failed("open the message store", state.join("store")))?;
        let (outbox, left) =
            Outbox::open(&state.join("outbox")).map_err(failed("open the outbox", state.join("outbox")))?;
        for path in &left.unreadable {
            tracing::error!(
                code = Code::SpoolDamaged.id(), path = %path.display(),
                "an entry of the outbox cannot be read; its message stays in the store"
            );
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed("start delivery from", state.to_owned()))?;
        let (finished, recorded) = mpsc::unbounded_channel();
        let writer = SpoolWriter::start(&state.join("spool"), finished)?;
        std::fs::File::open(state)
            .and_then(|folder| folder.sync_all())
            .map_err(failed("sync the state folder", state.to_owned()))?;
        let shared = Arc::new(Shared {
            since_unix_ms: Mutex::default(),
            counters: Arc::default(),
            stores: Arc::new(stores),
        });
        shared.counters.refused.store(left.refused as u64, Ordering::Relaxed);
        let (stop, stopped) = watch::channel(false);
        let carrier = Carrier {
            state: state.to_owned(),
            stores: Arc::clone(&shared.stores),
            outbox,
            config,
            address: settings.address,
            spool: writer.handle(),
            counters: Arc::clone(&shared.counters),
            after_step: settings.after_step,
            stopped,
        };
        let found = left.sent.into_iter().map(|entry| Stage::Sent { entry, place: None });
        let found = found.chain(left.waiting.into_iter().map(Stage::Queued)).collect();
        let office = Office {
            shared: Arc::clone(&shared),
            carrier: Arc::new(carrier),
            retry_first: settings.retry_first,
        };
        let thread = std::thread::Builder::new()
            .name("umbriel-delivery".into())
            .spawn(move || office.run(runtime, found, recorded))
            .map_err(failed("start delivery from", state.to_owned()))?;
        Ok(Self { handle: writer.handle(), shared, writer, stop, thread: Mutex::new(Some(thread)) })
    }

    /// Where calls send their audio.
    pub fn spool(&self) -> SpoolHandle {
        self.handle.clone()
    }

    /// A snapshot for metrics and readiness.
    pub fn status(&self) -> DeliveryStatus {
        self.shared.status(&self.handle)
    }

    /// Publishes the same figures as `um_spool_*`, `um_outbox_*` and `um_messages_*`.
    pub fn register(&self, registry: &mut Registry) {
        let (shared, handle) = (Arc::clone(&self.shared), self.handle.clone());
        registry.register_collector(Box::new(DeliveryMetrics(move || shared.status(&handle))));
    }

    /// Syncs what calls have sent, gives every message that can be delivered at once ten seconds
    /// for it, and stops. Messages that wait are delivered after the next start. A second call does
    /// nothing.
    pub fn stop(&self) {
        self.writer.stop();
        // Delivery may have ended already.
        let _ = self.stop.send(true);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of delivery panicked");
        }
    }
}

impl Drop for Deliverer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What may cure whatever made a message wait: the generation of the configuration, and how often
/// the store has come back.
type Changes = (u64, u64);

/// Looks at the store now and then, so that what is wrong with it is known before a message is.
async fn inspect(carrier: Arc<Carrier>) {
    loop {
        let inspected = (carrier.config)();
        carrier.stores.probe(&inspected.store).await;
        let interval = if carrier.stores.trouble().is_some() { STORE_RETRY } else { STORE_INTERVAL };
        let until = tokio::time::Instant::now() + interval;
        while tokio::time::Instant::now() < until && (carrier.config)().store == inspected.store {
            tokio::time::sleep(CONFIG_INTERVAL).await;
        }
    }
}

/// Gives each message one task, and each task its turn.
struct Office {
    shared: Arc<Shared>,
    carrier: Arc<Carrier>,
    retry_first: Duration,
}

impl Office {
    fn run(self, runtime: Runtime, found: Vec<Stage>, mut recorded: mpsc::UnboundedReceiver<Finished>) {
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            let turns = Arc::new(Semaphore::new(AT_ONCE));
            let (woken, wake) = watch::channel((0, 0));
            let inspector = tokio::spawn(inspect(Arc::clone(&self.carrier)));
            let mut look = tokio::time::interval(CONFIG_INTERVAL);
            let mut found = found.into_iter();
            let mut stopped = self.carrier.stopped.clone();
            loop {
                // What the outbox holds comes first: a recording of the same message is then known.
                let stage = match found.next() {
                    Some(stage) => Some(stage),
                    None => tokio::select! {
                        biased;
                        // The spool ends before the stop, so that nothing it sent is left here.
                        Some(finished) = recorded.recv() => Some(Stage::Recorded(finished)),
                        _ = stopped.wait_for(|stopped| *stopped) => break,
                        _ = look.tick() => {
                            let seen = ((self.carrier.config)().generation, self.carrier.stores.recoveries());
                            woken.send_if_modified(|known| std::mem::replace(known, seen) != seen);
                            None
                        }
                        Some(_) = tasks.join_next() => None,
                    },
                };
                if let Some(task) = stage.and_then(|stage| self.task(stage, &turns, &wake)) {
                    tasks.spawn(task);
                }
            }
            inspector.abort();
            let rest = async { while tasks.join_next().await.is_some() {} };
            if tokio::time::timeout(STOP_TIMEOUT, rest).await.is_err() {
                tracing::warn!(
                    "a delivery was still in progress at the stop; it is repeated after the next start"
                );
            }
        });
        runtime.shutdown_background();
    }

    /// The task that carries a message to its end; `None` when the message has one already.
    fn task(
        &self,
        stage: Stage,
        turns: &Arc<Semaphore>,
        wake: &watch::Receiver<Changes>,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let id = stage.id();
        let since = stage.queued_unix_ms().unwrap_or_else(unix_ms);
        if !self.shared.enter(&self.carrier.spool, id, since) {
            // Left behind by a crash between the outbox entry and the release.
            let _ = self.carrier.spool.release(id);
            return None;
        }
        let (shared, carrier) = (Arc::clone(&self.shared), Arc::clone(&self.carrier));
        let (turns, wake, first) = (Arc::clone(turns), wake.clone(), self.retry_first);
        Some(async move {
            carry(&carrier, stage, &turns, wake, first).await;
            shared.leave(&carrier.spool, id);
        })
    }
}

impl Shared {
    fn status(&self, spool: &SpoolHandle) -> DeliveryStatus {
        let (outbox_len, oldest) = {
            let since = self.since_unix_ms.lock().unwrap_or_else(PoisonError::into_inner);
            (since.len(), since.values().min().copied())
        };
        DeliveryStatus {
            recordings_open: spool.open_recordings(),
            outbox_len,
            oldest_age_s: oldest.map(|since| unix_ms().saturating_sub(since) / 1000),
            refused_len: self.counters.refused.load(Ordering::Relaxed),
            delivered: self.counters.delivered.load(Ordering::Relaxed),
            deferred: self.counters.deferred.load(Ordering::Relaxed),
            recovered: self.counters.recovered.load(Ordering::Relaxed),
            syncs: spool.syncs(),
            frames_dropped: spool.frames_dropped(),
            commands_refused: spool.commands_refused(),
            spool: spool.health(),
            store_trouble: self.stores.trouble(),
            store_failures: self.stores.failures(),
        }
    }

    fn enter(&self, spool: &SpoolHandle, id: MessageId, since_unix_ms: u64) -> bool {
        let mut since = self.since_unix_ms.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = since.insert(id, since_unix_ms).is_none();
        spool.set_outbox_full(since.len() >= OUTBOX_MAX);
        is_new
    }

    fn leave(&self, spool: &SpoolHandle, id: MessageId) {
        let mut since = self.since_unix_ms.lock().unwrap_or_else(PoisonError::into_inner);
        since.remove(&id);
        spool.set_outbox_full(since.len() >= OUTBOX_MAX);
    }
}

/// Carries one message from stage to stage until it is at its end or the server stops.
async fn carry(
    carrier: &Carrier,
    mut stage: Stage,
    turns: &Semaphore,
    mut wake: watch::Receiver<Changes>,
    first: Duration,
) {
    let mut wait = first;
    loop {
        let Ok(turn) = turns.acquire().await else { return };
        let problem: Problem = match carrier.advance(&stage).await {
            Ok(Some(next)) => {
                stage = next;
                wait = first;
                continue;
            }
            Ok(None) => return,
            Err(problem) => problem,
        };
        drop(turn);
        carrier.report(&stage, &problem, wait);
        let mut stopped = carrier.stopped.clone();
        wake.mark_unchanged();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = wake.changed() => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        wait = (wait * 2).min(RETRY_MOST);
    }
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
