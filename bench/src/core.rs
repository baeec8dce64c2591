//! The router's core by itself: requests that lie in memory, answers that stay there.
//!
//! Decides what of a call costs how much without a kernel: the time of one INVITE and of one ACK, by
//! datagram and cut from a stream. Run under `valgrind --tool=callgrind --toggle-collect='*measured*'` it
//! says how many instructions that is, and where, whatever else the machine does.

use std::hint::black_box;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use nix::time::{ClockId, clock_gettime};
use router::{Counters, Router, Snapshot, State};
use runtime::Outbox;
use sip::{ConnectionId, Frame, Framer, Peer};

use crate::call::{Call, FIRST_EXTENSION, Template, Transport, read};
use crate::servers::{Size, config};

/// Calls of one batch: what a worker reads at once.
const BATCH: u32 = 64;

/// What the clock says; one minute, so that one window of tokens is asked for.
const NOW_UNIX_S: u64 = 1_900_000_000;

/// Answers messages as a worker does.
struct Worker {
    router: Router,
    outbox: Outbox,
    answers: Vec<u8>,
}

impl Worker {
    fn answer(&mut self, message: &[u8], peer: Peer) {
        self.outbox.clear();
        self.router.answer(message, peer.into(), NOW_UNIX_S, &mut self.outbox);
        for (_, answer) in self.outbox.sip_messages() {
            self.answers.extend_from_slice(answer);
        }
    }
}

/// The requests of one batch: INVITEs or ACKs.
struct Requests {
    peer: Peer,
    messages: Vec<Vec<u8>>,
}

/// Measures so many batches of each kind, for an organisation of this size, and prints nanoseconds a
/// message.
///
/// # Errors
/// When the router's configuration is none, or a call is not redirected.
pub(crate) fn run(size: Size, batches: u32) -> io::Result<()> {
    let snapshot = Snapshot::compile(&config(size)).map_err(io::Error::other)?;
    let router = Router::new(Arc::new(State::new(Arc::new(snapshot))), Counters::default());
    let mut worker = Worker { router, outbox: Outbox::new(), answers: Vec::new() };
    for transport in [Transport::Udp, Transport::Tcp] {
        for method in ["INVITE", "ACK"] {
            let mut spent_ns = 0;
            for batch in 0..batches {
                let requests = requests(&mut worker, transport, method, size.mailboxes, batch)?;
                let stream = requests.messages.concat();
                let started_ns = thread_time_ns()?;
                match transport {
                    Transport::Udp => measured_datagrams(&mut worker, &requests),
                    Transport::Tcp | Transport::Tls => measured_stream(&mut worker, requests.peer, &stream),
                }
                spent_ns += thread_time_ns()? - started_ns;
            }
            let each = spent_ns as f64 / f64::from(batches * BATCH);
            println!("{:>4} {method:<6} {each:>7.0} ns", transport.name());
        }
    }
    Ok(())
}

/// The next batch of calls, and how they are answered where that is what is acknowledged.
fn requests(
    worker: &mut Worker,
    transport: Transport,
    method: &str,
    users: u32,
    batch: u32,
) -> io::Result<Requests> {
    let (from, server) = (local(40_000), local(5060));
    let template = Template::new(transport, from, server);
    let (transport, connection) = match transport {
        Transport::Udp => (sip::Transport::Udp, None),
        Transport::Tcp => (sip::Transport::Tcp, Some(ConnectionId(1))),
        Transport::Tls => (sip::Transport::Tls, Some(ConnectionId(1))),
    };
    let peer = Peer { transport, address: from, connection };
    let mut messages = Vec::new();
    for number in batch * BATCH..(batch + 1) * BATCH {
        let place = (u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % u64::from(users);
        let call = Call { number: u64::from(number), extension: FIRST_EXTENSION + place as u32 };
        let mut message = Vec::new();
        template.invite(call, &mut message);
        if method == "ACK" {
            worker.answers.clear();
            worker.answer(&message, peer);
            let reply = read(&worker.answers).filter(|reply| reply.redirects);
            let reply = reply.ok_or_else(|| io::Error::other("a call is not redirected"))?;
            message.clear();
            template.ack(call, reply.tag, &mut message);
        }
        messages.push(message);
    }
    worker.answers.clear();
    Ok(Requests { peer, messages })
}

#[inline(never)]
fn measured_datagrams(worker: &mut Worker, requests: &Requests) {
    for message in &requests.messages {
        worker.answer(black_box(message), requests.peer);
    }
}

#[inline(never)]
fn measured_stream(worker: &mut Worker, peer: Peer, stream: &[u8]) {
    let (mut framer, mut bytes) = (Framer::new(), black_box(stream));
    while let Ok(Some(Frame::Message(message))) = framer.cut(&mut bytes) {
        worker.answer(message, peer);
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn thread_time_ns() -> io::Result<i64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}
