//! Gateways and hunt groups beside each other.
//!
//! Decides whose call it is where two of them claim it, and how many gateways lead to a dial plan.

use std::collections::{BTreeMap, BTreeSet};

use config::{Code, Party, Prefix};
use crds::Kind;

use crate::dereference::Linked;
use crate::problem::Problem;
use crate::routing::RoutingObjects;
use crate::world::{Key, ObjectRef};

/// Gateways that may lead to one dial plan (spec 1.2, decision 15).
const MAX_GATEWAYS_PER_DIAL_PLAN: usize = 200;

/// Objects that one problem names.
const MAX_NAMED: usize = 3;

/// Two gateways with one address, or with one prefix: nobody can tell whose call it is. Both are told, and
/// the first keeps it. Prefixes of different lengths may overlap, for the longest counts.
pub(super) fn gateway_addresses(linked: &mut Linked<'_>, problems: &mut Vec<Problem>) {
    let claims = linked.gateways.iter().flat_map(|(key, gateway)| {
        let addresses = gateway.addresses.iter().copied();
        addresses.map(move |address| (address, *key))
    });
    let mut claims: Vec<(Prefix, &Key)> = claims.collect();
    claims.sort_by_key(|(address, key)| (key.namespace.as_str(), *address, key.name.as_str()));
    let same = |one: &(Prefix, &Key), other: &(Prefix, &Key)| {
        (one.0, &one.1.namespace) == (other.0, &other.1.namespace)
    };
    for claimants in claims.chunk_by(same).filter(|claimants| claimants.len() > 1) {
        let address = claimants[0].0;
        let keys: Vec<&Key> = claimants.iter().map(|(_, key)| *key).collect();
        let keeper = keys[0];
        for key in &keys {
            let rule = format!(
                "one gateway for each address; {} has it too; the first by name, {keeper}, keeps it",
                others(key, &keys)
            );
            problems.push(Problem {
                code: Code::GatewayAddressTaken,
                object: Some(ObjectRef::new(Kind::UMIPGateway, key)),
                field: "spec.address".into(),
                value: address.to_string(),
                rule,
                fix: "give each gateway its own address, or remove all but one".into(),
                waits_for: None,
            });
        }
        for key in &keys[1..] {
            linked.gateways.remove(*key);
        }
    }
    let gateways = &linked.gateways;
    linked.hunt_groups.retain(|key, hunt_group| {
        let kept = gateways.contains_key(hunt_group.gateway);
        if !kept {
            problems.push(Problem {
                code: Code::DanglingReference,
                object: Some(ObjectRef::new(Kind::UMHuntGroup, key)),
                field: "spec.umIPGateway".into(),
                value: hunt_group.gateway.name.clone(),
                rule: format!(
                    "a UMIPGateway that is ready; UMIPGateway {} exists but is not",
                    hunt_group.gateway
                ),
                fix: format!("repair UMIPGateway {}", hunt_group.gateway),
                waits_for: Some(ObjectRef::new(Kind::UMIPGateway, hunt_group.gateway)),
            });
        }
        kept
    });
}

/// The other claimants, as many as a person would read.
fn others(key: &Key, keys: &[&Key]) -> String {
    let others = keys.iter().filter(|other| **other != key);
    let mut text = others.take(MAX_NAMED).map(|other| other.to_string()).collect::<Vec<_>>().join(", ");
    if keys.len() - 1 > MAX_NAMED {
        text += &format!(" and {} more", keys.len() - 1 - MAX_NAMED);
    }
    text
}

