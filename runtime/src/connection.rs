//! TCP and TLS connections of one worker.
//!
//! Decides which worker has a connection, how an answer finds its connection again, and that one too many
//! is closed. Refuses to know what is said on them.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sip::{ConnectionId, Peer, Transport};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::accept::{Accepting, Listening};
use crate::books::{Books, Open};
use crate::conversation::{Desk, Ticket};
use crate::limits::Limits;
use crate::mail::Mail;
use crate::metrics::{Lost, ServeMetrics};
use crate::outgoing::Outgoing;
use crate::serve::WorkerPlace;
use crate::socket;
use crate::tls::Shown;

/// The low bits of a connection's number name its worker; see `MAX_WORKERS`.
const WORKER_BITS: u32 = 8;

/// The connections of one worker, and the ways to all workers.
pub(crate) struct Connections {
    pub(crate) place: WorkerPlace,
    pub(crate) desk: OnceCell<Weak<dyn Desk>>,
    pub(crate) mail: Arc<[mpsc::Sender<Mail>]>,
    steer: fn(&[u8], usize) -> Option<usize>,
    pub(crate) books: Arc<Books>,
    pub(crate) limits: Limits,
    pub(crate) metrics: ServeMetrics,
    tasks: RefCell<JoinSet<()>>,
    listeners: RefCell<HashMap<Transport, Accepting>>,
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
        let Some(mut ticket) = self.admit(transport, address, false) else { return };
        self.spawn(async move {
            if socket::prepare_connection(&stream).is_err() {
                return;
            }
            let closed = match tls {
                None => ticket.converse(stream).await,
                Some(tls) => match ticket.shake_hands(stream, &tls).await {
                    Ok(stream) => ticket.converse(stream).await,
                    Err(why) => Some(why),
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
        let Some(mut ticket) = self.admit(Transport::Tcp, peer.address, true) else {
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

    /// Opens the books for one more connection that this worker was given, or opens, if there may be one.
    fn admit(self: &Rc<Self>, transport: Transport, address: SocketAddr, by_us: bool) -> Option<Ticket> {
        let place = match self.books.enter(address.ip(), transport, by_us) {
            Ok((place, open)) => {
                self.metrics.count_connections(open);
                place
            }
            Err(why) => {
                self.books.take_from(self.place.index);
                self.metrics.count_closed(why);
                return None;
            }
        };
        let serial = NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed);
        let id = ConnectionId(serial << WORKER_BITS | self.place.index as u64);
        let outgoing = Arc::new(Outgoing::new(self.books.share(place)));
        let open = Open { transport, address, outgoing: Arc::clone(&outgoing) };
        self.books.of(self.place.index).insert(id, open);
        let peer = Peer { transport, address, connection: Some(id) };
        Some(Ticket::new(Rc::clone(self), (peer, id, place), outgoing))
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(task);
    }
}

fn worker_of(id: ConnectionId) -> usize {
    usize::from(id.0.to_le_bytes()[0])
}
