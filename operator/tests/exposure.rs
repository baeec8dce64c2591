//! What runs and what is said for each `exposure`, and that nobody is sent to a server that does not
//! know where it is.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use config::TokenKey;
use crds::Kind;
use serde_json::{Value as Json, json};
use umbriel_operator::{
    Cluster, Instance, Key, Object, ObjectRef, WorkloadKind, WorkloadRef, World, Write, reconcile,
};

fn key() -> Key {
    Key::new("default", "main")
}

fn service() -> ObjectRef {
    ObjectRef::new(Kind::UMService, &key())
}

fn router() -> ObjectRef {
    ObjectRef::new(Kind::UMCallRouter, &key())
}

/// One router and one mailbox server with this exposure, both named `main`.
fn world(exposure: &str) -> World {
    let mut world = World::empty(IpAddr::from([0, 0, 0, 0]), jiff::Timestamp::UNIX_EPOCH);
    let spec = json!({ "exposure": exposure });
    let object = |generation| (generation, spec.clone());
    let (generation, spec) = object(1);
    world.routers.insert(key(), Object { generation, spec: serde_json::from_value(spec.clone()).unwrap() });
    world.services.insert(key(), Object { generation, spec: serde_json::from_value(spec).unwrap() });
    let secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".into();
    world.spare_key = Some(TokenKey { id: "test".into(), secret });
    world.cluster = Some(Cluster {
        image: "umbriel:1".into(),
        uids: BTreeMap::from([(router(), "uid-1".to_owned()), (service(), "uid-2".to_owned())]),
        nodes: BTreeSet::from([IpAddr::from([198, 51, 100, 1])]),
        ..Cluster::default()
    });
    world
}

/// The pods of the mailbox service are those of these numbers; `ending` are about to end.
fn pods(world: &mut World, running: &[u8], ending: &[u8]) {
    let pod = |number: u8, ends: bool| Instance {
        name: format!("main-mailbox-{number}"),
        address: Some(IpAddr::from([10, 244, 0, 7 + number])),
        node_address: Some(IpAddr::from([198, 51, 100, 1])),
        ready: !ends,
        ends,
        serves: None,
    };
    let pods = running.iter().map(|number| pod(*number, false));
    let pods = pods.chain(ending.iter().map(|number| pod(*number, true))).collect();
    world.cluster.as_mut().unwrap().instances.insert(service(), pods);
}

/// The plan is carried out.
fn settle(world: &mut World) -> Vec<Write> {
    let writes = reconcile(world).writes;
    for write in writes.clone() {
        write.apply(&mut world.observed);
    }
    assert_eq!(reconcile(world).writes, [], "the plan holds");
    writes
}

fn workload(kind: WorkloadKind, name: &str) -> WorkloadRef {
    WorkloadRef { kind, key: Key::new("default", name) }
}

fn live<'w>(world: &'w mut World, kind: WorkloadKind, name: &str) -> &'w mut Json {
    world.observed.workloads.get_mut(&workload(kind, name)).unwrap_or_else(|| panic!("{name}"))
}

fn removed(writes: &[Write]) -> Vec<&str> {
    let mut removed = Vec::new();
    for write in writes {
        match write {
            Write::Remove(object) => removed.push(object.key.name.as_str()),
            Write::Workload(_) | Write::Router(..) | Write::Mailbox(..) => {}
            Write::TokenKeys(..) | Write::Part(..) => {}
            Write::Status(..) | Write::Forget(_) | Write::Default(_) => {}
        }
    }
    removed
}

fn services(world: &World) -> Vec<&str> {
    let services = world.observed.workloads.keys().filter(|object| object.kind == WorkloadKind::Service);
    services.map(|object| object.key.name.as_str()).collect()
}

/// Where routers send calls to.
fn places(world: &World) -> Json {
    let servers = &world.observed.sites["default"].servers;
    serde_json::to_value(servers).unwrap()
}

/// The condition `Ready`: its reason and message.
fn ready(world: &World, object: &ObjectRef) -> (String, String) {
    let condition = world.observed.statuses[object].condition("Ready").unwrap().clone();
    (condition.reason, condition.message)
}

fn balance(world: &mut World, service: &str, address: &str) {
    live(world, WorkloadKind::Service, service)["status"] =
        json!({ "loadBalancer": { "ingress": [{ "ip": address }] } });
}

