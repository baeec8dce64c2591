//! One worker: a thread, its sockets, and the core that it runs.
//!
//! Decides in which order events reach the core, how much of one kind is taken before the others
//! have their turn, and that a core which panics is replaced while its sockets and connections, and
//! all other workers, go on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sip::{Peer, Transport};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

use crate::connection::{self, Books, Connections, Elsewhere, Mail};
use crate::metrics::{Lost, ServeMetrics};
use crate::outbox::Outbox;
use crate::serve::{Core, Limits, Now, Sockets, WorkerPlace};
use crate::socket;

/// Datagrams, messages or notes that are taken in one go before others have their turn. At 10 µs
/// each less than a millisecond, well below the 20 ms between two media packets.
const BUDGET: usize = 64;

/// The largest datagram (RFC 768), and one byte to spare.
const DATAGRAM_BYTES: usize = 65_536;

/// If no core can be made, the next try is after this.
const REMAKE_AFTER: Duration = Duration::from_secs(1);

/// After a stop, connections may write what is queued for at most this long.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// Makes the core of a worker.
pub(crate) type Make<C> = dyn Fn(WorkerPlace) -> C + Send + Sync;

/// All that a worker thread is given.
pub(crate) struct Supplies<C: Core> {
    pub(crate) place: WorkerPlace,
    pub(crate) name: &'static str,
    pub(crate) sockets: Sockets,
    pub(crate) mail: Arc<[mpsc::Sender<Mail>]>,
    pub(crate) mail_in: mpsc::Receiver<Mail>,
    pub(crate) notes_in: mpsc::Receiver<C::Note>,
    pub(crate) stopped: watch::Receiver<bool>,
    pub(crate) books: Arc<Books>,
    pub(crate) limits: Limits,
    pub(crate) metrics: ServeMetrics,
    pub(crate) make: Arc<Make<C>>,
}

/// The body of a worker thread.
pub(crate) fn run<C: Core>(supplies: Supplies<C>) {
    let name = supplies.name;
    let executor = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(executor) => executor,
        Err(error) => {
            tracing::error!(server = name, %error, "a worker has no executor");
            return;
        }
    };
    executor.block_on(async {
        match Worker::new(supplies) {
            Ok(mut worker) => worker.run().await,
            Err(error) => tracing::error!(server = name, %error, "a worker cannot use its sockets"),
        }
    });
}

struct Worker<C: Core> {
    guarded: Guarded<C>,
    udp: Option<UdpSocket>,
    media: Option<UdpSocket>,
    connections: Arc<Connections>,
    mail_in: mpsc::Receiver<Mail>,
    notes_in: mpsc::Receiver<C::Note>,
    stopped: watch::Receiver<bool>,
    metrics: ServeMetrics,
    buffer: Vec<u8>,
}

/// A core, behind what catches its panics.
struct Guarded<C: Core> {
    place: WorkerPlace,
    name: &'static str,
    make: Arc<Make<C>>,
    core: Option<C>,
    remake_at: Option<Instant>,
    outbox: Outbox,
    metrics: ServeMetrics,
}

enum Wake<N> {
    Stop,
    Udp,
    Media,
    Mail(Mail),
    Note(N),
    Deadline,
}

impl<C: Core> Worker<C> {
    fn new(supplies: Supplies<C>) -> std::io::Result<Self> {
        let Supplies { place, name, sockets, mail, mail_in, notes_in, stopped, books, limits, metrics, make } =
            supplies;
        let connections = Arc::new(Connections::new(place, mail, C::steer, books, limits, metrics.clone()));
        for listening in sockets.listening {
            connection::listen(&connections, listening)?;
        }
        let mut guarded = Guarded {
            place,
            name,
            make,
            core: None,
            remake_at: None,
            outbox: Outbox::new(),
            metrics: metrics.clone(),
        };
        guarded.remake();
        Ok(Worker {
            guarded,
            udp: sockets.udp.map(UdpSocket::from_std).transpose()?,
            media: sockets.media.map(UdpSocket::from_std).transpose()?,
            connections,
            mail_in,
            notes_in,
            stopped,
            metrics,
            buffer: vec![0; DATAGRAM_BYTES],
        })
    }

