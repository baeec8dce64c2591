//! TCP and TLS connections of one worker.
//!
//! Decides how a stream becomes messages for the worker that they belong to, how an answer finds
//! its connection again, and when a connection is closed: too many, too slow, silent for too long, too
//! much, or no SIP. Refuses to know what the messages mean.

use std::cell::{OnceCell, RefCell, RefMut};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use sip::{ConnectionId, Frame, Framer, Peer, Transport};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::accept::{Accepting, Listening};
use crate::books::{Books, Open};
use crate::certificate::Fault;
use crate::held::Share;
use crate::limits::Limits;
use crate::mail::{Letter, Mail};
use crate::metrics::{Closed, Lost, ServeMetrics};
use crate::outgoing::{Batch, Outgoing, write};
use crate::patience::Patience;
use crate::serve::{Now, WorkerPlace};
use crate::socket;
use crate::source::{self, Source};
use crate::tls::Shown;

/// The answer to a keep-alive of two line ends (RFC 5626 section 4.4.1).
const PONG: &[u8] = b"\r\n";

/// Line ends that wait for the rest of a keep-alive are no message that has begun.
const HALF_A_PING: usize = b"\r\n\r".len();

/// Where a connection is closed for what is no SIP, the messages before that may still be answered for
/// so long. A worker takes microseconds for each.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Answers to one read that are not counted into what all connections hold: at the cap of connections 16 MiB.
const FEW_ANSWERS_BYTES: usize = 4096;

/// The low bits of a connection's number name its worker; see `MAX_WORKERS`.
const WORKER_BITS: u32 = 8;

