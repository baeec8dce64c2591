//! What an operator does about what others did: people, networks, and other operators.
//!
//! Decides nothing about calls. Each test has a namespace, and an operator or two that serve it
//! alone; the API server and what it keeps are real.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use umbriel_tests::api::Api;
use umbriel_tests::cluster::Namespace;
use umbriel_tests::names::{DNSMASQ, NameServer};
use umbriel_tests::operator::{Applied, Audit, Operator, Run, owned};
use umbriel_tests::proxy::{Busy, Proxy};
use umbriel_tests::{Cluster, has, house, wait_until};

const SECOND: Duration = Duration::from_secs(1);

/// What a person applies, without the mailbox server's mail.
fn apply_office(namespace: &Namespace<'_>) {
    let files = house::office("10.244.0.1".parse().unwrap(), None);
    namespace.apply(&files.iter().map(|(_, yaml)| yaml.as_str()).collect::<Vec<_>>().join("---\n"));
}

/// Waits until there is everything that a router and a mailbox server need.
fn wait_until_made(namespace: &Namespace<'_>) {
    wait_until("the servers' objects are there", 30 * SECOND, || {
        let made = owned(namespace, "deployment,statefulset,poddisruptionbudget,networkpolicy");
        (made.len() >= 6).then_some(())
    });
}

fn replicas(namespace: &Namespace<'_>) -> Value {
    owned(namespace, "deployment")
        .first()
        .map(|object| object["spec"]["replicas"].clone())
        .unwrap_or_default()
}

/// What a person writes into everything that servers read; it is Base64 too.
const NONSENSE: &str = "bm9uc2Vuc2U=";

/// What the operator keeps for its servers to read, file by file: the object, where it holds the
/// file, its name and what is in it.
fn files(namespace: &Namespace<'_>) -> Vec<(String, &'static str, String, Value)> {
    let mut files = Vec::new();
    for object in owned(namespace, "configmap,secret") {
        let text = |pointer: &str| object.pointer(pointer).unwrap().as_str().unwrap();
        let named = format!("{}/{}", text("/kind"), text("/metadata/name"));
        for part in ["data", "binaryData"] {
            let entries = object[part].as_object().into_iter().flatten();
            files.extend(entries.map(|(name, text)| (named.clone(), part, name.clone(), text.clone())));
        }
    }
    files
}

/// How many rules for what comes in the servers' NetworkPolicies have.
fn rules(namespace: &Namespace<'_>) -> Vec<usize> {
    let policies = owned(namespace, "networkpolicy");
    policies.iter().map(|policy| policy["spec"]["ingress"].as_array().unwrap().len()).collect()
}

/// A person scales the routers to none, lets everybody reach every port of them, and writes nonsense into
/// everything that servers read.
fn disturb(namespace: &Namespace<'_>) {
    let before = files(namespace);
    assert!(!before.is_empty());
    let _scaled = namespace.kubectl(&["scale", "deployment/router-router", "--replicas=0"]);
    let patch = r#"--patch=[{"op": "add", "path": "/spec/ingress/-", "value": {}}]"#;
    let _opened = namespace.kubectl(&["patch", "networkpolicy/router-router", "--type=json", patch]);
    for (object, part, name, _) in before {
        let patch = json!({ part: { name: NONSENSE } }).to_string();
        let _edited = namespace.kubectl(&["patch", &object, "--type=merge", "--patch", &patch]);
    }
}

/// Waits until everything makes sense again; gives the time that it took.
fn wait_until_repaired(namespace: &Namespace<'_>, limit: Duration) -> Duration {
    let begun = Instant::now();
    wait_until("what a person changed is put back", limit, || {
        let files = files(namespace);
        let is_whole = !files.is_empty() && files.iter().all(|(_, _, _, text)| text != NONSENSE);
        (replicas(namespace) == 2 && is_whole && rules(namespace) == [2, 2]).then_some(())
    });
    begun.elapsed()
}

#[test]
fn what_a_person_does_to_owned_objects_is_put_back_at_once() {
    let Some(cluster) = Cluster::shared("what_a_person_does_to_owned_objects_is_put_back_at_once") else {
        return;
    };
    let namespace = cluster.namespace();
    let operator = Operator::start(cluster, &namespace, Run::default());
    apply_office(&namespace);
    wait_until_made(&namespace);
    disturb(&namespace);
    let took = wait_until_repaired(&namespace, 10 * SECOND);
    eprintln!("put back by the watch {took:?} after the last edit");
    drop(operator);
}

/// Waits until the condition `Ready` of a gateway says this.
fn wait_until_said(namespace: &Namespace<'_>, gateway: &str, text: &str) {
    let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].message}";
    wait_until(&format!("gateway {gateway} says {text:?}"), 30 * SECOND, || {
        namespace.kubectl(&["get", "umgw", gateway, "-o", path]).contains(text).then_some(())
    });
}

