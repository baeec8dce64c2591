//! What runs the servers in a cluster, as a pair of a world and a golden file, and what a plan does
//! about it. `UPDATE_GOLDEN=1` writes the golden file anew; read the difference before you keep it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use config::TokenKey;
use crds::{Kind, MessageStore};
use serde_json::{Value as Json, json};
use umbriel_operator::{
    AdminPeers, Cluster, Instance, Key, Object, ObjectRef, StoreKeys, World, Write, reconcile,
};

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
    world.spare_key = Some(TokenKey { id: "golden".into(), secret });
    let uid = |kind, uid: &str| (ObjectRef::new(kind, &key()), uid.to_owned());
    let (operator_namespace, metrics_namespaces) = ("umbriel-system".into(), Vec::new());
    world.cluster = Some(Cluster {
        admin_peers: Some(AdminPeers { operator_namespace, metrics_namespaces }),
        image: "umbriel:1".into(),
        uids: BTreeMap::from([uid(Kind::UMCallRouter, "uid-1"), uid(Kind::UMService, "uid-2")]),
        ..Cluster::default()
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
            Write::TokenKeys(..)
            | Write::Part(..)
            | Write::Router(..)
            | Write::Mailbox(..)
            | Write::Remove(_)
            | Write::Status(..)
            | Write::Forget(_)
            | Write::Default(_) => {}
        }
    }
    manifests
}

#[test]
fn what_servers_share_belongs_to_servers_and_to_nobody_else_who_has_an_identity() {
    let mut world = world();
    let gateway = ObjectRef::new(Kind::UMIPGateway, &Key::new("default", "pbx"));
    world.cluster.as_mut().unwrap().uids.insert(gateway, "uid-3".into());
    settle(&mut world);
    let both = BTreeSet::from(["uid-1".to_owned(), "uid-2".to_owned()]);
    assert!(world.observed.parts.values().all(|written| written.owners == both));
    assert_eq!(world.observed.parts.len(), 1, "the site");
    assert_eq!(world.observed.token_keys.unwrap().owners, both);
}

