//! What the operator costs with 100,000 mailboxes and 10,000 other objects: time of a processor, what
//! is written, and memory; and, given the program `umbriel`, how long it takes until a call is answered
//! by a change. Objects are read as the API server gives them, and what is written comes back as it would
//! from there. Ends with an error where a limit is passed.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]
#![allow(clippy::print_stdout, reason = "a measurement is read at the terminal")]

#[path = "reconcile/api_server.rs"]
mod api_server;
#[path = "reconcile/wire.rs"]
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_server::{ApiServer, NAMESPACE};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value as Json, json};
use umbriel_operator::cluster::Picture;
use umbriel_operator::{Image, Plan, Write};
use wire::{Caller, Folder, free_port};

const MAILBOXES: u32 = 100_000;

const OTHERS: u32 = 10_000;

/// The first plan and everything that is read for it.
const FIRST_LIMIT: Duration = Duration::from_secs(5);

/// One change of something that stands by itself: what is read of it, and the plan that tells servers.
const CHANGE_LIMIT: Duration = Duration::from_millis(50);

/// From a change to a call that is answered by it.
const WIRE_LIMIT: Duration = Duration::from_secs(2);

const MEMORY_LIMIT_MIB: u64 = 400;

/// Each kind of change is made so often; the median counts.
const REPETITIONS: u32 = 9;

/// The gateway that calls, which nobody changes otherwise: one of those that [`ApiServer::edit`] reaches.
const CALLING: u32 = 24;

/// Plans until nothing is left to be written: parts, who takes calls, statuses a thousand at a time.
const MAX_PLANS: usize = 500;

/// The time of a processor that this process has taken.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}

/// An operator, and the API server of its cluster.
struct Bench {
    picture: Picture,
    server: ApiServer,
    folder: Folder,
    /// The time of a processor that the operator has taken since it was asked last.
    taken: Duration,
    is_missed: bool,
}

/// What a change came to.
struct Outcome {
    /// Until what servers read is there to be written.
    first: Duration,
    /// Until nothing is left to be written.
    all: Duration,
    parts: usize,
    statuses: usize,
    slices: usize,
}

impl Bench {
    fn tell(&mut self, object: Json) {
        let begun = processor_time();
        self.picture.told(object);
        self.taken += processor_time() - begun;
    }

    fn plan(&mut self) -> Plan {
        let (image, spare, now) = (Image::from("umbriel:1"), self.server.spare_key(), self.server.now());
        let begun = processor_time();
        let (world, plan) = self.picture.plan(NAMESPACE, &image, spare, now);
        drop(world);
        self.taken += processor_time() - begun;
        plan
    }

    /// Writes, and hears of it.
    fn carry_out(&mut self, write: Write) {
        self.folder.put(&write);
        let echo = self.server.carry_out(write);
        self.tell(echo);
    }

    /// Carries out plans until nothing is left to be written.
    fn settle(&mut self) -> Outcome {
        let mut outcome =
            Outcome { first: Duration::ZERO, all: Duration::ZERO, parts: 0, statuses: 0, slices: 0 };
        for number in 0..MAX_PLANS {
            let plan = self.plan();
            if number == 0 {
                outcome.first = self.taken;
                outcome.slices = self.picture.effort(NAMESPACE).slices;
            }
            assert_eq!(plan.problems, []);
            if plan.writes.is_empty() && plan.cut_after.is_none() {
                outcome.all = std::mem::take(&mut self.taken);
                return outcome;
            }
            for write in plan.writes {
                outcome.parts += usize::from(matches!(write, Write::Part(..)));
                outcome.statuses += usize::from(matches!(write, Write::Status(..)));
                self.carry_out(write);
            }
            for pod in self.server.pods() {
                self.picture.heard(&pod, self.server.written(&pod));
                self.tell(pod);
            }
        }
        panic!("there is always something to write");
    }

    /// Makes one kind of change several times, each of another object.
    fn change(&mut self, what: &str, limit: Duration, change: impl Fn(&mut ApiServer, u32) -> Json) {
        let mut outcomes = Vec::new();
        for number in 0..REPETITIONS {
            let object = change(&mut self.server, number);
            self.tell(object);
            outcomes.push(self.settle());
        }
        self.median(what, limit, outcomes);
    }

    fn median(&mut self, what: &str, limit: Duration, mut outcomes: Vec<Outcome>) {
        outcomes.sort_by_key(|outcome| outcome.first);
        let median = outcomes.swap_remove(outcomes.len() / 2);
        self.row(what, limit, &median);
    }

    /// The name of one gateway after another leads elsewhere.
    fn names_lead_elsewhere(&mut self) {
        let mut outcomes = Vec::new();
        for number in 0..REPETITIONS {
            let answers = Arc::new(self.server.answers(0..2 * (number + 1)));
            let begun = processor_time();
            self.picture.found_out(answers);
            self.taken += processor_time() - begun;
            outcomes.push(self.settle());
        }
        self.median("a name of a gateway", CHANGE_LIMIT, outcomes);
    }

