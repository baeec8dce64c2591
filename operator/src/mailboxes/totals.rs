//! [`Totals`]: what the mailboxes of all slices come to together.
//!
//! Decides who is counted where: the mailboxes that refer to each policy and dial plan, and those that calls
//! reach in each dial plan. What a slice adds is taken up when it changes, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crds::Kind;

use super::Slice;
use crate::guards::{Referred, Users};
use crate::world::Key;

/// What the mailboxes of all slices come to.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Who refers to each policy.
    policies: Referred,
    /// Who refers to each dial plan by an address in it.
    dial_plans: Referred,
    /// How many mailboxes calls reach in each dial plan.
    reached: BTreeMap<Key, i64>,
}

impl Totals {
    /// Who refers to each policy.
    pub(crate) fn users(&self) -> &BTreeMap<Key, Users> {
        self.policies.users()
    }

    /// Who refers to each dial plan by an address in it.
    pub(crate) fn users_of_dial_plans(&self) -> &BTreeMap<Key, Users> {
        self.dial_plans.users()
    }

    /// How many mailboxes calls reach in the dial plan `key`.
    pub(crate) fn reached(&self, key: &Key) -> i64 {
        self.reached.get(key).copied().unwrap_or_default()
    }

    /// Takes up who refers to what in a slice that changed.
    pub(super) fn refer(&mut self, number: usize, slice: &Slice) {
        let mut policies: BTreeMap<Key, Users> = BTreeMap::new();
        let mut dial_plans: BTreeMap<Key, Users> = BTreeMap::new();
        for (key, mailbox) in slice {
            let policy = key.beside(&mailbox.spec.um_mailbox_policy);
            policies.entry(policy).or_default().add(Kind::UMMailbox, &key.name);
            let addresses = mailbox.spec.secondary_addresses.iter();
            // Who refers to one twice is one.
            for plan in addresses.map(|address| key.beside(&address.um_dial_plan)).collect::<BTreeSet<Key>>()
            {
                dial_plans.entry(plan).or_default().add(Kind::UMMailbox, &key.name);
            }
        }
        self.policies.refer(number, policies);
        self.dial_plans.refer(number, dial_plans);
    }

    /// Sums up anew what others refer to than before.
    pub(super) fn sum_up(&mut self) {
        self.policies.sum_up();
        self.dial_plans.sum_up();
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