/// The worker as its connections see it.
pub(crate) trait Desk {
    /// Lets the core take a message that came by a connection. What it says to that very connection is
    /// appended to `answers`, and what it says to others is sent. Gives the number of answers.
    fn handle(&self, bytes: &[u8], from: Source<'_>, now: Now, answers: &mut Vec<u8>) -> u64;

    /// Where all connections of the worker read into, one after the other.
    fn read_buffer(&self) -> RefMut<'_, Box<[u8]>>;

    /// An empty buffer for answers.
    fn lend(&self) -> Vec<u8>;

    /// Takes back a buffer that was lent.
    fn take_back(&self, buffer: Vec<u8>);
}

/// The connections of one worker, and the ways to all workers.
pub(crate) struct Connections {
    place: WorkerPlace,
    desk: OnceCell<Weak<dyn Desk>>,
    mail: Arc<[mpsc::Sender<Mail>]>,
    steer: fn(&[u8], usize) -> Option<usize>,
    books: Arc<Books>,
    limits: Limits,
    metrics: ServeMetrics,
    tasks: RefCell<JoinSet<()>>,
    listeners: RefCell<HashMap<Transport, Accepting>>,
}

/// The connection's own end; dropping it closes the connection's books.
struct Ticket {
    connections: Rc<Connections>,
    peer: Peer,
    id: ConnectionId,
    /// The names that the peer has proved by its certificate.
    names: Arc<[String]>,
    outgoing: Arc<Outgoing>,
    /// Bytes whose rest has not come, and many answers that are being written.
    held: Share,
    /// Messages that were handed to other workers, less those that were written for them since. An ACK
    /// stays in it.
    unanswered: u64,
}

/// What one read brought.
#[derive(Default)]
struct Read {
    /// Whole messages.
    messages: usize,
    /// What is written for those that this worker took.
    answers: Vec<u8>,
    /// How many messages that is.
    answered: u64,
    /// Those that belong to other workers.
    elsewhere: Vec<(usize, Mail)>,
    /// Why no more is read.
    end: Option<Option<Closed>>,
}

/// Numbers of connections are unique in the process.
static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

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
            desk: OnceCell::new(),
            mail,
            steer,
            books,
            limits,
            metrics,
            tasks: RefCell::default(),
            listeners: RefCell::default(),
        }
    }

    /// Tells who takes the messages, before the first connection comes.
    pub(crate) fn serve(&self, desk: Weak<dyn Desk>) {
        // A second desk is not there to be set.
        let _first = self.desk.set(desk);
    }

    /// The other worker that a message belongs to.
    pub(crate) fn owner(&self, bytes: &[u8]) -> Option<usize> {
        let WorkerPlace { index, workers, .. } = self.place;
        (self.steer)(bytes, workers).filter(|owner| *owner != index && *owner < workers)
    }

    /// Hands something to another worker; it comes back if its queue is full.
    pub(crate) fn post(&self, worker: usize, mail: Mail) -> Result<(), Mail> {
        let Some(worker) = self.mail.get(worker) else { return Err(mail) };
        worker.try_send(mail).map_err(mpsc::error::TrySendError::into_inner)
    }

    /// Sends a message by the connection that its peer names. If that is gone, or none is named, by
    /// any to the same address, and failing that by a new one (RFC 3261 section 18.2.2).
    pub(crate) fn send(self: &Rc<Self>, peer: Peer, bytes: &[u8]) {
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

    /// Listens by this transport by another listener, or by none.
    pub(crate) async fn listen(
        self: &Rc<Self>,
        transport: Transport,
        listening: Option<Listening>,
    ) -> io::Result<()> {
        let new = listening.map(|listening| Accepting::start(self, listening)).transpose()?;
        let before = {
            let mut listeners = self.listeners.borrow_mut();
            let before = listeners.remove(&transport);
            listeners.extend(new.map(|new| (transport, new)));
            before
        };
        if let Some(before) = before {
            before.close().await;
        }
        Ok(())
    }

    /// Lets everything that is queued be written, for at most `patience`, and ends all tasks.
    pub(crate) async fn close_all(&self, patience: Duration) {
        self.listeners.borrow_mut().drain().for_each(|(_, listener)| listener.abort());
        // Without its entry a connection ends once its queue is empty.
        self.books.of(self.place.index).clear();
        let mut tasks = self.tasks.take();
        let all_ended = async { while tasks.join_next().await.is_some() {} };
        // Those that are left when patience ends are aborted with the set.
        let _in_time = timeout(patience, all_ended).await;
    }

    /// Gives a new connection to the worker that has the fewest, so that those of one single peer are
    /// spread evenly too.
    pub(crate) fn give(self: &Rc<Self>, stream: TcpStream, address: SocketAddr, tls: Option<Arc<Shown>>) {
        let own = self.place.index;
        let idlest = self.books.give(own);
        if idlest == own {
            return self.take(stream, address, tls);
        }
        let not_given = match stream.into_std() {
            Ok(stream) => self.post(idlest, Mail::Connection(stream, address, tls)).err(),
            Err(error) => {
                self.books.take_from(idlest);
                tracing::warn!(%error, "a connection could not be handed over");
                return;
            }
        };
        if let Some(Mail::Connection(stream, address, tls)) = not_given {
            self.books.take_from(idlest);
            self.books.give_to(own);
            self.take_given(stream, address, tls);
        }
    }

    /// Takes a connection that another worker accepted.
    pub(crate) fn take_given(
        self: &Rc<Self>,
        stream: std::net::TcpStream,
        address: SocketAddr,
        tls: Option<Arc<Shown>>,
    ) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.take(stream, address, tls),
            Err(error) => {
                self.books.take_from(self.place.index);
                tracing::warn!(%error, "a connection could not be taken over");
            }
        }
    }

    fn take(self: &Rc<Self>, stream: TcpStream, address: SocketAddr, tls: Option<Arc<Shown>>) {
        let transport = if tls.is_some() { Transport::Tls } else { Transport::Tcp };
        // Before its first message nothing can be answered: closing is all that can be said.
        let Some(mut ticket) = self.admit(transport, address) else { return };
        self.spawn(async move {
            if socket::prepare_connection(&stream).is_err() {
                return;
            }
            let closed = match tls {
                None => ticket.converse(stream).await,
                Some(tls) => match ticket.shake_hands(stream, &tls).await {
                    Some(stream) => ticket.converse(stream).await,
                    None => Some(Closed::Handshake),
                },
            };
            if let Some(why) = closed {
                ticket.connections.metrics.count_closed(why);
            }
        });
    }

    fn connect(self: &Rc<Self>, peer: Peer, bytes: &[u8]) {
        if peer.transport != Transport::Tcp {
            return self.metrics.count_lost(Lost::NoConnection);
        }
        self.books.give_to(self.place.index);
        let Some(mut ticket) = self.admit(Transport::Tcp, peer.address) else {
            return self.metrics.count_lost(Lost::NoConnection);
        };
        if let Some(open) = self.books.of(self.place.index).get(&ticket.id) {
            open.push(bytes, &self.limits, &self.metrics);
        }
        self.spawn(async move {
            let connecting = TcpStream::connect(ticket.peer.address);
            match timeout(ticket.connections.limits.connect_timeout, connecting).await {
                Ok(Ok(stream)) if socket::prepare_connection(&stream).is_ok() => {
                    if let Some(why) = ticket.converse(stream).await {
                        ticket.connections.metrics.count_closed(why);
                    }
                }
                Ok(_) | Err(_) => ticket.connections.metrics.count_lost(Lost::NoConnection),
            }
        });
    }

    /// Opens the books for one more connection that this worker was given, if there may be one.
    fn admit(self: &Rc<Self>, transport: Transport, address: SocketAddr) -> Option<Ticket> {
        match self.books.enter(address.ip()) {
            Ok(open) => self.metrics.count_connections(open),
            Err(why) => {
                self.books.take_from(self.place.index);
                self.metrics.count_closed(why);
                return None;
            }
        }
        let serial = NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed);
        let id = ConnectionId(serial << WORKER_BITS | self.place.index as u64);
        let outgoing = Arc::new(Outgoing::new(self.books.pool.share()));
        let open = Open { transport, address, outgoing: Arc::clone(&outgoing) };
        self.books.of(self.place.index).insert(id, open);
        let peer = Peer { transport, address, connection: Some(id) };
        let (connections, held) = (Rc::clone(self), self.books.pool.share());
        Some(Ticket { connections, peer, names: Arc::default(), id, outgoing, held, unanswered: 0 })
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(task);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Connections { books, place, metrics, .. } = &*self.connections;
        books.of(place.index).remove(&self.id);
        books.take_from(place.index);
        metrics.count_connections(books.leave(self.peer.address.ip()));
    }
}

