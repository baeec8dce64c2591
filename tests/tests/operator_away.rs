//! The API server away, with an operator and without one: calls do not need either, and nothing that
//! was written is lost.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use umbriel_tests::Cluster;
use umbriel_tests::api::Api;
use umbriel_tests::operator::{Applied, Audit, BRIDGE, Operator, Run};
use umbriel_tests::phone::{Phone, Transport};
use umbriel_tests::wire::{Invite, Wire};

const SECOND: Duration = Duration::from_secs(1);

/// Calls alice about twenty times a second until `over`: each call is redirected. Gives their number
/// and the longest time that one of them took.
fn keep_calling(router: IpAddr, over: &AtomicBool) -> (usize, Duration) {
    let wire = Wire::new(BRIDGE, SocketAddr::new(router, 5060));
    let (mut calls, mut longest) = (0, Duration::ZERO);
    while !over.load(Ordering::SeqCst) {
        let begun = Instant::now();
        let call_id = format!("kept-{calls}");
        let answer = wire.invite(&Invite { called: "101", diverting: None, call_id: &call_id });
        assert!(answer.starts_with("SIP/2.0 302 "), "{answer}");
        (calls, longest) = (calls + 1, longest.max(begun.elapsed()));
        std::thread::sleep(Duration::from_millis(50));
    }
    (calls, longest)
}

#[test]
fn calls_are_answered_while_the_api_server_and_the_operator_are_away() {
    let test = "calls_are_answered_while_the_api_server_and_the_operator_are_away";
    let Some(cluster) = Cluster::own(test) else { return };
    cluster.install_definitions();
    let namespace = cluster.namespace();
    let mut operator = Operator::start(&cluster, &namespace, Run::default());
    let office = Applied::office(&cluster, &namespace);
    office.wait_until_served(&namespace);
    cluster.within(|| office.wait_until_called(&namespace));
    let api = Api::start(&cluster);
    let make = |numbers: std::ops::Range<usize>| {
        cluster.within(|| numbers.for_each(|number| api.make_mailbox(&namespace.name, number)));
    };
    let routers = office.pods(&namespace, "router");
    let mut seed = 0;
    let mut call = || {
        seed += 1;
        let router = SocketAddr::new(routers[1], 5060);
        cluster.within(|| {
            let mut phone = Phone::dial(BRIDGE, router, Transport::Udp, "101", seed);
            phone.speak(SECOND);
            phone.hang_up();
        });
    };
    let over = AtomicBool::new(false);
    let (calls, longest) = std::thread::scope(|scope| {
        let _over = SetAtEnd(&over);
        let calls = scope.spawn(|| cluster.within(|| keep_calling(routers[0], &over)));

        // For less time than a Lease lasts, in the middle of changes: the operator outlasts it.
        make(0..10);
        cluster.api_server("freeze");
        call();
        std::thread::sleep(5 * SECOND);
        cluster.api_server("thaw");
        office.wait_until_extended(&namespace, 0..10);
        assert!(operator.runs(), "{}", operator.log());

        // For longer: the operator ends, because another one may work now, and its successor waits.
        make(10..20);
        cluster.api_server("stop");
        call();
        assert_eq!(operator.wait_for_end(20 * SECOND), Some(1), "{}", operator.log());
        let mut successor = Operator::start(&cluster, &namespace, Run::default());
        successor.wait_for_log("cannot be taken", 10 * SECOND);
        call();
        successor.signal(Signal::SIGTERM);
        assert_eq!(successor.wait_for_end(10 * SECOND), Some(0), "{}", successor.log());

        // Nobody is there to hear of the changes.
        cluster.api_server("start");
        make(20..30);
        call();
        let last = Operator::start(&cluster, &namespace, Run { identity: "second", ..Run::default() });
        office.wait_until_extended(&namespace, 10..30);
        office.wait_until_served(&namespace);
        last.signal(Signal::SIGTERM);
        over.store(true, Ordering::SeqCst);
        calls.join().unwrap()
    });
    eprintln!("{calls} calls were redirected, each within {longest:?}");
    assert!(calls > 100);
    office.wait_until_extended(&namespace, 0..30);
    Audit::of(&cluster).expect_nothing_to_write(&cluster, &namespace, 3);
}

/// Ends the calls also where the test fails.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
