//! A namespace of any size in a cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;

use config::TokenKey;
use crds::Kind;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use umbriel_operator::{Cluster, Instance, Key, Object, ObjectRef, Plan, World};

/// Gateways that lead to one dial plan, at most.
const GATEWAYS_PER_DIAL_PLAN: u32 = 200;

pub(crate) fn key(name: &str) -> Key {
    Key::new("default", name)
}

fn object<S: DeserializeOwned>(spec: Value) -> Object<S> {
    Object { generation: 1, spec: serde_json::from_value(spec).unwrap() }
}

pub(crate) fn name(number: u32) -> Key {
    key(&format!("user-{number:06}"))
}

/// Gives a mailbox a display name.
pub(crate) fn put(world: &mut World, number: u32, display_name: &str) {
    let spec = json!({
        "umMailboxPolicy": "staff",
        "extensions": [format!("{number:06}")],
        "displayName": display_name,
        "primarySmtpAddress": format!("user-{number}@contoso.example"),
    });
    world.mailboxes.insert(name(number), object(spec));
}

/// A router, a mailbox server, mailboxes, and as many gateways and hunt groups together as `others`.
pub(crate) fn world(mailboxes: u32, others: u32) -> World {
    let mut world = World::empty(IpAddr::from([0, 0, 0, 0]), jiff::Timestamp::UNIX_EPOCH);
    let uid = |kind, uid: &str| (ObjectRef::new(kind, &key("main")), uid.to_owned());
    let uids = BTreeMap::from([uid(Kind::UMCallRouter, "uid-1"), uid(Kind::UMService, "uid-2")]);
    world.cluster = Some(Cluster { uids, ..Cluster::default() });
    let secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".into();
    world.spare_key = Some(TokenKey { id: "size".into(), secret });
    world.routers.insert(key("main"), object(json!({})));
    world.services.insert(key("main"), object(json!({})));
    world.policies.insert(key("staff"), object(json!({ "umDialPlan": "plan-000" })));
    for number in 0..others / 2 {
        let plan = format!("plan-{:03}", number / GATEWAYS_PER_DIAL_PLAN);
        let [_, high, middle, low] = number.to_be_bytes();
        let address = IpAddr::from([10, high, middle, low]);
        let gateway = format!("gateway-{number:05}");
        world
            .dial_plans
            .entry(key(&plan))
            .or_insert_with(|| object(json!({ "numberOfDigitsInExtension": 6 })));
        world.gateways.insert(key(&gateway), object(json!({ "address": address })));
        let spec = json!({ "umIPGateway": gateway, "umDialPlan": plan });
        world.hunt_groups.insert(key(&format!("group-{number:05}")), object(spec));
    }
    (0..mailboxes).for_each(|number| put(&mut world, number, &format!("User Number {number}")));
    world
}

/// The pods of both servers are ready and serve what is written.
pub(crate) fn serve(world: &mut World) {
    let router = world.observed.routers.values().next().map(|index| index.generation);
    let service = world.observed.services.values().next().map(|index| index.generation);
    for (kind, serves) in [(Kind::UMCallRouter, router), (Kind::UMService, service)] {
        let server = ObjectRef::new(kind, &key("main"));
        let (name, address) = ("main-mailbox-0".into(), Some(IpAddr::from([10, 244, 0, 7])));
        let pod = Instance { name, address, node_address: None, ready: true, ends: false, serves };
        if let Some(cluster) = &mut world.cluster {
            cluster.instances.insert(server.clone(), vec![pod]);
        }
        world.observed.served.extend(serves.map(|serves| (server, serves)));
    }
}

/// Carries a plan out.
pub(crate) fn carry_out(world: &mut World, plan: Plan) {
    world.observed.awaited = plan.awaited;
    world.observed.cut_after = plan.cut_after;
    plan.writes.into_iter().for_each(|write| world.apply(write));
}
