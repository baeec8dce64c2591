//! The one thread that writes every recording of this server to the spool.
//!
//! Decides when audio is safe, and whether new recordings can be. Refuses to know calls, mail and
//! what a finished recording becomes: that is told to whoever listens.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use config::Code;
use runtime::folder;
use tokio::sync::mpsc::UnboundedSender;

use crate::message::{EndedBy, MessageId, RecordingFacts, SpoolCommand};
use crate::spool::{self, Recording};
use crate::spool_batch::{Batch, Effect};
use crate::volumes::{self, Place, Volumes};

/// Audio is synced at least every 500 ms (house rule); this leaves 100 ms for the sync itself.
const SYNC_INTERVAL: Duration = Duration::from_millis(400);
/// How often the disk is asked whether it has room, and a failed write is tried again.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Room that must be left for new calls to be taken: 32 s of audio.
const PROBE_BYTES: usize = 32 * 8_000;
/// Frames that may wait for the thread: 1.6 s of 200 calls with 50 packets a second each.
const FRAMES_WAITING_MAX: usize = 16_384;
/// Further commands that may wait: begin, end and release of as many recordings as there may be.
const COMMANDS_WAITING_MAX: usize = FRAMES_WAITING_MAX + 4_096;

/// Whether recordings can be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolHealth {
    /// Yes.
    Ready,
    /// The disk is full; new calls must be refused (`UM1122`).
    Full,
    /// Too many messages wait for delivery; new calls must be refused (`UM1122`). Recordings that
    /// have begun go on.
    OutboxFull,
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
    commands: SyncSender<Command>,
    state: Arc<SpoolState>,
}

/// The spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A folder or file of it failed.
    #[error("{step} {path}: {source}", path = path.display())]
    Io {
        /// What was being done.
        step: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another server uses it.
    #[error("another server uses the spool {path}", path = .0.display())]
    Locked(PathBuf),
}

/// A recording that is complete and safe, and where its segments lie.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    /// The recording.
    pub(crate) id: MessageId,
    places: Vec<Place>,
}

#[derive(Debug)]
enum Command {
    Begin(Box<RecordingFacts>),
    Append {
        id: MessageId,
        at_ticks: u32,
        payload: Bytes,
    },
    Finish {
        id: MessageId,
        ended_by: EndedBy,
    },
    Discard {
        id: MessageId,
    },
    /// The recording is in the store.
    Release {
        id: MessageId,
    },
    Stop,
}

#[derive(Debug, Default)]
struct SpoolState {
    health: AtomicU8,
    outbox_full: AtomicBool,
    waiting: AtomicUsize,
    open: AtomicUsize,
    frames_dropped: AtomicU64,
    commands_refused: AtomicU64,
    syncs: AtomicU64,
}

impl SpoolHealth {
    /// Whether a recording that has begun can go on.
    pub(crate) const fn takes_audio(self) -> bool {
        match self {
            SpoolHealth::Ready | SpoolHealth::OutboxFull => true,
            SpoolHealth::Full | SpoolHealth::Unwritable => false,
        }
    }
}

impl SpoolHandle {
    /// Hands a command to the spool.
    ///
    /// # Errors
    /// [`SpoolBusy`] when too many commands wait, or when the spool was stopped. `Begin`, `Finish`
    /// and `Discard` have places of their own, so that audio alone cannot keep them out.
    pub fn try_send(&self, command: SpoolCommand) -> Result<(), SpoolBusy> {
        self.send(match command {
            SpoolCommand::Begin(facts) => Command::Begin(Box::new(facts.clipped())),
            SpoolCommand::Append { id, at_ticks, payload } => Command::Append { id, at_ticks, payload },
            SpoolCommand::Finish { id, ended_by } => Command::Finish { id, ended_by },
            SpoolCommand::Discard { id } => Command::Discard { id },
        })
    }

    /// Whether recordings can be stored at this moment.
    pub fn health(&self) -> SpoolHealth {
        match self.state.health.load(Ordering::Relaxed) {
            READY if self.state.outbox_full.load(Ordering::Relaxed) => SpoolHealth::OutboxFull,
            READY => SpoolHealth::Ready,
            FULL => SpoolHealth::Full,
            _ => SpoolHealth::Unwritable,
        }
    }

    /// Recordings that have begun and not ended.
    pub fn open_recordings(&self) -> usize {
        self.state.open.load(Ordering::Relaxed)
    }

    /// Frames that found no room while the disk was full, or came for no recording, since the start.
    pub fn frames_dropped(&self) -> u64 {
        self.state.frames_dropped.load(Ordering::Relaxed)
    }

    /// Commands that were answered with [`SpoolBusy`] since the start.
    pub fn commands_refused(&self) -> u64 {
        self.state.commands_refused.load(Ordering::Relaxed)
    }

    /// Syncs of the journal since the start.
    pub fn syncs(&self) -> u64 {
        self.state.syncs.load(Ordering::Relaxed)
    }

