//! What people are told when something turns: [`Event`].
//!
//! Decides which changes are news: `Ready` or `Served` turns, a problem appears or goes, an object is
//! made for another one, a mailbox server is withdrawn or is back. Everything follows from what a
//! plan writes over what was there, so a world in which nothing changes has no news. Refuses to know
//! how many of them may be told; that is the shell's.

use std::collections::BTreeSet;

use config::MailboxServer;
use crds::{Condition, ConditionStatus, Kind};

use crate::plan::Write;
use crate::status::ObjectStatus;
use crate::told::Told;
use crate::world::{ObjectRef, World};

/// Something that turned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The object that it is about.
    pub(crate) object: ObjectRef,
    /// Whether somebody should look after it.
    pub(crate) warning: bool,
    /// What it is, as one word: a reason of a condition, `ProblemGone`, `DefaultMade`, `Withdrawn`,
    /// `InService` or `WriteRefused`.
    pub(crate) reason: String,
    /// What it is, in sentences.
    pub(crate) note: String,
}

/// What turns when `write` is carried out in `world`.
pub(crate) fn events(world: &World, write: &Write) -> Vec<Event> {
    match write {
        Write::Status(object, status) => {
            let before = world.observed.statuses.get(object);
            let turned = [ready(object, before, status), served(object, before, status)];
            turned.into_iter().flatten().collect()
        }
        Write::Default(default) => vec![Event {
            object: default.made_for(),
            warning: false,
            reason: "DefaultMade".into(),
            note: format!("{} is made for it.", default.object()),
        }],
        Write::Part(named, part) => {
            let sites = world.observed.sites.get(&named.namespace).zip(part.site.as_ref());
            sites.map(|(before, site)| servers(world, before, site)).unwrap_or_default()
        }
        Write::TokenKeys(..)
        | Write::Router(..)
        | Write::Mailbox(..)
        | Write::Workload(_)
        | Write::Remove(_)
        | Write::Forget(_) => Vec::new(),
    }
}

fn is_true(condition: &Condition) -> bool {
    condition.status == ConditionStatus::True
}

/// Problems that appear or go.
fn ready(object: &ObjectRef, before: Option<&ObjectStatus>, after: &ObjectStatus) -> Option<Event> {
    let after = after.condition("Ready")?;
    let before = before.and_then(|status| status.condition("Ready"));
    let lines = |condition: Option<&Condition>| -> BTreeSet<String> {
        let of_problems = condition.filter(|condition| !is_true(condition));
        of_problems.into_iter().flat_map(|condition| condition.message.lines()).map(str::to_owned).collect()
    };
    let (had, has) = (lines(before), lines(Some(after)));
    let event = |warning, reason: &str, note: String| {
        Some(Event { object: object.clone(), warning, reason: reason.into(), note })
    };
    let joined = |lines: BTreeSet<&String>| lines.into_iter().cloned().collect::<Vec<_>>().join("\n");
    let appeared: BTreeSet<&String> = has.difference(&had).collect();
    if !appeared.is_empty() {
        return event(true, &after.reason, joined(appeared));
    }
    if is_true(after) {
        // An object that was never otherwise is no news.
        return before
            .filter(|before| !is_true(before))
            .and_then(|_| event(false, &after.reason, after.message.clone()));
    }
    let gone: BTreeSet<&String> = had.difference(&has).collect();
    if gone.is_empty() { None } else { event(false, "ProblemGone", joined(gone)) }
}

/// An object comes to be served, or is served no more without having changed.
fn served(object: &ObjectRef, before: Option<&ObjectStatus>, after: &ObjectStatus) -> Option<Event> {
    let after = after.condition("Served")?;
    let before = before.and_then(|status| status.condition("Served"));
    let was_served = before.is_some_and(is_true);
    let has_changed = before.is_some_and(|before| before.observed_generation != after.observed_generation);
    let is_news = match (was_served, is_true(after)) {
        (false, true) => true,
        // Each change is served again, and how long that took is worth knowing.
        (true, true) => has_changed,
        (true, false) => !has_changed,
        (false, false) => false,
    };
    is_news.then(|| Event {
        object: object.clone(),
        warning: !is_true(after),
        reason: after.reason.clone(),
        note: after.message.clone(),
    })
}

