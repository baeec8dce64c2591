//! The router as a server: its file, its sockets, and what the admin port asks.
//!
//! Decides that a new configuration takes effect between two messages, and that only those ports are
//! opened and closed which it changes. If they cannot be had the ones before go on, the configuration does
//! not count as served, and the ports are tried again. The only file of this room that does IO.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use config::parts::{Awaited, ReadError, Reader};
use config::{Certificate, Code, ServerIdentity, StartupMode};
use runtime::admin::Component;
use runtime::metrics::{Registry, ServeMetrics};
use runtime::tls::TlsError;
use runtime::watch::{Beside, Version, WatchError, Watched};
use runtime::{
    Addresses, KnownPeers, Limits, Listen, Pem, ServeError, ServeSettings, Showing, WorkerPlace, serve,
};

use crate::counters::Counters;
use crate::router::{Router, State};
use crate::snapshot::Snapshot;

/// The server's name in threads, metrics and on the admin port.
const NAME: &str = "router";

/// How long a client repeats a request by UDP: 64 times the 500 ms of T1 (RFC 3261 section 17.1).
const TRANSACTION: Duration = Duration::from_secs(32);

/// A worker lets a configuration go within this: it holds one while it answers a message.
const LET_GO: Duration = Duration::from_millis(100);

/// Where a router finds what it reads.
#[derive(Clone, Debug)]
pub struct ServerPaths {
    /// `router.yaml`, in the folder with its parts.
    pub config: PathBuf,
    /// The address that it listens on.
    pub address: IpAddr,
}

/// Why a router cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its configuration cannot be read.
    #[error(transparent)]
    Config(#[from] WatchError),
    /// Its ports cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// Why the listeners that a configuration asks for cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A port cannot be listened on.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Its own certificate cannot be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A running router; dropping it stops it.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    watched: Watched<Snapshot>,
}

#[derive(Debug)]
struct Shared {
    state: Arc<State>,
    address: IpAddr,
    workers: usize,
    counters: Counters,
    metrics: ServeMetrics,
    listening: Mutex<Listening>,
}

#[derive(Debug)]
struct Listening {
    /// The newest configuration that is served with all its ports.
    generation: u64,
    showing: Showing,
    server: Option<runtime::Server<Infallible>>,
    problem: Option<String>,
    stopped: bool,
}

impl Server {
    /// Reads the configuration, opens the listeners that it asks for, and follows it from then on.
    ///
    /// # Errors
    /// When the first configuration cannot be read (`UM1020`) or a port cannot be had (`UM1205`).
    pub fn start(paths: &ServerPaths, workers: usize, registry: &mut Registry) -> Result<Server, StartError> {
        let started: Arc<OnceLock<Arc<Shared>>> = Arc::default();
        let follower = Arc::clone(&started);
        let mut reader = Reader::new(|certificate| {
            let usable = pem(certificate).config();
            usable.map(|_| ()).map_err(|error| format!("{}: {error}", Code::CertificateUnusable))
        });
        let read = move |index: &str, beside: &Beside| read(&mut reader, index, beside);
        let watched = Watched::start(&paths.config, read, move |snapshot| {
            // Before it is there, nothing is missed: it looks once more.
            follower.get().is_none_or(|shared| shared.apply(snapshot))
        })?;
        let first = watched.current();
        let metrics = ServeMetrics::new();
        let listening = Listening {
            generation: first.generation,
            showing: Showing::new(paths.address, metrics.clone()),
            server: None,
            problem: None,
            stopped: false,
        };
        let shared = Arc::new(Shared {
            state: Arc::new(State::new(Arc::clone(&first))),
            address: paths.address,
            workers,
            counters: Counters::default(),
            metrics,
            listening: Mutex::new(listening),
        });
        shared.counters.register(registry);
        shared.metrics.register(registry, NAME);
        shared.start(&mut shared.listening(), &first.identity)?;
        let shared = Arc::clone(started.get_or_init(|| shared));
        // What changed before the follower was there.
        let latest = watched.current();
        if !Arc::ptr_eq(&latest, &first) {
            shared.apply(&latest);
        }
        Ok(Server { shared, watched })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.shared.listening().server.as_ref().map(|server| server.addresses().clone()).unwrap_or_default()
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// What is wrong with the configuration file as it lies there now, if it is not the one served.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.watched.problem().or_else(|| self.shared.listening().problem.clone())
    }

    /// Takes no new calls from now on. A router has no others, so it is drained at once.
    pub fn drain(&self) {
        self.shared.state.drain();
    }

    /// Stops listening and waits for the workers to end.
    pub fn stop(&self) {
        let mut listening = self.shared.listening();
        listening.stopped = true;
        drop(listening.server.take());
    }
}

impl Component for Server {
    fn name(&self) -> &str {
        NAME
    }

    fn live(&self) -> bool {
        let listening = self.shared.listening();
        listening.stopped || listening.server.as_ref().is_some_and(runtime::Server::is_live)
    }

