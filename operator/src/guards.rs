//! What still refers to an object that somebody may want to delete (spec 1.10, rule 7).
//!
//! Decides the condition `InUse` of dial plans and mailbox policies. Nothing is held back by it: an
//! object that is deleted all the same leaves what refers to it without a place, and that says so.
//! What was made for an object goes with it, and keeps nobody from deleting that.

use std::collections::BTreeMap;

use crds::{ConditionStatus, Kind};

use crate::defaults::Defaults;
use crate::status::Statement;
use crate::world::{Key, ObjectRef, World};

/// Objects that one condition names; the others are counted.
const MAX_NAMED: usize = 10;

/// Who refers to one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Users {
    /// The first by kind and name.
    named: Vec<String>,
    count: usize,
}

impl Users {
    /// Takes up one more, which must not have been taken up before.
    pub(crate) fn add(&mut self, kind: Kind, name: &str) {
        self.count += 1;
        let user = format!("{kind} {name}");
        let place = self.named.partition_point(|named| *named < user);
        if place < MAX_NAMED {
            self.named.insert(place, user);
            self.named.truncate(MAX_NAMED);
        }
    }

    /// How many they are.
    pub(crate) fn count(&self) -> i64 {
        i64::try_from(self.count).unwrap_or(i64::MAX)
    }

    fn statement(&self) -> Statement {
        let Some((last, others)) = self.named.split_last() else {
            return statement(ConditionStatus::False, "NotReferenced", "Nothing refers to it.".into());
        };
        let others = others.join(", ");
        let text = match self.count - self.named.len() {
            0 if others.is_empty() => format!("{last} refers to it and needs it."),
            0 => format!("{others} and {last} refer to it and need it."),
            more => format!("{others}, {last} and {more} more refer to it and need it."),
        };
        statement(ConditionStatus::True, "Referenced", text)
    }
}

fn statement(status: ConditionStatus, reason: &str, message: String) -> Statement {
    Statement { type_: "InUse", status, reason: reason.into(), message }
}

/// Who refers to the dial plans and mailbox policies of a world.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    dial_plans: BTreeMap<Key, Users>,
    policies: BTreeMap<Key, Users>,
}

impl Guards {
    pub(crate) fn of(world: &World, defaults: &Defaults) -> Guards {
        let mut guards = Guards::default();
        for (key, mailbox) in &world.mailboxes {
            let policy = key.beside(&mailbox.spec.um_mailbox_policy);
            guards.policies.entry(policy).or_default().add(Kind::UMMailbox, &key.name);
        }
        let mut refers = |from: Kind, key: &Key, dial_plan: &str| {
            guards.dial_plans.entry(key.beside(dial_plan)).or_default().add(from, &key.name);
        };
        for (key, gateway) in &world.gateways {
            if let Some(dial_plan) = &gateway.spec.um_dial_plan {
                refers(Kind::UMIPGateway, key, dial_plan);
            }
        }
        for (key, hunt_group) in &world.hunt_groups {
            refers(Kind::UMHuntGroup, key, &hunt_group.spec.um_dial_plan);
        }
        for (key, policy) in &world.policies {
            let dial_plan = ObjectRef::new(Kind::UMDialPlan, &key.beside(&policy.spec.um_dial_plan));
            let goes_with_it = defaults.made.get(&dial_plan) == Some(&key.name);
            if !goes_with_it || guards.policies.contains_key(key) {
                refers(Kind::UMMailboxPolicy, key, &policy.spec.um_dial_plan);
            }
        }
        guards
    }

    /// The condition `InUse`, for an object that has it.
    pub(crate) fn in_use(&self, object: &ObjectRef) -> Option<Statement> {
        let users = match Kind::of(&object.kind)? {
            Kind::UMDialPlan => self.dial_plans.get(&object.key),
            Kind::UMMailboxPolicy => self.policies.get(&object.key),
            Kind::UMIPGateway
            | Kind::UMHuntGroup
            | Kind::UMMailbox
            | Kind::UMCallRouter
            | Kind::UMService => return None,
        };
        Some(users.map_or_else(|| Users::default().statement(), Users::statement))
    }

    /// How many mailboxes belong to the mailbox policy `key`.
    pub(crate) fn mailboxes(&self, key: &Key) -> i64 {
        self.policies.get(key).map_or(0, Users::count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(names: &[&str]) -> String {
        let mut users = Users::default();
        names.iter().for_each(|name| users.add(Kind::UMMailbox, name));
        users.statement().message
    }

    #[test]
    fn the_first_ten_are_named_and_the_others_counted() {
        assert_eq!(message(&[]), "Nothing refers to it.");
        assert_eq!(message(&["b"]), "UMMailbox b refers to it and needs it.");
        assert_eq!(message(&["b", "a"]), "UMMailbox a and UMMailbox b refer to it and need it.");
        let names = ["l", "a", "b", "c", "d", "e", "f", "g", "h", "i", "k", "j"];
        let said = message(&names);
        assert!(said.starts_with("UMMailbox a, UMMailbox b, "), "{said}");
        assert!(said.ends_with(", UMMailbox i, UMMailbox j and 2 more refer to it and need it."), "{said}");
    }
}
