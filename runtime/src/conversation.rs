//! What is said on one connection.
//!
//! Decides how a stream becomes messages for the worker that they belong to, how many of them are handled
//! before others have their turn, and when the connection is closed: too slow, silent for too long, too much,
//! or no SIP. Refuses to know what the messages mean, and which other connections there are.

use std::cell::RefMut;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use sip::{ConnectionId, Frame, Framer, Peer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificate::Fault;
use crate::connection::Connections;
use crate::held::Share;
use crate::mail::{Letter, Mail};
use crate::metrics::Closed;
use crate::outgoing::{Batch, Outgoing, write};
use crate::patience::Patience;
use crate::places::Place;
use crate::serve::Now;
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

/// The connection's own end; dropping it closes the connection's books.
pub(crate) struct Ticket {
    pub(crate) connections: Rc<Connections>,
    pub(crate) peer: Peer,
    pub(crate) id: ConnectionId,
    place: Place,
    /// The names that the peer has proved by its certificate.
    names: Arc<[String]>,
    outgoing: Arc<Outgoing>,
    /// Bytes whose rest has not come, those that wait for their turn, and many answers that are being written.
    held: Share,
    /// Messages that were handed to other workers, less those that were written for them since. An ACK
    /// stays in it.
    unanswered: u64,
    /// Messages and keep-alives that are handled before others have their turn.
    turn: usize,
    /// Whether its framer may have messages that wait for the next turn.
    has_more: bool,
}

/// What one read brought.
#[derive(Default)]
struct Read {
    /// Whole messages.
    messages: usize,
    /// What is left of the turn.
    turn: usize,
    /// Whether messages may be left, too.
    has_more: bool,
    /// What is written for those that this worker took.
    answers: Vec<u8>,
    /// How many messages that is.
    answered: u64,
    /// Those that belong to other workers.
    elsewhere: Vec<(usize, Mail)>,
    /// Why no more is read.
    end: Option<Option<Closed>>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Connections { books, place, metrics, .. } = &*self.connections;
        books.of(place.index).remove(&self.id);
        books.take_from(place.index);
        metrics.count_connections(books.leave(self.peer.address.ip(), self.place));
    }
}

impl Ticket {
    pub(crate) fn new(
        connections: Rc<Connections>,
        (peer, id, place): (Peer, ConnectionId, Place),
        outgoing: Arc<Outgoing>,
    ) -> Self {
        let turn = connections.limits.messages_per_turn;
        let (names, held) = (Arc::default(), connections.books.share(place));
        Ticket { connections, peer, id, place, names, outgoing, held, unanswered: 0, turn, has_more: false }
    }

    /// Does the TLS handshake, and learns who the far end is, if it says so.
    ///
    /// # Errors
    /// Why the connection is closed instead.
    pub(crate) async fn shake_hands(
        &mut self,
        stream: TcpStream,
        tls: &Shown,
    ) -> Result<TlsStream<TcpStream>, Closed> {
        let Connections { limits, metrics, .. } = &*self.connections;
        let handshake = TlsAcceptor::from(tls.config()).accept(stream);
        // What a handshake needs is given back once it is over.
        let shaken = Box::pin(timeout(limits.handshake_timeout, handshake)).await;
        let stream = shaken.map_err(|_| Closed::Handshake)?.map_err(|error| {
            if let Some(fault) = Fault::of_handshake(&error) {
                metrics.count_certificate(fault, self.peer.address, &error);
            }
            Closed::Handshake
        })?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        self.names = shown.map(source::names).unwrap_or_default().into();
        self.settle()?;
        Ok(stream)
    }

    /// Takes the place that belongs to whom the handshake has proved.
    fn settle(&mut self) -> Result<(), Closed> {
        let books = &self.connections.books;
        let place = books.settle(self.peer.address.ip(), self.place, &self.names)?;
        if place != self.place {
            self.place = place;
            self.held = books.share(place);
            self.outgoing.hold(books.share(place));
        }
        Ok(())
    }

    /// Reads and writes until either side ends it; `Some` if it was us who closed it.
    pub(crate) async fn converse<S>(&mut self, mut stream: S) -> Option<Closed>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let desk = self.connections.desk.get().and_then(Weak::upgrade)?;
        let mut framer = Framer::new();
        let mut patience = Patience::new(self.connections.limits);
        // It goes on waiting through all reads: to begin anew costs more than some of them.
        let outgoing = Arc::clone(&self.outgoing);
        let mut others = pin!(outgoing.take());
        loop {
            let went_on = tokio::select! {
                biased;
                batch = others.as_mut() => {
                    others.set(outgoing.take());
                    self.write_out(&mut stream, batch).await
                }
                read = self.read(&*desk, &mut stream, &mut framer) => {
                    let waiting = framer.waiting_bytes();
                    patience.after_read(read.messages, waiting > HALF_A_PING);
                    (self.turn, self.has_more) = (read.turn, read.has_more);
                    self.answer(&*desk, &mut stream, read, waiting).await
                }
                lost = patience.lost() => Err(Some(lost)),
            };
            if let Err(closed) = went_on {
                if closed == Some(Closed::Malformed) {
                    // What is pushed wakes the one that waits first.
                    others.set(outgoing.take());
                    let _in_time = timeout(LAST_ANSWERS, self.answer_the_rest(&mut stream)).await;
                }
                return closed;
            }
            if self.turn == 0 {
                tokio::task::yield_now().await;
                self.turn = self.connections.limits.messages_per_turn;
            }
        }
    }

    /// Waits for bytes, and lets every message that is whole be handled, as far as the turn goes. All
    /// connections of a worker read into one buffer, so that one that is silent holds none.
    async fn read<S: AsyncRead + Unpin>(&self, desk: &dyn Desk, stream: &mut S, framer: &mut Framer) -> Read {
        if self.has_more {
            return self.handle(desk, framer, &[]);
        }
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
        let mut read = Read { answers: desk.lend(), turn: self.turn, ..Read::default() };
        let now = Now::read();
        while read.end.is_none() && read.turn > 0 {
            match framer.cut(&mut bytes) {
                Ok(None) => break,
                Ok(Some(Frame::Ping)) => read.answers.extend_from_slice(PONG),
                Ok(Some(Frame::Message(message))) => {
                    read.messages += 1;
                    match self.connections.owner(message) {
                        Some(owner) => read.elsewhere.push((owner, self.forward(message))),
                        None => read.answered += desk.handle(message, from, now, &mut read.answers),
                    }
                }
                Err(_) => read.end = Some(Some(Closed::Malformed)),
            }
            read.turn -= 1;
        }
        if read.turn == 0 {
            framer.push(bytes);
            read.has_more = true;
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