#[test]
fn behind_load_balancers_each_mailbox_server_has_a_service_of_its_own() {
    let mut world = world("LoadBalancer");
    settle(&mut world);
    assert_eq!(services(&world), ["main-mailbox", "main-mailbox-0", "main-router"]);
    let port = |name: &str, port: u16, protocol: &str| json!({ "name": name, "port": port, "targetPort": port, "protocol": protocol });
    let expected = json!({
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "publishNotReadyAddresses": true,
        "selector": { "statefulset.kubernetes.io/pod-name": "main-mailbox-0" },
        "ports": [
            port("sip-udp", 5062, "UDP"), port("sip-tcp", 5062, "TCP"),
            port("rtp-0", 5070, "UDP"), port("rtp-1", 5071, "UDP"),
        ],
    });
    assert_eq!(live(&mut world, WorkloadKind::Service, "main-mailbox-0")["spec"], expected);
    let router = &live(&mut world, WorkloadKind::Service, "main-router")["spec"];
    assert_eq!(
        (&router["type"], &router["externalTrafficPolicy"]),
        (&json!("LoadBalancer"), &json!("Local"))
    );
    assert_eq!(router["ports"], json!([port("sip-udp", 5060, "UDP"), port("sip-tcp", 5060, "TCP")]));
}

#[test]
fn a_mailbox_server_is_in_no_directory_before_its_address_is_known_and_its_object_says_so() {
    let mut world = world("LoadBalancer");
    pods(&mut world, &[0], &[]);
    settle(&mut world);
    assert_eq!(places(&world), json!([]));
    let awaited = "rule an address that callers can be told; main-mailbox-0 waits for a load balancer to put \
                   an address into the status of its Service";
    let (reason, message) = ready(&world, &service());
    assert_eq!(reason, "AddressAwaited");
    assert!(message.contains(awaited), "{message}");
    assert_eq!(ready(&world, &router()).0, "AddressAwaited");

    balance(&mut world, "main-mailbox-0", "203.0.113.7");
    balance(&mut world, "main-router", "203.0.113.8");
    settle(&mut world);
    assert_eq!(places(&world)[0]["name"], "main-mailbox-0");
    assert_eq!(places(&world)[0]["address"], "203.0.113.7");
    assert_eq!(places(&world)[0]["listeners"], json!({ "udp": 5062, "tcp": 5062 }));
    assert_eq!(places(&world)[0]["inService"], true);
    assert_eq!(
        (ready(&world, &service()).0, ready(&world, &router()).0),
        ("Accepted".into(), "Accepted".into())
    );
}

#[test]
fn a_mailbox_server_whose_address_is_taken_away_takes_no_more_calls() {
    let mut world = world("LoadBalancer");
    pods(&mut world, &[0], &[]);
    settle(&mut world);
    balance(&mut world, "main-mailbox-0", "203.0.113.7");
    settle(&mut world);
    balance(&mut world, "main-mailbox-0", "203.0.113.9");
    settle(&mut world);
    assert_eq!(places(&world)[0]["address"], "203.0.113.9");
    world.observed.workloads.remove(&workload(WorkloadKind::Service, "main-mailbox-0"));
    settle(&mut world);
    assert_eq!(places(&world), json!([]));
}

#[test]
fn node_ports_are_what_routers_send_calls_to() {
    let mut world = world("NodePort");
    pods(&mut world, &[0], &[]);
    settle(&mut world);
    assert_eq!(places(&world), json!([]));
    assert!(
        ready(&world, &service()).1.contains("main-mailbox-0 waits for node port sip-udp of its Service")
    );
    let ports =
        live(&mut world, WorkloadKind::Service, "main-mailbox-0")["spec"]["ports"].as_array_mut().unwrap();
    for (port, number) in ports.iter_mut().zip(30_001..) {
        port["nodePort"] = number.into();
    }
    settle(&mut world);
    assert_eq!(places(&world)[0]["address"], "198.51.100.1");
    assert_eq!(places(&world)[0]["listeners"], json!({ "udp": 30_001, "tcp": 30_002 }));
    assert_eq!(places(&world)[0]["mediaPorts"], json!([30_003, 30_004]));
}

