//! Who reaches which port of a server's pods, and what those reach, where NetworkPolicies are enforced.
//! Calls from everywhere, in every mode of `exposure`, are `exposure.rs`'s.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use nix::sys::signal::Signal;
use umbriel_tests::operator::{Applied, BRIDGE, Operator, Run};
use umbriel_tests::pod::{Bystander, Reached};
use umbriel_tests::wire::{Invite, Wire};
use umbriel_tests::{Cluster, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// As the chart labels the operator's pods.
const OPERATOR: &str = "app.kubernetes.io/name: umbriel, app.kubernetes.io/component: operator";

/// Where mail goes; nobody else may begin anything at such a port.
const SMTP_PORT: u16 = 587;

#[test]
fn a_pod_hears_calls_from_everybody_and_all_else_from_those_who_have_a_reason() {
    let test = "a_pod_hears_calls_from_everybody_and_all_else_from_those_who_have_a_reason";
    let Some(cluster) = Cluster::shared(test) else { return };
    let (namespace, elsewhere, monitoring) = (cluster.namespace(), cluster.namespace(), cluster.namespace());
    let metrics_from = Some(monitoring.name.as_str());
    let operator = Operator::start(cluster, &namespace, Run { metrics_from, ..Run::default() });
    let office = Applied::office_with(cluster, &namespace, |file, yaml| {
        let smtp = format!("  smtp: {{host: {BRIDGE}, port: {SMTP_PORT}, from: um@contoso.example}}\n");
        if file == "mailbox-server.yaml" { yaml + &smtp } else { yaml }
    });
    let [of_operator, neighbour] =
        Bystander::start(cluster, &namespace, [("operator", OPERATOR), ("neighbour", "app: other")]);
    let [impostor] = Bystander::start(cluster, &elsewhere, [("operator", OPERATOR)]);
    let [prometheus] = Bystander::start(cluster, &monitoring, [("prometheus", "app: prometheus")]);
    // Its kubelet and its operator have reached each pod by then.
    office.wait_until_served(&namespace);
    let (router, mailbox) = (office.pods(&namespace, "router")[0], office.pods(&namespace, "mailbox")[0]);

    for (server, sip, other) in [(router, 5_060, 5_062), (mailbox, 5_062, 5_060)] {
        for (peer, may) in
            [(&of_operator, true), (&prometheus, true), (&neighbour, false), (&impostor, false)]
        {
            let admin = if may { Reached::Listener } else { Reached::Nothing };
            // Whoever enforces it hears of pods and policies a moment after the API server.
            wait_until(&format!("{} reaches {admin:?} at {server}", peer.address), LIMIT, || {
                (peer.reach(server, 9_060) == admin).then_some(())
            });
        }
        assert_eq!(neighbour.reach(server, sip), Reached::Listener);
        assert_eq!(
            prometheus.reach(server, other),
            Reached::Nothing,
            "nobody listens there, nobody is heard"
        );
        let wire = neighbour.within(|| Wire::new(neighbour.address, SocketAddr::new(server, sip)));
        let invite = Invite { called: "101", diverting: None, call_id: &format!("stranger-{sip}") };
        assert!(wire.invite(&invite).starts_with("SIP/2.0 403 "), "by UDP a stranger is told so, too");
    }

    let begun_by = [router, mailbox].map(|server| Bystander::in_place_of(cluster, server));
    let listen = |port| cluster.within(|| TcpListener::bind((BRIDGE, port)).unwrap());
    let _listeners = [80, SMTP_PORT, 5_080].map(listen);
    for (port, by_router, by_mailbox_server) in [
        (80, Reached::Nothing, Reached::Nothing),
        (SMTP_PORT, Reached::Nothing, Reached::Listener),
        (5_080, Reached::Listener, Reached::Listener),
        // No name server is there; it may be asked.
        (53, Reached::Nobody, Reached::Nobody),
    ] {
        let reached = begun_by.each_ref().map(|server| server.reach(BRIDGE, port));
        assert_eq!(reached, [by_router, by_mailbox_server], "at port {port}");
    }
    assert_eq!(neighbour.reach(BRIDGE, 80), Reached::Listener, "who is no server reaches everything");

    // Without policies everybody is heard: it was they who kept the others out.
    operator.signal(Signal::SIGTERM);
    let run = Run { identity: "second", network_policies: false, ..Run::default() };
    let _second = Operator::start(cluster, &namespace, run);
    let _gone = namespace.kubectl(&["wait", "--for=delete", "networkpolicies", "--all", "--timeout=30s"]);
    for (peer, server) in [(&neighbour, router), (&impostor, mailbox)] {
        wait_until("everybody is heard", LIMIT, || {
            (peer.reach(server, 9_060) == Reached::Listener).then_some(())
        });
    }
    let begun_by = &begun_by[0];
    wait_until("a server reaches everything", LIMIT, || {
        (begun_by.reach(BRIDGE, 80) == Reached::Listener).then_some(())
    });
}
