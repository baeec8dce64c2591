//! An API server that comes back after a long time: it has not heard of the nodes, says of all pods
//! that they are not ready, and calls go on.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use umbriel_tests::api::Api;
use umbriel_tests::cluster::Namespace;
use umbriel_tests::load::Kept;
use umbriel_tests::operator::{Applied, Audit, Operator, Run};
use umbriel_tests::{Cluster, wait_until};

const SECOND: Duration = Duration::from_secs(1);

/// A node of which nothing is heard for so long is given up: seconds, where Kubernetes takes 50. The
/// time that passes is what an hour comes down to: Leases have run out, and watches are behind.
const GRACE_S: u32 = 12;

/// What the conditions of a type say of all `objects`.
fn conditions(namespace: &Namespace<'_>, objects: &[&str], type_: &str) -> Vec<String> {
    let path = format!("--output=jsonpath={{.items[*].status.conditions[?(@.type==\"{type_}\")].status}}");
    let said = namespace.kubectl(&[&["get"], objects, &[&path]].concat());
    said.split_whitespace().map(str::to_owned).collect()
}

/// The servers' pods.
const PODS: &[&str] = &["pods", "--selector=app.kubernetes.io/managed-by=umbriel-operator"];

/// Where the pods of a component are: address, and number of the node.
fn places(namespace: &Namespace<'_>, component: &str) -> Vec<(IpAddr, u32)> {
    let selector = format!("--selector=app.kubernetes.io/component={component}");
    let path = r#"--output=jsonpath={range .items[*]}{.status.podIP} {.spec.nodeName}{"\n"}{end}"#;
    let said = namespace.kubectl(&["get", "pods", &selector, path]);
    let place = |line: &str| {
        let (address, node) = line.split_once(' ').unwrap();
        (address.parse().unwrap(), node.trim_start_matches("node").parse().unwrap())
    };
    said.lines().map(place).collect()
}

#[test]
fn nodes_that_the_api_server_has_not_heard_of_take_no_server_out_of_service() {
    let test = "nodes_that_the_api_server_has_not_heard_of_take_no_server_out_of_service";
    let Some(cluster) = Cluster::own_with_grace(test, GRACE_S) else { return };
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
    let (routers, home) = (places(&namespace, "router"), places(&namespace, "mailbox")[0].1);
    let away = 3 - home;
    let (beside, _) = *routers.iter().find(|(_, node)| *node == away).expect("a router on the other node");
    let redirected: Vec<Kept> =
        routers.iter().map(|(router, _)| Kept::redirected(&cluster, *router)).collect();
    let answered = Kept::answered(&cluster, beside, 1);

    let stopped = Instant::now();
    cluster.api_server("stop");
    for node in [home, away] {
        cluster.kubelet(node, "freeze");
    }
    assert_eq!(operator.wait_for_end(20 * SECOND), Some(1), "{}", operator.log());
    let successor = Operator::start(&cluster, &namespace, Run::default());
    successor.wait_for_log("cannot be taken", 10 * SECOND);
    let grace = Duration::from_secs(GRACE_S.into());
    std::thread::sleep((grace + 3 * SECOND).saturating_sub(stopped.elapsed()));
    cluster.api_server("start");
    eprintln!("the API server was away for {:?}", stopped.elapsed());
    wait_until("the nodes are given up", 60 * SECOND, || {
        (conditions(&namespace, &["nodes"], "Ready") == ["Unknown"; 2]).then_some(())
    });
    wait_until("their pods are called not ready", 30 * SECOND, || {
        (conditions(&namespace, PODS, "Ready") == ["False"; 3]).then_some(())
    });

    let log = successor.log();
    // An API server that has just started may know of no rights yet, which is another trouble.
    assert!(log.matches("cannot be taken").count() <= 3, "what is wrong is said once:\n{log}");
    assert!(!log.contains("kube_client"), "{log}");

    // One kubelet comes back, and brings the router there what the operator makes of it.
    make(0..3);
    successor.wait_for_log("the Lease is ours", 20 * SECOND);
    cluster.kubelet(away, "thaw");
    office.wait_until_extended_at(beside, 0..3);
    answered.expect(5);
    assert_eq!(
        conditions(&namespace, &["pods", "--selector=app.kubernetes.io/component=mailbox"], "Ready"),
        ["False"]
    );
    cluster.kubelet(home, "thaw");
    wait_until("everybody is heard of again", 60 * SECOND, || {
        (conditions(&namespace, PODS, "Ready") == ["True"; 3]).then_some(())
    });
    make(3..6);
    office.wait_until_extended(&namespace, 0..6);
    office.wait_until_served(&namespace);
    answered.expect(5);
    for calls in redirected {
        eprintln!("redirected and longest: {:?}", calls.finish());
    }
    eprintln!("answered and longest: {:?}", answered.finish());
    successor.signal(Signal::SIGTERM);
    Audit::of(&cluster).expect_nothing_to_write(&cluster, &namespace, 3);
}
