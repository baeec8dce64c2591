//! Changes while calls come in, and how long one takes to the wire.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use umbriel_tests::api::Api;
use umbriel_tests::load::Load;
use umbriel_tests::operator::{Applied, BRIDGE, Operator, Run};
use umbriel_tests::phone::{Phone, Transport};
use umbriel_tests::wire::{Invite, Wire};
use umbriel_tests::{Cluster, has};

const SECOND: Duration = Duration::from_secs(1);

/// Changes whose time to the wire is measured, and the pause between two of them.
const CHANGES: usize = 100;
const PAUSE: Duration = Duration::from_millis(200);

/// When each extension, from 300 on, was redirected by every router for the first time.
fn watch_the_wire(routers: &[IpAddr], written: &AtomicUsize) -> Vec<Instant> {
    let wires: Vec<Wire> =
        routers.iter().map(|router| Wire::new(BRIDGE, SocketAddr::new(*router, 5060))).collect();
    let mut seen: BTreeMap<(usize, usize), Instant> = BTreeMap::new();
    let limit = Instant::now() + 120 * SECOND;
    let mut asked = 0;
    while seen.len() < CHANGES * wires.len() {
        assert!(Instant::now() < limit, "{} of {} were seen", seen.len(), CHANGES * wires.len());
        for change in 0..written.load(Ordering::SeqCst) {
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
    (0..CHANGES).map(last).collect()
}

#[test]
fn a_hundred_changes_under_fifty_calls_a_second_reach_the_wire() {
    let test = "a_hundred_changes_under_fifty_calls_a_second_reach_the_wire";
    let Some(cluster) = Cluster::shared(test).filter(|_| has("sipp", test)) else { return };
    let namespace = cluster.namespace();
    let operator = Operator::start(cluster, &namespace, Run::default());
    let office = Applied::office(cluster, &namespace);
    office.wait_until_served(&namespace);
    let routers = office.pods(&namespace, "router");
    assert_eq!(routers.len(), 2);
    let api = Api::start(cluster);
    let (written, took) = (AtomicUsize::new(0), PAUSE * u32::try_from(CHANGES).unwrap());
    let latencies = cluster.within(|| {
        office.wait_until_called(&namespace);
        let calls = u32::try_from(took.as_secs()).unwrap() * 50;
        let load = Load::start(BRIDGE, SocketAddr::new(routers[0], 5060), "101", 50, calls);
        let (asked, seen) = std::thread::scope(|scope| {
            let seen = scope.spawn(|| watch_the_wire(&routers, &written));
            let begun = Instant::now();
            let mut asked = Vec::new();
            for change in 0..CHANGES {
                let due = begun + PAUSE * u32::try_from(change).unwrap();
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                asked.push(Instant::now());
                api.make_mailbox(&namespace.name, change);
                written.store(change + 1, Ordering::SeqCst);
            }
            (asked, seen.join().unwrap())
        });
        load.finish(60 * SECOND);
        // Whom the router sends there is known at the mailbox server.
        for change in [0, CHANGES / 2, CHANGES - 1] {
            let called = (300 + change).to_string();
            let router = SocketAddr::new(routers[1], 5060);
            Phone::dial(BRIDGE, router, Transport::Udp, &called, 1 + change as u64).hang_up();
        }
        let mut latencies: Vec<_> = asked.iter().zip(seen).map(|(asked, seen)| seen - *asked).collect();
        latencies.sort();
        latencies
    });
    let (p50, p99) = (latencies[CHANGES / 2 - 1], latencies[CHANGES * 99 / 100 - 1]);
    eprintln!("apply to wire: p50 {p50:?}, p99 {p99:?}, longest {:?}", latencies[CHANGES - 1]);
    assert!(p99 < 10 * SECOND, "apply to wire: p99 {p99:?}");
    drop(operator);
}
