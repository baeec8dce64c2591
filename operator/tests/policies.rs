//! Who may reach which port of a server's pods, and what they may reach: the NetworkPolicies of a plan,
//! and what becomes of those that somebody changed or nobody wants any more.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::collections::BTreeMap;
use std::net::IpAddr;

use config::TokenKey;
use crds::Kind;
use serde_json::{Value as Json, json};
use umbriel_operator::{
    AdminPeers, Cluster, Key, Object, ObjectRef, StoreKeys, WorkloadKind, WorkloadRef, World, Write,
    reconcile,
};

fn key() -> Key {
    Key::new("phones", "main")
}

/// One router and one mailbox server that say these things.
fn world(router: Json, service: Json) -> World {
    let mut world = World::empty(IpAddr::from([0, 0, 0, 0]), jiff::Timestamp::UNIX_EPOCH);
    world.routers.insert(key(), Object { generation: 1, spec: serde_json::from_value(router).unwrap() });
    world.services.insert(key(), Object { generation: 1, spec: serde_json::from_value(service).unwrap() });
    let secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".into();
    world.spare_key = Some(TokenKey { id: "test".into(), secret });
    let uid = |kind, uid: &str| (ObjectRef::new(kind, &key()), uid.to_owned());
    let peers = AdminPeers { operator_namespace: "umbriel-system".into(), metrics_namespaces: Vec::new() };
    world.cluster = Some(Cluster {
        uids: BTreeMap::from([uid(Kind::UMCallRouter, "uid-1"), uid(Kind::UMService, "uid-2")]),
        admin_peers: Some(peers),
        ..Cluster::default()
    });
    world
}

/// The plan is carried out; gives what of it is about NetworkPolicies.
fn settle(world: &mut World) -> Vec<String> {
    let writes = reconcile(world).writes;
    writes.clone().into_iter().for_each(|write| world.apply(write));
    let mut told = Vec::new();
    for write in writes {
        if let Write::Workload(workload) = &write {
            told.push(("write", workload.object.clone()));
        } else if let Write::Remove(object) = &write {
            told.push(("remove", object.clone()));
        }
    }
    told.retain(|(_, object)| object.kind == WorkloadKind::NetworkPolicy);
    told.into_iter().map(|(verb, object)| format!("{verb} {}", object.key.name)).collect()
}

/// The policy of this name, as it is written.
fn live<'w>(world: &'w mut World, name: &str) -> &'w mut Json {
    let object = WorkloadRef { kind: WorkloadKind::NetworkPolicy, key: Key::new("phones", name) };
    world.observed.workloads.get_mut(&object).unwrap()
}

/// The ports in a rule, such as `5060/UDP`.
fn ports(rule: &Json) -> Vec<String> {
    let port = |port: &Json| {
        let end = port["endPort"].as_u64().map(|end| format!("-{end}")).unwrap_or_default();
        format!("{}{end}/{}", port["port"], port["protocol"].as_str().unwrap())
    };
    rule["ports"].as_array().unwrap().iter().map(port).collect()
}

#[test]
fn calls_come_from_anywhere_to_the_ports_that_a_server_listens_on_and_to_no_other() {
    let mut world = world(json!({ "umStartupMode": "TLS" }), json!({ "umStartupMode": "Dual" }));
    assert_eq!(settle(&mut world), ["write main-router", "write main-mailbox"]);
    let router = live(&mut world, "main-router")["spec"]["ingress"].clone();
    assert_eq!((ports(&router[0]), &router[0]["from"]), (vec!["5061/TCP".into()], &Json::Null));
    assert_eq!((ports(&router[1]), router.as_array().unwrap().len()), (vec!["9060/TCP".into()], 2));
    let mailbox = live(&mut world, "main-mailbox")["spec"]["ingress"][0].clone();
    assert_eq!(ports(&mailbox), ["5062/UDP", "5062/TCP", "5063/TCP", "5070/UDP", "5071/UDP"]);
    let selected = json!({ "matchLabels": {
        "app.kubernetes.io/instance": "main", "app.kubernetes.io/component": "mailbox",
    } });
    assert_eq!(live(&mut world, "main-mailbox")["spec"]["podSelector"], selected);
}

#[test]
fn the_operator_and_who_collects_metrics_reach_the_admin_port() {
    let mut world = world(json!({}), json!({}));
    settle(&mut world);
    let operator = json!({
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "umbriel-system" } },
        "podSelector": { "matchLabels": {
            "app.kubernetes.io/name": "umbriel", "app.kubernetes.io/component": "operator",
        } },
    });
    assert_eq!(live(&mut world, "main-router")["spec"]["ingress"][1]["from"], json!([operator]));
    let cluster = world.cluster.as_mut().unwrap();
    cluster.admin_peers.as_mut().unwrap().metrics_namespaces = vec!["monitoring".into(), "lab".into()];
    assert_eq!(settle(&mut world), ["write main-router", "write main-mailbox"]);
    let others = json!({ "namespaceSelector": { "matchExpressions": [
        { "key": "kubernetes.io/metadata.name", "operator": "In", "values": ["monitoring", "lab"] },
    ] } });
    assert_eq!(live(&mut world, "main-mailbox")["spec"]["ingress"][1]["from"], json!([operator, others]));
}

#[test]
fn servers_reach_the_ports_that_peers_choose_and_what_they_are_told_to_deliver_to() {
    let smtp = json!({ "host": "mail.contoso.example", "port": 25, "from": "voicemail@contoso.example" });
    let s3 =
        json!({ "bucket": "messages", "endpoint": "http://store.contoso.example", "secretName": "keys" });
    let mut world = world(json!({}), json!({ "smtp": smtp, "store": { "s3": s3 } }));
    let keys = StoreKeys::read(|field| (field != "ca.crt").then(|| "a key".into()));
    world.store_keys.insert(Key::new("phones", "keys"), keys);
    settle(&mut world);
    let peers = ["1024-65535/UDP", "1024-65535/TCP", "53/UDP", "53/TCP"];
    let router = live(&mut world, "main-router")["spec"]["egress"].clone();
    assert_eq!(ports(&router[0]), peers);
    let mailbox = live(&mut world, "main-mailbox")["spec"]["egress"].clone();
    assert_eq!(ports(&mailbox[0]), [&peers[..], &["25/TCP", "80/TCP"]].concat());
    for egress in [router, mailbox] {
        assert_eq!((egress.as_array().unwrap().len(), &egress[0]["to"]), (1, &Json::Null));
    }
}

#[test]
fn a_rule_that_somebody_added_is_taken_away() {
    let mut world = world(json!({}), json!({}));
    settle(&mut world);
    assert_eq!(settle(&mut world), <[&str; 0]>::default());
    live(&mut world, "main-router")["spec"]["ingress"].as_array_mut().unwrap().push(json!({}));
    assert_eq!(settle(&mut world), ["write main-router"]);
    let from = &mut live(&mut world, "main-mailbox")["spec"]["ingress"][1]["from"];
    from.as_array_mut().unwrap().push(json!({ "ipBlock": { "cidr": "0.0.0.0/0" } }));
    assert_eq!(settle(&mut world), ["write main-mailbox"]);
}

#[test]
fn policies_that_nobody_wants_any_more_go() {
    let mut world = world(json!({}), json!({}));
    settle(&mut world);
    world.cluster.as_mut().unwrap().admin_peers = None;
    assert_eq!(settle(&mut world), ["remove main-mailbox", "remove main-router"]);
    assert_eq!(settle(&mut world), <[&str; 0]>::default());
}
