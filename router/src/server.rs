//! The router as a server: its file, its sockets, and what the admin port asks.
//!
//! Decides that a new configuration takes effect between two messages, and that listeners are
//! opened anew only if the configuration asks for other ones. If those cannot be had, the ones
//! before go on. The only file of this room that does IO.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use config::parts::{Awaited, ReadError, Reader};
use config::{Certificate, Code, ServerIdentity, StartupMode};
use runtime::admin::Component;
use runtime::metrics::{Registry, ServeMetrics};
use runtime::tls::{self, TlsError};
use runtime::watch::{Beside, Version, WatchError, Watched};
use runtime::{Addresses, ServeError, ServeSettings, serve};

use crate::counters::Counters;
use crate::router::{Router, State};
use crate::snapshot::Snapshot;

/// The server's name in threads, metrics and on the admin port.
const NAME: &str = "router";

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
    /// For a configuration without a certificate; made once, so that it outlives changes.
    own_certificate: OnceLock<Certificate>,
    listening: Mutex<Listening>,
}

#[derive(Debug, Default)]
struct Listening {
    wanted: Option<ServerIdentity>,
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
            let usable = tls::server_config(&certificate.chain, &certificate.key);
            usable.map(|_| ()).map_err(|error| format!("{}: {error}", Code::CertificateUnusable))
        });
        let read = move |index: &str, beside: &Beside| read(&mut reader, index, beside);
        let watched = Watched::start(&paths.config, read, move |snapshot| {
            if let Some(shared) = follower.get() {
                shared.apply(snapshot);
            }
        })?;
        let first = watched.current();
        let shared = Arc::new(Shared {
            state: Arc::new(State::new(Arc::clone(&first))),
            address: paths.address,
            workers,
            counters: Counters::default(),
            metrics: ServeMetrics::new(),
            own_certificate: OnceLock::new(),
            listening: Mutex::default(),
        });
        shared.counters.register(registry);
        shared.metrics.register(registry, NAME);
        let server = shared.listen(&first.identity)?;
        {
            let mut listening = shared.listening();
            listening.wanted = Some(first.identity.clone());
            listening.server = Some(server);
        }
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
        self.shared.state.is_draining().then(|| "is draining".to_owned())
    }

    fn generation(&self) -> u64 {
        self.shared.state.snapshot().generation
    }
}

impl Shared {
    /// Answers by another configuration, and listens elsewhere if it says so.
    fn apply(&self, snapshot: &Arc<Snapshot>) {
        let mut listening = self.listening();
        free_here(self.state.swap(Arc::clone(snapshot)));
        let generation = snapshot.generation;
        let wanted = &snapshot.identity;
        let same = listening.wanted.as_ref().is_some_and(|served| listens_alike(served, wanted));
        if listening.stopped || (same && listening.server.is_some()) {
            // Whatever could not be had before is no longer asked for.
            listening.problem = None;
            tracing::info!(server = NAME, generation, "serving a new configuration");
            return;
        }
        match self.relisten(&mut listening, wanted) {
            Ok(()) => {
                tracing::info!(server = NAME, generation, "serving a new configuration on new listeners")
            }
            Err(error) => {
                let code = Code::PortUnavailable.id();
                let problem = format!("{error}; the listeners before go on");
                tracing::error!(code, server = NAME, generation, "{problem}");
                listening.problem = Some(problem);
            }
        }
    }

    /// New listeners first, so that there is no gap. Only where they need a port of the old ones do
    /// those go before, and come back if the new ones cannot be had after all.
    fn relisten(&self, listening: &mut Listening, wanted: &ServerIdentity) -> Result<(), ListenError> {
        let old = listening.server.as_ref().map(|server| server.addresses().clone()).unwrap_or_default();
        if shares_a_port(&old, wanted) {
            drop(listening.server.take());
        }
        match self.listen(wanted) {
            Ok(server) => {
                listening.server = Some(server);
                listening.wanted = Some(wanted.clone());
                listening.problem = None;
                Ok(())
            }
            Err(error) => {
                if listening.server.is_none() {
                    listening.server = listening.wanted.as_ref().and_then(|before| self.listen(before).ok());
                }
                Err(error)
            }
        }
    }

    fn listen(&self, identity: &ServerIdentity) -> Result<runtime::Server<Infallible>, ListenError> {
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
                let certificate = self.certificate(identity)?;
                Some((at(port), tls::server_config(&certificate.chain, &certificate.key)?))
            }
        };
        let settings = ServeSettings {
            udp: listeners.udp.filter(|_| clear).map(at),
            tcp: listeners.tcp.filter(|_| clear).map(at),
            tls,
            metrics: self.metrics.clone(),
            ..ServeSettings::new(NAME, self.workers)
        };
        let (state, counters) = (Arc::clone(&self.state), self.counters.clone());
        Ok(serve(&settings, move |place| Router::new(Arc::clone(&state), counters.of(place.index)))?)
    }

    fn certificate(&self, identity: &ServerIdentity) -> Result<Certificate, TlsError> {
        if let Some(certificate) = identity.certificate.as_ref().or(self.own_certificate.get()) {
            return Ok(certificate.clone());
        }
        let (chain, key) = tls::self_signed(&identity.name, self.address)?;
        Ok(self.own_certificate.get_or_init(|| Certificate { chain, key }).clone())
    }

    fn listening(&self) -> MutexGuard<'_, Listening> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

/// Whether listeners that are open stand in the way of those that are wanted.
fn shares_a_port(open: &Addresses, wanted: &ServerIdentity) -> bool {
    let taken = |address: Option<SocketAddr>, port: Option<u16>| {
        address.is_some_and(|address| port.is_some_and(|port| port == address.port()))
    };
    let listeners = wanted.listeners;
    taken(open.udp, listeners.udp)
        || [open.tcp, open.tls]
            .into_iter()
            .any(|address| taken(address, listeners.tcp) || taken(address, listeners.tls))
}

/// Whether two configurations ask for the same listeners.
fn listens_alike(one: &ServerIdentity, other: &ServerIdentity) -> bool {
    one.startup_mode == other.startup_mode
        && one.listeners == other.listeners
        && one.certificate == other.certificate
}
