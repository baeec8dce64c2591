//! [`Place`]: what people wrote into one namespace, and what is written there for servers.
//!
//! Decides how an object is read: once, when it changes, and into as little as is needed of it. What
//! is read of a namespace is handed on as its [`World`] without a copy. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::Code;
use config::parts::{MailboxIndex, Part, RouterIndex, SitePart, digest};
use crds::Kind;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::populate::owners;
use crate::problem::Problem;
use crate::shared::PerObject;
use crate::status::ObjectStatus;
use crate::told::Told;
use crate::workloads::{Role, part_name};
use crate::world::{Key, Object, ObjectRef, PartName, PartRef, World, WrittenPart};

/// Which object it is that is known by a name, and in which of its states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The identity that the API server gave to it.
    pub(super) uid: Box<str>,
    /// Grows with each change.
    pub(super) version: Option<u64>,
    /// The identities of our objects that it belongs to.
    pub(super) owners: Box<[String]>,
}

impl Identity {
    /// The identity of an object.
    pub(super) fn of(object: &Json) -> Identity {
        let text = |field: &str| object["metadata"][field].as_str();
        Identity {
            uid: text("uid").unwrap_or_default().into(),
            version: text("resourceVersion").and_then(|text| text.parse().ok()),
            owners: owners(object).into(),
        }
    }

    /// Whether it says something that `known` does not. Versions of one object are numbers that grow.
    pub(super) fn is_newer(&self, known: &Identity) -> bool {
        self.uid != known.uid
            || !matches!((self.version, known.version), (Some(new), Some(known)) if new <= known)
    }
}

/// What is known of one namespace.
#[derive(Debug)]
pub(super) struct Place {
    /// The objects with their statuses, and the parts.
    world: World,
    /// Every object that a person wrote, also one that is going or cannot be read.
    identities: PerObject<Identity>,
    /// Objects that this version cannot read.
    unread: BTreeMap<ObjectRef, Problem>,
    /// The indices that are written, by the name of their ConfigMap.
    routers: BTreeMap<String, RouterIndex>,
    mailboxes: BTreeMap<String, MailboxIndex>,
}

impl Default for Place {
    fn default() -> Self {
        Place {
            world: World::empty(IpAddr::V4(Ipv4Addr::UNSPECIFIED), jiff::Timestamp::UNIX_EPOCH),
            identities: PerObject::default(),
            unread: BTreeMap::new(),
            routers: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
        }
    }
}

impl Place {
    /// What is known as a world, at this time.
    pub(super) fn world(&self, now: jiff::Timestamp) -> World {
        let mut world = World { now, ..self.world.clone() };
        world.refused = self.unread.values().cloned().collect();
        let named = |key: &Key, role: Role| format!("{}-{}", key.name, role.name());
        let router = |key: &Key| self.routers.get(&named(key, Role::Router)).cloned();
        let mailbox = |key: &Key| self.mailboxes.get(&named(key, Role::Mailbox)).cloned();
        let routers = world.routers.keys().filter_map(|key| Some((key.clone(), router(key)?)));
        world.observed.routers = routers.collect();
        let services = world.services.keys().filter_map(|key| Some((key.clone(), mailbox(key)?)));
        world.observed.services = services.collect();
        world
    }

    /// Which objects a person wrote.
    pub(super) fn identities(&self) -> &PerObject<Identity> {
        &self.identities
    }

    /// Takes up an object that a person wrote, if it is news.
    pub(super) fn put(&mut self, kind: Kind, key: &Key, object: &Json) -> bool {
        let named = ObjectRef::new(kind, key);
        let identity = Identity::of(object);
        if self.identities.get(&named).is_some_and(|known| !identity.is_newer(known)) {
            return false;
        }
        self.identities.insert(named.clone(), identity);
        // What is going is gone: its finalizers are not for us to wait for.
        if object["metadata"]["deletionTimestamp"].is_null() {
            self.read(&named, kind, Some(object));
        } else {
            self.read(&named, kind, None);
        }
        true
    }

    /// Forgets an object that is gone.
    pub(super) fn remove(&mut self, kind: Kind, key: &Key) {
        let named = ObjectRef::new(kind, key);
        self.identities.remove(&named);
        self.read(&named, kind, None);
    }

    /// Takes up what an object says, or that there is none.
    fn read(&mut self, named: &ObjectRef, kind: Kind, object: Option<&Json>) {
        let (world, key) = (&mut self.world, &named.key);
        let read = match kind {
            Kind::UMDialPlan => read(object).map(|read| world.dial_plans.set(key, read)),
            Kind::UMIPGateway => read(object).map(|read| world.gateways.set(key, read)),
            Kind::UMHuntGroup => read(object).map(|read| world.hunt_groups.set(key, read)),
            Kind::UMAutoAttendant => read(object).map(|read| world.attendants.set(key, read)),
            Kind::UMMailboxPolicy => read(object).map(|read| world.policies.set(key, read)),
            Kind::UMMailbox => read(object).map(|read| world.mailboxes.set(key, read)),
            Kind::UMCallRouter => read(object).map(|read| world.routers.set(key, read)),
            Kind::UMService => read(object).map(|read| world.services.set(key, read)),
        };
        let status = object.and_then(|object| ObjectStatus::deserialize(&object["status"]).ok());
        world.observed.statuses.set(named, status);
        self.unread.remove(named);
        if let Err(error) = read {
            self.read(named, kind, None);
            self.unread.insert(named.clone(), unreadable(named, &error));
        }
    }