#[test]
fn pods_name_the_secrets_that_their_image_is_had_with() {
    let mut world = world();
    world.cluster.as_mut().unwrap().image.pull_secrets = vec!["registry".into()];
    let writes = settle(&mut world);
    let templates = manifests(&writes).into_iter().filter_map(|manifest| manifest["spec"].get("template"));
    let secrets: Vec<_> =
        templates.map(|template| template["spec"]["imagePullSecrets"].to_string()).collect();
    assert_eq!(secrets, [r#"[{"name":"registry"}]"#; 2]);
}

/// Where routers send calls to: each address, and whether they may.
fn places(world: &World) -> Vec<(String, bool)> {
    let servers = &world.observed.sites["default"].servers;
    servers.iter().map(|server| (server.address.to_string(), server.in_service)).collect()
}

fn pod(number: u8, ready: bool) -> Instance {
    Instance {
        name: format!("main-mailbox-{number}"),
        address: Some(IpAddr::from([10, 244, 0, 7 + number])),
        node_address: Some(IpAddr::from([198, 51, 100, 1])),
        ready,
        ends: false,
        serves: None,
    }
}

/// The pods of the mailbox service are these.
fn mailbox_pods(world: &mut World, pods: Vec<Instance>) {
    let server = ObjectRef::new(Kind::UMService, &key());
    world.cluster.as_mut().unwrap().instances.insert(server, pods);
}

/// Each of these server objects has a pod that takes calls.
fn take_calls(world: &mut World, servers: impl IntoIterator<Item = ObjectRef>) {
    let instances = &mut world.cluster.as_mut().unwrap().instances;
    instances.extend(servers.into_iter().map(|server| (server, vec![pod(0, true)])));
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
    let first = [
        matches!(writes[0], Write::TokenKeys(..)),
        matches!(writes[1], Write::Part(..)),
        matches!(writes[2], Write::Mailbox(..)),
        matches!(writes[3], Write::Router(..)),
        matches!(writes[4], Write::Workload(_)),
    ];
    assert_eq!(first, [true; 5], "{writes:#?}");
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
    assert_eq!(places(&world), []);
    mailbox_pods(&mut world, vec![pod(0, false)]);
    settle(&mut world);
    assert_eq!(places(&world), [("10.244.0.7".into(), false)]);
    mailbox_pods(&mut world, vec![pod(0, true)]);
    settle(&mut world);
    assert_eq!(places(&world), [("10.244.0.7".into(), true)]);
}

#[test]
fn each_pod_of_a_mailbox_service_hosts_its_share_and_another_one_takes_over_when_it_ends() {
    let hosts = |world: &World| {
        let mut count = BTreeMap::new();
        let hosts = &world.observed.sites["default"].hosts;
        hosts.iter().for_each(|host| *count.entry(host.clone()).or_insert(0) += 1);
        (hosts.clone(), count.into_iter().collect::<Vec<(String, usize)>>())
    };
    let of = |number: u8, count: usize| (format!("main-mailbox-{number}"), count);
    let mut world = world();
    settle(&mut world);
    mailbox_pods(&mut world, vec![pod(0, false), pod(1, false)]);
    settle(&mut world);
    let (both, count) = hosts(&world);
    assert_eq!(count, [of(0, 16), of(1, 16)], "while both start");
    mailbox_pods(&mut world, vec![pod(0, true), pod(1, true)]);
    settle(&mut world);
    assert_eq!(hosts(&world).0, both, "nothing moves because they are ready");
    let ending = Instance { ends: true, ..pod(1, false) };
    mailbox_pods(&mut world, vec![pod(0, true), ending]);
    settle(&mut world);
    assert_eq!(hosts(&world).1, [of(0, 32)]);
    assert_eq!(places(&world)[1], ("10.244.0.8".into(), false), "it is known until its calls are over");
    mailbox_pods(&mut world, vec![pod(0, true), pod(1, true)]);
    settle(&mut world);
    assert_eq!(hosts(&world).1, [of(0, 16), of(1, 16)]);
    mailbox_pods(&mut world, Vec::new());
    settle(&mut world);
    assert!(hosts(&world).0.is_empty());
}

#[test]
fn the_keys_of_a_bucket_stay_in_their_secret_and_are_mounted_by_the_names_that_servers_read() {
    let mut world = world();
    let bucket = json!({ "store": { "s3": { "bucket": "messages", "secretName": "keys" } } });
    let spec = serde_json::from_value(bucket).unwrap();
    world.services.insert(key(), Object { generation: 1, spec });
    let keys = StoreKeys::read(|field| (field != "ca.crt").then(|| format!("what {field} says")));
    world.store_keys.insert(Key::new("default", "keys"), keys);
    let writes = settle(&mut world);
    assert!(!format!("{writes:?}").contains("what AWS"), "nothing that is written says them");
    let manifests = manifests(&writes);
    let of = |kind: &str| manifests.iter().find(|manifest| manifest["kind"] == kind).unwrap();
    let sources =
        |kind: &str| of(kind)["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"].clone();
    assert_eq!(
        sources("StatefulSet").as_array().unwrap().last().unwrap(),
        &json!({ "secret": { "name": "keys", "optional": true, "items": [
            { "key": "AWS_ACCESS_KEY_ID", "path": "store-access-key-id" },
            { "key": "AWS_SECRET_ACCESS_KEY", "path": "store-secret-access-key" },
            { "key": "ca.crt", "path": "store-authorities.pem" },
        ] } })
    );
    assert!(!sources("Deployment").to_string().contains("AWS"), "routers store nothing");
}

#[test]
fn a_namespace_may_have_several_servers_of_each_kind() {
    let mut world = world();
    let second = Key::new("default", "second");
    let (router, mut service) = (world.routers[&key()].clone(), world.services[&key()].clone());
    service.spec.store = Some(MessageStore { claim_name: Some("messages".into()), s3: None });
    world.services.insert(key(), service.clone());
    let claim = (Key::new("default", "messages"), vec!["ReadWriteMany".to_owned()]);
    world.cluster.as_mut().unwrap().claims.extend([claim]);
    world.routers.insert(second.clone(), router);
    world.services.insert(second.clone(), service);
    let uids = &mut world.cluster.as_mut().unwrap().uids;
    uids.insert(ObjectRef::new(Kind::UMCallRouter, &second), "uid-3".into());
    uids.insert(ObjectRef::new(Kind::UMService, &second), "uid-4".into());
    assert_eq!(reconcile(&world).problems, []);
    let writes = settle(&mut world);
    let names: Vec<&str> = manifests(&writes)
        .into_iter()
        .filter(|manifest| manifest["kind"] == "Deployment" || manifest["kind"] == "StatefulSet")
        .map(|manifest| manifest["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["main-router", "second-router", "main-mailbox", "second-mailbox"]);
    for router in world.observed.routers.values() {
        assert_eq!(router.generation, 1);
    }
    assert_eq!(world.observed.services.keys().collect::<Vec<_>>(), [&key(), &second]);
}

#[test]
fn an_object_is_served_when_every_server_of_its_namespace_serves_it() {
    let mut world = world();
    let second = Key::new("default", "second");
    let router = world.routers[&key()].clone();
    world.routers.insert(second.clone(), router);
    let plan = serde_json::from_value(json!({ "numberOfDigitsInExtension": 3 })).unwrap();
    world.dial_plans.insert(key(), Object { generation: 1, spec: plan });
    let routers = [&key(), &second].map(|key| ObjectRef::new(Kind::UMCallRouter, key));
    take_calls(&mut world, routers.clone().into_iter().chain([ObjectRef::new(Kind::UMService, &key())]));
    settle(&mut world);
    let dial_plan = ObjectRef::new(Kind::UMDialPlan, &key());
    let served = |world: &World| world.observed.statuses[&dial_plan].condition("Served").unwrap().clone();
    world.observed.served.insert(ObjectRef::new(Kind::UMService, &key()), 1);
    world.observed.served.insert(routers[0].clone(), 1);
    settle(&mut world);
    assert_eq!(served(&world).message, "The call router second has not said what it serves.");
    world.observed.served.insert(routers[1].clone(), 0);
    settle(&mut world);
    assert_eq!(served(&world).message, "It waits for the call router second to serve generation 1.");
    world.observed.served.insert(routers[1].clone(), 1);
    settle(&mut world);
    assert_eq!(served(&world).reason, "Serving");
}

#[test]
fn an_object_is_served_however_much_else_changes_meanwhile() {
    let mut world = world();
    let dial_plan = serde_json::from_value(json!({ "numberOfDigitsInExtension": 3 })).unwrap();
    world.dial_plans.insert(key(), Object { generation: 1, spec: dial_plan });
    let policy = serde_json::from_value(json!({ "umDialPlan": "main" })).unwrap();
    world.policies.insert(key(), Object { generation: 1, spec: policy });
    let mailbox = |generation: i64, extension: &str| {
        let spec = json!({
            "umMailboxPolicy": "main", "extensions": [extension], "displayName": format!("Number {generation}"),
            "primarySmtpAddress": "somebody@contoso.example",
        });
        Object { generation, spec: serde_json::from_value(spec).unwrap() }
    };
    let (alice, bob) = (Key::new("default", "alice"), Key::new("default", "bob"));
    let served = |world: &World, key: &Key| {
        let status = &world.observed.statuses[&ObjectRef::new(Kind::UMMailbox, key)];
        status.condition("Served").unwrap().message.clone()
    };
    // What a shell does: it remembers who waits. Gives the number of statuses, and what is wanted now.
    let step = |world: &mut World, serves: u64| {
        let server = |kind| (ObjectRef::new(kind, &key()), serves);
        world.observed.served = BTreeMap::from([Kind::UMCallRouter, Kind::UMService].map(server));
        let plan = reconcile(world);
        world.observed.awaited.clone_from(&plan.awaited);
        let statuses = plan.writes.iter().filter(|write| matches!(write, Write::Status(..))).count();
        plan.writes.into_iter().for_each(|write| world.apply(write));
        (statuses, plan.wanted[&ObjectRef::new(Kind::UMCallRouter, &key())])
    };
    world.mailboxes.insert(bob.clone(), mailbox(1, "102"));
    take_calls(&mut world, [Kind::UMCallRouter, Kind::UMService].map(|kind| ObjectRef::new(kind, &key())));
    let mut first = 0;
    while step(&mut world, first) != (0, first) {
        first = step(&mut world, first).1;
    }
    world.mailboxes.insert(alice.clone(), mailbox(1, "101"));
    step(&mut world, first);
    let waits = |name, generation| format!("It waits for the {name} to serve generation {generation}.");
    assert_eq!(served(&world, &alice), waits("call router", first + 1));
    // Another one changes all the time. She waits for what she waited for, and nothing is written of her.
    for generation in 2..5 {
        world.mailboxes.insert(bob.clone(), mailbox(generation, "102"));
        assert_eq!(step(&mut world, first).0, 1, "the status of bob");
        assert_eq!(served(&world, &alice), waits("call router", first + 1));
    }
    world.mailboxes.insert(bob.clone(), mailbox(5, "102"));
    step(&mut world, first + 1);
    assert!(served(&world, &alice).ends_with(" it, for which it waited 0 ms."));
    assert_eq!(served(&world, &bob), waits("call router", first + 5));
    // Numbers that begin anew, as when what was written is lost, are not those of before.
    world.mailboxes.insert(alice.clone(), mailbox(2, "101"));
    world.observed.routers.clear();
    world.observed.services.clear();
    step(&mut world, first + 5);
    assert_eq!(served(&world, &alice), waits("call router", 1));
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
