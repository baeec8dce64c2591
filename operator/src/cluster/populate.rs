//! From the objects of a namespace to its [`World`].
//!
//! Decides which pods count, and how Secrets are read. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::parts::{CERTIFICATE_FILES, TOKEN_KEYS_FILE, token_keys_from_yaml};
use crds::Kind;
use serde_json::Value as Json;

use super::objects::{Objects, Source};
use super::place::{Identity, Place};
use super::pods::Pods;
use super::readiness::{Word, spare, word};
use crate::defaults::asking;
use crate::rotation::known;
use crate::site::{Cluster, Image, Instance};
use crate::store_keys::StoreKeys;
use crate::workloads::{
    COMPONENT_LABEL, INSTANCE_LABEL, PHASE_ANNOTATION, Role, SINCE_ANNOTATION, TOKEN_SECRET, WorkloadKind,
    WorkloadRef,
};
use crate::world::{Key, ObjectRef, Phase, TlsSecret, World, WrittenKeys};

/// What is known of `namespace`.
pub(super) fn world(
    objects: &Objects,
    pods: &Pods,
    namespace: &str,
    image: &Image,
    now: jiff::Timestamp,
) -> World {
    let place = objects.place(namespace);
    let mut world = place.map_or_else(|| Place::default().world(now), |place| place.world(now));
    for (key, secret) in objects.of(Source::Certificates, namespace) {
        let [chain, private_key, authorities] = CERTIFICATE_FILES.map(|file| data(secret, file));
        let held = TlsSecret { chain, key: private_key, authorities };
        world.secrets.insert(key.clone(), held);
    }
    for (key, secret) in objects.of(Source::StoreKeys, namespace) {
        world.store_keys.insert(key.clone(), StoreKeys::read(|field| data(secret, field)));
    }
    world.cluster = Some(cluster(&world, objects, pods, namespace, image));
    observe(&mut world, objects, namespace);
    world
}

fn cluster(world: &World, objects: &Objects, pods: &Pods, namespace: &str, image: &Image) -> Cluster {
    let mut cluster = Cluster { image: image.clone(), ..Cluster::default() };
    let identities = objects.place(namespace).map(Place::identities);
    let of = |kind: Kind| identities.into_iter().flat_map(move |identities| identities.of_kind(kind));
    let mut identify = |object: ObjectRef, identity: &Identity| {
        cluster.uids.insert(object, identity.uid.to_string());
    };
    for kind in [Kind::UMCallRouter, Kind::UMService] {
        of(kind).for_each(|(key, identity)| identify(ObjectRef::new(kind, key), identity));
    }
    let asking = asking(world);
    for object in &asking {
        let identity = identities.and_then(|identities| identities.get(object));
        identity.into_iter().for_each(|identity| identify(object.clone(), identity));
    }
    for kind in [Kind::UMHuntGroup, Kind::UMMailboxPolicy].into_iter().filter(|_| !asking.is_empty()) {
        for (key, identity) in of(kind).filter(|(_, identity)| !identity.owners.is_empty()) {
            cluster.owners.insert(ObjectRef::new(kind, key), identity.owners.to_vec());
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
pub(super) fn owners(object: &Json) -> Vec<String> {
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
    match objects.get(Source::TokenKeys, &Key::new(namespace, TOKEN_SECRET)).map(token_keys) {
        Some(Ok(keys)) => world.observed.token_keys = Some(keys),
        Some(Err(why)) => world.token_trouble = Some(why),
        None => {}
    }
    if let Some(cluster) = &world.cluster {
        let served =
            cluster.servers().filter_map(|(server, _)| Some((server.clone(), cluster.served(server)?)));
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

/// A text in a Secret.
fn data(secret: &Json, field: &str) -> Option<String> {
    let bytes = STANDARD.decode(secret["data"][field].as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}
