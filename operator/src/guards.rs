//! What still refers to an object that somebody may want to delete (spec 1.10, rule 7).
//!
//! Decides the condition `InUse` of dial plans and mailbox policies. Nothing is held back by it: an
//! object that is deleted all the same leaves what refers to it without a place, and that says so.
//! What was made for an object goes with it, and keeps nobody from deleting that.

use std::collections::{BTreeMap, BTreeSet};

use crds::{ConditionStatus, Kind};

use crate::defaults::Defaults;
use crate::mailboxes::Totals;
use crate::status::Statement;
use crate::world::{Key, World};

/// Objects that one condition names; the others are counted.
const MAX_NAMED: usize = 10;

/// Who refers to one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Users {
    /// The first by kind and name.
    named: Vec<(&'static str, String)>,
    count: usize,
}

impl Users {
    /// Takes up one more, which must not have been taken up before.
    pub(crate) fn add(&mut self, kind: Kind, name: &str) {
        self.count += 1;
        self.name(kind.name(), name);
    }

    /// Takes up all of `others`, none of whom must have been taken up before.
    pub(crate) fn merge(&mut self, others: &Users) {
        self.count += others.count;
        others.named.iter().for_each(|(kind, name)| self.name(kind, name));
    }

    fn name(&mut self, kind: &'static str, name: &str) {
        let place = self.named.partition_point(|(known, other)| (*known, other.as_str()) < (kind, name));
        if place < MAX_NAMED {
            self.named.insert(place, (kind, name.to_owned()));
            self.named.truncate(MAX_NAMED);
        }
    }

    /// How many they are.
    pub(crate) fn count(&self) -> i64 {
        i64::try_from(self.count).unwrap_or(i64::MAX)
    }

    fn statement(&self) -> Statement<'static> {
        let named: Vec<String> = self.named.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
        let Some((last, others)) = named.split_last() else {
            return statement(ConditionStatus::False, "NotReferenced", "Nothing refers to it.".into());
        };
        let others = others.join(", ");
        let text = match self.count - named.len() {
            0 if others.is_empty() => format!("{last} refers to it and needs it."),
            0 => format!("{others} and {last} refer to it and need it."),
            more => format!("{others}, {last} and {more} more refer to it and need it."),
        };
        statement(ConditionStatus::True, "Referenced", text)
    }
}

/// Who refers to each object of a kind.
#[derive(Debug, Default)]
pub(crate) struct Referred {
    /// Those of each slice.
    users_in: BTreeMap<usize, BTreeMap<Key, Users>>,
    /// All of them, as they were summed up.
    users: BTreeMap<Key, Users>,
    /// To what others refer since then.
    news: BTreeSet<Key>,
}

impl Referred {
    /// Takes up who refers to what in a slice that changed.
    pub(crate) fn refer(&mut self, number: usize, now: BTreeMap<Key, Users>) {
        let before = self.users_in.insert(number, now).unwrap_or_default();
        let now = &self.users_in[&number];
        let both = before.keys().chain(now.keys());
        self.news.extend(both.filter(|object| before.get(*object) != now.get(*object)).cloned());
    }

    /// All of them, as they were summed up.
    pub(crate) fn users(&self) -> &BTreeMap<Key, Users> {
        &self.users
    }

    /// Sums up what is new.
    pub(crate) fn sum_up(&mut self) {
        for object in std::mem::take(&mut self.news) {
            let mut all = Users::default();
            self.users_in.values().filter_map(|users| users.get(&object)).for_each(|users| all.merge(users));
            if all.count() == 0 {
                self.users.remove(&object);
            } else {
                self.users.insert(object, all);
            }
        }
    }
}

fn statement(status: ConditionStatus, reason: &'static str, message: String) -> Statement<'static> {
    Statement { type_: "InUse", status, reason, message: message.into() }
}

/// Who refers to the dial plans and mailbox policies of a world.
#[derive(Debug)]
pub(crate) struct Guards<'m> {
    dial_plans: BTreeMap<Key, Users>,
    policies: &'m BTreeMap<Key, Users>,
}

impl Guards<'_> {
    /// Where `referring` says which gateways, hunt groups and auto attendants refer to dial plans, and
    /// `totals` which mailboxes to dial plans and policies.
    pub(crate) fn of<'m>(
        world: &World,
        defaults: &Defaults,
        referring: &BTreeMap<Key, Users>,
        totals: &'m Totals,
    ) -> Guards<'m> {
        let mailboxes = totals.users();
        let mut dial_plans = referring.clone();
        for (plan, users) in totals.users_of_dial_plans() {
            dial_plans.entry(plan.clone()).or_default().merge(users);
        }
        for (key, policy) in &world.policies {
            let dial_plan = key.beside(&policy.spec.um_dial_plan);
            let goes_with_it = defaults.made(world, Kind::UMDialPlan, &dial_plan) == Some(&key.name);
            if !goes_with_it || mailboxes.contains_key(key) {
                dial_plans.entry(dial_plan).or_default().add(Kind::UMMailboxPolicy, &key.name);
            }
        }
        Guards { dial_plans, policies: mailboxes }
    }

    /// The condition `InUse` of the dial plan `key`.
    pub(crate) fn of_dial_plan(&self, key: &Key) -> Statement<'static> {
        self.dial_plans.get(key).map_or_else(|| Users::default().statement(), Users::statement)
    }

    /// The condition `InUse` of the mailbox policy `key`.
    pub(crate) fn of_policy(&self, key: &Key) -> Statement<'static> {
        self.policies.get(key).map_or_else(|| Users::default().statement(), Users::statement)
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
        users.statement().message.into_owned()
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
