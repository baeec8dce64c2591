//! One worker: a thread, its sockets, and the core that it runs.
//!
//! Decides in which order events reach the core, and how much of one kind is taken before the others
//! have their turn.

use std::cell::{Cell, RefCell, RefMut};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sip::{ConnectionId, Peer, Transport};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use crate::batch::{BATCH, Inbound, Outbound};
use crate::books::Books;
use crate::connection::Connections;
use crate::conversation::Desk;
use crate::former::{FormerPort, FormerPorts, heard};
use crate::guarded::{Guarded, Make};
use crate::limits::Limits;
use crate::listeners::{Change, What};
use crate::mail::{Letter, Mail};
use crate::metrics::{Lost, ServeMetrics};
use crate::outbox::Outbox;
use crate::serve::{Core, Now, WorkerPlace};
use crate::socket;
use crate::source::Source;

/// Datagrams, messages or notes that are taken in one go before others have their turn. At 10 µs
/// each less than a millisecond, well below the 20 ms between two media packets.
const BUDGET: usize = BATCH;

/// Read from a stream in one go. The answers to it stay below what may wait to be written.
const READ_BYTES: usize = 64 * 1024;

/// The largest datagram (RFC 768), and one byte to spare.
const DATAGRAM_BYTES: usize = 65_536;

/// After a stop, connections may write what is queued for at most this long.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// All that a worker thread is given.
pub(crate) struct Supplies<C: Core> {
    pub(crate) place: WorkerPlace,
    pub(crate) name: &'static str,
    pub(crate) media: Option<std::net::UdpSocket>,
    pub(crate) changes_in: mpsc::Receiver<Change>,
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
    // Connections share the core with their worker, and so its thread.
    LocalSet::new().block_on(&executor, async {
        match Worker::new(supplies) {
            Ok(mut worker) => worker.run().await,
            Err(error) => tracing::error!(server = name, %error, "a worker cannot use its sockets"),
        }
    });
}

struct Worker<C: Core> {
    station: Rc<Station<C>>,
    inbound: Inbound,
    /// For one media packet.
    buffer: Vec<u8>,
    mail_in: mpsc::Receiver<Mail>,
    notes_in: mpsc::Receiver<C::Note>,
    changes_in: mpsc::Receiver<Change>,
    stopped: watch::Receiver<bool>,
    /// A UDP port that is given up is heard for so long.
    former_port: Duration,
}

/// The core with its ways out.
struct Station<C: Core> {
    guarded: RefCell<Guarded<C>>,
    outbound: RefCell<Outbound>,
    udp: RefCell<Option<Rc<UdpSocket>>>,
    former: RefCell<FormerPorts>,
    media: Option<UdpSocket>,
    connections: Rc<Connections>,
    metrics: ServeMetrics,
    read_buffer: RefCell<Box<[u8]>>,
    /// A buffer that nobody uses just now.
    spare: Cell<Vec<u8>>,
}

enum Wake<N> {
    Stop,
    Udp,
    Former(FormerPort),
    Change(Change),
    Media,
    Mail(Mail),
    Note(N),
    Deadline,
}

impl<C: Core> Worker<C> {
    fn new(supplies: Supplies<C>) -> std::io::Result<Self> {
        let Supplies { place, name, media, changes_in, mail, mail_in, notes_in, .. } = supplies;
        let Supplies { stopped, books, limits, metrics, make, .. } = supplies;
        let metrics = metrics.of(place.index);
        let connections = Rc::new(Connections::new(place, mail, C::steer, books, limits, metrics.clone()));
        let guarded = Guarded::new(place, name, make, metrics.clone());
        let station = Rc::new(Station {
            guarded: RefCell::new(guarded),
            outbound: RefCell::new(Outbound::new()),
            udp: RefCell::default(),
            former: RefCell::default(),
            media: media.map(UdpSocket::from_std).transpose()?,
            connections,
            metrics,
            read_buffer: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
            spare: Cell::default(),
        });
        let desk: Weak<Station<C>> = Rc::downgrade(&station);
        station.connections.serve(desk);
        let (buffer, former_port) = (vec![0; DATAGRAM_BYTES], limits.former_port);
        let inbound = Inbound::new();
        Ok(Worker { station, inbound, buffer, mail_in, notes_in, changes_in, stopped, former_port })
    }

