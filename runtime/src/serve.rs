//! A server: a core per worker thread, and the sockets that feed them.
//!
//! Decides what a [`Core`] is, and that a server whose ports cannot all be had does not run. Refuses to
//! know what the bytes mean.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, watch};

use crate::books::Books;
use crate::guarded::Make;
use crate::known::KnownPeers;
use crate::limits::Limits;
use crate::listeners::{CHANGE_CAPACITY, Listen, Listeners};
use crate::mail::Mail;
use crate::metrics::ServeMetrics;
use crate::outbox::Outbox;
use crate::socket;
use crate::source::Source;
use crate::tls::Shown;
use crate::worker::{self, Supplies};

/// Workers of one server: a connection's number holds that of its worker in eight bits.
pub const MAX_WORKERS: usize = 256;

/// Messages that wait for one worker. At 1 kB each a megabyte, at their largest 64 MiB.
const MAIL_CAPACITY: usize = 1024;

/// Notes that wait for one worker.
const NOTE_CAPACITY: usize = 4096;

/// The time, read once per event and handed down, so that cores have no clock of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For measuring; never goes back.
    pub instant: Instant,
    /// For writing down: milliseconds since 1970-01-01T00:00:00Z.
    pub unix_ms: u64,
}

impl Now {
    /// Reads both clocks.
    #[must_use]
    pub fn read() -> Now {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { instant: Instant::now(), unix_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// What a worker runs: a machine without sockets, clocks and threads. It is made on its worker's
/// thread and stays there. If it panics it is dropped, and a new one is made in its place.
pub trait Core: 'static {
    /// What other threads may tell it.
    type Note: Send + 'static;

    /// Whether any worker may take any message. Datagrams are then spread over all of them, those of one
    /// single peer too.
    const ANY_WORKER: bool = false;

    /// One whole SIP message, or what came in its place.
    fn handle(&mut self, bytes: &[u8], from: Source<'_>, now: Now, out: &mut Outbox);

    /// One packet on the worker's media port.
    fn handle_media(&mut self, bytes: &[u8], from: SocketAddr, now: Now, out: &mut Outbox) {
        let _nothing_to_do = (bytes, from, now, out);
    }

    /// One note.
    fn handle_note(&mut self, note: Self::Note, now: Now, out: &mut Outbox);

    /// The deadline has passed.
    fn handle_timeout(&mut self, now: Now, out: &mut Outbox);

    /// When [`Core::handle_timeout`] is due; asked after every other call.
    fn deadline(&self) -> Option<Instant>;

    /// The worker, below `workers`, that a message belongs to; `None` if any will do. Then the worker
    /// whose socket it came by takes it.
    #[must_use]
    fn steer(bytes: &[u8], workers: usize) -> Option<usize> {
        let _any_will_do = (bytes, workers);
        None
    }
}

/// Where a core finds itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerPlace {
    /// Which worker, from 0.
    pub index: usize,
    /// How many there are.
    pub workers: usize,
    /// The worker's media port.
    pub media: Option<SocketAddr>,
}

/// What a server listens on. Port 0 picks a free one.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// The server's name in thread names, metrics and logs.
    pub name: &'static str,
    /// Worker threads, 1 to [`MAX_WORKERS`].
    pub workers: usize,
    /// UDP address.
    pub udp: Option<SocketAddr>,
    /// TCP address.
    pub tcp: Option<SocketAddr>,
    /// TLS address, and what is shown to who connects.
    pub tls: Option<(SocketAddr, Arc<Shown>)>,
    /// The address of the first worker's media port; each of the others has the port after that of
    /// the one before. With port 0 each picks a free one.
    pub media: Option<SocketAddr>,
    /// What it may cost.
    pub limits: Limits,
    /// For whom a share of its connections is kept.
    pub known: KnownPeers,
    /// Where it counts.
    pub metrics: ServeMetrics,
}

impl ServeSettings {
    /// One that listens on nothing.
    #[must_use]
    pub fn new(name: &'static str, workers: usize) -> Self {
        ServeSettings {
            name,
            workers,
            udp: None,
            tcp: None,
            tls: None,
            media: None,
            limits: Limits::default(),
            known: KnownPeers::everybody(),
            metrics: ServeMetrics::new(),
        }
    }
}

/// Why a server could not be started (`UM1205` for a port).
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A port cannot be listened on.
    #[error("listen on {transport} {address}: {error}")]
    Listen {
        /// `udp`, `tcp`, `tls` or `media`.
        transport: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The number of workers is not 1 to [`MAX_WORKERS`].
    #[error("start {0} workers: 1 to {MAX_WORKERS} can be had")]
    Workers(usize),
    /// A thread cannot be started.
    #[error("start worker thread: {0}")]
    Thread(io::Error),
}

/// Where a server listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// UDP address.
    pub udp: Option<SocketAddr>,
    /// TCP address.
    pub tcp: Option<SocketAddr>,
    /// TLS address.
    pub tls: Option<SocketAddr>,
    /// Media addresses, by worker.
    pub media: Vec<SocketAddr>,
}

/// A running server; dropping it stops it.
#[derive(Debug)]
pub struct Server<N> {
    addresses: Addresses,
    listeners: Listeners,
    notifier: Notifier<N>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// Tells workers something, from any thread.
#[derive(Debug)]
pub struct Notifier<N> {
    workers: Arc<[mpsc::Sender<N>]>,
    metrics: ServeMetrics,
}

impl<N> Clone for Notifier<N> {
    fn clone(&self) -> Self {
        Notifier { workers: Arc::clone(&self.workers), metrics: self.metrics.clone() }
    }
}

impl<N> Notifier<N> {
    /// Tells one worker. False if it is not there or does not keep up; the note is then lost, and
    /// counted.
    pub fn to(&self, worker: usize, note: N) -> bool {
        let taken = self.workers.get(worker).is_some_and(|worker| worker.try_send(note).is_ok());
        if !taken {
            self.metrics.count_note_lost();
        }
        taken
    }

