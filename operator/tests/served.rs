//! What `Served` says of objects whose servers run as pods: what was observed, and no more often than
//! something turns.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::collections::BTreeMap;
use std::net::IpAddr;

use config::TokenKey;
use crds::{ConditionStatus, Kind};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use umbriel_operator::{Cluster, Instance, Key, Object, ObjectRef, World, Write, reconcile};

fn key(name: &str) -> Key {
    Key::new("default", name)
}

fn object<S: DeserializeOwned>(generation: i64, spec: Value) -> Object<S> {
    Object { generation, spec: serde_json::from_value(spec).unwrap() }
}

fn router() -> ObjectRef {
    ObjectRef::new(Kind::UMCallRouter, &key("router"))
}

fn service(name: &str) -> ObjectRef {
    ObjectRef::new(Kind::UMService, &key(name))
}

fn mailbox(name: &str) -> ObjectRef {
    ObjectRef::new(Kind::UMMailbox, &key(name))
}

/// A company with a router and a mailbox server, of which no pod is there yet.
fn company() -> World {
    let mut world = World::empty(IpAddr::from([0, 0, 0, 0]), "2026-11-21T08:00:00Z".parse().unwrap());
    let plan = json!({"numberOfDigitsInExtension": 3, "generateUMMailboxPolicy": false});
    world.dial_plans.insert(key("contoso"), object(1, plan));
    world.policies.insert(key("staff"), object(1, json!({"umDialPlan": "contoso"})));
    world.routers.insert(key("router"), object(1, json!({})));
    world.services.insert(key("main"), object(1, json!({})));
    write_mailbox(&mut world, "alice", "101", 1);
    world.spare_key = Some(TokenKey { id: "a".into(), secret: "b".into() });
    let uids = [router(), service("main"), service("more")].map(|server| (server, "uid".into()));
    world.cluster =
        Some(Cluster { image: "umbriel:1".into(), uids: BTreeMap::from(uids), ..Cluster::default() });
    world
}

fn write_mailbox(world: &mut World, name: &str, extension: &str, generation: i64) {
    let address = format!("{name}@contoso.example");
    let spec = json!({"umMailboxPolicy": "staff", "extensions": [extension], "primarySmtpAddress": address});
    world.mailboxes.insert(key(name), object(generation, spec));
}

/// The generation that is written for a server.
fn written(world: &World, server: &ObjectRef) -> Option<u64> {
    if server.kind == "UMService" {
        world.observed.services.get(&server.key).map(|config| config.generation)
    } else {
        world.observed.routers.get(&server.key).map(|config| config.generation)
    }
}

/// A pod of a server that is ready or not, and serves what is written now, or is silent.
fn pod(world: &mut World, server: &ObjectRef, ready: bool, speaks: bool) {
    let serves = written(world, server).filter(|_| speaks);
    let address = Some(IpAddr::from([10, 244, 0, 7]));
    let name = format!("{}-mailbox-0", server.key.name);
    let cluster = world.cluster.as_mut().unwrap();
    cluster.instances.insert(
        server.clone(),
        vec![Instance { name, address, node_address: None, ready, ends: false, serves }],
    );
    world.observed.served.remove(server);
    if let Some(generation) = world.cluster.as_ref().unwrap().served(server) {
        world.observed.served.insert(server.clone(), generation);
    }
}

/// Carries out plans until there is nothing to write; says how many statuses were written.
fn settle(world: &mut World) -> usize {
    let mut statuses = 0;
    for _ in 0..4 {
        let plan = reconcile(world);
        world.observed.awaited.clone_from(&plan.awaited);
        if plan.writes.is_empty() {
            return statuses;
        }
        statuses += plan.writes.iter().filter(|write| matches!(write, Write::Status(..))).count();
        plan.writes.into_iter().for_each(|write| world.apply(write));
    }
    panic!("there is always something to write: {:?}", reconcile(world).writes);
}

/// Everybody is ready and serves what is written.
fn serve(world: &mut World) {
    for _ in 0..3 {
        pod(world, &router(), true, true);
        pod(world, &service("main"), true, true);
        settle(world);
    }
}

fn served(world: &World, object: &ObjectRef) -> (ConditionStatus, String) {
    let condition = world.observed.statuses[object].condition("Served").unwrap();
    (condition.status, condition.message.clone())
}

fn is_served(world: &World, object: &ObjectRef) -> bool {
    served(world, object).0 == ConditionStatus::True
}

