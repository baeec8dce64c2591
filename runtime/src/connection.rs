//! TCP and TLS connections of one worker.
//!
//! Decides how a stream becomes messages for the worker that they belong to, how an answer finds
//! its connection again, and when a connection is closed: too many, too slow, silent for too long,
//! or no SIP. Refuses to know what the messages mean.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use sip::{ConnectionId, Frame, Framer, Peer, Transport};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use crate::metrics::{Closed, Lost, ServeMetrics};
use crate::serve::{Limits, WorkerPlace};
use crate::socket;

/// Read in one go. Small enough for thousands of connections, and for the answers to one read to
/// stay far below what may wait to be written.
const READ_BYTES: usize = 8 * 1024;

/// The answer to a keep-alive of two line ends (RFC 5626 section 4.4.1).
const PONG: &[u8] = b"\r\n";

/// Of what comes in one go and any worker may take, a worker keeps this many messages to itself and
/// shares the rest, so that one busy peer is not one core's worth. Below that a hand-over costs more
/// than it saves.
const SHARE_AFTER: usize = 16;

/// Line ends that wait for the rest of a keep-alive are no message that has begun.
const HALF_A_PING: usize = b"\r\n\r".len();

/// A listener that cannot accept, as when the process has no file left, tries again after this.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Where a connection is closed for what is no SIP, the messages before that may still be answered for
/// so long. A worker takes microseconds for each.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// The low bits of a connection's number name its worker; see `MAX_WORKERS`.
const WORKER_BITS: u32 = 8;

/// What workers and connections send to a worker: a message for its core, and whom it came from.
pub(crate) struct Mail(pub(crate) Vec<u8>, pub(crate) Peer);

/// Another worker for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// The only one that may take it.
    Owner(usize),
    /// One that may as well.
    Helper(usize),
}

impl Elsewhere {
    pub(crate) const fn worker(self) -> usize {
        match self {
            Elsewhere::Owner(worker) | Elsewhere::Helper(worker) => worker,
        }
    }
}

/// A bound listener, in the clear or with what it shows to who connects.
pub(crate) struct Listening {
    pub(crate) listener: std::net::TcpListener,
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// The connections of one worker, and the ways to all workers.
pub(crate) struct Connections {
    place: WorkerPlace,
    mail: Arc<[mpsc::Sender<Mail>]>,
    steer: fn(&[u8], usize) -> Option<usize>,
    books: Arc<Books>,
    limits: Limits,
    metrics: ServeMetrics,
    tasks: Mutex<JoinSet<()>>,
    listeners: Mutex<Vec<AbortHandle>>,
}

/// The open connections of a whole server. Any worker may answer by any of them: an answer on a
/// stream is never repeated, so it must not wait behind the messages of a busy worker, or get lost.
pub(crate) struct Books {
    total: AtomicUsize,
    /// By worker, so that they seldom wait for each other.
    open: Vec<Mutex<HashMap<ConnectionId, Open>>>,
}

impl Books {
    pub(crate) fn new(workers: usize) -> Self {
        Books { total: AtomicUsize::new(0), open: (0..workers).map(|_| Mutex::default()).collect() }
    }

    fn of(&self, worker: usize) -> MutexGuard<'_, HashMap<ConnectionId, Open>> {
        lock(&self.open[worker])
    }
}

/// The workers' end of an open connection.
struct Open {
    transport: Transport,
    address: SocketAddr,
    outgoing: mpsc::UnboundedSender<Vec<u8>>,
    unsent_bytes: Arc<AtomicUsize>,
}

/// The connection's own end; dropping it closes the connection's books.
struct Ticket {
    connections: Arc<Connections>,
    peer: Peer,
    id: ConnectionId,
    outgoing: mpsc::UnboundedReceiver<Vec<u8>>,
    unsent_bytes: Arc<AtomicUsize>,
    /// Messages that were handed on, less those that were written since. An ACK stays in it.
    unanswered: usize,
}

