//! The shell of the mailbox server: it reads the configuration, starts the threads and wires calls
//! to storage and speech.
//!
//! Decides what is started in which order and what stops it. Refuses to know what happens in a call.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use config::{Language, MailboxConfig, ServerStatus};
use runtime::admin::Component;
use runtime::metrics::Registry;
use runtime::watch::{WatchError, Watched};
use runtime::{Notifier, ServeError, ServeSettings, WorkerPlace};
use sip::{Endpoint, EndpointSettings};

use crate::delivery::{Deliverer, DeliveryStatus, StartError as StorageError};
use crate::message::SpoolCommand;
use crate::metrics::CallMetrics;
use crate::prompt::{Sentence, Utterance};
use crate::refusal::endpoint_reason;
use crate::served::Served;
use crate::speech::{OnSpoken, Speech, Spoken};
use crate::spool_writer::{SpoolBusy, SpoolHandle, SpoolHealth};
use crate::surroundings::Surroundings;
use crate::switchboard::{Note, Switchboard};

/// SIP calls of one worker, those included that end: `maxCallsAllowed` is at most 200, and a BYE
/// that is never answered takes 32 s.
const MAX_CALLS_PER_WORKER: usize = 1_024;

/// SIP transactions of one worker: each call has three at most, the rest is OPTIONS.
const MAX_TRANSACTIONS_PER_WORKER: usize = 8_192;

