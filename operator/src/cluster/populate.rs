//! From the objects of a namespace to its [`World`].
//!
//! Decides how an object of the API server is read, and which pods count. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::Code;
use config::parts::{
    MailboxIndex, Part, RouterIndex, SitePart, TOKEN_KEYS_FILE, digest, token_keys_from_yaml,
};
use crds::Kind;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::objects::{Objects, Source};
use super::pods::Pods;
use super::readiness::{Word, spare, word};
use crate::problem::Problem;
use crate::rotation::known;
use crate::site::{Cluster, Image, Instance};
use crate::status::ObjectStatus;
use crate::store_keys::StoreKeys;
use crate::workloads::{
    COMPONENT_LABEL, INSTANCE_LABEL, PHASE_ANNOTATION, Role, SINCE_ANNOTATION, TOKEN_SECRET, WorkloadKind,
    WorkloadRef, part_name,
};
use crate::world::{
    Key, Object, ObjectRef, PartName, PartRef, Phase, TlsSecret, World, WrittenKeys, WrittenPart,
};

/// What is known of `namespace`.
pub(super) fn world(
    objects: &Objects,
    pods: &Pods,
    namespace: &str,
    image: &Image,
    now: jiff::Timestamp,
) -> World {
    let mut world = World::empty(IpAddr::V4(Ipv4Addr::UNSPECIFIED), now);
    for kind in Kind::ALL {
        for (key, object) in objects.of(Source::Kind(kind), namespace) {
            // What is going is gone: its finalizers are not for us to wait for.
            if object["metadata"]["deletionTimestamp"].is_null() {
                put(&mut world, kind, key, object);
            }
        }
    }
    for (key, secret) in objects.of(Source::Certificates, namespace) {
        let held = TlsSecret { chain: data(secret, "tls.crt"), key: data(secret, "tls.key") };
        world.secrets.insert(key.clone(), held);
    }
    for (key, secret) in objects.of(Source::StoreKeys, namespace) {
        world.store_keys.insert(key.clone(), StoreKeys::read(|field| data(secret, field)));
    }
    world.cluster = Some(cluster(objects, pods, namespace, image));
    observe(&mut world, objects, namespace);
    world
}

/// Puts an object beside others of its kind, with its status.
fn put(world: &mut World, kind: Kind, key: &Key, object: &Json) {
    fn read<S: DeserializeOwned>(
        key: &Key,
        object: &Json,
    ) -> Result<Option<(Key, Object<S>)>, serde_json::Error> {
        let spec = S::deserialize(&object["spec"])?;
        let generation = object["metadata"]["generation"].as_i64().unwrap_or(1);
        Ok(Some((key.clone(), Object { generation, spec })))
    }
    let read = match kind {
        Kind::UMDialPlan => read(key, object).map(|read| world.dial_plans.extend(read)),
        Kind::UMIPGateway => read(key, object).map(|read| world.gateways.extend(read)),
        Kind::UMHuntGroup => read(key, object).map(|read| world.hunt_groups.extend(read)),
        Kind::UMMailboxPolicy => read(key, object).map(|read| world.policies.extend(read)),
        Kind::UMMailbox => read(key, object).map(|read| world.mailboxes.extend(read)),
        Kind::UMCallRouter => read(key, object).map(|read| world.routers.extend(read)),
        Kind::UMService => read(key, object).map(|read| world.services.extend(read)),
    };
    let named = ObjectRef::new(kind, key);
    // The API server refuses such an object, unless its definitions are those of another version.
    if let Err(error) = read {
        world.refused.push(Problem {
            code: Code::WrongType,
            object: Some(named.clone()),
            field: "spec".into(),
            value: String::new(),
            rule: format!("what this version of the operator can read; it says: {error}"),
            fix: "install the definitions of this version, and apply the object again".into(),
            waits_for: None,
        });
    }
    if let Ok(status) = ObjectStatus::deserialize(&object["status"]) {
        world.observed.statuses.insert(named, status);
    }
}

fn cluster(objects: &Objects, pods: &Pods, namespace: &str, image: &Image) -> Cluster {
    let mut cluster = Cluster { image: image.clone(), ..Cluster::default() };
    for kind in [Kind::UMCallRouter, Kind::UMService, Kind::UMDialPlan, Kind::UMIPGateway] {
        for (key, object) in objects.of(Source::Kind(kind), namespace) {
            let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
            cluster.uids.insert(ObjectRef::new(kind, key), uid.into());
        }
    }
    for kind in [Kind::UMHuntGroup, Kind::UMMailboxPolicy] {
        for (key, object) in objects.of(Source::Kind(kind), namespace) {
            let owners = owners(object);
            if !owners.is_empty() {
                cluster.owners.insert(ObjectRef::new(kind, key), owners);
            }
        }
    }
    for (key, claim) in objects.of(Source::Claims, namespace) {
        let modes = claim["spec"]["accessModes"].as_array().into_iter().flatten();
        let modes = modes.filter_map(|mode| mode.as_str().map(str::to_owned)).collect();
        cluster.claims.insert(key.clone(), modes);
    }
    let mut unheard = BTreeSet::new();
    for (key, pod) in objects.of(Source::Pods, namespace) {
        cluster.nodes.extend(node_address(pod));
        let Some(server) = server_of(pod, namespace).filter(|_| runs(pod)) else { continue };
        let word = word(pod);
        if word == Word::Unheard && stays(pod) {
            unheard.insert((server.clone(), key.name.clone()));
        }
        let instance = Instance {
            name: key.name.clone(),
            address: address(pod),
            node_address: node_address(pod),
            ready: stays(pod) && (word == Word::Ready || word == Word::Unheard && pods.vouches_for(pod)),
            ends: !stays(pod),
            serves: pods.serves(pod),
        };
        cluster.instances.entry(server).or_default().push(instance);
    }
    spare(&mut cluster.instances, &unheard);
    cluster
}

