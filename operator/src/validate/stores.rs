//! Message stores, each by itself and beside those of the other servers of its namespace.
//!
//! Decides which store a server can use, and that the mailbox servers of a namespace have one that
//! all of them can read. A server whose store cannot be used stays as it was last given. One whose
//! store the others cannot read goes on with it: its messages are recorded and delivered, and only
//! the others cannot read them.

use config::Code;
use crds::{Kind, UMServiceSpec};

use crate::dereference::Linked;
use crate::problem::Problem;
use crate::suggest::nearest;
use crate::world::{Key, ObjectRef, World};

/// The access mode of a volume that pods of several nodes write.
const SHARED: &str = "ReadWriteMany";

/// Reports stores that cannot be used or are not shared; leaves out servers that cannot use theirs.
pub(super) fn stores(world: &World, linked: &mut Linked<'_>, problems: &mut Vec<Problem>) {
    linked.services.retain(|key, server| {
        let Some(store) = &server.spec.store else { return true };
        let problem = unusable_claim(world, key, &store.claim_name);
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
            fix: "remove spec.store; messages lie below the state folder then".into(),
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
fn shared(linked: &Linked<'_>, problems: &mut Vec<Problem>) {
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
                        "name a PersistentVolumeClaim with access mode {SHARED} in spec.store.claimName"
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
    spec.store.as_ref().map(|store| format!("claim {}", store.claim_name))
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
              spec.store.claimName"
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
}
