//! [`Policies`]: what mailboxes need to know of everything else.
//!
//! Decides what becomes of the name of a policy. Two worlds in which it comes to the same need not
//! be looked at twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crds::Kind;

use crate::dereference::{Linked, Target};
use crate::world::{Key, World};

/// Every policy that a mailbox may name.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Policies {
    usable: BTreeMap<Key, Arc<Policy>>,
    /// Those that are there and cannot be used.
    waiting: BTreeSet<Key>,
    /// Whether something was written of which nobody can tell which object it is.
    has_unread: bool,
}

/// A policy that can be used, and its dial plan.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) voice_mail_text: Option<String>,
    pub(crate) dial_plan: Key,
    pub(crate) digits_in_extension: i64,
}

/// What the name of a policy leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Usable(Arc<Policy>),
    Not(Target),
}

impl Policies {
    /// The policies of `linked`.
    pub(crate) fn of(world: &World, linked: &Linked<'_>) -> Policies {
        let usable = linked.policies.iter().filter_map(|(key, spec)| {
            let dial_plan = key.beside(&spec.um_dial_plan);
            let digits_in_extension = linked.dial_plans.get(&dial_plan)?.number_of_digits_in_extension;
            let voice_mail_text = spec.voice_mail_text.clone();
            Some(((*key).clone(), Arc::new(Policy { voice_mail_text, dial_plan, digits_in_extension })))
        });
        let usable: BTreeMap<Key, Arc<Policy>> = usable.collect();
        let refused = world.refused.iter().filter_map(|problem| problem.object.as_ref());
        let refused = refused.filter(|object| Kind::of(&object.kind) == Some(Kind::UMMailboxPolicy));
        let known = world.policies.keys().chain(refused.map(|object| &object.key));
        let waiting = known.filter(|key| !usable.contains_key(*key)).cloned().collect();
        Policies { usable, waiting, has_unread: world.has_unread() }
    }

    /// What the name of the policy `key` leads to.
    pub(crate) fn named(&self, key: &Key) -> Named {
        if let Some(policy) = self.usable.get(key) {
            return Named::Usable(Arc::clone(policy));
        }
        if self.waiting.contains(key) {
            return Named::Not(Target::Waits);
        }
        Named::Not(Target::missing(key, self.usable.keys(), self.has_unread))
    }
}
