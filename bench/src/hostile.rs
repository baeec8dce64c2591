//! The router among hostile peers: a flood of datagrams from strangers, and peers that are slow on purpose.
//!
//! Decides what they do, and what is measured of a good gateway meanwhile. Refuses to know how good calls are
//! carried.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memmem::find;
use runtime::batch::{BATCH, Inbound, Outbound};
use socket2::{Domain, Socket, Type};

use crate::call::{Call, FIRST_EXTENSION, Template, Transport};
use crate::histogram::Histogram;
use crate::load::Pace;
use crate::report::{FLOOD, FLOOD_ANSWERED, FLOOD_ANSWERS, FLOOD_LINES, FLOOD_MEMORY, FLOOD_SENT, NO_FLOOD};
use crate::report::{Report, SLOW_LOST, SLOW_MEMORY, SLOW_P99, UMBRIEL};
use crate::rows::{self, Contender, UDP};
use crate::servers::Server;
use crate::setting::Setting;

/// Datagrams of the flood in one second, by turns noise and the INVITE of a stranger.
const FLOOD_PER_SECOND: f64 = 200_000.0;

/// Good calls in one second meanwhile: a busy hour of a million users has 200.
const GOOD_PER_SECOND: f64 = 2_000.0;

/// Addresses that the flood comes from.
const STRANGERS: u8 = 8;

/// Slow peers of each kind.
const SLOW_PEERS: u16 = 1_000;

/// OPTIONS of the good gateway in one second, meanwhile.
const OPTIONS_PER_SECOND: f64 = 1_000.0;

/// What has no answer so long after the last question is lost.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Questions that a slow peer has: one for each second of the longest run.
const QUESTIONS: usize = 1_000;

/// What a flood did.
struct Flood {
    sent: u64,
    answers: u64,
    answered_bytes: u64,
    sent_bytes: u64,
}

/// Good calls without a flood and within one.
///
/// # Errors
/// When a socket fails.
pub(crate) fn flood(setting: &Setting, report: &mut Report, contender: Contender<'_>) -> io::Result<()> {
    let pace = Pace::Open { per_second: GOOD_PER_SECOND };
    for _ in 0..setting.rounds {
        report.progress(NO_FLOOD);
        let without = rows::measure(setting, contender, UDP, pace, setting.time)?;
        let (memory_kib, lines) = (contender.server.memory_kib(), contender.server.lines());
        report.progress(FLOOD);
        let over = AtomicBool::new(false);
        let began = Instant::now();
        let (within, flood) = thread::scope(|threads| {
            let flood = threads.spawn(|| flood_with_datagrams(contender.server.udp, &over));
            let within = rows::measure(setting, contender, UDP, pace, setting.time);
            over.store(true, Ordering::Relaxed);
            (within, flood.join())
        });
        let (within, seconds) = (within?, began.elapsed().as_secs_f64());
        let flood = flood.map_err(|_| io::Error::other("the flood has failed"))??;
        let more_kib = contender.server.memory_kib().saturating_sub(memory_kib);
        // The seconds of the clock that it began and ended in count whole.
        let clock_seconds = (seconds + 2.0).floor();
        let answers = flood.answers as f64 / f64::from(STRANGERS) / clock_seconds;
        report.figure(FLOOD_SENT, UMBRIEL, flood.sent as f64 / seconds);
        report.figure(FLOOD_ANSWERED, UMBRIEL, within.tally.answered as f64 / without.tally.answered as f64);
        report.figure(FLOOD_ANSWERS, UMBRIEL, answers);
        report.figure(FLOOD_MEMORY, UMBRIEL, more_kib as f64 / 1024.0);
        report.figure(FLOOD_LINES, UMBRIEL, (contender.server.lines() - lines) as f64 / clock_seconds);
        if flood.answered_bytes > flood.sent_bytes {
            return Err(io::Error::other("strangers got more bytes than they sent"));
        }
        report.measured(NO_FLOOD, UMBRIEL, pace, without);
        report.measured(FLOOD, UMBRIEL, pace, within);
    }
    Ok(())
}