impl Ticket {
    /// Does the TLS handshake, and learns who the far end is, if it says so.
    async fn shake_hands(&mut self, stream: TcpStream, tls: &Shown) -> Option<TlsStream<TcpStream>> {
        let Connections { limits, metrics, .. } = &*self.connections;
        let handshake = TlsAcceptor::from(tls.config()).accept(stream);
        // What a handshake needs is given back once it is over.
        match Box::pin(timeout(limits.handshake_timeout, handshake)).await {
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                self.names = shown.map(source::names).unwrap_or_default().into();
                Some(stream)
            }
            Ok(Err(error)) => {
                if let Some(fault) = Fault::of_handshake(&error) {
                    metrics.count_certificate(fault, self.peer.address, &error);
                }
                None
            }
            Err(_) => None,
        }
    }

    /// Reads and writes until either side ends it; `Some` if it was us who closed it.
    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(&mut self, mut stream: S) -> Option<Closed> {
        let desk = self.connections.desk.get().and_then(Weak::upgrade)?;
        let mut framer = Framer::new();
        let mut patience = Patience::new(self.connections.limits);
        loop {
            let went_on = tokio::select! {
                biased;
                batch = self.outgoing.take() => self.write_out(&mut stream, batch).await,
                read = timeout_at(patience.until, self.read(&*desk, &mut stream, &mut framer)) => match read {
                    Err(_) => Err(Some(patience.lost())),
                    Ok(read) => {
                        let waiting = framer.waiting_bytes();
                        patience.after_read(read.messages, waiting > HALF_A_PING);
                        self.answer(&*desk, &mut stream, read, waiting).await
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

    /// Waits for bytes, and lets every message that is whole be handled. All connections of a worker
    /// read into one buffer, so that one that is silent holds none.
    async fn read<S: AsyncRead + Unpin>(&self, desk: &dyn Desk, stream: &mut S, framer: &mut Framer) -> Read {
        poll_fn(|context| {
            let mut buffer = desk.read_buffer();
            let mut buffer = ReadBuf::new(&mut buffer);
            let read = ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(Read { end: Some(None), ..Read::default() });
            }
            Poll::Ready(self.handle(desk, framer, buffer.filled()))
        })
        .await
    }

    fn handle(&self, desk: &dyn Desk, framer: &mut Framer, mut bytes: &[u8]) -> Read {
        let Connections { metrics, .. } = &*self.connections;
        let from = Source { peer: self.peer, names: &self.names };
        let mut read = Read { answers: desk.lend(), ..Read::default() };
        let now = Now::read();
        loop {
            match framer.cut(&mut bytes) {
                Ok(None) => break,
                Ok(Some(Frame::Ping)) => read.answers.extend_from_slice(PONG),
                Ok(Some(Frame::Message(message))) => {
                    read.messages += 1;
                    match self.connections.owner(message) {
                        Some(owner) => {
                            read.elsewhere.push((owner, self.forward(message)));
                        }
                        None => {
                            read.answered += desk.handle(message, from, now, &mut read.answers);
                        }
                    }
                }
                Err(_) => {
                    read.end = Some(Some(Closed::Malformed));
                    break;
                }
            }
        }
        metrics.add_received(self.peer.transport, read.messages as u64);
        read
    }

    /// A message for another worker.
    fn forward(&self, message: &[u8]) -> Mail {
        let (bytes, names) = (message.to_vec(), Arc::clone(&self.names));
        Mail::Message(Letter { bytes, peer: self.peer, names, former: None })
    }

    /// Writes the answers to one read in one go, and hands on what belongs to others. A worker that does
    /// not keep up makes the connection wait, and so the peer.
    async fn answer<S>(
        &mut self,
        desk: &dyn Desk,
        stream: &mut S,
        read: Read,
        waiting: usize,
    ) -> Result<(), Option<Closed>>
    where
        S: AsyncWrite + Unpin,
    {
        let Read { answers, answered, elsewhere, end, .. } = read;
        let limits = self.connections.limits;
        let many = Some(answers.capacity()).filter(|bytes| *bytes > FEW_ANSWERS_BYTES);
        if !self.held.resize(waiting + many.unwrap_or_default()) {
            return Err(Some(Closed::Memory));
        }
        if !answers.is_empty() {
            write(stream, &answers, limits.write_timeout).await?;
            self.connections.metrics.add_sent(self.peer.transport, answered);
        }
        desk.take_back(answers);
        self.held.shrink(waiting);
        for (owner, mail) in elsewhere {
            self.connections.mail[owner].send(mail).await.map_err(|_| None)?;
            self.unanswered += 1;
        }
        end.map_or(Ok(()), Err)
    }

    /// Writes what answers the messages that were handed on already.
    async fn answer_the_rest<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) {
        while self.unanswered > 0 {
            let batch = self.outgoing.take().await;
            if self.write_out(stream, batch).await.is_err() {
                return;
            }
        }
    }

    /// Writes what was queued; `None` means that the worker stops and there will be no more.
    async fn write_out<S>(&mut self, stream: &mut S, batch: Option<Batch>) -> Result<(), Option<Closed>>
    where
        S: AsyncWrite + Unpin,
    {
        let write_timeout = self.connections.limits.write_timeout;
        let Some(Batch { bytes, messages }) = batch else {
            // A peer that has gone already needs no farewell.
            let _closed = timeout(write_timeout, stream.shutdown()).await;
            return Err(None);
        };
        let written = write(stream, &bytes, write_timeout).await;
        self.outgoing.written();
        self.unanswered = self.unanswered.saturating_sub(messages);
        written?;
        self.connections.metrics.add_sent(self.peer.transport, messages);
        Ok(())
    }
}

fn worker_of(id: ConnectionId) -> usize {
    usize::from(id.0.to_le_bytes()[0])
}