#[test]
fn a_gateway_that_is_known_by_a_name_is_where_that_leads() {
    let test = "a_gateway_that_is_known_by_a_name_is_where_that_leads";
    let Some(cluster) = Cluster::shared(test).filter(|_| has(DNSMASQ, test)) else { return };
    let namespace = cluster.namespace();
    let address = SocketAddr::from(([127, 0, 0, 53], 5353));
    let names = cluster.within(|| NameServer::start(address, "192.0.2.71 sbc.contoso.example\n"));
    let run = Run { name_server: Some(address), ..Run::default() };
    let _operator = Operator::start(cluster, &namespace, run);
    apply_office(&namespace);
    let spec = "{address: sbc.contoso.example, umDialPlan: contoso}";
    namespace.apply(&format!(
        "apiVersion: umbriel.dev/v1alpha1\nkind: UMIPGateway\nmetadata: {{name: sbc}}\nspec: {spec}\n"
    ));
    wait_until_said(&namespace, "sbc", "Everything that it says can be used.");
    // It is given the address of another gateway, then one of its own, and then none: that one stays.
    names.rename("10.244.0.1 sbc.contoso.example\n");
    wait_until_said(&namespace, "sbc", "which leads to 10.244.0.1");
    wait_until_said(&namespace, "pbx", "UM1013");
    names.rename("192.0.2.72 sbc.contoso.example\n");
    wait_until_said(&namespace, "sbc", "Everything that it says can be used.");
    wait_until_said(&namespace, "pbx", "Everything that it says can be used.");
    names.rename("");
    wait_until_said(
        &namespace,
        "sbc",
        "there is no such name; until then the last answer goes on being used: 192.0.2.72",
    );
}

#[test]
fn with_silent_watches_the_resync_puts_it_back() {
    let Some(cluster) = Cluster::shared("with_silent_watches_the_resync_puts_it_back") else { return };
    let namespace = cluster.namespace();
    let proxy = Proxy::start(cluster);
    let run = Run { resync_interval: "5s", api_server: proxy.address, ..Run::default() };
    let mut operator = Operator::start(cluster, &namespace, run);
    apply_office(&namespace);
    wait_until_made(&namespace);
    for _ in 0..2 {
        proxy.silence();
        disturb(&namespace);
        let took = wait_until_repaired(&namespace, 40 * SECOND);
        eprintln!("put back by the resync {took:?} after the last edit");
        assert!(operator.runs(), "it is the same operator");
    }
}

#[test]
fn one_of_two_operators_works_and_the_other_takes_over() {
    let Some(cluster) = Cluster::shared("one_of_two_operators_works_and_the_other_takes_over") else {
        return;
    };
    let (namespace, audit) = (cluster.namespace(), Audit::of(cluster));
    let first = Operator::start(cluster, &namespace, Run::default());
    first.wait_for_log("the Lease is ours", 10 * SECOND);
    let mut second = Operator::start(cluster, &namespace, Run { identity: "second", ..Run::default() });
    second.wait_until_ready();
    apply_office(&namespace);
    wait_until_made(&namespace);
    assert!(!audit.writes(&first.user).is_empty());
    assert!(audit.writes(&second.user).is_empty(), "who stands by writes nothing");

    first.signal(Signal::SIGKILL);
    let killed = Instant::now();
    let _scaled = namespace.kubectl(&["scale", "deployment/router-router", "--replicas=0"]);
    wait_until("the other one has taken over", 25 * SECOND, || (replicas(&namespace) == 2).then_some(()));
    eprintln!("taken over {:?} after kill -9", killed.elapsed());

    // The one that works is stopped in the middle of work, and goes on when it may not any more.
    let third = Operator::start(cluster, &namespace, Run { identity: "third", ..Run::default() });
    third.wait_until_ready();
    let edit = |number: usize| {
        let patch = json!({ "spec": { "displayName": format!("Alice {number}") } }).to_string();
        let _edited = namespace.kubectl(&["patch", "ummb/alice", "--type=merge", "--patch", &patch]);
    };
    (0..5).for_each(edit);
    second.signal(Signal::SIGSTOP);
    let stopped = Instant::now();
    (5..10).for_each(edit);
    third.wait_for_log("the Lease is ours", 25 * SECOND);
    eprintln!("taken over {:?} after a stop", stopped.elapsed());
    (10..15).for_each(edit);
    let written = audit.writes(&second.user).len();
    second.signal(Signal::SIGCONT);
    (15..20).for_each(edit);
    assert_eq!(second.wait_for_end(15 * SECOND), Some(1), "{}", second.log());
    assert!(second.log().contains("another operator may work now"), "{}", second.log());
    assert_eq!(audit.writes(&second.user).len(), written, "who was stopped writes nothing more");
    assert!(!audit.writes(&third.user).is_empty());
}

