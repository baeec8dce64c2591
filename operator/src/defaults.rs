//! Objects that are made once for another one (spec 1.10, rules 3 and 5): a mailbox policy for each
//! dial plan, and a hunt group for a gateway that names a dial plan.
//!
//! Decides when one is missing. It is made if there is nothing of its name, and then the status of
//! the object that it is made for remembers the name: what a person wrote under that name takes its
//! place, and what a person deleted stays deleted. The status says so only once the object was seen,
//! so a crash between the two writes neither makes it twice nor loses it.

use std::collections::BTreeMap;

use crds::{GROUP, Kind, UMHuntGroupSpec, UMMailboxPolicySpec, VERSION};
use serde_json::{Value as Json, json};

use crate::problem::is_refused;
use crate::status::ObjectStatus;
use crate::workloads::MANAGED_BY;
use crate::world::{Key, ObjectRef, World};

/// What is added to the name of an object for the name of what is made for it.
const SUFFIX: &str = "-default";

/// Longest name of an object.
const MAX_NAME_CHARS: usize = 253;

/// An object that is made for another one.
#[derive(Clone, Debug, PartialEq)]
pub struct DefaultObject {
    /// Its name, and its namespace, which is that of the other one.
    pub key: Key,
    /// The name of the object that it is made for, and goes with.
    pub owner: String,
    /// What it says.
    pub spec: DefaultSpec,
}

/// What an object says that is made for another one.
#[derive(Clone, Debug, PartialEq)]
pub enum DefaultSpec {
    /// The mailbox policy of a dial plan.
    Policy(UMMailboxPolicySpec),
    /// The hunt group of a gateway.
    HuntGroup(UMHuntGroupSpec),
}

impl DefaultObject {
    /// Which object it is.
    pub fn object(&self) -> ObjectRef {
        let kind = match self.spec {
            DefaultSpec::Policy(_) => Kind::UMMailboxPolicy,
            DefaultSpec::HuntGroup(_) => Kind::UMHuntGroup,
        };
        ObjectRef::new(kind, &self.key)
    }

    /// The object that it is made for.
    pub fn made_for(&self) -> ObjectRef {
        let kind = match self.spec {
            DefaultSpec::Policy(_) => Kind::UMDialPlan,
            DefaultSpec::HuntGroup(_) => Kind::UMIPGateway,
        };
        ObjectRef::new(kind, &self.key.beside(&self.owner))
    }

    /// What it says, as a person would write it.
    pub(crate) fn spec(&self) -> Json {
        let spec = match &self.spec {
            DefaultSpec::Policy(spec) => serde_json::to_value(spec),
            DefaultSpec::HuntGroup(spec) => serde_json::to_value(spec),
        };
        spec.unwrap_or_default()
    }

    /// The object as a cluster is given it; `uid` is the identity of what it is made for.
    pub(crate) fn manifest(&self, uid: &str) -> Json {
        json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": self.object().kind,
            "metadata": {
                "name": self.key.name,
                "namespace": self.key.namespace,
                "labels": { MANAGED_BY.0: MANAGED_BY.1 },
                "ownerReferences": [{
                    "apiVersion": format!("{GROUP}/{VERSION}"),
                    "kind": self.made_for().kind,
                    "name": self.owner,
                    "uid": uid,
                    "controller": true,
                }],
            },
            "spec": self.spec(),
        })
    }
}

/// What there is to be made, and what was.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Defaults {
    /// The name of what was made, by the object that it was made for, where that does not say so yet.
    pub(crate) unsaid: BTreeMap<ObjectRef, String>,
    /// What is still to be made.
    pub(crate) missing: Vec<DefaultObject>,
}

/// What is made for the objects of `world`.
pub(crate) fn defaults(world: &World) -> Defaults {
    let mut defaults = Defaults::default();
    for (key, plan) in &world.dial_plans {
        let is_made = || remembered(world, Kind::UMDialPlan, key).is_some();
        if plan.spec.generate_um_mailbox_policy && !is_made() {
            let spec = UMMailboxPolicySpec { um_dial_plan: key.name.clone(), voice_mail_text: None };
            defaults.consider(world, key, DefaultSpec::Policy(spec), Kind::UMDialPlan);
        }
    }
    for (key, gateway) in world.gateways.iter() {
        let is_made = || remembered(world, Kind::UMIPGateway, key).is_some();
        if let Some(um_dial_plan) = gateway.spec.um_dial_plan.clone().filter(|_| !is_made()) {
            let um_ip_gateway = key.name.clone();
            let spec = UMHuntGroupSpec { um_ip_gateway, um_dial_plan, pilot_identifier: None };
            defaults.consider(world, key, DefaultSpec::HuntGroup(spec), Kind::UMIPGateway);
        }
    }
    defaults
}

