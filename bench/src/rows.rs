//! What is measured, what must come out of it, and what is to be aimed at.
//!
//! Decides the rows of the table. Servers are measured one right after the other, round by round, and
//! compared within a round, so that whatever else the machine does meets all of them alike. Refuses
//! to know how calls are carried.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::call::Transport;
use crate::drive;
use crate::load::{Kind, Pace, Tally};
use crate::report::Report;
use crate::servers::{Configuration, Server};
use crate::setting::Setting;

/// Users of the speed rows.
pub(crate) const USERS: u32 = 10_000;

/// Users that are called in the rows of size and swap, so that both sizes are asked for as many.
pub(crate) const FEW_USERS: u32 = 10;

/// Connections that say nothing.
const IDLE_CONNECTIONS: usize = 500;

/// How often the table is swapped under load.
const SWAPS: u32 = 5;

/// From one swap to the next.
const SWAP_EVERY: Duration = Duration::from_secs(2);

/// How a transport is loaded: connections, and calls in flight on all of them.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) transport: Transport,
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
}

pub(crate) const UDP: Way = Way { name: "UDP", transport: Transport::Udp, connections: 1, in_flight: 64 };

pub(crate) const WAYS: [Way; 4] = [
    UDP,
    Way { name: "TCP, 1 connection", transport: Transport::Tcp, connections: 1, in_flight: 64 },
    Way { name: "TCP, 64 connections", transport: Transport::Tcp, connections: 64, in_flight: 256 },
    Way { name: "TLS, 64 connections", transport: Transport::Tls, connections: 64, in_flight: 256 },
];

/// What one run gave.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) tally: Tally,
    /// Right replies a second.
    pub(crate) rate: f64,
    /// Share of its processor that the server used.
    pub(crate) used: f64,
}

impl Measured {
    /// Right replies for each second of the server's processor. Where the server had its processor
    /// to itself and was busy all the time, this is the rate.
    pub(crate) fn per_core(&self) -> f64 {
        self.rate / self.used.max(1e-9)
    }
}

/// A server, what its replies are, and its name.
#[derive(Clone, Copy)]
pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    pub(crate) server: &'a Server,
    pub(crate) kind: Kind,
    pub(crate) users: u32,
}

/// Loads a server for a while.
pub(crate) fn measure(
    setting: &Setting,
    contender: Contender<'_>,
    way: Way,
    pace: Pace,
    time: Duration,
) -> io::Result<Measured> {
    let server = contender.server;
    let run = drive::Run {
        transport: way.transport,
        server: server.address(way.transport),
        connections: way.connections,
        pace,
        kind: contender.kind,
        users: contender.users,
        warm_up: Duration::from_millis(200),
        time,
        tls: setting.tls.clone(),
    };
    let mut began = (Instant::now(), Duration::ZERO);
    let tally = drive::run(&run, &mut || began = (Instant::now(), server.processor_time()))?;
    let (elapsed, busy) = (began.0.elapsed(), server.processor_time().saturating_sub(began.1));
    let rate = tally.answered as f64 / elapsed.as_secs_f64();
    Ok(Measured { tally, rate, used: busy.as_secs_f64() / elapsed.as_secs_f64() })
}

/// Measures each contender once, and notes what came of it.
pub(crate) fn round(
    setting: &Setting,
    report: &mut Report,
    row: &str,
    way: Way,
    contenders: &[(Contender<'_>, Pace)],
) -> io::Result<()> {
    for (contender, pace) in contenders {
        report.progress(&format!("{row}, {}", contender.name));
        let measured = measure(setting, *contender, way, *pace, setting.time)?;
        report.measured(row, contender.name, *pace, measured);
    }
    Ok(())
}

/// Memory of each connection of a fresh server that has had a call and is silent.
pub(crate) fn idle(
    setting: &Setting,
    report: &mut Report,
    row: &str,
    transport: Transport,
    contender: Contender<'_>,
) -> io::Result<()> {
    report.progress(&format!("{row}, {}", contender.name));
    let run = |connections| drive::Run {
        transport,
        server: contender.server.address(transport),
        connections,
        pace: Pace::Closed { in_flight: 1 },
        kind: contender.kind,
        users: contender.users,
        warm_up: Duration::ZERO,
        time: Duration::ZERO,
        tls: setting.tls.clone(),
    };
    // The first ones bring what is made once.
    let first = drive::idle(&run(IDLE_CONNECTIONS / 10))?;
    let before = contender.server.memory_kib();
    let idle = drive::idle(&run(IDLE_CONNECTIONS))?;
    let after = contender.server.memory_kib();
    drop((first, idle));
    report.figure(row, contender.name, after.saturating_sub(before) as f64 / IDLE_CONNECTIONS as f64);
    Ok(())
}

/// Loads a server at half of what it can, in peace and while its table is swapped again and again.
pub(crate) fn swap(
    setting: &Setting,
    report: &mut Report,
    contender: Contender<'_>,
    configuration: &mut Configuration,
    capacity: f64,
) -> io::Result<()> {
    let (row, pace) = ("table swap under load", Pace::Open { per_second: capacity / 2.0 });
    let time = SWAP_EVERY * SWAPS;
    report.progress(&format!("{row}, in peace"));
    let peace = measure(setting, contender, UDP, pace, time)?;
    report.progress(&format!("{row}, swapping"));
    let swapped = thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            // Away from the generator's processor, which has no time for it.
            crate::setting::move_to_server_core()?;
            for _ in 0..SWAPS {
                configuration.change()?;
                thread::sleep(SWAP_EVERY.mul_f64(0.9));
            }
            Ok::<_, io::Error>(())
        });
        let swapped = measure(setting, contender, UDP, pace, time)?;
        swapping.join().map_err(|_| io::Error::other("the writer of tables failed"))??;
        Ok::<_, io::Error>(swapped)
    })?;
    let ratio = swapped.tally.p99_us / peace.tally.p99_us.max(1e-9);
    report.figure("replies lost in a table swap", contender.name, swapped.tally.lost as f64);
    report.figure("p99 in a table swap against p99 without", contender.name, ratio);
    report.measured(row, "in peace", pace, peace);
    report.measured(row, "swapping", pace, swapped);
    Ok(())
}

/// One run, for programs.
pub(crate) fn line(row: &str, server: &str, pace: Pace, measured: &Measured) -> Value {
    let (pace, asked) = match pace {
        Pace::Closed { in_flight } => ("closed", in_flight as f64),
        Pace::Open { per_second } => ("open", per_second),
    };
    let tally = &measured.tally;
    json!({
        "row": row, "server": server, "pace": pace, "asked": asked,
        "per_second": measured.rate.round(), "per_core_second": measured.per_core().round(),
        "processor": measured.used, "p50_us": tally.p50_us, "p99_us": tally.p99_us,
        "answered": tally.answered, "wrong": tally.wrong, "lost": tally.lost,
    })
}