    /// Takes up a ConfigMap, or that there is none of this name.
    pub(super) fn configure(&mut self, key: &Key, map: Option<&Json>) {
        let index = |role: Role| map.and_then(|map| map["data"][role.file()].as_str());
        let router = index(Role::Router).and_then(|text| RouterIndex::from_yaml(text).ok());
        let mailbox = index(Role::Mailbox).and_then(|text| MailboxIndex::from_yaml(text).ok());
        set(&mut self.routers, &key.name, router);
        set(&mut self.mailboxes, &key.name, mailbox);
        let Some(name) = PartName::all().find(|name| part_name(*name) == key.name) else { return };
        let observed = &mut self.world.observed;
        let bytes = map.and_then(|map| binary(map, &name.file()));
        if name == PartName::Site {
            let site = bytes.as_ref().and_then(|bytes| SitePart::from_bytes(bytes).ok());
            set(&mut observed.sites, &key.namespace, site.map(|site| Arc::new(Told::of(&site))));
        }
        let owners: BTreeSet<String> = map.into_iter().flat_map(owners).collect();
        let written = bytes.map(|bytes| {
            let part = Part { digest: digest(&bytes), bytes: bytes.into() };
            WrittenPart { part, owners }
        });
        set(&mut observed.parts, &PartRef { namespace: key.namespace.clone(), name }, written);
    }
}

fn set<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, key: &K, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key.clone(), value)),
        None => drop(map.remove(key)),
    }
}

/// An object as one of its kind.
fn read<S: DeserializeOwned>(object: Option<&Json>) -> Result<Option<Object<S>>, serde_json::Error> {
    let Some(object) = object else { return Ok(None) };
    let spec = S::deserialize(&object["spec"])?;
    let generation = object["metadata"]["generation"].as_i64().unwrap_or(1);
    Ok(Some(Object { generation, spec }))
}

/// The API server refuses such an object, unless its definitions are those of another version.
fn unreadable(named: &ObjectRef, error: &serde_json::Error) -> Problem {
    Problem {
        code: Code::WrongType,
        object: Some(named.clone()),
        field: "spec".into(),
        value: String::new(),
        rule: format!("what this version of the operator can read; it says: {error}"),
        fix: "install the definitions of this version, and apply the object again".into(),
        waits_for: None,
    }
}

/// Bytes in a ConfigMap.
fn binary(map: &Json, field: &str) -> Option<Vec<u8>> {
    STANDARD.decode(map["binaryData"][field].as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mailboxes::Slice;
    use crate::shared::Shared;

    const NOW: jiff::Timestamp = jiff::Timestamp::UNIX_EPOCH;

    fn alice(version: &str) -> Json {
        json!({
            "metadata": { "namespace": "a", "name": "alice", "uid": "1", "resourceVersion": version, "generation": 1 },
            "spec": { "umMailboxPolicy": "staff", "extensions": ["101"], "primarySmtpAddress": "a@b.example" },
        })
    }

    fn key() -> Key {
        Key::new("a", "alice")
    }

    fn put(place: &mut Place, object: &Json) -> bool {
        place.put(Kind::UMMailbox, &key(), object)
    }

    #[test]
    fn the_echo_of_a_status_leaves_the_objects_where_they_are() {
        let mut place = Place::default();
        assert!(put(&mut place, &alice("1")));
        let before = place.world(NOW);
        let mut echo = alice("2");
        echo["status"] = json!({ "observedGeneration": 1, "conditions": [] });
        assert!(put(&mut place, &echo));
        assert!(!put(&mut place, &alice("1")), "old news are none");
        let after = place.world(NOW);
        let same = |(one, other): (&Shared<Slice>, &Shared<Slice>)| one.is(other);
        assert!(before.mailboxes.slices().iter().zip(after.mailboxes.slices()).all(same));
        assert_eq!(before.observed.statuses.iter().count(), 0);
        assert_eq!(after.observed.statuses.iter().count(), 1);
    }

    #[test]
    fn what_is_going_is_gone_and_what_cannot_be_read_is_told_until_it_can() {
        let mut place = Place::default();
        put(&mut place, &alice("1"));
        let mut strange = alice("2");
        strange["spec"]["extensions"] = json!(101);
        put(&mut place, &strange);
        let world = place.world(NOW);
        assert_eq!((world.mailboxes.len(), world.refused.len()), (0, 1));
        assert_eq!(world.refused[0].code, Code::WrongType);
        put(&mut place, &alice("3"));
        let world = place.world(NOW);
        assert_eq!((world.mailboxes.len(), world.refused.len()), (1, 0));
        let mut going = alice("4");
        going["metadata"]["deletionTimestamp"] = "2026-11-21T08:00:00Z".into();
        put(&mut place, &going);
        assert_eq!((place.world(NOW).mailboxes.len(), place.identities().is_empty()), (0, false));
        place.remove(Kind::UMMailbox, &key());
        assert!(place.identities().is_empty());
    }

    #[test]
    fn a_part_is_known_for_as_long_as_its_map_is_there() {
        let mut place = Place::default();
        let map = json!({
            "metadata": { "ownerReferences": [
                { "kind": "UMService", "uid": "ours" }, { "kind": "Deployment", "uid": "another's" },
            ] },
            "binaryData": { "database-07.json.gz": "YWJj" },
        });
        let key = Key::new("a", "umbriel-database-07");
        place.configure(&key, Some(&map));
        let named = PartRef { namespace: "a".into(), name: PartName::Database(7) };
        let parts = place.world(NOW).observed.parts;
        assert_eq!(parts[&named].part.bytes[..], *b"abc");
        assert_eq!(parts[&named].owners, BTreeSet::from(["ours".to_owned()]));
        place.configure(&key, None);
        assert!(place.world(NOW).observed.parts.is_empty());
    }
}