#[test]
fn an_object_is_not_served_before_a_mailbox_server_takes_calls() {
    let mut world = company();
    settle(&mut world);
    for _ in 0..2 {
        pod(&mut world, &router(), true, true);
        pod(&mut world, &service("main"), false, true);
        settle(&mut world);
    }
    let waits = (ConditionStatus::False, "It waits for a mailbox server to take calls.".to_owned());
    assert_eq!(served(&world, &mailbox("alice")), waits);
    assert_eq!(served(&world, &service("main")), waits);
    assert!(is_served(&world, &router()), "the router answers, and says that nobody is there");

    // It takes calls now; the routers have to learn that before anybody is sent to it.
    pod(&mut world, &service("main"), true, true);
    settle(&mut world);
    let (status, message) = served(&world, &mailbox("alice"));
    assert_eq!(status, ConditionStatus::False, "{message}");
    assert!(message.starts_with("It waits for the call router to serve generation "), "{message}");
    serve(&mut world);
    assert!(is_served(&world, &mailbox("alice")));
}

#[test]
fn who_waits_for_an_earlier_generation_waits_for_the_one_that_knows_who_takes_calls() {
    let mut world = company();
    settle(&mut world);
    pod(&mut world, &router(), true, true);
    pod(&mut world, &service("main"), false, true);
    settle(&mut world);
    // The routers are late: they serve what was written before the mailbox server took calls.
    let late = world.observed.served[&router()];
    pod(&mut world, &service("main"), true, true);
    settle(&mut world);
    assert!(written(&world, &router()).unwrap() > late);
    world.observed.served.insert(router(), late);
    settle(&mut world);
    assert!(!is_served(&world, &mailbox("alice")));
}

#[test]
fn a_mailbox_server_that_takes_no_new_calls_serves_that() {
    let mut world = company();
    world.services.insert(key("main"), object(2, json!({"status": "NoNewCalls"})));
    settle(&mut world);
    for _ in 0..3 {
        pod(&mut world, &router(), true, true);
        pod(&mut world, &service("main"), false, true);
        settle(&mut world);
    }
    assert!(is_served(&world, &service("main")));
}

#[test]
fn a_server_that_falls_silent_is_told_by_its_own_object_alone() {
    let mut world = company();
    for number in 110..210 {
        write_mailbox(&mut world, &format!("user-{number}"), &number.to_string(), 1);
    }
    settle(&mut world);
    serve(&mut world);
    pod(&mut world, &service("main"), true, false);
    assert_eq!(settle(&mut world), 1, "statuses are written");
    assert_eq!(served(&world, &service("main")).0, ConditionStatus::Unknown);
    assert!(is_served(&world, &mailbox("user-110")));

    pod(&mut world, &service("main"), true, true);
    assert_eq!(settle(&mut world), 1);
    assert!(is_served(&world, &service("main")));
}

#[test]
fn what_changes_while_a_server_is_silent_waits_for_it() {
    let mut world = company();
    settle(&mut world);
    serve(&mut world);
    pod(&mut world, &service("main"), true, false);
    write_mailbox(&mut world, "alice", "102", 2);
    write_mailbox(&mut world, "bob", "103", 1);
    settle(&mut world);
    pod(&mut world, &router(), true, true);
    settle(&mut world);
    for name in ["alice", "bob"] {
        assert_eq!(served(&world, &mailbox(name)).0, ConditionStatus::Unknown, "{name}");
    }
    serve(&mut world);
    assert!(is_served(&world, &mailbox("alice")) && is_served(&world, &mailbox("bob")));
}

#[test]
fn a_mailbox_service_without_a_pod_keeps_nobody_waiting_for_another_one() {
    let mut world = company();
    world.services.insert(key("more"), object(1, json!({})));
    settle(&mut world);
    serve(&mut world);
    assert!(is_served(&world, &mailbox("alice")));
    assert!(!is_served(&world, &service("more")));
    // One that is there and has not read its configuration does.
    pod(&mut world, &service("more"), false, true);
    let cluster = world.cluster.as_mut().unwrap();
    cluster.instances.get_mut(&service("more")).unwrap()[0].serves = Some(0);
    world.observed.served.insert(service("more"), 0);
    write_mailbox(&mut world, "bob", "103", 1);
    settle(&mut world);
    serve(&mut world);
    let (status, message) = served(&world, &mailbox("bob"));
    assert_eq!(status, ConditionStatus::False);
    assert!(message.starts_with("It waits for the mailbox server more to serve generation "), "{message}");
}