/// The objects that something may still be made for.
pub(crate) fn asking(world: &World) -> Vec<ObjectRef> {
    let plans = world.dial_plans.iter().filter(|(_, plan)| plan.spec.generate_um_mailbox_policy);
    let plans = plans.map(|(key, _)| (Kind::UMDialPlan, key));
    let gateways = world.gateways.iter().filter(|(_, gateway)| gateway.spec.um_dial_plan.is_some());
    let gateways = gateways.map(|(key, _)| (Kind::UMIPGateway, key));
    let asking = plans.chain(gateways).filter(|(kind, key)| remembered(world, *kind, key).is_none());
    asking.map(|(kind, key)| ObjectRef::new(kind, key)).collect()
}

/// The name of what was made for an object, if its status remembers one.
fn remembered<'w>(world: &'w World, kind: Kind, owner: &Key) -> Option<&'w String> {
    world.observed.statuses.of(kind, owner).and_then(made)
}

/// The name of what was made for an object, if this is its status and remembers one.
fn made(status: &ObjectStatus) -> Option<&String> {
    status.default_mailbox_policy.as_ref().or(status.default_hunt_group.as_ref())
}

impl Defaults {
    /// The name of what was made for the object `owner` of `kind`, if that is there.
    pub(crate) fn made<'d>(&'d self, world: &'d World, kind: Kind, owner: &Key) -> Option<&'d String> {
        let is_there = match kind {
            Kind::UMDialPlan => world.dial_plans.contains_key(owner),
            Kind::UMIPGateway => world.gateways.contains_key(owner),
            Kind::UMHuntGroup
            | Kind::UMAutoAttendant
            | Kind::UMMailboxPolicy
            | Kind::UMMailbox
            | Kind::UMCallRouter
            | Kind::UMService => false,
        };
        let unsaid = || self.unsaid.get(&ObjectRef::new(kind, owner)).filter(|_| !self.unsaid.is_empty());
        remembered(world, kind, owner).filter(|_| is_there).or_else(unsaid)
    }

    /// Takes up the object `owner` of `kind`, which asks for `spec`.
    fn consider(&mut self, world: &World, owner: &Key, spec: DefaultSpec, kind: Kind) {
        let made_for = ObjectRef::new(kind, owner);
        let key = owner.beside(&name(&owner.name));
        let default = DefaultObject { key, owner: owner.name.clone(), spec };
        let object = default.object();
        let is_there = match default.spec {
            DefaultSpec::Policy(_) => world.policies.contains_key(&default.key),
            DefaultSpec::HuntGroup(_) => world.hunt_groups.contains_key(&default.key),
        };
        // What was made for one that is gone goes after it; its place is free then.
        let is_left_over =
            world.cluster.as_ref().is_some_and(|cluster| cluster.belongs_to_another(&object, &made_for));
        if is_there && !is_left_over {
            self.unsaid.insert(made_for, default.key.name);
        } else if !is_there && !is_refused(&world.refused, &object) {
            self.missing.push(default);
        }
    }
}

/// The name of what is made for `owner`.
fn name(owner: &str) -> String {
    // Names are ASCII, and one that is cut may not end with what joins its parts.
    let room = MAX_NAME_CHARS - SUFFIX.len();
    let head = owner.get(..room).unwrap_or(owner).trim_end_matches(['-', '.']);
    format!("{head}{SUFFIX}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_is_cut() {
        assert_eq!(name("contoso"), "contoso-default");
        assert_eq!(name(&"a".repeat(253)).len(), 253);
        assert_eq!(name(&format!("{}-bcdefghij", "a".repeat(244))), format!("{}-default", "a".repeat(244)));
    }
}