    async fn run(&mut self) {
        loop {
            let deadline = self.guarded.deadline();
            let wake = tokio::select! {
                _ = self.stopped.wait_for(|stopped| *stopped) => Wake::Stop,
                () = readable(self.udp.as_ref()) => Wake::Udp,
                () = readable(self.media.as_ref()) => Wake::Media,
                Some(mail) = self.mail_in.recv() => Wake::Mail(mail),
                Some(note) = self.notes_in.recv() => Wake::Note(note),
                () = due(deadline) => Wake::Deadline,
            };
            match wake {
                Wake::Stop => break,
                Wake::Udp => self.take_datagrams(),
                Wake::Media => self.take_media(),
                Wake::Mail(first) => self.take_mail(first),
                Wake::Note(first) => self.take_notes(first),
                Wake::Deadline => (),
            }
            // A flood of one kind must not keep a deadline waiting.
            if self.guarded.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
                self.guarded.handle_timeout();
                self.send();
            }
            // Connections live on this thread too, and get their turn here.
            tokio::task::yield_now().await;
        }
        self.connections.close_all(LAST_WRITES).await;
    }

    fn take_datagrams(&mut self) {
        let now = Now::read();
        for number in 0..BUDGET {
            let Some(udp) = &self.udp else { return };
            match udp.try_recv_from(&mut self.buffer) {
                Ok((length, address)) => {
                    self.metrics.count_received(Transport::Udp);
                    let peer = Peer { transport: Transport::Udp, address, connection: None };
                    if !self.hand_over(length, peer, number) {
                        let bytes = &self.buffer[..length];
                        self.guarded.with(|core, out| core.handle(bytes, peer, now, out));
                        self.send();
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                // An earlier datagram of ours was refused by its target; the next one may be there.
                Err(_) => self.metrics.count_lost(Lost::SendFailed),
            }
        }
    }

    /// Whether the datagram in the buffer is no longer this worker's to handle. One that has an owner
    /// is lost if that one's queue is full; one that anybody may take then stays here.
    fn hand_over(&self, length: usize, peer: Peer, number: usize) -> bool {
        let bytes = &self.buffer[..length];
        let Some(elsewhere) = self.connections.elsewhere(bytes, number) else { return false };
        let taken = self.connections.post(elsewhere.worker(), Mail(bytes.to_vec(), peer));
        match elsewhere {
            Elsewhere::Owner(_) => {
                if !taken {
                    self.metrics.count_lost(Lost::QueueFull);
                }
                true
            }
            Elsewhere::Helper(_) => taken,
        }
    }

    fn take_media(&mut self) {
        let now = Now::read();
        for _ in 0..BUDGET {
            let Some(media) = &self.media else { return };
            match media.try_recv_from(&mut self.buffer) {
                Ok((length, from)) => {
                    self.metrics.count_media_received();
                    let bytes = &self.buffer[..length];
                    self.guarded.with(|core, out| core.handle_media(bytes, from, now, out));
                    self.send();
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                // A peer that has closed its media port already says so by ICMP.
                Err(_) => (),
            }
        }
    }

    fn take_mail(&mut self, first: Mail) {
        let now = Now::read();
        let mut next = Some(first);
        for taken in 1..=BUDGET {
            match next.take() {
                Some(Mail(bytes, peer)) => {
                    self.guarded.with(|core, out| core.handle(&bytes, peer, now, out));
                    self.send();
                }
                None => return,
            }
            if taken < BUDGET {
                next = self.mail_in.try_recv().ok();
            }
        }
    }

    fn take_notes(&mut self, first: C::Note) {
        let now = Now::read();
        self.guarded.with(|core, out| core.handle_note(first, now, out));
        self.send();
        for _ in 1..BUDGET {
            let Ok(note) = self.notes_in.try_recv() else { return };
            self.guarded.with(|core, out| core.handle_note(note, now, out));
            self.send();
        }
    }

    /// Sends all that the core left in the outbox.
    fn send(&mut self) {
        for (peer, bytes) in self.guarded.outbox.sip_messages() {
            match peer.transport {
                Transport::Udp => match &self.udp {
                    None => self.metrics.count_lost(Lost::NoSocket),
                    // A full socket loses a datagram as the network may; SIP repeats it.
                    Some(udp) => match socket::send(udp, bytes, peer.address) {
                        Ok(_) => self.metrics.count_sent(Transport::Udp),
                        Err(_) => self.metrics.count_lost(Lost::SendFailed),
                    },
                },
                Transport::Tcp | Transport::Tls => self.connections.send(peer, bytes),
            }
        }
        for (to, packet) in self.guarded.outbox.media_packets() {
            if self.media.as_ref().is_some_and(|media| socket::send(media, packet, to).is_ok()) {
                self.metrics.count_media_sent();
            }
        }
        self.guarded.outbox.clear();
    }
}

impl<C: Core> Guarded<C> {
    /// Lets the core work; a panic replaces it.
    fn with(&mut self, work: impl FnOnce(&mut C, &mut Outbox)) {
        let Guarded { core, outbox, .. } = self;
        let Some(core) = core.as_mut() else {
            self.metrics.count_lost(Lost::NoCore);
            return;
        };
        if catch_unwind(AssertUnwindSafe(|| work(core, outbox))).is_err() {
            self.restart();
        }
    }

    fn handle_timeout(&mut self) {
        if self.core.is_none() {
            self.remake();
            return;
        }
        let now = Now::read();
        self.with(|core, out| core.handle_timeout(now, out));
    }

    fn deadline(&mut self) -> Option<Instant> {
        match &self.core {
            None => self.remake_at,
            Some(core) => match catch_unwind(AssertUnwindSafe(|| core.deadline())) {
                Ok(deadline) => deadline,
                Err(_) => {
                    self.restart();
                    self.remake_at
                }
            },
        }
    }

    fn restart(&mut self) {
        self.metrics.count_restart();
        tracing::error!(
            code = "UM1208",
            server = self.name,
            worker = self.place.index,
            "a worker failed and is restarted; what it was doing is lost, the other workers go on"
        );
        // What the core wanted to send half-way through is not to be trusted.
        self.outbox.clear();
        let broken = self.core.take();
        if catch_unwind(AssertUnwindSafe(|| drop(broken))).is_err() {
            tracing::error!(
                server = self.name,
                worker = self.place.index,
                "the failed core also failed to end"
            );
        }
        self.remake();
    }

    fn remake(&mut self) {
        let (make, place) = (&self.make, self.place);
        self.core = catch_unwind(AssertUnwindSafe(|| make(place))).ok();
        self.remake_at = match self.core {
            Some(_) => None,
            None => Some(Instant::now() + REMAKE_AFTER),
        };
    }
}

async fn readable(socket: Option<&UdpSocket>) {
    match socket {
        // An error of the socket is seen by the read that follows.
        Some(socket) => drop(socket.readable().await),
        None => std::future::pending().await,
    }
}

async fn due(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
