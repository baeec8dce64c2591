//! Minutes of random churn on a cluster of its own, under calls of which none may be lost or refused:
//! `make soak`, or `soak MINUTES [SEED]`.
//!
//! Decides what happens and when, by a seed that it prints; the same seed does the same again. Tests
//! show each of these faults by itself. This shows them in an order that nobody thought of.

#![allow(clippy::unwrap_used, reason = "whatever goes wrong ends it, and not with success")]

use std::fmt::Display;
use std::io::Write as _;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use umbriel_tests::api::Api;
use umbriel_tests::cluster::Namespace;
use umbriel_tests::load::Kept;
use umbriel_tests::operator::{Applied, Audit, Operator, Run, owned};
use umbriel_tests::{Cluster, wait_until};

/// Callers beside each other; each calls about twice a second.
const CALLERS: u64 = 3;

/// Calls of each caller that must have gone well before the next thing happens.
const CALLS_BETWEEN: usize = 2;

/// What has no sense for a server, and is Base64 too.
const NONSENSE: &str = "bm9uc2Vuc2U=";

/// What can happen.
#[derive(Clone, Copy, Debug)]
enum Event {
    MakeMailbox,
    TurnBob,
    WriteNonsense,
    KillOperator,
    FreezeApi,
    StopApi,
    FreezeKubelet,
    DeleteRouter,
}

/// What happens often stands here more than once.
const EVENTS: [Event; 12] = [
    Event::MakeMailbox,
    Event::MakeMailbox,
    Event::MakeMailbox,
    Event::TurnBob,
    Event::TurnBob,
    Event::WriteNonsense,
    Event::KillOperator,
    Event::KillOperator,
    Event::FreezeApi,
    Event::StopApi,
    Event::FreezeKubelet,
    Event::DeleteRouter,
];

/// Chance that can be repeated (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }

    fn seconds(&mut self, limit: usize) -> Duration {
        Duration::from_millis(500 + self.below(limit * 1_000) as u64)
    }
}

fn say(text: impl Display) {
    std::io::stdout().write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// What the churn goes on in.
struct Churn<'c> {
    cluster: &'c Cluster,
    namespace: &'c Namespace<'c>,
    api: Api,
    chance: Chance,
    operator: Operator<'c>,
    operators: usize,
    mailboxes: usize,
    bob_is_good: bool,
}

impl<'c> Churn<'c> {
    fn happen(&mut self, event: Event) {
        match event {
            Event::MakeMailbox => {
                self.cluster.within(|| self.api.make_mailbox(&self.namespace.name, self.mailboxes));
                self.mailboxes += 1;
            }
            Event::TurnBob => self.turn_bob(!self.bob_is_good),
            Event::WriteNonsense => {
                let maps = owned(self.namespace, "configmap");
                let map = &maps[self.chance.below(maps.len())];
                let part = if map["binaryData"].is_object() { "binaryData" } else { "data" };
                let file = map[part].as_object().unwrap().keys().next().unwrap();
                let (name, patch) = (&map["metadata"]["name"], json!({ part: { file: NONSENSE } }));
                let name = format!("configmap/{}", name.as_str().unwrap());
                let _patched =
                    self.namespace.kubectl(&["patch", &name, "--type=merge", "--patch", &patch.to_string()]);
            }
            Event::KillOperator => {
                if self.operator.runs() {
                    self.operator.signal(Signal::SIGKILL);
                }
                let pause = self.chance.seconds(3);
                std::thread::sleep(pause);
                self.begin_anew();
            }
            Event::FreezeApi => self.take_away(8, |cluster, is_away| {
                cluster.api_server(if is_away { "freeze" } else { "thaw" });
            }),
            Event::StopApi => self.take_away(20, |cluster, is_away| {
                cluster.api_server(if is_away { "stop" } else { "start" });
            }),
            Event::FreezeKubelet => {
                let node = if self.chance.below(2) == 0 { 1 } else { 2 };
                self.take_away(15, |cluster, is_away| {
                    cluster.kubelet(node, if is_away { "freeze" } else { "thaw" });
                });
            }
            Event::DeleteRouter => self.delete_router(),
        }
        if !self.operator.runs() {
            // It lost its Lease, and its pod would start it again.
            self.begin_anew();
        }
    }