fn flood_with_datagrams(server: SocketAddr, over: &AtomicBool) -> io::Result<Flood> {
    let mut flood = Flood { sent: 0, answers: 0, answered_bytes: 0, sent_bytes: 0 };
    let (mut inbound, mut outbound) = (Inbound::new(), Outbound::new());
    let strangers: Vec<_> =
        (0..STRANGERS).map(|number| stranger(server, number)).collect::<io::Result<_>>()?;
    let began = Instant::now();
    for (socket, bytes) in strangers.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            return Ok(flood);
        }
        while began.elapsed().as_secs_f64() * FLOOD_PER_SECOND < flood.sent as f64 {
            // Good calls share this processor.
            thread::sleep(Duration::from_micros(100));
        }
        let noise = bytes.len() - NOISE_BYTES;
        let ranges = (0..BATCH).map(|turn| if turn % 2 == 0 { 0..noise } else { noise..bytes.len() });
        let taken = outbound.send(socket.as_fd(), bytes, ranges.map(|range| (server, range))).taken;
        flood.sent += taken as u64;
        flood.sent_bytes += (taken * bytes.len() / 2) as u64;
        if let Ok(came) = inbound.receive(socket.as_fd()) {
            flood.answers += came as u64;
            let answers = (0..came).filter_map(|number| inbound.get(number));
            flood.answered_bytes += answers.map(|(bytes, _)| bytes.len() as u64).sum::<u64>();
        }
    }
    Ok(flood)
}

/// Bytes of a datagram of noise: a media packet of 20 ms.
const NOISE_BYTES: usize = 172;

/// A stranger with an INVITE, and noise behind it.
fn stranger(server: SocketAddr, number: u8) -> io::Result<(UdpSocket, Vec<u8>)> {
    let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 66, number + 1), 0))?;
    socket.set_nonblocking(true)?;
    let mut bytes = Vec::new();
    let template = Template::new(Transport::Udp, socket.local_addr()?, server);
    template.invite(Call { number: number.into(), extension: FIRST_EXTENSION }, &mut bytes);
    bytes.extend_from_slice(&[0x80; NOISE_BYTES]);
    Ok((socket, bytes))
}

/// What a slow peer does once in a second.
#[derive(Clone, Copy)]
enum Slowness {
    /// Asks for one more answer, and reads a byte.
    Reads,
    /// Writes the next byte of one message.
    Writes,
    /// Nothing: it does not begin its handshake.
    SaysNothing,
}

struct SlowPeer {
    slowness: Slowness,
    from: Ipv4Addr,
    to: SocketAddr,
    stream: TcpStream,
    sent: usize,
}

impl SlowPeer {
    fn new(server: &Server, number: u16, slowness: Slowness) -> io::Result<Self> {
        let [high, low] = (number + 1).to_be_bytes();
        let (from, transport) = match slowness {
            // Whoever is no gateway gets one answer in a second.
            Slowness::Reads => (Ipv4Addr::LOCALHOST, Transport::Tcp),
            Slowness::Writes => (Ipv4Addr::new(127, 0, 70 + high, low), Transport::Tcp),
            Slowness::SaysNothing => (Ipv4Addr::new(127, 0, 80 + high, low), Transport::Tls),
        };
        let to = server.address(transport);
        Ok(SlowPeer { slowness, from, to, stream: connect(from, to)?, sent: 0 })
    }

    /// One second of it. Whoever was closed comes again.
    fn go_on(&mut self, questions: &[u8]) -> io::Result<()> {
        match self.slowness {
            Slowness::SaysNothing => (),
            Slowness::Writes => {
                let next = questions.get(self.sent..=self.sent).unwrap_or_default();
                self.sent += self.stream.write(next).unwrap_or_default();
            }
            Slowness::Reads => {
                let one = questions.get(self.sent..self.sent + options("TCP", 0).len()).unwrap_or_default();
                self.sent += self.stream.write(one).unwrap_or_default();
            }
        }
        match self.stream.read(&mut [0; 1]) {
            Ok(1..) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Ok(_) | Err(_) => {
                (self.stream, self.sent) = (connect(self.from, self.to)?, 0);
                Ok(())
            }
        }
    }
}

fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(4096)?;
    socket.set_send_buffer_size(4096)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&to.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn options(transport: &str, number: u64) -> Vec<u8> {
    format!(
        "OPTIONS sip:umbriel SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1;rport;branch=z9hG4bK{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:gateway>;tag=f\r\nTo: <sip:umbriel>\r\nCall-ID: {number}\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// The number in the Call-ID of a 200.
fn answered(bytes: &[u8]) -> Option<usize> {
    let start = find(bytes, b"\r\nCall-ID: ").filter(|_| bytes.starts_with(b"SIP/2.0 200 "))? + 11;
    let end = start + find(&bytes[start..], b"\r\n")?;
    std::str::from_utf8(&bytes[start..end]).ok()?.parse().ok()
}

/// OPTIONS of a good gateway among three thousand slow peers.
///
/// # Errors
/// When a socket fails.
pub(crate) fn slow(setting: &Setting, report: &mut Report, server: &Server) -> io::Result<()> {
    runtime::raise_open_files();
    report.progress("slow peers");
    let memory_kib = server.memory_kib();
    let questions: Vec<u8> = options("TCP", 0).repeat(QUESTIONS);
    let mut peers = Vec::new();
    for number in 0..SLOW_PEERS {
        for slowness in [Slowness::Reads, Slowness::Writes, Slowness::SaysNothing] {
            peers.push(SlowPeer::new(server, number, slowness)?);
        }
    }
    let mut next_peer = 0;
    for _ in 0..setting.rounds {
        report.progress("OPTIONS among slow peers");
        let per_second = peers.len() as f64;
        let mut between = |elapsed: Duration, done: &mut u64| {
            if elapsed.as_secs_f64() * per_second > *done as f64 {
                *done += 1;
                next_peer = (next_peer + 1) % peers.len();
                return peers[next_peer].go_on(&questions);
            }
            Ok(())
        };
        let (times, lost) = ask(server.udp, setting.time, &mut between)?;
        report.figure(SLOW_P99, UMBRIEL, times.quantile_us(0.99) / 1000.0);
        report.figure(SLOW_LOST, UMBRIEL, lost as f64);
        let more_kib = server.memory_kib().saturating_sub(memory_kib);
        report.figure(SLOW_MEMORY, UMBRIEL, more_kib as f64 / 1024.0);
    }
    Ok(())
}

/// Asks at a steady pace, and does what is due between two looks; gives how long answers took from when their
/// questions were planned, and how many had none.
fn ask(
    server: SocketAddr,
    time: Duration,
    between: &mut dyn FnMut(Duration, &mut u64) -> io::Result<()>,
) -> io::Result<(Histogram, u64)> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    let planned = |number: usize| Duration::from_secs_f64(number as f64 / OPTIONS_PER_SECOND);
    let count = (time.as_secs_f64() * OPTIONS_PER_SECOND) as usize;
    let mut waiting = vec![true; count];
    let (mut asked, mut left, mut done) = (0, count, 0);
    let mut times = Histogram::new();
    let mut buffer = [0; 4096];
    let began = Instant::now();
    while left > 0 && began.elapsed() < time + LAST_ANSWERS {
        if asked < count && began.elapsed() >= planned(asked) {
            // What a full socket refuses is lost.
            let _sent = socket.send(&options("UDP", asked as u64));
            asked += 1;
        }
        while let Ok(length) = socket.recv(&mut buffer) {
            let number = answered(&buffer[..length]).filter(|number| waiting.get(*number) == Some(&true));
            if let Some(number) = number {
                let took = began.elapsed().saturating_sub(planned(number));
                times.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
                waiting[number] = false;
                left -= 1;
            }
        }
        between(began.elapsed(), &mut done)?;
    }
    Ok((times, left as u64))
}
