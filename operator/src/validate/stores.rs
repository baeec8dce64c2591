//! Message stores, each by itself and beside those of the other servers of its namespace.
//!
//! Decides which store a server can use, and that the mailbox servers of a namespace have one that
//! all of them can read. A server whose store cannot be used stays as it was last given. One whose
//! store the others cannot read goes on with it: its messages are recorded and delivered, and only
//! the others cannot read them.

use config::Code;
use crds::{Bucket, Kind, MessageStore, UMServiceSpec};

use crate::dereference::LinkedServers;
use crate::problem::Problem;
use crate::store_keys::{FIELDS, StoreKeys};
use crate::suggest::nearest;
use crate::world::{Key, ObjectRef, World};

/// The access mode of a volume that pods of several nodes write.
const SHARED: &str = "ReadWriteMany";

/// Reports stores that cannot be used or are not shared; leaves out servers that cannot use theirs.
pub(super) fn stores(world: &World, linked: &mut LinkedServers<'_>, problems: &mut Vec<Problem>) {
    linked.services.retain(|key, server| {
        let Some(store) = &server.spec.store else { return true };
        let claim = store.claim_name.as_ref().and_then(|name| unusable_claim(world, key, name));
        let bucket = || unusable_keys(key, store.s3.as_ref()?, server.store_keys?);
        let problem = claim.or_else(bucket);
        let is_usable = problem.is_none();
        problems.extend(problem);
        is_usable
    });
    if world.cluster.is_some() {
        shared(linked, problems);
    }
}

fn problem(code: Code, key: &Key, field: &str, value: &str) -> Problem {
    Problem {
        code,
        object: Some(ObjectRef::new(Kind::UMService, key)),
        field: field.into(),
        value: value.into(),
        rule: String::new(),
        fix: String::new(),
        waits_for: None,
    }
}

fn unusable_claim(world: &World, key: &Key, name: &str) -> Option<Problem> {
    let found = |code| problem(code, key, "spec.store.claimName", name);
    let Some(cluster) = &world.cluster else {
        return Some(Problem {
            rule: "no claim, because the standalone server has no PersistentVolumeClaims".into(),
            fix: "remove spec.store, and messages lie below the state folder; or name a bucket in spec.store.s3"
                .into(),
            ..found(Code::StoreUnusable)
        });
    };
    let Some(modes) = cluster.claims.get(&key.beside(name)) else {
        let namespace = &key.namespace;
        return Some(Problem {
            rule: format!("the name of a PersistentVolumeClaim in namespace {namespace}"),
            fix: missing(name, "PersistentVolumeClaim", key, cluster.claims.keys()),
            ..found(Code::DanglingReference)
        });
    };
    (!modes.iter().any(|mode| mode == SHARED)).then(|| Problem {
        rule: format!("a PersistentVolumeClaim with access mode {SHARED}; this one has {}", modes.join(", ")),
        fix: format!("make a claim with accessModes: [{SHARED}], and name it here"),
        ..found(Code::StoreUnusable)
    })
}

fn unusable_keys(key: &Key, s3: &Bucket, keys: &StoreKeys) -> Option<Problem> {
    let [id, secret, authorities] = FIELDS;
    Some(Problem {
        rule: format!(
            "a Secret with the name of an access key in {id} and the key in {secret}, and as PEM in {authorities} who \
             signs the server's certificate if the system does not trust it; {}",
            keys.fault()?
        ),
        fix: "correct the Secret; until then the keys that it had before are used".into(),
        ..problem(Code::StoreKeysUnusable, key, "spec.store.s3.secretName", &s3.secret_name)
    })
}

/// What to do about a name that nothing has.
fn missing<'k>(name: &str, kind: &str, key: &Key, known: impl Iterator<Item = &'k Key>) -> String {
    let names: Vec<&str> =
        known.filter(|known| known.namespace == key.namespace).map(|key| key.name.as_str()).collect();
    match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean {near}? Otherwise add the {kind} {name}"),
        None => format!("add the {kind} {name}, or name one that exists"),
    }
}

/// Several mailbox servers of one namespace need one store.
fn shared(linked: &LinkedServers<'_>, problems: &mut Vec<Problem>) {
    for (key, server) in &linked.services {
        let beside = || linked.services.iter().filter(|(other, _)| other.namespace == key.namespace);
        let servers: i64 = beside().map(|(_, other)| other.spec.replicas).sum();
        let namespace = &key.namespace;
        let first = beside().find_map(|(other, server)| Some((*other, name(server.spec)?)));
        match (name(server.spec), first) {
            (None, first) if servers > 1 => problems.push(Problem {
                rule: format!(
                    "a store that every mailbox server of namespace {namespace} can read, because it has {servers}"
                ),
                fix: match first {
                    Some((other, store)) => format!("name the {store}, as UMService {other} does"),
                    None => format!(
                        "name a PersistentVolumeClaim with access mode {SHARED} in spec.store.claimName, or a bucket \
                         in spec.store.s3"
                    ),
                },
                ..problem(Code::StoreNotShared, key, "spec.store", "(nothing)")
            }),
            (Some(own), Some((other, store))) if own != store => problems.push(Problem {
                rule: format!("one store in namespace {namespace}; UMService {other} has the {store}"),
                fix: format!("name the {store} here too, or the {own} in UMService {other}"),
                ..problem(Code::StoreNotShared, key, "spec.store", &own)
            }),
            (_, _) => {}
        }
    }
}