/// How long a stopping server waits for its calls to hang up.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// The program that speaks.
const SPEECH_PROGRAM: &str = "espeak-ng";

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
    Serve(#[from] ServeError),
    /// The certificate cannot be used (`UM1018`).
    #[error("use the certificate: {0}")]
    Certificate(#[from] runtime::tls::TlsError),
}

/// A running mailbox server. Dropping it stops it.
pub struct Server {
    shared: Arc<Shared>,
    metrics: CallMetrics,
    running: Mutex<Option<Running>>,
}

/// What ends when the server is stopped.
struct Running {
    workers: runtime::Server<Note>,
    deliverer: Deliverer,
}

/// What all workers ask.
struct Shared {
    watched: Watched<Served>,
    spool: SpoolHandle,
    speech: Speech,
    draining: AtomicBool,
}

/// One worker's way to ask it.
struct Desk(Arc<Shared>);

type Notes = Arc<OnceLock<Notifier<Note>>>;

impl Server {
    /// Starts `workers` threads for calls, and those for storage, delivery and speech. What an
    /// earlier process left in the state folder is recovered first.
    ///
    /// # Errors
    /// [`StartError`], and then nothing is left running.
    pub fn start(paths: &ServerPaths, workers: usize, registry: &mut Registry) -> Result<Self, StartError> {
        let notes = Notes::default();
        let shared_later: Arc<OnceLock<Weak<Shared>>> = Arc::default();
        let watched = watch(paths, &notes, &shared_later)?;
        let first = watched.current();
        // Delivery follows the configuration, whose watch will be shared only when all is there.
        let current = Arc::clone(&shared_later);
        let at_first = Arc::clone(&first.config);
        let deliverer = Deliverer::start(
            &paths.state,
            Arc::new(move || {
                let shared = current.get().and_then(Weak::upgrade);
                shared.map_or_else(|| Arc::clone(&at_first), |shared| Arc::clone(&shared.served().config))
            }),
        )?;
        let speech = Speech::start(&paths.state.join("prompts"), SPEECH_PROGRAM, tell_spoken(&notes))
            .map_err(StartError::Prompts)?;
        let spool = deliverer.spool();
        let shared = Arc::new(Shared { watched, spool, speech, draining: AtomicBool::new(false) });
        // Set once, here.
        let _ = shared_later.set(Arc::downgrade(&shared));
        shared.order_prompts();

        let metrics = CallMetrics::default();
        let settings = serve_settings(&first.config, workers)?;
        let (desk, counting) = (Arc::clone(&shared), metrics.clone());
        let serving = runtime::serve(&settings, move |place| switchboard(&desk, &counting, place))?;
        // Set once, here.
        let _ = notes.set(serving.notifier());
        metrics.register(registry);
        deliverer.register(registry);
        settings.metrics.register(registry, "mailbox");
        let running = Mutex::new(Some(Running { workers: serving, deliverer }));
        Ok(Server { shared, metrics, running })
    }

    /// Takes no new calls (`503`, `UM1105`), for good; those that there are go on.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
        self.tell(&Note::ServiceChanged);
    }

    /// Calls that are being conducted.
    #[must_use]
    pub fn active_calls(&self) -> u32 {
        self.metrics.slots().taken()
    }

    /// What is being stored and delivered; `None` once the server is stopped.
    #[must_use]
    pub fn delivery(&self) -> Option<DeliveryStatus> {
        self.running().as_ref().map(|running| running.deliverer.status())
    }

    /// Where it listens; `None` once it is stopped.
    #[must_use]
    pub fn addresses(&self) -> Option<runtime::Addresses> {
        self.running().as_ref().map(|running| running.workers.addresses().clone())
    }

    /// Ends every call by BYE, keeps what was recorded, and stops. What waits for delivery is
    /// delivered after the next start. A second call does nothing.
    pub fn stop(&self) {
        self.drain();
        self.tell(&Note::Stop);
        let Some(running) = self.running().take() else { return };
        let until = Instant::now() + STOP_LIMIT;
        while self.active_calls() > 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        running.workers.stop();
        running.deliverer.stop();
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        // It is whole or gone; nothing in between can panic.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, note: &Note) {
        if let Some(running) = self.running().as_ref() {
            // A worker whose queue is full learns of a drain with its next call.
            let _ = running.workers.notifier().all(|| note.clone());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Component for Server {
    fn name(&self) -> &'static str {
        "mailbox"
    }

    fn live(&self) -> bool {
        self.running().as_ref().is_some_and(|running| running.workers.is_live())
    }

    fn ready(&self) -> Result<(), String> {
        if self.running().is_none() {
            return Err("the server is stopped".to_owned());
        }
        if self.shared.is_draining() {
            return Err("the server is being taken out of service".to_owned());
        }
        match self.shared.served().config.server.status {
            ServerStatus::Enabled => {}
            ServerStatus::Disabled => return Err("spec.status is Disabled".to_owned()),
            ServerStatus::NoNewCalls => return Err("spec.status is NoNewCalls".to_owned()),
        }
        match self.shared.storage() {
            SpoolHealth::Ready => Ok(()),
            SpoolHealth::Full => Err("the disk for recordings is full".to_owned()),
            SpoolHealth::Unwritable => Err("the disk for recordings cannot be written".to_owned()),
        }
    }

    fn generation(&self) -> u64 {
        self.shared.served().config.generation
    }
}

impl Shared {
    /// Orders what any call may need, in each language that is served.
    fn order_prompts(&self) {
        let served = self.served();
        let languages: BTreeSet<Language> = served.config.calls.values().map(|call| call.language).collect();
        for language in languages {
            for sentence in [Sentence::GenericGreeting, Sentence::StorageFailed] {
                self.speech.speak(&Utterance { language, sentence });
            }
        }
    }

    fn served(&self) -> Arc<Served> {
        self.watched.current()
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    fn storage(&self) -> SpoolHealth {
        self.spool.health()
    }
}

impl Surroundings for Desk {
    fn served(&self) -> Arc<Served> {
        self.0.served()
    }

    fn is_draining(&self) -> bool {
        self.0.is_draining()
    }

    fn storage(&self) -> SpoolHealth {
        self.0.storage()
    }

    fn spool(&self, command: SpoolCommand) -> Result<(), SpoolBusy> {
        self.0.spool.try_send(command)
    }

    fn speak(&self, utterance: &Utterance) -> Spoken {
        self.0.speech.speak(utterance)
    }
}

/// Follows the configuration. Addresses and ports are those of the start: who changes them starts
/// the server anew.
fn watch(
    paths: &ServerPaths,
    notes: &Notes,
    shared: &Arc<OnceLock<Weak<Shared>>>,
) -> Result<Watched<Served>, WatchError> {
    let (notes, shared) = (Arc::clone(notes), Arc::clone(shared));
    Watched::start(&paths.config, Served::parse, move |_served| {
        if let Some(shared) = shared.get().and_then(Weak::upgrade) {
            shared.order_prompts();
        }
        tell_all(&notes, &Note::ServiceChanged);
    })
}

fn tell_spoken(notes: &Notes) -> OnSpoken {
    let notes = Arc::clone(notes);
    Arc::new(move |utterance| tell_all(&notes, &Note::Spoken(utterance.clone())))
}

fn tell_all(notes: &Notes, note: &Note) {
    if let Some(notifier) = notes.get() {
        // A worker that misses a note asks for itself: calls ring for at most 2 s, and the
        // configuration is read at each call.
        let _ = notifier.all(|| note.clone());
    }
}

fn serve_settings(config: &MailboxConfig, workers: usize) -> Result<ServeSettings, StartError> {
    let identity = &config.server;
    let at = |port| SocketAddr::new(identity.address, port);
    let mut settings = ServeSettings::new("mailbox", workers);
    settings.udp = identity.listeners.udp.map(at);
    settings.tcp = identity.listeners.tcp.map(at);
    settings.media = Some(identity.address);
    if let Some(port) = identity.listeners.tls {
        let (chain, key) = match &identity.certificate {
            Some(certificate) => (certificate.chain.clone(), certificate.key.clone()),
            None => runtime::tls::self_signed(&identity.name, identity.address)?,
        };
        settings.tls = Some((at(port), runtime::tls::server_config(&chain, &key)?));
    }
    Ok(settings)
}

/// One worker's switchboard: at the start, and again after a panic.
fn switchboard(shared: &Arc<Shared>, metrics: &CallMetrics, place: WorkerPlace) -> Switchboard<Desk> {
    let served = shared.served();
    let identity = &served.config.server;
    let seed = getrandom::u64().unwrap_or_else(|_| {
        // Without chance of the system, the time keeps tags of two starts apart.
        runtime::Now::read().unix_ms
    });
    let endpoint = Endpoint::new(EndpointSettings {
        user_agent: concat!("Umbriel/", env!("CARGO_PKG_VERSION")).to_owned(),
        contact_host: identity.address,
        udp_port: identity.listeners.udp,
        tcp_port: identity.listeners.tcp,
        tls_port: identity.listeners.tls,
        tag_prefix: format!("w{}-", place.index),
        max_transactions: MAX_TRANSACTIONS_PER_WORKER,
        max_calls: MAX_CALLS_PER_WORKER,
        seed,
        reason: endpoint_reason,
    });
    let local = place.media.unwrap_or_else(|| SocketAddr::new(identity.address, 0));
    Switchboard::new(endpoint, Desk(Arc::clone(shared)), metrics.clone(), local, seed.rotate_left(32))
}