/// Two hunt groups of one gateway with one pilot, or both with none: the first keeps the calls.
pub(super) fn pilots(linked: &mut Linked<'_>, problems: &mut Vec<Problem>) {
    let mut keepers: BTreeMap<(&Key, Option<String>), &Key> = BTreeMap::new();
    linked.hunt_groups.retain(|key, hunt_group| {
        let pilot = hunt_group.spec.pilot_identifier.as_deref();
        let normal = pilot.map(|pilot| Party::from(pilot).normal().into_owned());
        let keeper = *keepers.entry((hunt_group.gateway, normal)).or_insert(key);
        if keeper == *key {
            return true;
        }
        let rule = match pilot {
            Some(_) => format!("one hunt group for each pilot of a gateway; {keeper} has it already"),
            None => format!("one hunt group without a pilot for each gateway; {keeper} is it already"),
        };
        problems.push(Problem {
            code: Code::PilotTaken,
            object: Some(ObjectRef::new(Kind::UMHuntGroup, key)),
            field: "spec.pilotIdentifier".into(),
            value: pilot.unwrap_or("(none)").into(),
            rule,
            fix: format!("write another pilotIdentifier, or remove {keeper} or this one"),
            waits_for: None,
        });
        false
    });
}

/// More gateways than a dial plan may have: the first 200 lead to it, the rest do not.
pub(super) fn gateways_per_dial_plan(linked: &mut Linked<'_>, problems: &mut Vec<Problem>) {
    let mut gateways: BTreeMap<&Key, Vec<&Key>> = BTreeMap::new();
    for hunt_group in linked.hunt_groups.values() {
        let known = gateways.entry(hunt_group.dial_plan).or_default();
        if let Err(place) = known.binary_search(&hunt_group.gateway) {
            known.insert(place, hunt_group.gateway);
        }
    }
    gateways.retain(|_, gateways| gateways.len() > MAX_GATEWAYS_PER_DIAL_PLAN);
    for (dial_plan, gateways) in &gateways {
        let left_out = gateways.len() - MAX_GATEWAYS_PER_DIAL_PLAN;
        problems.push(Problem {
            code: Code::TooManyGateways,
            object: Some(ObjectRef::new(Kind::UMDialPlan, dial_plan)),
            field: "metadata.name".into(),
            value: format!("{} gateways", gateways.len()),
            rule: format!("at most {MAX_GATEWAYS_PER_DIAL_PLAN} gateways lead to a dial plan; the last {left_out} by name do not"),
            fix: "lead the rest to another dial plan".into(),
            waits_for: None,
        });
    }
    linked.hunt_groups.retain(|key, hunt_group| {
        let Some(gateways) = gateways.get(hunt_group.dial_plan) else { return true };
        if gateways[..MAX_GATEWAYS_PER_DIAL_PLAN].binary_search(&hunt_group.gateway).is_ok() {
            return true;
        }
        problems.push(Problem {
            code: Code::TooManyGateways,
            object: Some(ObjectRef::new(Kind::UMHuntGroup, key)),
            field: "spec.umDialPlan".into(),
            value: hunt_group.dial_plan.name.clone(),
            rule: format!(
                "at most {MAX_GATEWAYS_PER_DIAL_PLAN} gateways lead to a dial plan; this would be one more"
            ),
            fix: "name another dial plan".into(),
            waits_for: None,
        });
        false
    });
}

/// A gateway that no hunt group leads on from cannot deliver a call (spec 1.10 rule 4).
pub(super) fn gateways_without_hunt_group(
    objects: &RoutingObjects,
    linked: &Linked<'_>,
    problems: &mut Vec<Problem>,
) {
    let led: BTreeSet<&Key> = linked.hunt_groups.values().map(|hunt_group| hunt_group.gateway).collect();
    for key in linked.gateways.keys().filter(|key| !led.contains(*key)) {
        let broken = objects.hunt_groups.iter().find(|(hunt_group, object)| {
            hunt_group.namespace == key.namespace && object.spec.um_ip_gateway == key.name
        });
        problems.push(Problem {
            code: Code::GatewayWithoutHuntGroup,
            object: Some(ObjectRef::new(Kind::UMIPGateway, key)),
            field: "metadata.name".into(),
            value: key.name.clone(),
            rule:
                "a hunt group that leads from this gateway to a dial plan; without one its calls are refused"
                    .into(),
            fix: match broken {
                Some((hunt_group, _)) => format!("repair UMHuntGroup {hunt_group}"),
                None => format!("add a UMHuntGroup with umIPGateway: {}", key.name),
            },
            waits_for: broken.map(|(hunt_group, _)| ObjectRef::new(Kind::UMHuntGroup, hunt_group)),
        });
    }
}