    /// How long it takes until a router answers by a change of a mailbox, each time.
    fn answers(&mut self, umbriel: &Path) -> Vec<Duration> {
        let port = free_port();
        let router = self.server.edit("UMCallRouter", 0, |spec| {
            *spec = json!({ "umStartupMode": "TCP", "sipUdpListeningPort": port, "sipTcpListeningPort": port });
        });
        let gateway = self.server.edit("UMIPGateway", CALLING, |spec| spec["address"] = json!("127.0.0.1"));
        [router, gateway].into_iter().for_each(|object| self.tell(object));
        self.settle();
        let mut caller = Caller::start(umbriel, &self.folder, port);
        let answer = |number: u32| {
            // Nobody has it yet, and it is one of the dial plan that the gateway leads to.
            let extension = format!("8{number:05}");
            caller.answered(&extension, "404");
            let user = self.server.in_plan_of(CALLING, number);
            let change = |spec: &mut Json| spec["extensions"] = json!([extension]);
            let object = self.server.edit("UMMailbox", user, change);
            let begun = Instant::now();
            self.tell(object);
            let plan = self.plan();
            plan.writes.into_iter().for_each(|write| self.carry_out(write));
            let answered = caller.answered(&extension, "302");
            self.settle();
            answered - begun
        };
        (0..REPETITIONS).map(answer).collect()
    }

    fn row(&mut self, what: &str, limit: Duration, outcome: &Outcome) {
        let Outcome { first, all, parts, statuses, slices } = outcome;
        let missed = if *first > limit { " MISSED" } else { "" };
        self.is_missed |= *first > limit;
        println!(
            "| {what:<22} | {:>6.1} | {:>5} | {:>6.1} | {slices:>6} | {parts:>5} | {statuses:>8} |{missed}",
            milliseconds(*first),
            limit.as_millis(),
            milliseconds(*all)
        );
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Memory of this process, MiB: `VmRSS` now, `VmHWM` at most.
fn memory_mib(which: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(which)).unwrap();
    line.trim_start_matches(':').split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1_024
}

/// An operator that knows a cluster of this size and has written everything.
fn start(mailboxes: u32, others: u32) -> (Bench, Outcome) {
    let (picture, server, folder) = (Picture::default(), ApiServer::new(mailboxes, others), Folder::new());
    let mut bench = Bench { picture, server, folder, taken: Duration::ZERO, is_missed: false };
    bench.picture.found_out(Arc::new(bench.server.answers(0..0)));
    for number in 0..bench.server.count() {
        let object = bench.server.object(number);
        bench.tell(object);
    }
    let outcome = bench.settle();
    (bench, outcome)
}

fn measure(mailboxes: u32, others: u32, umbriel: Option<&Path>) -> bool {
    println!("\n{mailboxes} mailboxes and {others} other objects");
    println!(
        "| change                 | ms, until it is written (limit) | ms in all | slices | parts | statuses |"
    );
    println!("|------------------------|--------|-------|--------|--------|-------|----------|");
    let (mut bench, first) = start(mailboxes, others);
    let rested = memory_mib("VmRSS");
    bench.row("none: the first plan", FIRST_LIMIT, &first);
    let again = bench.settle();
    bench.row("none: nothing is new", CHANGE_LIMIT, &again);
    bench.change("a mailbox", CHANGE_LIMIT, |server, number| {
        server
            .edit("UMMailbox", number, |spec| spec["displayName"] = json!(format!("Somebody Else {number}")))
    });
    bench.change("an extension", CHANGE_LIMIT, |server, number| {
        server.edit("UMMailbox", number, |spec| spec["extensions"] = json!([format!("9{number:05}")]))
    });
    bench.change("a gateway", CHANGE_LIMIT, |server, number| {
        server.edit("UMIPGateway", number, |spec| spec["status"] = json!("NoNewCalls"))
    });
    bench.change("a hunt group", CHANGE_LIMIT, |server, number| {
        server.edit("UMHuntGroup", number, |spec| spec["pilotIdentifier"] = json!(format!("555{number:03}")))
    });
    bench.change("a dial plan", CHANGE_LIMIT, |server, number| {
        server.edit("UMDialPlan", number, |spec| spec["maxRecordingDuration"] = json!(10 + number))
    });
    bench.change("a policy of thousands", CHANGE_LIMIT, |server, number| {
        server.edit("UMMailboxPolicy", number, |spec| spec["voiceMailText"] = json!("Confidential"))
    });
    bench.change("an auto attendant", CHANGE_LIMIT, |server, number| {
        server.edit("UMAutoAttendant", number, |spec| {
            spec["pilotIdentifierList"] = json!([format!("6{number:05}")]);
        })
    });
    bench.names_lead_elsewhere();
    println!(
        "memory: {rested} MiB after the first plan was carried out, {} MiB at most (limit {MEMORY_LIMIT_MIB})",
        memory_mib("VmHWM")
    );
    if let Some(umbriel) = umbriel {
        let mut times = bench.answers(umbriel);
        times.sort();
        let [median, most] = [times[times.len() / 2], times[times.len() - 1]].map(milliseconds);
        let limit = WIRE_LIMIT.as_millis();
        println!(
            "from a change to a call that is answered by it: {median:.0} ms, {most:.0} ms at most (limit {limit})"
        );
        bench.is_missed |= times.into_iter().any(|time| time > WIRE_LIMIT);
    }
    bench.is_missed || memory_mib("VmHWM") > MEMORY_LIMIT_MIB
}

fn main() -> ExitCode {
    // The argument that is no option of `cargo bench`.
    let umbriel = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).map(PathBuf::from);
    println!("time of a processor");
    let missed = [measure(10, 10, None), measure(MAILBOXES, OTHERS, umbriel.as_deref())];
    if missed.contains(&true) {
        println!("a limit is missed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
