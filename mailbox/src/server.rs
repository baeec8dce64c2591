//! The shell of the mailbox server: it reads the configuration, starts the threads and wires calls
//! to storage and speech.
//!
//! Decides what is started in which order and what stops it; and that a change of ports, startup mode or
//! certificate ends no call. If a port cannot be had the ones before go on, the configuration does not count
//! as served, and the port is tried again. Refuses to know what happens in a call.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use config::parts::Reader;
use config::{Certificate, Code, ServerStatus};
use runtime::admin::Component;
use runtime::metrics::{Registry, ServeMetrics};
use runtime::tls::TlsError;
use runtime::watch::{Beside, WatchError, Watched};
use runtime::{Addresses, KnownPeers, Listen, Pem, ServeError, ServeSettings, Showing, WorkerPlace, serve};
use sip::sdp::MAX_KEY_BYTES;
use sip::{Endpoint, EndpointSettings};

use crate::delivery::{Deliverer, DeliveryStatus, StartError as StorageError};
use crate::desk::{Desk, Notes};
use crate::metrics::CallMetrics;
use crate::refusal::endpoint_reason;
use crate::served::{Served, sip_ports};
use crate::speech::Speech;
use crate::spool_writer::SpoolHealth;
use crate::surroundings::Surroundings;
use crate::switchboard::{Note, Switchboard};

/// The server's name in threads, metrics and on the admin port.
const NAME: &str = "mailbox";

/// The program that speaks.
const SPEECH_PROGRAM: &str = "espeak-ng";

/// SIP calls of one worker, those included that end: `maxCallsAllowed` is at most 200, and a BYE
/// that is never answered takes 32 s.
const MAX_CALLS_PER_WORKER: usize = 1_024;

/// SIP transactions of one worker: each call has three at most, the rest is OPTIONS.
const MAX_TRANSACTIONS_PER_WORKER: usize = 8_192;

/// How long stopping workers wait for their calls to hang up.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Where a mailbox server finds its configuration and keeps its state.
#[derive(Clone, Debug)]
pub struct ServerPaths {
    /// `mailbox.yaml`, in the folder with its parts.
    pub config: PathBuf,
    /// The state folder: `spool`, `outbox`, `store`, `mail` and `prompts` are made in it.
    pub state: PathBuf,
    /// The address that it listens on. Where it is reached is what the directory says.
    pub address: IpAddr,
    /// Its name in the directory, where several servers read one configuration; otherwise the
    /// configuration's.
    pub name: Option<String>,
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
    Certificate(#[from] TlsError),
}

/// A running mailbox server. Dropping it stops it.
pub struct Server {
    shared: Arc<Shared>,
    deliverer: Deliverer,
    /// Ends with the server, so that nothing changes it any more.
    watched: Mutex<Option<Watched<Served>>>,
}

/// What the watch of the configuration changes.
struct Shared {
    desk: Arc<Desk>,
    notes: Arc<Notes>,
    metrics: CallMetrics,
    serve_metrics: ServeMetrics,
    address: IpAddr,
    workers: usize,
    listening: Mutex<Listening>,
}

/// The workers, and what they listen for.
struct Listening {
    /// The newest configuration that is served with all its ports.
    generation: u64,
    showing: Showing,
    workers: Option<runtime::Server<Note>>,
    problem: Option<String>,
    stopped: bool,
}

impl Server {
    /// Starts `workers` threads for calls, and those for storage, delivery and speech. What an
    /// earlier process left in the state folder is recovered first.
    ///
    /// # Errors
    /// [`StartError`], and then nothing is left running.
    pub fn start(paths: &ServerPaths, workers: usize, registry: &mut Registry) -> Result<Self, StartError> {
        Self::start_with(paths, workers, registry, SPEECH_PROGRAM)
    }