/// Numbers of connections are unique in the process.
static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// Accepts connections until the worker stops.
pub(crate) fn listen(connections: &Arc<Connections>, listening: Listening) -> io::Result<()> {
    let listener = TcpListener::from_std(listening.listener)?;
    let acceptor = listening.tls.map(TlsAcceptor::from);
    let accepting = Arc::clone(connections);
    let task = tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => accept(&accepting, stream, address, acceptor.clone()),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
    });
    lock(&connections.listeners).push(task.abort_handle());
    Ok(())
}

fn accept(connections: &Arc<Connections>, stream: TcpStream, address: SocketAddr, tls: Option<TlsAcceptor>) {
    let transport = if tls.is_some() { Transport::Tls } else { Transport::Tcp };
    // Before its first message nothing can be answered: closing is all that can be said.
    let Some(mut ticket) = connections.admit(transport, address) else { return };
    connections.spawn(async move {
        if socket::prepare_connection(&stream).is_err() {
            return;
        }
        let metrics = ticket.connections.metrics.clone();
        let closed = match tls {
            None => ticket.converse(stream).await,
            Some(tls) => {
                match timeout(ticket.connections.limits.handshake_timeout, tls.accept(stream)).await {
                    Ok(Ok(stream)) => ticket.converse(stream).await,
                    Ok(Err(_)) | Err(_) => Some(Closed::Handshake),
                }
            }
        };
        if let Some(why) = closed {
            metrics.count_closed(why);
        }
    });
}

impl Connections {
    pub(crate) fn new(
        place: WorkerPlace,
        mail: Arc<[mpsc::Sender<Mail>]>,
        steer: fn(&[u8], usize) -> Option<usize>,
        books: Arc<Books>,
        limits: Limits,
        metrics: ServeMetrics,
    ) -> Self {
        Connections {
            place,
            mail,
            steer,
            books,
            limits,
            metrics,
            tasks: Mutex::default(),
            listeners: Mutex::default(),
        }
    }

    /// The other worker that a message belongs to, or that takes it off this one: it is the
    /// `number`th of those that came in one go, from 0.
    pub(crate) fn elsewhere(&self, bytes: &[u8], number: usize) -> Option<Elsewhere> {
        let WorkerPlace { index, workers, .. } = self.place;
        let elsewhere = match (self.steer)(bytes, workers) {
            Some(owner) => Elsewhere::Owner(owner),
            None if number < SHARE_AFTER => return None,
            None => Elsewhere::Helper((index + number) % workers),
        };
        Some(elsewhere).filter(|elsewhere| elsewhere.worker() != index && elsewhere.worker() < workers)
    }

    /// Hands something to another worker; false if its queue is full.
    pub(crate) fn post(&self, worker: usize, mail: Mail) -> bool {
        self.mail.get(worker).is_some_and(|worker| worker.try_send(mail).is_ok())
    }

    /// Sends a message by the connection that its peer names. If that is gone, or none is named, by
    /// any to the same address, and failing that by a new one (RFC 3261 section 18.2.2).
    pub(crate) fn send(self: &Arc<Self>, peer: Peer, bytes: &[u8]) {
        if let Some(id) = peer.connection
            && let Some(known) = self.books.of(worker_of(id)).get(&id)
        {
            return known.push(bytes, &self.limits, &self.metrics);
        }
        let open = self.books.of(self.place.index);
        let to_same = |open: &&Open| open.address == peer.address && open.transport == peer.transport;
        match open.values().find(to_same) {
            Some(known) => known.push(bytes, &self.limits, &self.metrics),
            None => {
                drop(open);
                self.connect(peer, bytes);
            }
        }
    }

