//! What runs the servers in a cluster, as a pair of a world and a golden file, and what a plan does
//! about it. `UPDATE_GOLDEN=1` writes the golden file anew; read the difference before you keep it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use config::TokenKey;
use crds::Kind;
use serde_json::{Value as Json, json};
use umbriel_operator::{Cluster, Instance, Key, Object, ObjectRef, World, Write, reconcile};

const GOLDEN: &str = "tests/golden/workloads.yaml";

fn key() -> Key {
    Key::new("default", "main")
}

/// One router and one mailbox server, both named `main`.
fn world() -> World {
    let mut world = World::empty(IpAddr::from([0, 0, 0, 0]), jiff::Timestamp::UNIX_EPOCH);
    let router = serde_json::from_value(json!({ "umStartupMode": "Dual" })).unwrap();
    world.routers.insert(key(), Object { generation: 1, spec: router });
    let service = serde_json::from_value(json!({})).unwrap();
    world.services.insert(key(), Object { generation: 1, spec: service });
    let secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".into();
    world.token_keys = vec![TokenKey { id: "golden".into(), secret }];
    let uid = |kind, uid: &str| (ObjectRef::new(kind, &key()), uid.to_owned());
    world.cluster = Some(Cluster {
        image: "umbriel:1".into(),
        uids: BTreeMap::from([uid(Kind::UMCallRouter, "uid-1"), uid(Kind::UMService, "uid-2")]),
        instances: BTreeMap::new(),
    });
    world
}

/// The plan is carried out.
fn settle(world: &mut World) -> Vec<Write> {
    let writes = reconcile(world).writes;
    for write in writes.clone() {
        write.apply(&mut world.observed);
    }
    writes
}

fn manifests(writes: &[Write]) -> Vec<&Json> {
    let mut manifests = Vec::new();
    for write in writes {
        match write {
            Write::Workload(workload) => manifests.push(&workload.manifest),
            Write::Router(_) | Write::Mailbox(_) | Write::Status(..) | Write::Forget(_) => {}
        }
    }
    manifests
}

/// Where routers send calls to: address, and whether they may.
fn host(world: &World) -> (String, bool) {
    let router = world.observed.router.as_ref().unwrap();
    let server = &router.directory.mailbox_servers[0];
    (server.address.to_string(), server.in_service)
}

fn mailbox_pod(world: &mut World, ready: bool) {
    let pod = Instance {
        name: "main-mailbox-0".into(),
        address: Some(IpAddr::from([10, 244, 0, 7])),
        ready,
        serves: None,
    };
    let server = ObjectRef::new(Kind::UMService, &key());
    world.cluster.as_mut().unwrap().instances.insert(server, vec![pod]);
}

#[test]
fn the_servers_of_a_namespace_run_as_the_golden_file_says() {
    let writes = settle(&mut world());
    let texts = manifests(&writes).into_iter().map(|manifest| serde_yaml::to_string(manifest).unwrap());
    let found = texts.collect::<Vec<_>>().join("---\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{GOLDEN} says:\n{expected}\nbut this follows:\n{found}");
}

#[test]
fn configurations_come_before_the_pods_that_wait_for_them() {
    let writes = settle(&mut world());
    assert!(matches!(&writes[..3], [Write::Mailbox(_), Write::Router(_), Write::Workload(_)]));
}

#[test]
fn what_runs_as_it_should_is_not_written_again() {
    let mut world = world();
    settle(&mut world);
    assert_eq!(reconcile(&world).writes, []);
}

#[test]
fn a_deployment_that_somebody_scaled_is_repaired_and_nothing_else_is_written() {
    let mut world = world();
    settle(&mut world);
    let (_, live) =
        world.observed.workloads.iter_mut().find(|(_, live)| live["kind"] == "Deployment").unwrap();
    live["spec"]["replicas"] = 0.into();
    let writes = settle(&mut world);
    assert!(matches!(&writes[..], [Write::Workload(_)]), "{writes:?}");
    assert_eq!(manifests(&writes)[0]["spec"]["replicas"], 2);
}

#[test]
fn calls_are_sent_to_a_mailbox_server_only_while_its_pod_takes_them() {
    let mut world = world();
    settle(&mut world);
    assert_eq!(host(&world), ("0.0.0.0".into(), false));
    mailbox_pod(&mut world, false);
    settle(&mut world);
    assert_eq!(host(&world), ("10.244.0.7".into(), false));
    mailbox_pod(&mut world, true);
    settle(&mut world);
    assert_eq!(host(&world), ("10.244.0.7".into(), true));
}

#[test]
fn a_server_whose_name_no_pod_can_have_is_told() {
    let mut world = world();
    let router = world.routers.remove(&key()).unwrap();
    world.routers.insert(Key::new("default", "main.office"), router);
    let plan = reconcile(&world);
    let problem = plan.problems.iter().find(|problem| problem.field == "metadata.name").unwrap();
    assert_eq!(problem.value, "main.office");
    assert!(problem.rule.contains("because pods and a Service are named after it"), "{}", problem.rule);
}

#[test]
fn on_one_machine_nothing_runs_as_pods() {
    let mut world = world();
    world.cluster = None;
    assert!(manifests(&reconcile(&world).writes).is_empty());
}