    pub(crate) fn start_with(
        paths: &ServerPaths,
        workers: usize,
        registry: &mut Registry,
        speech_program: &str,
    ) -> Result<Self, StartError> {
        let started: Arc<OnceLock<Arc<Shared>>> = Arc::default();
        let follower = Arc::clone(&started);
        let name = paths.name.clone();
        let mut reader = Reader::new(|certificate| {
            let usable = pem(certificate).config();
            usable.map(|_| ()).map_err(|error| format!("{}: {error}", Code::CertificateUnusable))
        });
        let read = move |index: &str, beside: &Beside| {
            let mut version = Served::read(&mut reader, index, beside, name.as_deref());
            if let (Some(served), Some(gateway)) = (&mut version.value, runtime::gateway()) {
                served.table.add_network_gateway(gateway);
            }
            version
        };
        let watched = Watched::start(&paths.config, read, move |served| {
            // Before it is there, nothing is missed: it looks once more.
            follower.get().is_none_or(|shared| shared.apply(served))
        })?;
        let first = watched.current();
        let current = Arc::new(ArcSwap::new(Arc::clone(&first)));
        let of_delivery = Arc::clone(&current);
        let of_delivery = Arc::new(move || Arc::clone(&of_delivery.load().config));
        let deliverer = Deliverer::start(&paths.state, of_delivery, paths.address)?;
        let notes = Arc::<Notes>::default();
        let speech = start_speech(&paths.state, speech_program, &notes).map_err(StartError::Prompts)?;
        let desk = Arc::new(Desk::new(paths.name.clone(), current, deliverer.spool(), speech, secret));
        let serve_metrics = ServeMetrics::new();
        let listening = Listening {
            generation: first.config.generation,
            showing: Showing::new(paths.address, serve_metrics.clone()),
            workers: None,
            problem: None,
            stopped: false,
        };
        let shared = Arc::new(Shared {
            desk,
            notes,
            metrics: CallMetrics::default(),
            serve_metrics,
            address: paths.address,
            workers,
            listening: Mutex::new(listening),
        });
        shared.start(&mut shared.listening(), &first)?;
        shared.metrics.register(registry);
        shared.serve_metrics.register(registry, NAME);
        deliverer.register(registry);
        let shared = Arc::clone(started.get_or_init(|| shared));
        // What changed before the follower was there.
        let latest = watched.current();
        if !Arc::ptr_eq(&latest, &first) {
            shared.apply(&latest);
        }
        Ok(Server { shared, deliverer, watched: Mutex::new(Some(watched)) })
    }

    /// Takes no new calls (`503`, `UM1105`), for good; those that there are go on.
    pub fn drain(&self) {
        self.shared.desk.drain();
        self.shared.notes.tell(&Note::ServiceChanged);
    }

    /// Calls that are being conducted.
    #[must_use]
    pub fn active_calls(&self) -> u32 {
        self.shared.metrics.slots().taken()
    }

    /// What is being stored and delivered.
    #[must_use]
    pub fn delivery(&self) -> DeliveryStatus {
        self.deliverer.status()
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        let listening = self.shared.listening();
        listening.workers.as_ref().map(|workers| workers.addresses().clone()).unwrap_or_default()
    }