/// The identities of what an object belongs to, as far as it is of our kinds.
fn owners(object: &Json) -> Vec<String> {
    let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let ours = owners.filter(|owner| owner["kind"].as_str().and_then(Kind::of).is_some());
    ours.filter_map(|owner| owner["uid"].as_str().map(str::to_owned)).collect()
}

/// What became of earlier plans.
fn observe(world: &mut World, objects: &Objects, namespace: &str) {
    for kind in WorkloadKind::ALL {
        for (key, object) in objects.of(Source::Workloads(kind), namespace) {
            let observed = WorkloadRef { kind, key: key.clone() };
            world.observed.workloads.insert(observed, object.clone());
        }
    }
    let named = |key: &Key, role: Role| key.beside(&format!("{}-{}", key.name, role.name()));
    let index = |key: &Key, role: Role| {
        let map = objects.get(Source::Configurations, &named(key, role))?;
        map["data"][role.file()].as_str()
    };
    let router = |key: &Key| RouterIndex::from_yaml(index(key, Role::Router)?).ok();
    let mailbox = |key: &Key| MailboxIndex::from_yaml(index(key, Role::Mailbox)?).ok();
    let routers = world.routers.keys().filter_map(|key| Some((key.clone(), router(key)?)));
    world.observed.routers = routers.collect();
    let services = world.services.keys().filter_map(|key| Some((key.clone(), mailbox(key)?)));
    world.observed.services = services.collect();
    for name in PartName::all() {
        let map = objects.get(Source::Configurations, &Key::new(namespace, &part_name(name)));
        let Some((map, bytes)) = map.and_then(|map| Some((map, binary(map, &name.file())?))) else {
            continue;
        };
        if let Some(site) = (name == PartName::Site).then(|| SitePart::from_bytes(&bytes).ok()).flatten() {
            world.observed.sites.insert(namespace.into(), Arc::new(site));
        }
        let part = Part { digest: digest(&bytes), bytes: bytes.into() };
        let written = WrittenPart { part, owners: owners(map).into_iter().collect() };
        world.observed.parts.insert(PartRef { namespace: namespace.into(), name }, written);
    }
    match objects.get(Source::TokenKeys, &Key::new(namespace, TOKEN_SECRET)).map(token_keys) {
        Some(Ok(keys)) => world.observed.token_keys = Some(keys),
        Some(Err(why)) => world.token_trouble = Some(why),
        None => {}
    }
    if let Some(cluster) = &world.cluster {
        let served = cluster.uids.keys().filter_map(|server| Some((server.clone(), cluster.served(server)?)));
        world.observed.served = served.collect();
    }
}

/// What the Secret with the keys of the redirect token says, or what is wrong with it.
fn token_keys(secret: &Json) -> Result<WrittenKeys, String> {
    let text = data(secret, TOKEN_KEYS_FILE).ok_or("it has none that is text")?;
    let keys = token_keys_from_yaml(&text).map_err(|error| error.to_string())?;
    let note = |name: &str| secret["metadata"]["annotations"][name].as_str();
    let since = note(SINCE_ANNOTATION).and_then(|text| text.parse().ok());
    let phase = Phase::ALL.into_iter().find(|phase| note(PHASE_ANNOTATION) == Some(phase.name()));
    Ok(known(keys, phase, since, owners(secret).into_iter().collect()))
}

/// The server object that a pod belongs to.
pub(super) fn server_of(pod: &Json, namespace: &str) -> Option<ObjectRef> {
    let label = |name: &str| pod["metadata"]["labels"][name].as_str();
    let component = label(COMPONENT_LABEL)?;
    let role = [Role::Router, Role::Mailbox].into_iter().find(|role| role.name() == component)?;
    Some(ObjectRef::new(role.kind(), &Key::new(namespace, label(INSTANCE_LABEL)?)))
}

/// Whether a pod runs and is not about to end.
pub(super) fn stays(pod: &Json) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null() && runs(pod)
}

fn runs(pod: &Json) -> bool {
    pod["status"]["phase"] == "Running"
}

/// The address of a pod, once it has one.
pub(super) fn address(pod: &Json) -> Option<IpAddr> {
    pod["status"]["podIP"].as_str()?.parse().ok()
}

/// The address of the node of a pod, once it has one.
fn node_address(pod: &Json) -> Option<IpAddr> {
    pod["status"]["hostIP"].as_str()?.parse().ok()
}

/// Bytes in a ConfigMap.
fn binary(map: &Json, field: &str) -> Option<Vec<u8>> {
    STANDARD.decode(map["binaryData"][field].as_str()?).ok()
}

/// A text in a Secret.
fn data(secret: &Json, field: &str) -> Option<String> {
    let bytes = STANDARD.decode(secret["data"][field].as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}