    async fn run(&mut self) {
        loop {
            let station = Rc::clone(&self.station);
            let deadline = station.deadline();
            let (udp, former) = (station.udp(), station.former.borrow().all());
            let wake = tokio::select! {
                _ = self.stopped.wait_for(|stopped| *stopped) => Wake::Stop,
                Some(change) = self.changes_in.recv() => Wake::Change(change),
                () = readable(udp.as_deref()) => Wake::Udp,
                former = heard(&former) => Wake::Former(former),
                () = readable(station.media.as_ref()) => Wake::Media,
                Some(mail) = self.mail_in.recv() => Wake::Mail(mail),
                Some(note) = self.notes_in.recv() => Wake::Note(note),
                () = due(earliest(deadline, station.former.borrow().due())) => Wake::Deadline,
            };
            match wake {
                Wake::Stop => break,
                Wake::Udp => udp.into_iter().for_each(|udp| self.take_datagrams(&udp, None)),
                Wake::Former(FormerPort { socket, address, .. }) => {
                    self.take_datagrams(&socket, Some(address.port()));
                }
                Wake::Change(change) => {
                    // What is closed is closed once it is said to be.
                    drop((udp, former));
                    self.change(change).await;
                }
                Wake::Media => self.take_media(),
                Wake::Mail(first) => self.take_mail(first),
                Wake::Note(first) => self.take_notes(first),
                Wake::Deadline => station.former.borrow_mut().close_due(Instant::now()),
            }
            // A flood of one kind must not keep a deadline waiting.
            if station.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
                station.guarded.borrow_mut().handle_timeout();
                station.send();
            }
            // Connections live on this thread too, and get their turn here.
            tokio::task::yield_now().await;
        }
        self.station.connections.close_all(LAST_WRITES).await;
    }

    /// Takes other sockets, and gives up those before.
    async fn change(&self, change: Change) {
        let station = &self.station;
        let taken = match change.what {
            What::Udp(socket) => socket.map(UdpSocket::from_std).transpose().map(|socket| {
                if let Some(before) = station.udp.replace(socket.map(Rc::new)) {
                    station.former.borrow_mut().keep(before, Instant::now() + self.former_port);
                }
            }),
            What::Streams(transport, listening) => station.connections.listen(transport, listening).await,
            What::CloseFormer(address) => {
                station.former.borrow_mut().close(address);
                Ok(())
            }
        };
        if let Err(error) = taken {
            tracing::error!(%error, "a worker cannot use a socket that it was given");
        }
    }

    /// Takes what came by the UDP port, or by one that was given up.
    fn take_datagrams(&mut self, udp: &UdpSocket, former: Option<u16>) {
        let Worker { station, inbound, .. } = self;
        let came = match receive(udp, inbound) {
            Ok(came) => came,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            // An earlier datagram of ours was refused by its target; the next one may be there.
            Err(_) => return station.metrics.count_lost(Lost::SendFailed),
        };
        let now = Now::read();
        station.metrics.add_received(Transport::Udp, came as u64);
        {
            let mut guarded = station.guarded.borrow_mut();
            for (bytes, address) in (0..came).filter_map(|number| inbound.get(number)) {
                let peer = Peer { transport: Transport::Udp, address, connection: None };
                match station.connections.owner(bytes) {
                    None => guarded.with(|core, out| core.handle(bytes, peer.into(), now, out)),
                    Some(owner) => {
                        let letter = Letter { bytes: bytes.to_vec(), peer, names: Arc::default(), former };
                        let mail = Mail::Message(letter);
                        if station.connections.post(owner, mail).is_err() {
                            station.metrics.count_lost(Lost::QueueFull);
                        }
                    }
                }
            }
        }
        station.send_by(Some(udp));
    }

    fn take_media(&mut self) {
        let now = Now::read();
        for _ in 0..BUDGET {
            let Some(media) = &self.station.media else { return };
            match media.try_recv_from(&mut self.buffer) {
                Ok((length, from)) => {
                    self.station.metrics.count_media_received();
                    let bytes = &self.buffer[..length];
                    self.station.with(|core, out| core.handle_media(bytes, from, now, out));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
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
                Some(Mail::Message(letter)) => self.take_letter(&letter, now),
                Some(Mail::Connection(stream, address, tls)) => {
                    self.station.connections.take_given(stream, address, tls);
                }
                None => return,
            }
            if taken < BUDGET {
                next = self.mail_in.try_recv().ok();
            }
        }
    }

    fn take_letter(&self, letter: &Letter, now: Now) {
        let Letter { bytes, peer, names, former } = letter;
        let station = &self.station;
        let from = Source { peer: *peer, names };
        station.guarded.borrow_mut().with(|core, out| core.handle(bytes, from, now, out));
        let former = former.and_then(|port| station.former.borrow().at(port));
        station.send_by(former.or_else(|| station.udp()).as_deref());
    }

    fn take_notes(&mut self, first: C::Note) {
        let now = Now::read();
        self.station.with(|core, out| core.handle_note(first, now, out));
        for _ in 1..BUDGET {
            let Ok(note) = self.notes_in.try_recv() else { return };
            self.station.with(|core, out| core.handle_note(note, now, out));
        }
    }
}

