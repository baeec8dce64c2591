//! Carries the calls of a [`Load`] over sockets, for a while.
//!
//! Decides that the generator never sleeps, so that no server pays for waking it, and that what is
//! due goes out together: datagrams in runs, and on a stream all messages of one turn in one write.
//! Refuses to know what is said.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use runtime::batch::{BATCH, Inbound, Outbound};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::SockRef;

use crate::call::{Template, Transport, message_bytes};
use crate::load::{Kind, Load, Pace, Tally};

/// Read in one go.
const READ_BYTES: usize = 64 * 1024;

/// So many calls are written in one turn at most.
const TURN: usize = 4 * BATCH;

/// Room of a socket for datagrams.
const ROOM_BYTES: usize = 4 * 1024 * 1024;

/// One run.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) transport: Transport,
    pub(crate) server: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    pub(crate) kind: Kind,
    pub(crate) users: u32,
    pub(crate) warm_up: Duration,
    pub(crate) time: Duration,
    pub(crate) tls: Arc<ClientConfig>,
}

/// When a run began, warms up and ends.
struct Clock {
    began: Instant,
    measures_at: Duration,
    ends_at: Duration,
    measuring: bool,
}

impl Clock {
    fn new(run: &Run) -> Clock {
        let ends_at = run.warm_up + run.time;
        Clock { began: Instant::now(), measures_at: run.warm_up, ends_at, measuring: false }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The time, with what is to be done at it; `None` once it is over.
    fn tick(&mut self, load: &mut Load, begin: &mut dyn FnMut()) -> Option<u64> {
        let elapsed = self.began.elapsed();
        if !self.measuring && elapsed >= self.measures_at {
            self.measuring = true;
            begin();
            load.measure(self.now_ns());
        }
        (elapsed < self.ends_at).then(|| self.now_ns())
    }
}

/// Runs it. `begin` is called when measuring begins.
///
/// # Errors
/// When a socket fails.
pub(crate) fn run(run: &Run, begin: &mut dyn FnMut()) -> io::Result<Tally> {
    match run.transport {
        Transport::Udp => datagrams(run, begin),
        Transport::Tcp | Transport::Tls => streams(run, begin),
    }
}

fn datagrams(run: &Run, begin: &mut dyn FnMut()) -> io::Result<Tally> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    widen(&socket)?;
    socket.set_nonblocking(true)?;
    let template = Template::new(run.transport, socket.local_addr()?, run.server);
    let mut load = Load::new(template, run.kind, run.pace, run.users, 1);
    let (mut inbound, mut outbound) = (Inbound::new(), Outbound::new());
    let (mut bytes, mut ranges): (Vec<u8>, Vec<Range<usize>>) = (Vec::new(), Vec::new());
    let mut clock = Clock::new(run);
    while let Some(now_ns) = clock.tick(&mut load, begin) {
        bytes.clear();
        let came = match inbound.receive(socket.as_fd()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            came => came?,
        };
        let mut push = |load: &mut Load, write: &mut dyn FnMut(&mut Load, &mut Vec<u8>)| {
            let start = bytes.len();
            write(load, &mut bytes);
            if bytes.len() > start {
                ranges.push(start..bytes.len());
            }
        };
        let now_ns = if came > 0 { clock.now_ns() } else { now_ns };
        for (reply, _) in (0..came).filter_map(|number| inbound.get(number)) {
            push(&mut load, &mut |load, out| load.take(reply, now_ns, out));
        }
        for _ in 0..TURN {
            let Some((connection, planned_ns)) = load.due(now_ns) else { break };
            push(&mut load, &mut |load, out| load.place(connection, planned_ns, out));
        }
        let messages = ranges.drain(..).map(|range| (run.server, range));
        // What a full socket refuses is found lost later.
        let _sent = outbound.send(socket.as_fd(), &bytes, messages);
        load.give_up(now_ns);
    }
    Ok(load.tally())
}

/// Makes room for all that a run has on the way, so that nothing is lost between generator and server.
///
/// # Errors
/// When the socket has no such room.
pub(crate) fn widen(socket: &UdpSocket) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_recv_buffer_size(ROOM_BYTES)?;
    socket.set_send_buffer_size(ROOM_BYTES)
}

/// A stream, in the clear or not.
pub(crate) struct Wire {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Bytes that came and are no whole message yet.
    received: Vec<u8>,
    /// Bytes that are to be written.
    unsent: Vec<u8>,
}

