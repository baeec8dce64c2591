//! [`Totals`]: what the mailboxes of all slices come to together.
//!
//! Decides who is counted where: the mailboxes that refer to each policy, and those that calls reach
//! in each dial plan. What a slice adds is taken up when it changes, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crds::Kind;

use super::Slice;
use crate::guards::Users;
use crate::world::Key;

/// What the mailboxes of all slices come to.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Who refers to each policy, in each slice.
    users_in: BTreeMap<usize, BTreeMap<Key, Users>>,
    /// Who refers to each policy.
    users: BTreeMap<Key, Users>,
    /// How many mailboxes calls reach in each dial plan.
    reached: BTreeMap<Key, i64>,
}

impl Totals {
    /// Who refers to each policy.
    pub(crate) fn users(&self) -> &BTreeMap<Key, Users> {
        &self.users
    }

    /// How many mailboxes calls reach in the dial plan `key`.
    pub(crate) fn reached(&self, key: &Key) -> i64 {
        self.reached.get(key).copied().unwrap_or_default()
    }

    /// Takes up who refers to what in a slice that changed; gives the policies of which that is new.
    pub(super) fn refer(&mut self, number: usize, slice: &Slice) -> BTreeSet<Key> {
        let mut now: BTreeMap<Key, Users> = BTreeMap::new();
        for (key, mailbox) in slice {
            let policy = key.beside(&mailbox.spec.um_mailbox_policy);
            now.entry(policy).or_default().add(Kind::UMMailbox, &key.name);
        }
        let before = self.users_in.insert(number, now).unwrap_or_default();
        let now = &self.users_in[&number];
        let both = before.keys().chain(now.keys());
        both.filter(|policy| before.get(*policy) != now.get(*policy)).cloned().collect()
    }

    /// Sums up anew who refers to these policies.
    pub(super) fn sum_up(&mut self, policies: &BTreeSet<Key>) {
        for policy in policies {
            let mut all = Users::default();
            self.users_in.values().filter_map(|users| users.get(policy)).for_each(|users| all.merge(users));
            if all.count() == 0 {
                self.users.remove(policy);
            } else {
                self.users.insert(policy.clone(), all);
            }
        }
    }

    /// Takes up that a slice reaches `now` mailboxes of each dial plan, after `before`.
    pub(super) fn count(&mut self, before: &BTreeMap<Key, i64>, now: &BTreeMap<Key, i64>) {
        for (plan, count) in before {
            if let Some(total) = self.reached.get_mut(plan) {
                *total -= count;
            }
        }
        for (plan, count) in now {
            *self.reached.entry(plan.clone()).or_default() += count;
        }
        self.reached.retain(|_, total| *total != 0);
    }
}