    fn ready(&self) -> Result<(), String> {
        let listening = self.shared.listening();
        if listening.server.is_none() {
            return Err(listening.problem.clone().unwrap_or_else(|| "is stopped".to_owned()));
        }
        // Callers are sent elsewhere by whoever asked for it; a probe that fails would only be one more fault.
        if self.shared.state.is_draining() {
            return Ok(());
        }
        let snapshot = self.shared.state.snapshot();
        if !snapshot.is_in_service() {
            return Err(format!("status is {:?}", snapshot.identity.status));
        }
        Ok(())
    }

    fn remark(&self) -> Option<String> {
        let draining = self.shared.state.is_draining().then(|| "is draining".to_owned());
        let problem = self.shared.listening().problem.clone();
        let problem = problem.map(|problem| format!("{}: {problem}", Code::PortUnavailable));
        let remarks: Vec<String> = draining.into_iter().chain(problem).collect();
        (!remarks.is_empty()).then(|| remarks.join("; "))
    }

    fn generation(&self) -> u64 {
        self.shared.listening().generation
    }
}

impl Shared {
    /// Answers by another configuration, and listens where it says. False if that cannot be had now.
    fn apply(&self, snapshot: &Arc<Snapshot>) -> bool {
        let mut listening = self.listening();
        if !Arc::ptr_eq(&self.state.snapshot(), snapshot) {
            free_here(self.state.swap(Arc::clone(snapshot)));
        }
        let generation = snapshot.generation;
        if listening.stopped {
            return true;
        }
        match self.relisten(&mut listening, &snapshot.identity) {
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

    fn relisten(&self, listening: &mut Listening, identity: &ServerIdentity) -> Result<(), ListenError> {
        let listen = self.ports(&mut listening.showing, identity)?;
        match &mut listening.server {
            Some(server) => Ok(server.listen(&listen)?),
            None => self.start(listening, identity),
        }
    }

    /// Starts the workers.
    fn start(&self, listening: &mut Listening, identity: &ServerIdentity) -> Result<(), ListenError> {
        let Listen { udp, tcp, tls } = self.ports(&mut listening.showing, identity)?;
        // Whoever asked by a port that is given up asks for as long as a transaction takes.
        let limits = Limits { former_port: TRANSACTION, ..Limits::default() };
        let state = Arc::clone(&self.state);
        let known =
            KnownPeers::new(move |address, names| !state.snapshot().table.is_stranger(address, names));
        let settings = ServeSettings {
            udp,
            tcp,
            tls,
            limits,
            known,
            metrics: self.metrics.clone(),
            ..ServeSettings::new(NAME, self.workers)
        };
        let (state, counters) = (Arc::clone(&self.state), self.counters.clone());
        let make = move |place: WorkerPlace| Router::new(Arc::clone(&state), counters.of(place.index));
        listening.server = Some(serve(&settings, make)?);
        Ok(())
    }

    /// Where a configuration wants calls to come by, and what TLS shows from now on.
    fn ports(&self, showing: &mut Showing, identity: &ServerIdentity) -> Result<Listen, TlsError> {
        let at = |port: u16| SocketAddr::new(self.address, port);
        let (clear, protected) = match identity.startup_mode {
            StartupMode::TCP => (true, false),
            StartupMode::TLS => (false, true),
            StartupMode::Dual => (true, true),
        };
        let listeners = identity.listeners;
        let tls = match listeners.tls.filter(|_| protected) {
            None => None,
            Some(port) => {
                let given = identity.certificate.as_ref().map(pem);
                Some((at(port), showing.show(given, &identity.name, Vec::new())?))
            }
        };
        let [udp, tcp] = [listeners.udp, listeners.tcp].map(|port| port.filter(|_| clear).map(at));
        Ok(Listen { udp, tcp, tls })
    }

    fn listening(&self) -> MutexGuard<'_, Listening> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pem(certificate: &Certificate) -> Pem {
    let Certificate { chain, key, authorities } = certificate.clone();
    Pem { chain, key, authorities }
}

/// Reads `router.yaml` and its parts.
fn read(reader: &mut Reader, index: &str, beside: &Beside) -> Version<Snapshot> {
    let names = |awaited: &[Awaited]| awaited.iter().map(|awaited| awaited.file.clone()).collect();
    match reader.router(index, &|file| beside.read(file)) {
        Ok(reading) => match Snapshot::compile(&reading.config) {
            Ok(mut snapshot) => {
                if let Some(gateway) = runtime::gateway() {
                    snapshot.table.add_network_gateway(gateway);
                }
                Version { value: Some(snapshot), problem: reading.problem(), awaits: names(&reading.awaits) }
            }
            Err(error) => Version::unusable(error.to_string()),
        },
        Err(ReadError::NotYet(awaited)) => Version {
            value: None,
            awaits: names(&awaited),
            problem: Some(ReadError::NotYet(awaited).to_string()),
        },
        Err(ReadError::Unusable(error)) => Version::unusable(error.to_string()),
    }
}

/// Frees a configuration on this thread, and not on that of a worker which answers by it just now and
/// would be the last to let it go: with 100,000 mailboxes that takes longer than a thousand redirects.
fn free_here(before: Arc<Snapshot>) {
    let began = Instant::now();
    while Arc::strong_count(&before) > 1 && began.elapsed() < LET_GO {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(before);
}