    fn take_away(&mut self, limit_s: usize, set: impl Fn(&Cluster, bool)) {
        set(self.cluster, true);
        let pause = self.chance.seconds(limit_s);
        std::thread::sleep(pause);
        set(self.cluster, false);
    }

    fn begin_anew(&mut self) {
        self.operators += 1;
        self.operator = Operator::start(self.cluster, self.namespace, Run::default());
    }

    fn turn_bob(&mut self, is_good: bool) {
        let policy = if is_good { "staff" } else { "nobody-has-it" };
        let patch = json!({ "spec": { "umMailboxPolicy": policy } }).to_string();
        let _patched = self.namespace.kubectl(&["patch", "ummb/bob", "--type=merge", "--patch", &patch]);
        self.bob_is_good = is_good;
    }

    /// One of the two goes as pods go in a rollout, and is there again.
    fn delete_router(&mut self) {
        // One that is not ready is no loss; the other one then is.
        self.wait_for_routers();
        let selector = "--selector=app.kubernetes.io/component=router";
        let name = format!("--output=jsonpath={{.items[{}].metadata.name}}", self.chance.below(2));
        let name = self.namespace.kubectl(&["get", "pods", selector, &name]);
        let _deleted = self.namespace.kubectl(&["delete", "pod", &name]);
        self.wait_for_routers();
    }

    fn wait_for_routers(&self) {
        let status = ["rollout", "status", "deployment/router-router", "--timeout=90s"];
        let _complete = self.namespace.kubectl(&status);
    }
}

/// The address that stands before the routers.
fn router_address(namespace: &Namespace<'_>) -> std::net::IpAddr {
    let selector = "--selector=app.kubernetes.io/component=router";
    let address = ["get", "services", selector, "--output=jsonpath={.items[0].spec.clusterIP}"];
    namespace.kubectl(&address).parse().unwrap()
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().unwrap());
    let minutes = arguments.next().unwrap_or(5);
    let seed = arguments.next().unwrap_or_else(|| {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).unwrap();
        u32::from_le_bytes(bytes).into()
    });
    say(format_args!(
        "{minutes} minutes of churn; to have the same again: make soak MINUTES={minutes} SEED={seed}"
    ));
    let cluster = Cluster::own("soak").expect("a machine that runs a cluster: root, Go and Debian");
    cluster.install_definitions();
    let namespace = cluster.namespace();
    let operator = Operator::start(&cluster, &namespace, Run::default());
    let office = Applied::office(&cluster, &namespace);
    office.wait_until_served(&namespace);
    cluster.within(|| office.wait_until_called(&namespace));
    let router = router_address(&namespace);
    let callers: Vec<Kept> =
        (0..CALLERS).map(|caller| Kept::answered(&cluster, router, caller * 1_000_000)).collect();
    let (api, chance) = (Api::start(&cluster), Chance(seed));
    let mut churn = Churn {
        cluster: &cluster,
        namespace: &namespace,
        api,
        chance,
        operator,
        operators: 1,
        mailboxes: 0,
        bob_is_good: true,
    };
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60 * minutes) {
        let event = EVENTS[churn.chance.below(EVENTS.len())];
        let calls: usize = callers.iter().map(Kept::count).sum();
        say(format_args!("{:>5.1} s  {calls:>6} calls  {event:?}", begun.elapsed().as_secs_f64()));
        churn.happen(event);
        callers.iter().for_each(|caller| caller.expect(CALLS_BETWEEN));
    }

    say("the churn is over; everything that was written is waited for");
    churn.turn_bob(true);
    churn.wait_for_routers();
    office.wait_until_extended(&namespace, 0..churn.mailboxes);
    office.wait_until_served(&namespace);
    wait_until("the operator is ready", Duration::from_secs(60), || {
        churn.operator.readyz().filter(|(status, _)| *status == 200)
    });
    let (mut calls, mut longest) = (0, Duration::ZERO);
    for caller in callers {
        let (count, took) = caller.finish();
        (calls, longest) = (calls + count, longest.max(took));
    }
    let (mailboxes, operators) = (churn.mailboxes, churn.operators);
    churn.operator.signal(Signal::SIGTERM);
    Audit::of(&cluster).expect_nothing_to_write(&cluster, &namespace, 3);
    say(format_args!(
        "{calls} calls were answered, each within {longest:?}; {mailboxes} mailboxes were made, and {operators} operators worked"
    ));
}