    /// Lets everything that is queued be written, for at most `patience`, and ends all tasks.
    pub(crate) async fn close_all(&self, patience: Duration) {
        for listener in lock(&self.listeners).drain(..) {
            listener.abort();
        }
        // Without its sender a connection ends once its queue is empty.
        self.books.of(self.place.index).clear();
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        let all_ended = async { while tasks.join_next().await.is_some() {} };
        // Those that are left when patience ends are aborted with the set.
        let _in_time = timeout(patience, all_ended).await;
    }

    fn connect(self: &Arc<Self>, peer: Peer, bytes: &[u8]) {
        if peer.transport != Transport::Tcp {
            return self.metrics.count_lost(Lost::NoConnection);
        }
        let Some(mut ticket) = self.admit(Transport::Tcp, peer.address) else {
            return self.metrics.count_lost(Lost::NoConnection);
        };
        if let Some(open) = self.books.of(self.place.index).get(&ticket.id) {
            open.push(bytes, &self.limits, &self.metrics);
        }
        self.spawn(async move {
            let metrics = ticket.connections.metrics.clone();
            let connecting = TcpStream::connect(ticket.peer.address);
            match timeout(ticket.connections.limits.connect_timeout, connecting).await {
                Ok(Ok(stream)) if socket::prepare_connection(&stream).is_ok() => {
                    if let Some(why) = ticket.converse(stream).await {
                        metrics.count_closed(why);
                    }
                }
                Ok(_) | Err(_) => metrics.count_lost(Lost::NoConnection),
            }
        });
    }

    /// Opens the books for one more connection, if there may be one.
    fn admit(self: &Arc<Self>, transport: Transport, address: SocketAddr) -> Option<Ticket> {
        let before = self.books.total.fetch_add(1, Ordering::Relaxed);
        if before >= self.limits.connections {
            self.books.total.fetch_sub(1, Ordering::Relaxed);
            self.metrics.count_closed(Closed::Cap);
            return None;
        }
        self.metrics.count_connections(before + 1);
        let serial = NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed);
        let id = ConnectionId(serial << WORKER_BITS | self.place.index as u64);
        let (outgoing_in, outgoing) = mpsc::unbounded_channel();
        let unsent_bytes = Arc::new(AtomicUsize::new(0));
        let open =
            Open { transport, address, outgoing: outgoing_in, unsent_bytes: Arc::clone(&unsent_bytes) };
        self.books.of(self.place.index).insert(id, open);
        let peer = Peer { transport, address, connection: Some(id) };
        Some(Ticket { connections: Arc::clone(self), peer, id, outgoing, unsent_bytes, unanswered: 0 })
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

impl Open {
    /// Queues a message. What waits is capped in bytes: a reader that falls behind loses the message.
    fn push(&self, bytes: &[u8], limits: &Limits, metrics: &ServeMetrics) {
        let waiting = self.unsent_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        if waiting + bytes.len() > limits.unsent_bytes || self.outgoing.send(bytes.to_vec()).is_err() {
            self.unsent_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
            metrics.count_lost(Lost::PeerTooSlow);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let books = &self.connections.books;
        books.of(self.connections.place.index).remove(&self.id);
        let before = books.total.fetch_sub(1, Ordering::Relaxed);
        self.connections.metrics.count_connections(before.saturating_sub(1));
    }
}

impl Ticket {
    /// Reads and writes until either side ends it; `Some` if it was us who closed it.
    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(&mut self, mut stream: S) -> Option<Closed> {
        let mut framer = Framer::new();
        let mut buffer = vec![0; READ_BYTES];
        let mut patience = Patience::new(self.connections.limits);
        loop {
            let went_on = tokio::select! {
                biased;
                message = self.outgoing.recv() => self.write_out(&mut stream, message).await,
                read = timeout_at(patience.until, stream.read(&mut buffer)) => match read {
                    Err(_) => Err(Some(patience.lost())),
                    Ok(Err(_)) | Ok(Ok(0)) => Err(None),
                    Ok(Ok(length)) => {
                        framer.push(&buffer[..length]);
                        self.take_messages(&mut stream, &mut framer)
                            .await
                            .map(|messages| patience.after_read(messages, framer.waiting_bytes() > HALF_A_PING))
                    }
                },
            };
            if let Err(closed) = went_on {
                if closed == Some(Closed::Malformed) {
                    let _in_time = timeout(LAST_ANSWERS, self.answer_the_rest(&mut stream)).await;
                }
                return closed;
            }
        }
    }