#[test]
fn ports_of_hosts_are_given_to_pods_and_one_router_goes_before_the_next_one_comes() {
    let mut world = world("Host");
    pods(&mut world, &[0], &[]);
    settle(&mut world);
    assert_eq!(services(&world), ["main-mailbox", "main-router"]);
    assert_eq!(places(&world)[0]["address"], "198.51.100.1");
    let stateful_set = live(&mut world, WorkloadKind::StatefulSet, "main-mailbox");
    let ports = stateful_set["spec"]["template"]["spec"]["containers"][0]["ports"].as_array().unwrap();
    let given = ports.iter().filter_map(|port| port["hostPort"].as_u64());
    assert_eq!(given.collect::<Vec<_>>(), [5062, 5062, 5070, 5071]);
    let rolling = json!({ "maxSurge": 0, "maxUnavailable": 1 });
    assert_eq!(
        live(&mut world, WorkloadKind::Deployment, "main-router")["spec"]["strategy"]["rollingUpdate"],
        rolling
    );
}

#[test]
fn pods_that_get_no_node_for_their_ports_are_said_to_wait_for_one() {
    let mut world = world("Host");
    settle(&mut world);
    let fix = "fix nothing, if this passes within a minute; else let Pod Security allow host ports";
    for (object, name) in [(service(), "main-mailbox"), (router(), "main-router")] {
        let (reason, message) = ready(&world, &object);
        assert_eq!(reason, "AddressAwaited");
        assert!(message.contains(&format!("{name} waits for a node for its pod")), "{message}");
        assert!(message.contains(fix), "{message}");
    }
    pods(&mut world, &[0], &[]);
    settle(&mut world);
    assert_eq!(ready(&world, &service()).0, "Accepted");
}

#[test]
fn sip_cannot_have_a_port_of_media() {
    let mut world = world("Pod");
    world.services.get_mut(&key()).unwrap().spec.sip_udp_listening_port = 5071;
    // TCP and UDP have ports of their own.
    world.services.get_mut(&key()).unwrap().spec.sip_tcp_listening_port = 5070;
    settle(&mut world);
    let (reason, message) = ready(&world, &service());
    assert_eq!(reason, "PortConflict");
    assert!(
        message.contains("field spec.sipUdpListeningPort; value 5071; rule a port of its own"),
        "{message}"
    );
}

#[test]
fn a_service_of_a_pod_goes_with_the_pod_and_with_the_exposure_that_needs_it() {
    let mut world = world("LoadBalancer");
    world.services.get_mut(&key()).unwrap().spec.replicas = 2;
    pods(&mut world, &[0, 1], &[]);
    settle(&mut world);
    assert_eq!(services(&world), ["main-mailbox", "main-mailbox-0", "main-mailbox-1", "main-router"]);

    world.services.get_mut(&key()).unwrap().spec.replicas = 1;
    pods(&mut world, &[0], &[1]);
    assert_eq!(removed(&settle(&mut world)), Vec::<&str>::new(), "its last call may go on");
    pods(&mut world, &[0], &[]);
    assert_eq!(removed(&settle(&mut world)), ["main-mailbox-1"]);

    world.services.get_mut(&key()).unwrap().spec.exposure = crds::Exposure::Pod;
    assert_eq!(removed(&settle(&mut world)), ["main-mailbox-0"]);
    assert_eq!(services(&world), ["main-mailbox", "main-router"]);
}

#[test]
fn services_of_others_and_of_an_object_that_cannot_be_used_stay() {
    let mut world = world("LoadBalancer");
    settle(&mut world);
    let foreign = json!({ "metadata": { "ownerReferences": [{ "uid": "uid-9" }] } });
    world.observed.workloads.insert(workload(WorkloadKind::Service, "foreign"), foreign);
    world.observed.workloads.insert(workload(WorkloadKind::Service, "nobodys"), json!({ "metadata": {} }));
    assert_eq!(removed(&settle(&mut world)), Vec::<&str>::new());
    world.services.get_mut(&key()).unwrap().spec.max_calls_allowed = 100_000;
    assert_eq!(removed(&settle(&mut world)), Vec::<&str>::new());
}

#[test]
fn servers_know_the_addresses_of_their_nodes() {
    let mut world = world("Pod");
    settle(&mut world);
    assert_eq!(world.observed.sites["default"].cluster, [IpAddr::from([198, 51, 100, 1])]);
}