#[test]
fn a_lease_is_judged_by_its_changes_and_not_by_the_clock_of_its_holder() {
    let test = "a_lease_is_judged_by_its_changes_and_not_by_the_clock_of_its_holder";
    let Some(cluster) = Cluster::shared(test) else { return };
    let namespace = cluster.namespace();
    // The holder's clock stands in another century, and goes.
    let renew = |second: u64| {
        namespace.apply(&format!(
            "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {{name: umbriel-operator}}\nspec:\n  \
             holderIdentity: somebody\n  leaseDurationSeconds: 15\n  renewTime: '1999-12-31T23:59:{second:02}.000000Z'\n"
        ));
    };
    renew(0);
    let operator = Operator::start(cluster, &namespace, Run::default());
    operator.wait_until_ready();
    let begun = Instant::now();
    for second in 1..5 {
        std::thread::sleep(4 * SECOND);
        renew(second);
        assert!(!operator.log().contains("the Lease is ours"), "the holder lives: {}", operator.log());
    }
    let silent = Instant::now();
    operator.wait_for_log("the Lease is ours", 25 * SECOND);
    assert!(begun.elapsed() > 16 * SECOND);
    assert!(silent.elapsed() > 12 * SECOND, "taken {:?} after it was renewed", silent.elapsed());
}

#[test]
fn chart_and_program_have_everything_compared_again_every_ten_minutes() {
    let values = std::fs::read_to_string(umbriel_tests::cluster::root().join("charts/umbriel/values.yaml"));
    let values: Value = serde_yaml::from_str(&values.unwrap()).unwrap();
    assert_eq!(values["operator"]["resyncInterval"], "10m");
    let help = std::process::Command::new(house::umbriel()).args(["operator", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let resync = help.split("--resync-interval").nth(1).unwrap().split("\n  -").next().unwrap();
    assert!(resync.contains("[default: 10m]"), "{help}");
}

/// Times that an operator is killed.
const KILLS: usize = 20;

fn random_ms(limit: u64) -> Duration {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    Duration::from_millis(u64::from_le_bytes(bytes) % limit)
}

#[test]
fn an_operator_that_is_killed_at_any_instant_leaves_nothing_undone() {
    let test = "an_operator_that_is_killed_at_any_instant_leaves_nothing_undone";
    let Some(cluster) = Cluster::shared(test) else { return };
    let namespace = cluster.namespace();
    let office = Applied::office(cluster, &namespace);
    let api = Api::start(cluster);
    let over = AtomicBool::new(false);
    let changes = std::thread::scope(|scope| {
        let changes = scope.spawn(|| {
            cluster.within(|| {
                let mut number = 0;
                while !over.load(Ordering::SeqCst) {
                    api.make_mailbox(&namespace.name, number);
                    number += 1;
                    std::thread::sleep(Duration::from_millis(150));
                }
                number
            })
        });
        for _ in 0..KILLS {
            let operator = Operator::start(cluster, &namespace, Run::default());
            std::thread::sleep(Duration::from_millis(100) + random_ms(1_200));
            operator.signal(Signal::SIGKILL);
        }
        over.store(true, Ordering::SeqCst);
        changes.join().unwrap()
    });
    eprintln!("{KILLS} kills during {changes} changes");
    let finisher = Operator::start(cluster, &namespace, Run::default());
    office.wait_until_served(&namespace);
    office.wait_until_extended(&namespace, 0..changes);
    // Who begins anew finds nothing to do, however often everything is compared.
    finisher.signal(Signal::SIGTERM);
    Audit::of(cluster).expect_nothing_to_write(cluster, &namespace, 3);
}

#[test]
fn an_api_server_that_asks_to_be_left_alone_is_left_alone() {
    let test = "an_api_server_that_asks_to_be_left_alone_is_left_alone";
    let Some(cluster) = Cluster::shared(test) else { return };
    let namespace = cluster.namespace();
    let api = Api::start(cluster);
    let busy = Busy::start(cluster, api.address);
    let run = Run { api_server: busy.address, scheme: "http", ..Run::default() };
    let mut operator = Operator::start(cluster, &namespace, run);
    apply_office(&namespace);
    wait_until_made(&namespace);
    busy.refuse(5 * SECOND);
    let refused_at = wait_until("something is refused", 10 * SECOND, || busy.refused().first().copied());
    disturb(&namespace);
    std::thread::sleep((refused_at + 7 * SECOND).saturating_duration_since(Instant::now()));
    busy.accept();
    // The Lease is not given up; all else that was under way has heard it within a second.
    let after: Vec<_> = busy.refused().iter().map(|at| *at - refused_at).collect();
    assert!(after.iter().all(|at| *at < SECOND || *at >= 5 * SECOND), "{after:?}");
    assert!(after.iter().any(|at| *at >= 5 * SECOND), "it is asked again: {after:?}");
    let took = wait_until_repaired(&namespace, 40 * SECOND);
    eprintln!("put back {took:?} after the API server took requests again");
    assert!(operator.runs(), "it is the same operator");
}
