//! Changes while calls come in, and how long one takes to the wire.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use umbriel_tests::api::Api;
use umbriel_tests::load::Load;
use umbriel_tests::operator::{Applied, BRIDGE, Operator, Run};
use umbriel_tests::phone::{Phone, Transport};
use umbriel_tests::wire::{Invite, Wire};
use umbriel_tests::{Cluster, has};

const SECOND: Duration = Duration::from_secs(1);

/// Changes of a dial plan that come a few at a time, as when a person applies a folder. A kubelet looks
/// after a pod once a second at most: this is how long one takes that has not to wait for that.
const SINGLE: Pace =
    Pace { changes: 100, together: 5, pause: Duration::from_millis(1_600), make: Api::add_access_number };

/// How often that is measured at most: the machine may have been busy with something else.
const MEASURED: usize = 3;

/// New mailboxes that come all the time. One may have to wait until the kubelet looks again: it waits for
/// its list of containers before each look, and makes one a second after the one before, so the slowest
/// in a hundred takes longer than a second on any machine.
const STREAM: Pace = Pace {
    changes: 50,
    together: 1,
    pause: Duration::from_millis(200),
    make: |api, namespace, _, number| api.make_mailbox(namespace, number),
};

/// Which changes come, and how fast.
#[derive(Clone, Copy)]
struct Pace {
    changes: usize,
    together: usize,
    pause: Duration,
    /// Makes the first change of some, or a later one: calls for 300 + its number are redirected then.
    make: fn(&Api, &str, usize, usize),
}

impl Pace {
    /// When a change is due after the first one.
    fn due(self, change: usize) -> Duration {
        self.pause * u32::try_from(change / self.together).unwrap()
    }
}

/// When calls for each of these numbers were redirected by every router for the first time; `written`
/// is the number of changes that are made.
fn watch_the_wire(routers: &[IpAddr], changes: Range<usize>, written: &AtomicUsize) -> Vec<Instant> {
    let wires: Vec<Wire> =
        routers.iter().map(|router| Wire::new(BRIDGE, SocketAddr::new(*router, 5060))).collect();
    let mut seen: BTreeMap<(usize, usize), Instant> = BTreeMap::new();
    let limit = Instant::now() + 120 * SECOND;
    let mut asked = 0;
    while seen.len() < changes.len() * wires.len() {
        assert!(Instant::now() < limit, "{} of {} were seen", seen.len(), changes.len() * wires.len());
        for change in changes.start..changes.start + written.load(Ordering::SeqCst) {
            for (router, wire) in wires.iter().enumerate() {
                if seen.contains_key(&(change, router)) {
                    continue;
                }
                asked += 1;
                let (called, call_id) = ((300 + change).to_string(), format!("wire-{router}-{asked}"));
                let answer = wire.invite(&Invite { called: &called, diverting: None, call_id: &call_id });
                if answer.starts_with("SIP/2.0 302 ") {
                    seen.insert((change, router), Instant::now());
                } else {
                    assert!(answer.starts_with("SIP/2.0 404 "), "{answer}");
                }
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let last = |change| (0..wires.len()).map(|router| seen[&(change, router)]).max().unwrap();
    changes.map(last).collect()
}

/// Makes changes while calls come in; gives the time that each took to the wire, the shortest first.
fn measure(namespace: &str, api: &Api, routers: &[IpAddr], first: usize, pace: Pace) -> Vec<Duration> {
    let written = AtomicUsize::new(0);
    let calls = u32::try_from((pace.due(pace.changes) + pace.pause).as_secs()).unwrap() * 50;
    let load = Load::start(BRIDGE, SocketAddr::new(routers[0], 5060), "101", 50, calls);
    let (asked, seen) = std::thread::scope(|scope| {
        let seen = scope.spawn(|| watch_the_wire(routers, first..first + pace.changes, &written));
        // By then the kubelets have looked at what was before.
        let begun = Instant::now() + pace.pause;
        let mut asked = Vec::new();
        for change in 0..pace.changes {
            std::thread::sleep((begun + pace.due(change)).saturating_duration_since(Instant::now()));
            asked.push(Instant::now());
            (pace.make)(api, namespace, first, first + change);
            written.store(change + 1, Ordering::SeqCst);
        }
        (asked, seen.join().unwrap())
    });
    load.finish(60 * SECOND);
    let mut latencies: Vec<_> = asked.iter().zip(seen).map(|(asked, seen)| seen - *asked).collect();
    latencies.sort();
    latencies
}

/// Of so many in a hundred, the longest time.
fn percentile(latencies: &[Duration], percent: usize) -> Duration {
    latencies[latencies.len() * percent / 100 - 1]
}

fn report(latencies: &[Duration]) -> String {
    let [p50, p99, longest] = [50, 99, 100].map(|percent| percentile(latencies, percent));
    format!("apply to wire: p50 {p50:?}, p99 {p99:?}, longest {longest:?}")
}

#[test]
fn a_hundred_changes_to_a_dial_plan_under_fifty_calls_a_second_reach_the_wire_within_a_second() {
    let test = "a_hundred_changes_to_a_dial_plan_under_fifty_calls_a_second_reach_the_wire_within_a_second";
    let Some(cluster) = Cluster::shared(test).filter(|_| has("sipp", test)) else { return };
    let namespace = cluster.namespace();
    let operator = Operator::start(cluster, &namespace, Run::default());
    let office = Applied::office(cluster, &namespace);
    office.wait_until_served(&namespace);
    let routers = office.pods(&namespace, "router");
    assert_eq!(routers.len(), 2);
    let api = Api::start(cluster);
    let mut single = Vec::new();
    let stream = cluster.within(|| {
        office.wait_until_called(&namespace);
        let stream = measure(&namespace.name, &api, &routers, 0, STREAM);
        eprintln!("all the time, {}", report(&stream));
        let mut made = STREAM.changes;
        for _ in 0..MEASURED {
            single = measure(&namespace.name, &api, &routers, made, SINGLE);
            eprintln!("a few at a time, {}", report(&single));
            made += SINGLE.changes;
            if percentile(&single, 99) <= SECOND {
                break;
            }
        }
        // Whom the router sends there is known at the mailbox server.
        for change in [0, STREAM.changes - 1] {
            let called = (300 + change).to_string();
            let router = SocketAddr::new(routers[1], 5060);
            Phone::dial(BRIDGE, router, Transport::Udp, &called, 1 + change as u64).hang_up();
        }
        stream
    });
    assert!(percentile(&single, 99) <= SECOND, "{single:?}");
    assert!(percentile(&stream, 99) <= 5 * SECOND, "{stream:?}");
    drop(operator);
}