    /// Ends every call by BYE, keeps what was recorded, and stops. What waits for delivery is
    /// delivered after the next start. A second call does nothing.
    pub fn stop(&self) {
        self.drain();
        drop(self.watched.lock().unwrap_or_else(PoisonError::into_inner).take());
        let mut listening = self.shared.listening();
        listening.stopped = true;
        self.shared.end_workers(&mut listening);
        drop(listening);
        self.deliverer.stop();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Component for Server {
    fn name(&self) -> &str {
        NAME
    }

    fn live(&self) -> bool {
        let listening = self.shared.listening();
        listening.stopped || listening.workers.as_ref().is_some_and(runtime::Server::is_live)
    }

    fn ready(&self) -> Result<(), String> {
        let listening = self.shared.listening();
        if listening.workers.is_none() {
            return Err(listening.problem.clone().unwrap_or_else(|| "is stopped".to_owned()));
        }
        drop(listening);
        let desk = &self.shared.desk;
        // Callers are sent elsewhere by whoever asked for it; a probe that fails would only be one
        // more fault.
        if desk.is_draining() {
            return Ok(());
        }
        let served = desk.served();
        let status = served.config.server.status;
        if status != ServerStatus::Enabled {
            return Err(format!("status is {status:?}"));
        }
        if served.advertised.is_none() {
            return Err(format!("{} is not in its own directory", desk.name()));
        }
        if !desk.has_prompts() {
            return Err("the prompts are being spoken".to_owned());
        }
        match desk.storage() {
            SpoolHealth::Ready => Ok(()),
            SpoolHealth::OutboxFull => Err("too many messages wait for delivery".to_owned()),
            SpoolHealth::Full => Err("the disk for recordings is full".to_owned()),
            SpoolHealth::Unwritable => Err("the disk for recordings cannot be written".to_owned()),
        }
    }

    fn remark(&self) -> Option<String> {
        let draining = self.shared.desk.is_draining().then(|| "is draining".to_owned());
        let trouble = self.deliverer.status().store_trouble;
        let trouble = trouble.map(|trouble| format!("{}: {trouble}", Code::StoreUnavailable));
        let problem = self.shared.listening().problem.clone();
        let problem = problem.map(|problem| format!("{}: {problem}", Code::PortUnavailable));
        let remarks: Vec<String> = draining.into_iter().chain(trouble).chain(problem).collect();
        (!remarks.is_empty()).then(|| remarks.join("; "))
    }

    fn generation(&self) -> u64 {
        self.shared.listening().generation
    }
}

impl Shared {
    /// Serves another configuration, and listens where it says. False if that cannot be had now.
    fn apply(&self, served: &Arc<Served>) -> bool {
        let mut listening = self.listening();
        self.desk.serve(Arc::clone(served));
        self.notes.tell(&Note::ServiceChanged);
        let generation = served.config.generation;
        if listening.stopped {
            return true;
        }
        match self.relisten(&mut listening, served) {
            Ok(()) => {
                listening.problem = None;
                listening.generation = generation;
                tracing::info!(server = NAME, generation, "serving a new configuration");
                true
            }
            Err(error) => {
                let code = Code::PortUnavailable.id();
                let problem = format!("{error}; the listeners before go on");
                if listening.problem.as_ref() != Some(&problem) {
                    tracing::error!(code, server = NAME, generation, "{problem}");
                }
                listening.problem = Some(problem);
                false
            }
        }
    }

    fn relisten(&self, listening: &mut Listening, served: &Served) -> Result<(), StartError> {
        let listen = self.ports(&mut listening.showing, served)?;
        match &mut listening.workers {
            Some(workers) => Ok(workers.listen(&listen)?),
            None => self.start(listening, served),
        }
    }

    /// Starts the workers. Their media ports are those of the first configuration for good.
    fn start(&self, listening: &mut Listening, served: &Served) -> Result<(), StartError> {
        let Listen { udp, tcp, tls } = self.ports(&mut listening.showing, served)?;
        let first_media_port = served.config.first_media_port.unwrap_or(0);
        let desk = Arc::clone(&self.desk);
        let known = KnownPeers::new(move |address, names| !desk.is_stranger(address, names));
        let settings = ServeSettings {
            udp,
            tcp,
            tls,
            known,
            media: Some(SocketAddr::new(self.address, first_media_port)),
            metrics: self.serve_metrics.clone(),
            ..ServeSettings::new(NAME, self.workers)
        };
        let (desk, metrics) = (Arc::clone(&self.desk), self.metrics.clone());
        let workers = serve(&settings, move |place| switchboard(&desk, &metrics, place))?;
        self.notes.reach(workers.notifier());
        listening.workers = Some(workers);
        Ok(())
    }

    /// Where a configuration wants calls to come by, and what TLS shows from now on.
    fn ports(&self, showing: &mut Showing, served: &Served) -> Result<Listen, TlsError> {
        let at = |port: u16| SocketAddr::new(self.address, port);
        let [udp, tcp, tls] = sip_ports(&served.config).map(|port| port.map(at));
        let tls = match tls {
            None => None,
            Some(address) => {
                let identity = &served.config.server;
                let hosts = served.advertised.iter().map(|own| own.address.to_string()).collect();
                let given = identity.certificate.as_ref().map(pem);
                Some((address, showing.show(given, &identity.name, hosts)?))
            }
        };
        Ok(Listen { udp, tcp, tls })
    }

    /// Ends all calls, and then the workers.
    fn end_workers(&self, listening: &mut Listening) {
        let Some(workers) = listening.workers.take() else { return };
        self.notes.tell(&Note::Stop);
        let until = Instant::now() + STOP_LIMIT;
        while self.metrics.slots().taken() > 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        workers.stop();
    }

    fn listening(&self) -> MutexGuard<'_, Listening> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pem(certificate: &Certificate) -> Pem {
    let Certificate { chain, key, authorities } = certificate.clone();
    Pem { chain, key, authorities }
}

fn start_speech(state: &Path, program: &str, notes: &Arc<Notes>) -> std::io::Result<Speech> {
    let notes = Arc::clone(notes);
    let tell = Arc::new(move |utterance: &_| notes.tell(&Note::Spoken(Clone::clone(utterance))));
    Speech::start(&state.join("prompts"), program, tell)
}

/// Bytes for a key that nobody can guess.
fn secret() -> Option<[u8; MAX_KEY_BYTES]> {
    let mut secret = [0; MAX_KEY_BYTES];
    getrandom::fill(&mut secret).ok().map(|()| secret)
}

/// One worker's switchboard: at the start, and again after a panic.
fn switchboard(desk: &Arc<Desk>, metrics: &CallMetrics, place: WorkerPlace) -> Switchboard<Arc<Desk>> {
    let now = runtime::Now::read();
    // Without chance of the system, the time keeps tags of two starts apart.
    let seed = getrandom::u64().unwrap_or(now.unix_ms);
    let endpoint = Endpoint::new(EndpointSettings {
        user_agent: concat!("Umbriel/", env!("CARGO_PKG_VERSION")).to_owned(),
        // Replaced by where the directory says that this server is reached.
        contact_host: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        udp_port: None,
        tcp_port: None,
        tls_port: None,
        tag_prefix: format!("w{}-", place.index),
        max_transactions: MAX_TRANSACTIONS_PER_WORKER,
        max_calls: MAX_CALLS_PER_WORKER,
        seed,
        reason: endpoint_reason,
    });
    Switchboard::new(endpoint, Arc::clone(desk), metrics.clone(), place, seed.rotate_left(32))
}