    /// Tells every worker. False if one of them did not take it.
    pub fn all(&self, note: impl Fn() -> N) -> bool {
        (0..self.workers.len()).filter(|worker| !self.to(*worker, note())).count() == 0
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.len()
    }
}

impl<N> Server<N> {
    /// Where it listens, with the ports that were picked.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Listens on these ports from now on. Only what differs is opened and closed; connections go on
    /// whichever port they came by, and a UDP port that is given up is heard for as long as
    /// [`Limits::former_port`] says.
    ///
    /// # Errors
    /// When one of them cannot be listened on; then those before go on.
    pub fn listen(&mut self, listen: &Listen) -> Result<(), ServeError> {
        let changed = self.listeners.change(listen);
        self.listeners.write(&mut self.addresses);
        changed
    }

    /// Tells its workers something.
    #[must_use]
    pub fn notifier(&self) -> Notifier<N> {
        self.notifier.clone()
    }

    /// Whether every worker thread runs.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Stops listening, writes out what was to be sent, and waits for the workers to end.
    pub fn stop(self) {
        drop(self);
    }
}

impl<N> Drop for Server<N> {
    fn drop(&mut self) {
        // Nobody listens only if every worker has already ended.
        let _told = self.stop.send(true);
        for thread in self.threads.drain(..) {
            // A panic of the thread was reported when it happened.
            let _ended = thread.join();
        }
    }
}

/// Starts a server. `make` makes a worker's core, at the start and again after a panic: what a core
/// was told by notes before, `make` has to know by itself.
///
/// # Errors
/// When a port cannot be listened on; then nothing is left running.
pub fn serve<C: Core>(
    settings: &ServeSettings,
    make: impl Fn(WorkerPlace) -> C + Send + Sync + 'static,
) -> Result<Server<C::Note>, ServeError> {
    let workers = settings.workers;
    if !(1..=MAX_WORKERS).contains(&workers) {
        return Err(ServeError::Workers(workers));
    }
    crate::raise_open_files();
    let mut media = bind_media(settings)?.into_iter();
    let mut addresses = Addresses::default();
    let make: Arc<Make<C>> = Arc::new(make);
    let (stop, stopped) = watch::channel(false);
    let (mail, letter_boxes): (Vec<_>, Vec<_>) =
        (0..workers).map(|_| mpsc::channel::<Mail>(MAIL_CAPACITY)).unzip();
    let (changes, change_boxes): (Vec<_>, Vec<_>) =
        (0..workers).map(|_| mpsc::channel(CHANGE_CAPACITY)).unzip();
    let (notes, note_boxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(NOTE_CAPACITY)).unzip();
    let mail: Arc<[_]> = mail.into();
    let books = Arc::new(Books::new(workers, settings.limits, settings.known.clone()));
    let mut threads = Vec::with_capacity(workers);
    let boxes = letter_boxes.into_iter().zip(note_boxes).zip(change_boxes);
    for (index, ((mail_in, notes_in), changes_in)) in boxes.enumerate() {
        let media = media.next();
        let local = media.as_ref().and_then(|media| media.local_addr().ok());
        addresses.media.extend(local);
        let supplies = Supplies {
            place: WorkerPlace { index, workers, media: local },
            name: settings.name,
            media,
            changes_in,
            mail: Arc::clone(&mail),
            mail_in,
            notes_in,
            stopped: stopped.clone(),
            books: Arc::clone(&books),
            limits: settings.limits,
            metrics: settings.metrics.clone(),
            make: Arc::clone(&make),
        };
        let thread = std::thread::Builder::new()
            .name(format!("{}-{index}", settings.name))
            .spawn(move || worker::run(supplies))
            .map_err(ServeError::Thread);
        match thread {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                let _told = stop.send(true);
                return Err(error);
            }
        }
    }
    let notifier = Notifier { workers: notes.into(), metrics: settings.metrics.clone() };
    let listeners = Listeners::new(changes, C::ANY_WORKER);
    let mut server = Server { addresses, listeners, notifier, stop, threads };
    let (udp, tcp, tls) = (settings.udp, settings.tcp, settings.tls.clone());
    server.listen(&Listen { udp, tcp, tls })?;
    Ok(server)
}

fn bind_media(settings: &ServeSettings) -> Result<Vec<std::net::UdpSocket>, ServeError> {
    let Some(first) = settings.media else { return Ok(Vec::new()) };
    let mut sockets = Vec::with_capacity(settings.workers);
    for index in 0..settings.workers {
        let address = media_address(first, index);
        let failed = |error| ServeError::Listen { transport: "media", address, error };
        sockets.extend(socket::udp(address, 1, false).map_err(failed)?);
    }
    Ok(sockets)
}

/// The media address of a worker. Beyond the last port there is none, and that one, which a worker
/// before has, is found taken.
fn media_address(first: SocketAddr, index: usize) -> SocketAddr {
    let port = match first.port() {
        0 => 0,
        port => port.saturating_add(u16::try_from(index).unwrap_or(u16::MAX)),
    };
    SocketAddr::new(first.ip(), port)
}