impl Wire {
    pub(crate) fn connect(run: &Run) -> io::Result<Wire> {
        let stream = TcpStream::connect(run.server)?;
        stream.set_nodelay(true)?;
        let mut tls = match run.transport {
            Transport::Udp | Transport::Tcp => None,
            Transport::Tls => {
                let name = ServerName::from(run.server.ip());
                let connection = ClientConnection::new(Arc::clone(&run.tls), name);
                Some(Box::new(connection.map_err(io::Error::other)?))
            }
        };
        if let Some(tls) = &mut tls {
            while tls.is_handshaking() {
                tls.complete_io(&mut &stream)?;
            }
        }
        stream.set_nonblocking(true)?;
        Ok(Wire { stream, tls, received: Vec::new(), unsent: Vec::new() })
    }

    pub(crate) fn local(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Reads what has come; false if nothing has.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let ended = || io::Error::new(ErrorKind::UnexpectedEof, "the server closed a connection");
        let read = match &mut self.tls {
            None => self.stream.read(buffer),
            Some(tls) => tls.read_tls(&mut self.stream),
        };
        let length = match read {
            Ok(0) => return Err(ended()),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(tls) = &mut self.tls else {
            self.received.extend_from_slice(&buffer[..length]);
            return Ok(true);
        };
        tls.process_new_packets().map_err(io::Error::other)?;
        loop {
            match tls.reader().read(buffer) {
                Ok(0) => return Err(ended()),
                Ok(length) => self.received.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes what can be written now.
    fn write(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(&self.unsent)?;
            self.unsent.clear();
            while tls.wants_write() {
                match tls.write_tls(&mut self.stream) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    written => drop(written?),
                }
            }
            return Ok(());
        }
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn has_unsent(&self) -> bool {
        !self.unsent.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Takes every whole message that has come.
    fn take(&mut self, load: &mut Load, now_ns: u64) {
        let mut at = 0;
        loop {
            let rest = &self.received[at..];
            let length = match load.kind {
                Kind::Redirect => message_bytes(rest),
                Kind::Echo { bytes } => (rest.len() >= bytes).then_some(bytes),
            };
            let Some(length) = length else { break };
            load.take(&rest[..length], now_ns, &mut self.unsent);
            at += length;
        }
        self.received.drain(..at);
    }
}

fn streams(run: &Run, begin: &mut dyn FnMut()) -> io::Result<Tally> {
    let mut wires = (0..run.connections).map(|_| Wire::connect(run)).collect::<io::Result<Vec<_>>>()?;
    // All calls are written as those of the first connection: a server answers by the one that they
    // came by.
    let template = Template::new(run.transport, wires[0].local()?, run.server);
    let mut load = Load::new(template, run.kind, run.pace, run.users, run.connections);
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    for (number, wire) in wires.iter().enumerate() {
        epoll.add(&wire.stream, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
    }
    let mut events = vec![EpollEvent::empty(); run.connections];
    let mut buffer = vec![0; READ_BYTES];
    let mut clock = Clock::new(run);
    while let Some(mut now_ns) = clock.tick(&mut load, begin) {
        let ready = epoll.wait(&mut events, EpollTimeout::ZERO)?;
        for event in &events[..ready] {
            let number = usize::try_from(event.data()).unwrap_or(0);
            let wire = &mut wires[number];
            if wire.read(&mut buffer)? {
                now_ns = clock.now_ns();
                wire.take(&mut load, now_ns);
            }
            while load.has_room(number) {
                load.place(number, now_ns, &mut wire.unsent);
            }
            wire.write()?;
        }
        for _ in 0..TURN {
            let Some((number, planned_ns)) = load.due(now_ns) else { break };
            load.place(number, planned_ns, &mut wires[number].unsent);
        }
        for wire in wires.iter_mut().filter(|wire| wire.has_unsent()) {
            wire.write()?;
        }
        load.give_up(now_ns);
    }
    Ok(load.tally())
}

/// Connections that have each had one call answered, and say nothing more.
///
/// # Errors
/// When one fails, or its call is not redirected within five seconds.
pub(crate) fn idle(run: &Run) -> io::Result<Vec<Wire>> {
    let mut wires = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    for _ in 0..run.connections {
        let mut wire = Wire::connect(run)?;
        let template = Template::new(run.transport, wire.local()?, run.server);
        let mut load = Load::new(template, run.kind, Pace::Closed { in_flight: 1 }, run.users, 1);
        load.measure(0);
        load.place(0, 0, &mut wire.unsent);
        let patience = Instant::now() + Duration::from_secs(5);
        while load.tally().answered == 0 {
            wire.write()?;
            if wire.read(&mut buffer)? {
                wire.take(&mut load, 1);
            }
            if Instant::now() > patience || load.tally().wrong > 0 {
                return Err(io::Error::new(ErrorKind::TimedOut, "a call was not redirected"));
            }
        }
        wire.write()?;
        wires.push(wire);
    }
    Ok(wires)
}