/// Mailbox servers that are withdrawn or back.
fn servers(world: &World, before: &Told, after: &Told) -> Vec<Event> {
    let in_service = |told: &Told| -> BTreeSet<String> {
        let servers = told.servers.iter();
        servers.filter(|server| server.in_service).map(|server: &MailboxServer| server.name.clone()).collect()
    };
    let (had, has) = (in_service(before), in_service(after));
    let event = |name: &String, warning: bool, reason: &str, note: String| {
        // A server of a cluster is named after its pod, and that after the object.
        let is_of = |service: &str| {
            name == service || name.strip_prefix(service).is_some_and(|rest| rest.starts_with("-mailbox-"))
        };
        let (key, _) = world.services.iter().find(|(key, _)| is_of(&key.name))?;
        Some(Event { object: ObjectRef::new(Kind::UMService, key), warning, reason: reason.into(), note })
    };
    let withdrawn = had.difference(&has).filter_map(|name| {
        event(
            name,
            true,
            "Withdrawn",
            format!("The mailbox server {name} takes no calls; routers send it none."),
        )
    });
    let back = has.difference(&had).filter_map(|name| {
        event(name, false, "InService", format!("The mailbox server {name} takes calls."))
    });
    withdrawn.chain(back).collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use serde_json::json;

    use super::*;
    use crate::reconcile::reconcile;
    use crate::site::{Cluster, Instance};
    use crate::world::{Key, Object};

    fn key(name: &str) -> Key {
        Key::new("default", name)
    }

    fn object<S: serde::de::DeserializeOwned>(spec: serde_json::Value) -> Object<S> {
        Object { generation: 1, spec: serde_json::from_value(spec).unwrap() }
    }

    /// A router, and a mailbox server whose pod is ready or not.
    fn place(world: &mut World, ready: bool) {
        let service = ObjectRef::new(Kind::UMService, &key("main"));
        let uids = [service.clone(), ObjectRef::new(Kind::UMCallRouter, &key("router"))];
        let address = Some(IpAddr::from([10, 244, 0, 7]));
        let name = "main-mailbox-0".into();
        let pod = Instance { name, address, node_address: None, ready, ends: false, serves: Some(1) };
        world.cluster = Some(Cluster {
            uids: uids.map(|server| (server, "uid".to_owned())).into(),
            instances: [(service, vec![pod])].into(),
            ..Cluster::default()
        });
    }

    /// What turns when the plan of a world is carried out: reasons and notes.
    fn turn(world: &mut World) -> Vec<(String, String)> {
        let writes = reconcile(world).writes;
        let told = writes.iter().flat_map(|write| events(world, write)).collect::<Vec<_>>();
        writes.into_iter().for_each(|write| world.apply(write));
        told.into_iter().map(|event| (event.reason, event.note)).collect()
    }

    #[test]
    fn a_mailbox_server_that_is_withdrawn_and_comes_back_is_told_once_each() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let mut world = World::empty(IpAddr::from([0, 0, 0, 0]), now);
        world.routers.insert(key("router"), object(json!({})));
        world.services.insert(key("main"), object(json!({})));
        place(&mut world, true);
        turn(&mut world);
        assert_eq!(turn(&mut world), [], "nothing turns");
        let withdrawn = "The mailbox server main-mailbox-0 takes no calls; routers send it none.";
        let back = "The mailbox server main-mailbox-0 takes calls.";
        place(&mut world, false);
        assert_eq!(turn(&mut world), [("Withdrawn".into(), withdrawn.into())]);
        assert_eq!(turn(&mut world), []);
        place(&mut world, true);
        assert_eq!(turn(&mut world), [("InService".into(), back.into())]);
    }
}