    /// Writes what answers the messages that were handed on already.
    async fn answer_the_rest<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) {
        while self.unanswered > 0 {
            let message = self.outgoing.recv().await;
            if self.write_out(stream, message).await.is_err() {
                return;
            }
        }
    }

    /// Writes one message; `None` means that the worker stops and there will be no other.
    async fn write_out<S>(&mut self, stream: &mut S, message: Option<Vec<u8>>) -> Result<(), Option<Closed>>
    where
        S: AsyncWrite + Unpin,
    {
        let write_timeout = self.connections.limits.write_timeout;
        let Some(message) = message else {
            // A peer that has gone already needs no farewell.
            let _closed = timeout(write_timeout, stream.shutdown()).await;
            return Err(None);
        };
        let written = write(stream, &message, write_timeout).await;
        self.unsent_bytes.fetch_sub(message.len(), Ordering::Relaxed);
        self.unanswered = self.unanswered.saturating_sub(1);
        written?;
        self.connections.metrics.count_sent(self.peer.transport);
        Ok(())
    }

    /// Hands every message that is whole to its worker, and says how many there were. A worker that
    /// does not keep up makes the connection wait, and so the peer.
    async fn take_messages<S>(&mut self, stream: &mut S, framer: &mut Framer) -> Result<usize, Option<Closed>>
    where
        S: AsyncWrite + Unpin,
    {
        let connections = &self.connections;
        let mut messages = 0;
        while let Some(frame) = framer.next().map_err(|_| Some(Closed::Malformed))? {
            match frame {
                Frame::Ping => write(stream, PONG, connections.limits.write_timeout).await?,
                Frame::Message(bytes) => {
                    connections.metrics.count_received(self.peer.transport);
                    let elsewhere = connections.elsewhere(bytes, messages);
                    let worker = elsewhere.map_or(connections.place.index, Elsewhere::worker);
                    let mail = Mail(bytes.to_vec(), self.peer);
                    connections.mail[worker].send(mail).await.map_err(|_| None)?;
                    messages += 1;
                    self.unanswered += 1;
                }
            }
        }
        Ok(messages)
    }
}

/// Until when the far end may be silent.
struct Patience {
    limits: Limits,
    until: Instant,
    has_spoken: bool,
    in_message: bool,
}

impl Patience {
    fn new(limits: Limits) -> Self {
        let until = Instant::now() + limits.first_message_timeout;
        Patience { limits, until, has_spoken: false, in_message: false }
    }

    /// A message's time runs from its first byte, so that no drip of bytes can stretch it.
    fn after_read(&mut self, messages: usize, in_message: bool) {
        self.has_spoken |= messages > 0;
        if in_message && (messages > 0 || !self.in_message) {
            self.until = Instant::now() + self.limits.message_timeout;
        } else if !in_message && self.has_spoken {
            self.until = Instant::now() + self.limits.idle_timeout;
        }
        self.in_message = in_message;
    }

    fn lost(&self) -> Closed {
        if self.in_message { Closed::SlowMessage } else { Closed::Idle }
    }
}

async fn write<S>(stream: &mut S, bytes: &[u8], patience: Duration) -> Result<(), Option<Closed>>
where
    S: AsyncWrite + Unpin,
{
    let all = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    match timeout(patience, all).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(None),
        Err(_) => Err(Some(Closed::SlowReader)),
    }
}

fn worker_of(id: ConnectionId) -> usize {
    usize::from(id.0.to_le_bytes()[0])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
