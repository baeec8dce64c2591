//! [`Policies`]: what mailboxes need to know of everything else.
//!
//! Decides what becomes of the name of a policy. Two worlds in which it comes to the same need not
//! be looked at twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use config::{Naming, Party};
use crds::{Kind, UMDialPlanSpec};

use crate::dereference::{Linked, Target};
use crate::directory::small;
use crate::problem::has_unread;
use crate::routing::RoutingObjects;
use crate::translate;
use crate::world::{Key, ObjectRef};

/// Every policy that a mailbox may name.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Policies {
    usable: BTreeMap<Key, Arc<Policy>>,
    /// Those that are there and cannot be used.
    waiting: BTreeSet<Key>,
    /// Every dial plan that a mailbox may name.
    plans: BTreeMap<Key, Plan>,
    /// Those that are there and cannot be used.
    waiting_plans: BTreeSet<Key>,
    /// Whether something was written of which nobody can tell which object it is.
    has_unread: bool,
}

/// Where a policy that can be used leads: its dial plan. What it says itself is no business of mailboxes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) dial_plan: Key,
    pub(crate) plan: Plan,
}

/// A dial plan, as far as its users are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// How they are named.
    pub(crate) naming: Naming,
}

/// What is called for something else than a mailbox: by dial plan, and by number or address in normal form,
/// of which object it is.
pub(crate) type Reserved = BTreeMap<Key, BTreeMap<String, ObjectRef>>;

/// What the name of a policy or dial plan leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named<T> {
    Usable(T),
    Not(Target),
}

impl Policies {
    /// The policies and dial plans of `linked`.
    pub(crate) fn of(objects: &RoutingObjects, linked: &Linked<'_>) -> Policies {
        let plan = |(key, spec): (&&Key, &&UMDialPlanSpec)| ((*key).clone(), Plan { naming: naming(spec) });
        let plans: BTreeMap<Key, Plan> = linked.dial_plans.iter().map(plan).collect();
        let usable = linked.policies.iter().filter_map(|(key, spec)| {
            let dial_plan = key.beside(&spec.um_dial_plan);
            let plan = plans.get(&dial_plan)?.clone();
            Some(((*key).clone(), Arc::new(Policy { dial_plan, plan })))
        });
        let usable: BTreeMap<Key, Arc<Policy>> = usable.collect();
        let refused = |kind: Kind| {
            let objects = objects.refused.iter().filter_map(|problem| problem.object.as_ref());
            objects.filter(move |object| Kind::of(&object.kind) == Some(kind)).map(|object| &object.key)
        };
        let known = objects.policies.keys().chain(refused(Kind::UMMailboxPolicy));
        let waiting = known.filter(|key| !usable.contains_key(*key)).cloned().collect();
        let known_plans = objects.dial_plans.keys().chain(refused(Kind::UMDialPlan));
        let waiting_plans = known_plans.filter(|key| !plans.contains_key(*key)).cloned().collect();
        Policies { usable, waiting, plans, waiting_plans, has_unread: has_unread(&objects.refused) }
    }

    /// What the name of the policy `key` leads to.
    pub(crate) fn named(&self, key: &Key) -> Named<Arc<Policy>> {
        let found = self.usable.get(key).map(Arc::clone);
        self.or_target(key, found, &self.waiting, self.usable.keys())
    }

    /// What the name of the dial plan `key` leads to.
    pub(crate) fn named_plan(&self, key: &Key) -> Named<Plan> {
        self.or_target(key, self.plans.get(key).cloned(), &self.waiting_plans, self.plans.keys())
    }

    fn or_target<'k, T>(
        &self,
        key: &Key,
        found: Option<T>,
        waiting: &BTreeSet<Key>,
        candidates: impl IntoIterator<Item = &'k Key>,
    ) -> Named<T> {
        match found {
            Some(found) => Named::Usable(found),
            None if waiting.contains(key) => Named::Not(Target::Waits),
            None => Named::Not(Target::missing(key, candidates, self.has_unread)),
        }
    }
}

/// The numbers and addresses of each dial plan that lead to no mailbox when they are called.
pub(crate) fn reserved(linked: &Linked<'_>) -> Reserved {
    let mut reserved = Reserved::new();
    let mut reserve = |plan: &Key, number: &str, by: ObjectRef| {
        let normal = Party::from(number).normal().into_owned();
        reserved.entry(plan.clone()).or_default().insert(normal, by);
    };
    for (key, lists) in &linked.plan_lists {
        for number in &lists.access_numbers {
            reserve(key, number, ObjectRef::new(Kind::UMDialPlan, key));
        }
    }
    for (key, attendant) in &linked.attendants {
        for pilot in &attendant.pilots {
            reserve(attendant.dial_plan, pilot, ObjectRef::new(Kind::UMAutoAttendant, key));
        }
    }
    reserved
}

fn naming(spec: &UMDialPlanSpec) -> Naming {
    Naming {
        uri_type: translate::uri_type(spec.uri_type),
        digits_in_extension: small(spec.number_of_digits_in_extension),
    }
}
