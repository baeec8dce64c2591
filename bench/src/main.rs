//! Umbriel's router, Kamailio and a bare echo, measured side by side on one processor.
//!
//! Decides the order of the measurements and the exit status: 1 if anything that must be reached was
//! missed. `make bench ONLY=router` runs it; docs/performance.md says what the figures mean.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a measurement is read at the terminal")]
#![allow(clippy::cast_possible_truncation, reason = "figures of a measurement are rounded as they are")]

mod call;
mod core;
mod drive;
mod echo;
mod histogram;
mod hostile;
mod load;
mod report;
mod rows;
mod servers;
mod setting;

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use config::Certificate;

use crate::call::{Call, FIRST_EXTENSION, Template, Transport};
use crate::echo::Lengths;
use crate::load::{Kind, Pace};
use crate::report::{
    AT_REST, ECHO, HALF, IDLE_TCP, IDLE_TLS, KAMAILIO, LARGE, Report, Requirement, SIZES, SMALL, UMBRIEL,
};
use crate::rows::{Contender, FEW_USERS, UDP, USERS, WAYS};
use crate::servers::{Place, Server, Size};
use crate::setting::Setting;

const USAGE: &str =
    "usage: umbriel-bench router|hostile UMBRIEL SECONDS ROUNDS JSON_LINES | core MAILBOXES BATCHES";

/// The organisation of the speed rows.
const TYPICAL: Size = Size { mailboxes: USERS, hunt_groups: 10, gateways: 10 };
const SMALLEST: Size = Size { mailboxes: FEW_USERS, hunt_groups: 10, gateways: 10 };
const LARGEST: Size = Size { mailboxes: 100_000, hunt_groups: 2_000, gateways: 200 };

/// Measurements of one round, and those that are made once.
const STEPS_OF_A_ROUND: usize = 4 * 3 - 1 + 2 + 3;
const STEPS_ONCE: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["router", umbriel, seconds, rounds, lines] => router(umbriel, seconds, rounds, lines),
        ["core", mailboxes, batches] => core(mailboxes, batches).map(|()| true),
        ["hostile", umbriel, seconds, rounds, lines] => hostile(umbriel, seconds, rounds, lines),
        ["echo", way, port, reply, invite, ack] => echo(way, [port, reply, invite, ack]).map(|()| true),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, USAGE)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\n{error}");
            ExitCode::from(2)
        }
    }
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{text} is no number")))
}

fn core(mailboxes: &str, batches: &str) -> io::Result<()> {
    core::run(Size { mailboxes: number(mailboxes)?, ..TYPICAL }, number(batches)?)
}

/// The other end of the bench: a bare echo, until it is ended.
fn echo(way: &str, [port, reply, invite, ack]: [&str; 4]) -> io::Result<()> {
    let lengths = Lengths { reply: number(reply)?, invite: number(invite)?, ack: number(ack)? };
    let address = (Ipv4Addr::LOCALHOST, number(port)?);
    // Both listen, so that whoever waits for it can see that it is there.
    let listener = TcpListener::bind(address)?;
    match way {
        "udp" => echo::datagrams(&UdpSocket::bind(address)?, lengths),
        _ => echo::streams(&listener, lengths),
    }
}

/// All servers of the bench.
struct Servers {
    umbriel: Server,
    kamailio: Option<Server>,
    datagrams: Server,
    streams: Server,
    reply_bytes: usize,
}

/// Where it is measured, and the report of so many steps before the rounds and in each.
fn prepare(
    folder: &Path,
    [umbriel, seconds, rounds, lines]: [&str; 4],
    steps: (usize, usize),
) -> io::Result<(Setting, Place, Report)> {
    let (chain, key) =
        runtime::tls::self_signed("bench", Ipv4Addr::LOCALHOST.into()).map_err(io::Error::other)?;
    let certificate = Certificate { chain, key, authorities: None };
    let rounds = number(rounds)?;
    let setting = Setting {
        time: Duration::from_secs_f64(number(seconds)?),
        rounds,
        tls: setting::trust(&certificate)?,
    };
    let place = Place { folder: folder.to_owned(), umbriel: PathBuf::from(umbriel), certificate };
    let mut report = Report::new(lines.as_ref(), steps.0 + steps.1 * rounds as usize)?;
    setting::move_to_generator_core()?;
    report.progress("starting servers");
    Ok((setting, place, report))
}

fn conclude(mut report: Report, requirements: &[Requirement], lines: &str) -> bool {
    let reached = report.print(requirements);
    println!("\n{lines} has each run as a line of JSON");
    reached
}

/// Umbriel alone, among peers that mean no good.
fn hostile(umbriel: &str, seconds: &str, rounds: &str, lines: &str) -> io::Result<bool> {
    let folder = tempfile::tempdir()?;
    let (setting, place, mut report) = prepare(folder.path(), [umbriel, seconds, rounds, lines], (2, 3))?;
    let (server, _) = servers::umbriel(&place, "umbriel", TYPICAL)?;
    hostile::flood(&setting, &mut report, contender(UMBRIEL, &server))?;
    hostile::slow(&setting, &mut report, &server)?;
    Ok(conclude(report, &report::among_hostile_peers(), lines))
}