/// A store that others can read, in words.
fn name(spec: &UMServiceSpec) -> Option<String> {
    let MessageStore { claim_name, s3 } = spec.store.as_ref()?;
    match (claim_name, s3) {
        (_, Some(s3)) => Some(match &s3.endpoint {
            Some(endpoint) => format!("bucket {} at {endpoint}", s3.bucket),
            None => format!("bucket {} of AWS in {}", s3.bucket, s3.region),
        }),
        (Some(claim), None) => Some(format!("claim {claim}")),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use serde_json::{Value as Json, json};

    use super::*;
    use crate::reconcile;
    use crate::site::Cluster;
    use crate::world::Object;

    fn world(cluster: Option<Cluster>, services: &[(&str, Json)]) -> World {
        let mut world = World::empty(IpAddr::V4(Ipv4Addr::LOCALHOST), jiff::Timestamp::UNIX_EPOCH);
        for (name, spec) in services {
            let spec = serde_json::from_value(spec.clone()).unwrap();
            world.services.insert(Key::new("um", name), Object { generation: 1, spec });
        }
        world.cluster = cluster;
        world
    }

    fn with_claim(name: &str, mode: &str) -> Option<Cluster> {
        let claims = [(Key::new("um", name), vec![mode.to_owned()])].into();
        Some(Cluster { claims, ..Cluster::default() })
    }

    /// Problems of stores, and the store of each service that is configured.
    fn outcome(world: &World) -> (Vec<String>, Vec<config::Store>) {
        let plan = reconcile(world);
        let said = plan.problems.iter().filter(|problem| problem.field.starts_with("spec.store"));
        let stores = plan.writes.iter().filter_map(|write| {
            let crate::Write::Mailbox(_, config) = write else { return None };
            Some(config.store.clone())
        });
        (said.map(Problem::sentence).collect(), stores.collect())
    }

    #[test]
    fn several_mailbox_servers_need_a_store_that_all_can_read_and_go_on_without() {
        let (said, stores) = outcome(&world(Some(Cluster::default()), &[("main", json!({ "replicas": 2 }))]));
        assert_eq!(
            said,
            [
                "UM1027: field spec.store; value (nothing); rule a store that every mailbox server of namespace um can \
              read, because it has 2; fix name a PersistentVolumeClaim with access mode ReadWriteMany in \
              spec.store.claimName, or a bucket in spec.store.s3"
            ]
        );
        assert_eq!(stores, [config::Store::Own]);
        let (said, _) = outcome(&world(Some(Cluster::default()), &[("main", json!({}))]));
        assert!(said.is_empty(), "one server may keep its messages: {said:?}");
    }

    #[test]
    fn a_claim_has_to_be_there_and_be_shared() {
        let service = [("main", json!({ "replicas": 2, "store": { "claimName": "messages" } }))];
        let (said, stores) = outcome(&world(with_claim("messages", "ReadWriteMany"), &service));
        assert!(said.is_empty(), "{said:?}");
        assert_eq!(stores, [config::Store::Folder("/var/lib/umbriel-store".into())]);
        let (said, stores) = outcome(&world(with_claim("message", "ReadWriteMany"), &service));
        assert!(
            said[0].starts_with("UM1010: field spec.store.claimName; value messages; rule the name of a")
        );
        assert!(said[0].contains("did you mean message?") && stores.is_empty());
        let (said, stores) = outcome(&world(with_claim("messages", "ReadWriteOnce"), &service));
        assert!(
            said[0].starts_with("UM1028: field spec.store.claimName; value messages; rule a"),
            "{said:?}"
        );
        assert!(said[0].contains("this one has ReadWriteOnce") && stores.is_empty());
        let (said, stores) = outcome(&world(None, &service));
        assert!(said[0].contains("the standalone server has no PersistentVolumeClaims"), "{said:?}");
        assert!(stores.is_empty());
    }

    #[test]
    fn services_of_one_namespace_name_one_store() {
        let store = |claim: &str| json!({ "store": { "claimName": claim } });
        let mut cluster = with_claim("messages", "ReadWriteMany").unwrap();
        cluster.claims.insert(Key::new("um", "others"), vec!["ReadWriteMany".into()]);
        let services = [("a", store("messages")), ("b", store("others"))];
        let (said, stores) = outcome(&world(Some(cluster), &services));
        assert_eq!(
            said,
            [
                "UM1027: field spec.store; value claim others; rule one store in namespace um; UMService um/a has the \
              claim messages; fix name the claim messages here too, or the claim others in UMService um/a"
            ]
        );
        assert_eq!(stores.len(), 2, "both go on");
    }

    fn bucket(name: &str) -> Json {
        let endpoint = "http://10.244.0.1:9000";
        json!({ "replicas": 2, "store": { "s3": { "bucket": name, "endpoint": endpoint, "secretName": "keys" } } })
    }

    fn keys(secret: &str) -> StoreKeys {
        StoreKeys::read(|field| match field {
            "AWS_ACCESS_KEY_ID" => Some("AKIAEXAMPLE".into()),
            "AWS_SECRET_ACCESS_KEY" => Some(secret.into()),
            _ => None,
        })
    }

    #[test]
    fn a_bucket_is_a_store_that_all_can_read_once_its_keys_are_there() {
        let mut world = world(Some(Cluster::default()), &[("main", bucket("messages"))]);
        let (said, stores) = outcome(&world);
        assert_eq!(
            said,
            [
                "UM1010: field spec.store.s3.secretName; value keys; rule the name of a Secret of type umbriel.dev/s3 \
              in namespace um; fix add the Secret of type umbriel.dev/s3 um/keys, or name one that exists"
            ]
        );
        assert!(stores.is_empty());
        world.store_keys.insert(Key::new("um", "keys"), StoreKeys::default());
        let (said, stores) = outcome(&world);
        let start = "UM1030: field spec.store.s3.secretName; value keys; rule a Secret with the name of an access key \
                     in AWS_ACCESS_KEY_ID and the key in AWS_SECRET_ACCESS_KEY";
        assert!(
            said[0].starts_with(start) && said[0].contains("; it has no AWS_ACCESS_KEY_ID; fix"),
            "{said:?}"
        );
        assert!(stores.is_empty());
        world.store_keys.insert(Key::new("um", "keys"), keys("wJalrXUtnFEMI"));
        let (said, stores) = outcome(&world);
        assert!(said.is_empty(), "{said:?}");
        let s3 = config::S3 {
            bucket: "messages".into(),
            endpoint: Some("http://10.244.0.1:9000".into()),
            region: "us-east-1".into(),
            keys: config::S3Keys::default(),
        };
        assert_eq!(stores, [config::Store::S3(s3)]);
    }

    /// The digests of the keys of the one bucket, each with its file.
    fn named(world: &World) -> Vec<(String, String)> {
        let index = &world.observed.services[&Key::new("um", "main")];
        let own = index.parts.iter().filter(|(file, _)| file.starts_with("store-"));
        own.map(|(file, digest)| (file.clone(), digest.clone())).collect()
    }

    #[test]
    fn other_keys_are_another_generation_and_broken_ones_leave_the_last_good_ones() {
        let mut world = world(Some(Cluster::default()), &[("main", bucket("messages"))]);
        let mut settle = |keys: Option<StoreKeys>| {
            world.store_keys = keys.into_iter().map(|keys| (Key::new("um", "keys"), keys)).collect();
            let plan = reconcile(&world);
            plan.writes.into_iter().for_each(|write| write.apply(&mut world.observed));
            let again = reconcile(&world);
            assert_eq!(again.writes, [], "it settles");
            (world.observed.services[&Key::new("um", "main")].generation, named(&world))
        };
        let first = settle(Some(keys("wJalrXUtnFEMI")));
        assert_eq!(
            first.1.iter().map(|(file, _)| file.as_str()).collect::<Vec<_>>(),
            ["store-access-key-id", "store-secret-access-key"]
        );
        let second = settle(Some(keys("another")));
        assert_eq!(second.0, first.0 + 1);
        assert_eq!(second.1[0], first.1[0]);
        assert_ne!(second.1[1], first.1[1]);
        assert_eq!(settle(Some(keys("another\n"))), second, "a line's end is no part of a key");
        assert_eq!(settle(None), second, "a Secret that is gone");
        assert_eq!(settle(Some(keys("wJalrXUtnFEMI"))), (first.0 + 2, first.1));
    }

    #[test]
    fn services_of_one_namespace_name_one_bucket() {
        let mut world =
            world(Some(Cluster::default()), &[("a", bucket("messages")), ("b", bucket("others"))]);
        world.store_keys.insert(Key::new("um", "keys"), keys("wJalrXUtnFEMI"));
        let (said, stores) = outcome(&world);
        assert_eq!(
            said,
            [
                "UM1027: field spec.store; value bucket others at http://10.244.0.1:9000; rule one store in namespace um; \
              UMService um/a has the bucket messages at http://10.244.0.1:9000; fix name the bucket messages at \
              http://10.244.0.1:9000 here too, or the bucket others at http://10.244.0.1:9000 in UMService um/a"
            ]
        );
        assert_eq!(stores.len(), 2, "both go on");
    }
}
