//! The API server away, with an operator and without one: calls do not need either, and nothing that
//! was written is lost.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use umbriel_tests::Cluster;
use umbriel_tests::api::Api;
use umbriel_tests::load::Kept;
use umbriel_tests::operator::{Applied, Audit, BRIDGE, Operator, Run};
use umbriel_tests::phone::{Phone, Transport};

const SECOND: Duration = Duration::from_secs(1);

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
    let calls = Kept::redirected(&cluster, routers[0]);

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
    let (calls, longest) = calls.finish();
    eprintln!("{calls} calls were redirected, each within {longest:?}");
    assert!(calls > 100);
    office.wait_until_extended(&namespace, 0..30);
    Audit::of(&cluster).expect_nothing_to_write(&cluster, &namespace, 3);
}