impl<C: Core> Station<C> {
    /// Lets the core work, and sends what it wants sent.
    fn with(&self, work: impl FnOnce(&mut C, &mut Outbox)) {
        self.guarded.borrow_mut().with(work);
        self.send();
    }

    fn deadline(&self) -> Option<Instant> {
        self.guarded.borrow_mut().deadline()
    }

    fn udp(&self) -> Option<Rc<UdpSocket>> {
        self.udp.borrow().clone()
    }

    /// Sends all that the core left in the outbox.
    fn send(&self) {
        self.send_by(self.udp().as_deref());
    }

    /// The same, with datagrams leaving by this port: whoever asked is answered by the one that was asked.
    fn send_by(&self, udp: Option<&UdpSocket>) {
        let mut guarded = self.guarded.borrow_mut();
        for (peer, bytes) in guarded.outbox.stream_messages() {
            self.connections.send(peer, bytes);
        }
        self.send_datagrams(&mut guarded.outbox, udp);
    }

    /// Sends what is in the outbox and leaves by no stream, and empties it.
    fn send_datagrams(&self, outbox: &mut Outbox, udp: Option<&UdpSocket>) {
        if outbox.datagrams().next().is_none() {
            return self.send_media(outbox);
        }
        let Some(udp) = udp else {
            outbox.datagrams().for_each(|_| self.metrics.count_lost(Lost::NoSocket));
            return self.send_media(outbox);
        };
        // A full socket loses a datagram as the network may; SIP repeats it. Past the executor's own
        // way, which refuses until it has once waited for the socket.
        let sent = self.outbound.borrow_mut().send(udp.as_fd(), outbox.bytes(), outbox.datagrams());
        if sent.taken > 0 {
            self.metrics.add_sent(Transport::Udp, sent.taken as u64);
        }
        (0..sent.refused).for_each(|_| self.metrics.count_lost(Lost::SendFailed));
        self.send_media(outbox);
    }

    fn send_media(&self, outbox: &mut Outbox) {
        for (to, packet) in outbox.media_packets() {
            if self.media.as_ref().is_some_and(|media| socket::send(media, packet, to).is_ok()) {
                self.metrics.count_media_sent();
            }
        }
        outbox.clear();
    }
}

impl<C: Core> Desk for Station<C> {
    fn handle(&self, bytes: &[u8], from: Source<'_>, now: Now, answers: &mut Vec<u8>) -> u64 {
        let mut guarded = self.guarded.borrow_mut();
        guarded.with(|core, out| core.handle(bytes, from, now, out));
        let mut answered = 0;
        // As behind an ACK.
        if guarded.outbox.is_empty() {
            return answered;
        }
        for (to, message) in guarded.outbox.stream_messages() {
            if is_same(to.connection, from.peer.connection) {
                answers.extend_from_slice(message);
                answered += 1;
            } else {
                self.connections.send(to, message);
            }
        }
        self.send_datagrams(&mut guarded.outbox, self.udp().as_deref());
        answered
    }

    fn read_buffer(&self) -> RefMut<'_, Box<[u8]>> {
        self.read_buffer.borrow_mut()
    }

    fn lend(&self) -> Vec<u8> {
        self.spare.take()
    }

    fn take_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.spare.set(buffer);
    }
}

fn is_same(one: Option<ConnectionId>, other: Option<ConnectionId>) -> bool {
    one.is_some() && one == other
}

/// Takes a batch. If that was all, the executor is told so: it then waits without another look.
fn receive(udp: &UdpSocket, inbound: &mut Inbound) -> std::io::Result<usize> {
    let mut came = 0;
    let taken = udp.try_io(Interest::READABLE, || {
        came = inbound.receive(udp.as_fd())?;
        if came < BATCH { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match taken {
        Err(error) if error.kind() != ErrorKind::WouldBlock || came == 0 => Err(error),
        Ok(()) | Err(_) => Ok(came),
    }
}

async fn readable(socket: Option<&UdpSocket>) {
    match socket {
        // An error of the socket is seen by the read that follows.
        Some(socket) => drop(socket.readable().await),
        None => std::future::pending().await,
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}

async fn due(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