    /// Says whether the outbox has room for further messages.
    pub(crate) fn set_outbox_full(&self, full: bool) {
        self.state.outbox_full.store(full, Ordering::Relaxed);
    }

    /// Says that a recording is in the store and needs no place here any more.
    pub(crate) fn release(&self, id: MessageId) -> Result<(), SpoolBusy> {
        self.send(Command::Release { id })
    }

    fn send(&self, command: Command) -> Result<(), SpoolBusy> {
        let most = match command {
            Command::Append { .. } => FRAMES_WAITING_MAX,
            Command::Begin(_)
            | Command::Finish { .. }
            | Command::Discard { .. }
            | Command::Release { .. }
            | Command::Stop => COMMANDS_WAITING_MAX,
        };
        let refused = self.state.waiting.fetch_add(1, Ordering::Relaxed) >= most
            || self.commands.try_send(command).is_err_and(|error| match error {
                TrySendError::Full(_) | TrySendError::Disconnected(_) => true,
            });
        if refused {
            self.state.waiting.fetch_sub(1, Ordering::Relaxed);
            self.state.commands_refused.fetch_add(1, Ordering::Relaxed);
            return Err(SpoolBusy);
        }
        Ok(())
    }
}

const READY: u8 = 0;
const FULL: u8 = 1;
const UNWRITABLE: u8 = 2;

/// The thread that writes.
#[derive(Debug)]
pub(crate) struct SpoolWriter {
    handle: SpoolHandle,
    /// Taken by the first stop.
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl SpoolWriter {
    /// Opens the spool in `dir`, which it makes if need be, and tells `finished` of every recording
    /// that an earlier process left there and of every one that is finished from now on.
    ///
    /// # Errors
    /// [`SpoolError`] when the folder cannot be used.
    pub(crate) fn start(dir: &Path, finished: UnboundedSender<Finished>) -> Result<Self, SpoolError> {
        let failed = |step| move |source| SpoolError::Io { step, path: dir.to_owned(), source };
        folder::private(dir).map_err(failed("make the spool"))?;
        // Beside the spool, so that an empty spool is an empty folder.
        let lock = File::create(dir.with_extension("lock")).map_err(failed("lock the spool"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => SpoolError::Locked(dir.to_owned()),
            fs::TryLockError::Error(source) => failed("lock the spool")(source),
        })?;
        let mut salt = [0; 4];
        getrandom::fill(&mut salt).map_err(|error| failed("salt the spool")(io::Error::other(error)))?;
        let (volumes, found) =
            Volumes::open(dir, u32::from_be_bytes(salt)).map_err(failed("read the spool"))?;
        let (commands, receiver) = mpsc::sync_channel(COMMANDS_WAITING_MAX);
        let handle = SpoolHandle { commands, state: Arc::default() };
        let mut writer = Writer {
            dir: dir.to_owned(),
            batch: Batch::new(volumes.salt()),
            volumes,
            care: HashMap::new(),
            finished,
            state: Arc::clone(&handle.state),
            last_write: None,
            next_probe: Instant::now(),
            retry_at: None,
        };
        for (id, places) in found {
            writer.care.insert(id, places.clone());
            writer.tell(Finished { id, places });
        }
        writer.retire();
        writer.probe(Instant::now());
        let thread = std::thread::Builder::new()
            .name("umbriel-spool".into())
            .spawn(move || {
                let _lock = lock;
                writer.run(&receiver);
            })
            .map_err(failed("start the thread of the spool"))?;
        Ok(Self { handle, thread: Mutex::new(Some(thread)) })
    }

    /// How others reach it.
    pub(crate) fn handle(&self) -> SpoolHandle {
        self.handle.clone()
    }

    /// Writes and syncs what was sent until now, and ends. A second call does nothing.
    pub(crate) fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        // A full queue empties itself, so this waits for at most one sync.
        let _ = self.handle.commands.send(Command::Stop);
        if thread.join().is_err() {
            tracing::error!("the thread of the spool panicked");
        }
    }
}

/// Reads a finished recording. `None` when its facts are lost.
///
/// # Errors
/// When a volume cannot be read.
pub(crate) fn read(finished: &Finished) -> io::Result<Option<Recording>> {
    Ok(spool::assemble(volumes::read(&finished.places)?))
}

/// What the thread works with.
struct Writer {
    dir: PathBuf,
    volumes: Volumes,
    /// Recordings that need care, and where their segments lie.
    care: HashMap<MessageId, Vec<Place>>,
    batch: Batch,
    finished: UnboundedSender<Finished>,
    state: Arc<SpoolState>,
    last_write: Option<Instant>,
    next_probe: Instant,
    retry_at: Option<Instant>,
}

impl Drop for Writer {
    /// However the thread ends: from now on nothing can be stored.
    fn drop(&mut self) {
        self.state.health.store(UNWRITABLE, Ordering::Relaxed);
    }
}