fn router(umbriel: &str, seconds: &str, rounds: &str, lines: &str) -> io::Result<bool> {
    let folder = tempfile::tempdir()?;
    let steps = (STEPS_ONCE, STEPS_OF_A_ROUND);
    let (setting, place, mut report) = prepare(folder.path(), [umbriel, seconds, rounds, lines], steps)?;
    let servers = start(&place)?;
    if servers.kamailio.is_none() {
        eprintln!("\nKamailio is not installed: what is measured against it is skipped");
    }
    report.figure(AT_REST, UMBRIEL, servers.umbriel.memory_kib() as f64 / 1024.0);
    for (row, transport) in [(IDLE_TCP, Transport::Tcp), (IDLE_TLS, Transport::Tls)] {
        let (fresh, _) = servers::umbriel(&place, transport.name(), TYPICAL)?;
        rows::idle(&setting, &mut report, row, transport, contender(UMBRIEL, &fresh))?;
    }
    speed(&setting, &mut report, &servers)?;
    drop(servers);
    size(&setting, &place, &mut report)?;
    Ok(conclude(report, &report::beside_others(), lines))
}

fn contender<'a>(name: &'static str, server: &'a Server) -> Contender<'a> {
    Contender { name, server, kind: Kind::Redirect, users: USERS }
}

fn start(place: &Place) -> io::Result<Servers> {
    let (umbriel, _) = servers::umbriel(place, "umbriel", TYPICAL)?;
    let kamailio = servers::kamailio(place, USERS)?;
    // The echo answers by as many bytes as Umbriel does.
    let reply_bytes = probe::reply_bytes(umbriel.udp)?;
    let lengths = |transport| {
        let from = (Ipv4Addr::LOCALHOST, 40_000).into();
        let template = Template::new(transport, from, umbriel.udp);
        let mut ack = Vec::new();
        template.ack(Call { number: 0, extension: FIRST_EXTENSION }, b"0123456789abcdef", &mut ack);
        Lengths { reply: reply_bytes, invite: template.invite_bytes(), ack: ack.len() }
    };
    let datagrams = servers::echo(place, "udp", lengths(Transport::Udp))?;
    let streams = servers::echo(place, "tcp", lengths(Transport::Tcp))?;
    Ok(Servers { umbriel, kamailio, datagrams, streams, reply_bytes })
}

/// Capacity by each transport, and latency at half of it.
fn speed(setting: &Setting, report: &mut Report, servers: &Servers) -> io::Result<()> {
    let echo = Kind::Echo { bytes: servers.reply_bytes };
    let umbriel = contender(UMBRIEL, &servers.umbriel);
    let kamailio = servers.kamailio.as_ref().map(|server| contender(KAMAILIO, server));
    let of_echo = |server| Contender { name: ECHO, server, kind: echo, users: USERS };
    for _ in 0..setting.rounds {
        for way in WAYS {
            let bare = match way.transport {
                Transport::Udp => Some(of_echo(&servers.datagrams)),
                Transport::Tcp => Some(of_echo(&servers.streams)),
                Transport::Tls => None,
            };
            let all = [Some(umbriel), kamailio, bare].into_iter().flatten();
            let pace = Pace::Closed { in_flight: way.in_flight };
            let all: Vec<_> = all.map(|contender| (contender, pace)).collect();
            rows::round(setting, report, way.name, way, &all)?;
        }
        let all = [Some(umbriel), kamailio, Some(of_echo(&servers.datagrams))].into_iter().flatten();
        let half = |name| Pace::Open { per_second: report.rate(UDP.name, name) / 2.0 };
        let all: Vec<_> = all.map(|contender| (contender, half(contender.name))).collect();
        rows::round(setting, report, HALF, UDP, &all)?;
    }
    Ok(())
}

/// A large organisation beside a small one, and news for the large one.
fn size(setting: &Setting, place: &Place, report: &mut Report) -> io::Result<()> {
    let (small, _) = servers::umbriel(place, "small", SMALLEST)?;
    let (large, mut configuration) = servers::umbriel(place, "large", LARGEST)?;
    let small = contender(SMALL, &small);
    let small = Contender { users: SMALLEST.mailboxes, ..small };
    let large = Contender { users: LARGEST.mailboxes, ..contender(LARGE, &large) };
    let pace = Pace::Closed { in_flight: UDP.in_flight };
    for _ in 0..setting.rounds {
        rows::round(setting, report, SIZES, UDP, &[(small, pace), (large, pace)])?;
    }
    rows::swap(setting, report, large, &mut configuration, report.rate(SIZES, LARGE))
}

/// One call, to see how long a redirect is.
mod probe {
    use std::io;
    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
    use std::time::Duration;

    use crate::call::{Call, FIRST_EXTENSION, Template, Transport};

    pub(super) fn reply_bytes(server: SocketAddr) -> io::Result<usize> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut invite = Vec::new();
        let template = Template::new(Transport::Udp, socket.local_addr()?, server);
        template.invite(Call { number: 0, extension: FIRST_EXTENSION }, &mut invite);
        let _sent = socket.send_to(&invite, server)?;
        let mut reply = [0; 4096];
        let length = socket.recv(&mut reply)?;
        if reply.starts_with(b"SIP/2.0 302 ") {
            return Ok(length);
        }
        Err(io::Error::other(String::from_utf8_lossy(&reply[..length]).into_owned()))
    }
}