impl Writer {
    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let now = Instant::now();
            if now >= self.next_probe {
                self.probe(now);
            }
            let write_at = self.write_at(now);
            if write_at.is_some_and(|at| now >= at) {
                self.write(now);
                continue;
            }
            let until = write_at.map_or(self.next_probe, |at| at.min(self.next_probe));
            match commands.recv_timeout(until.saturating_duration_since(now)) {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(command) => self.take(command),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.write(Instant::now());
    }

    /// When the batch must be written: at once after a pause, else an interval after the last time.
    fn write_at(&self, now: Instant) -> Option<Instant> {
        let at = self.last_write.map_or(now, |last| last + SYNC_INTERVAL);
        self.batch.is_dirty().then(|| self.retry_at.map_or(at, |retry_at| at.max(retry_at)))
    }

    fn take(&mut self, command: Command) {
        self.state.waiting.fetch_sub(1, Ordering::Relaxed);
        match command {
            Command::Begin(facts) => {
                let id = facts.id;
                if self.batch.begin(facts) {
                    self.care.entry(id).or_default();
                } else {
                    tracing::error!(message_id = %id, "a recording cannot begin: it has begun, or there are too many");
                }
            }
            Command::Append { id, at_ticks, payload } => self.batch.append(id, at_ticks, &payload),
            Command::Finish { id, ended_by } => {
                self.batch.finish(id, ended_by);
            }
            Command::Discard { id } => {
                if self.care.remove(&id).is_some() {
                    self.batch.forget(id);
                }
            }
            Command::Release { id } => {
                self.care.remove(&id);
                self.retire();
                if self.volumes.hold(id) {
                    self.batch.forget(id);
                }
            }
            Command::Stop => {}
        }
        self.state.open.store(self.batch.open(), Ordering::Relaxed);
        self.state.frames_dropped.store(self.batch.frames_dropped(), Ordering::Relaxed);
    }

    /// Writes and syncs the batch. What fails stays in the batch and is tried again.
    fn write(&mut self, now: Instant) {
        self.last_write = Some(now);
        let (bytes, parts) = self.batch.seal();
        if bytes.is_empty() {
            return;
        }
        let members = parts.iter().filter(|part| part.effect != Effect::Goes).map(|part| part.id);
        let written = self.volumes.append(bytes, members);
        self.state.syncs.fetch_add(1, Ordering::Relaxed);
        match written {
            Ok(place) => {
                self.retry_at = None;
                self.commit(&place);
                self.retire();
            }
            Err(error) => {
                self.retry_at = Some(now + PROBE_INTERVAL);
                self.set_health(Some(&error));
            }
        }
    }

    /// Notes where the parts of the batch lie, which are safe now, and tells of recordings that ended.
    fn commit(&mut self, place: &Place) {
        for part in self.batch.commit() {
            let Some(places) = self.care.get_mut(&part.id) else { continue };
            match part.effect {
                Effect::Grows => places.push(place.part(&part.place)),
                Effect::Ends => {
                    places.push(place.part(&part.place));
                    let places = places.clone();
                    self.tell(Finished { id: part.id, places });
                }
                Effect::Goes => {}
            }
        }
    }

    fn tell(&self, finished: Finished) {
        // Whoever listens may have stopped: then the recording is found at the next start.
        let _ = self.finished.send(finished);
    }

    fn retire(&mut self) {
        self.volumes.retire(self.batch.is_dirty(), |id| self.care.contains_key(id));
    }

    /// Asks the disk whether it has room for a new call.
    fn probe(&mut self, now: Instant) {
        self.next_probe = now + PROBE_INTERVAL;
        let must_sync = self.state.health.load(Ordering::Relaxed) != READY;
        let path = self.dir.join("probe");
        let result = File::create(&path).and_then(|mut file| {
            file.write_all(&vec![0; PROBE_BYTES])?;
            if must_sync { file.sync_all() } else { Ok(()) }
        });
        let removed = fs::remove_file(&path);
        match result.and(removed) {
            Ok(()) if self.retry_at.is_none() => self.set_health(None),
            Ok(()) => {}
            Err(error) => self.set_health(Some(&error)),
        }
    }

    fn set_health(&self, error: Option<&io::Error>) {
        let health = match error.map(io::Error::kind) {
            None => READY,
            Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => FULL,
            Some(_) => UNWRITABLE,
        };
        let before = self.state.health.swap(health, Ordering::Relaxed);
        match error {
            Some(error) if before != health => {
                tracing::error!(
                    code = Code::SpoolUnwritable.id(), spool = %self.dir.display(), %error,
                    "recordings cannot be stored; new calls are refused until they can"
                );
            }
            None if before != READY => {
                tracing::info!(spool = %self.dir.display(), "recordings can be stored again");
            }
            Some(_) | None => {}
        }
    }
}

#[cfg(test)]
#[path = "spool_writer_tests.rs"]
mod tests;
