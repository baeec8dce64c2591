//! Gateways and hunt groups beside each other.
//!
//! Decides whose call it is where two of them claim it, and how many gateways lead to a dial plan.

use std::collections::BTreeMap;

use config::{Code, Gateway, Prefix};
use crds::Kind;

use crate::hunt_groups::{HuntGroupObjects, LinkedHuntGroup};
use crate::problem::Problem;
use crate::world::{Key, ObjectRef};

/// Gateways that may lead to one dial plan (spec 1.2, decision 15).
pub(crate) const MAX_GATEWAYS_PER_DIAL_PLAN: usize = 200;

/// Objects that one problem names.
const MAX_NAMED: usize = 3;

/// Two gateways with one address, one prefix or one name: nobody can tell whose call it is. Both are told, and
/// the first by name keeps it; what is written goes before what a name leads to, so that no name server takes
/// an address away from anybody. Prefixes of different lengths may overlap, for the longest counts.
pub(crate) fn gateway_addresses(gateways: &mut BTreeMap<&Key, Gateway>, problems: &mut Vec<Problem>) {
    gateway_names(gateways, problems);
    let claims = gateways.iter().flat_map(|(key, gateway)| {
        gateway.addresses.iter().map(|address| Claim { key, address: *address, name: gateway.fqdn.clone() })
    });
    let mut claims: Vec<Claim<'_>> = claims.collect();
    claims.sort_by(|one, other| one.order().cmp(&other.order()));
    let same = |one: &Claim<'_>, other: &Claim<'_>| {
        (one.address, &one.key.namespace) == (other.address, &other.key.namespace)
    };
    for claims in claims.chunk_by(same).filter(|claims| claims.len() > 1) {
        let keys: Vec<&Key> = claims.iter().map(|claim| claim.key).collect();
        let keeper = &claims[0];
        let is_written = keeper.name.is_none() && claims[1].name.is_some();
        let keeps = match is_written {
            true => format!("{}, where it is written, keeps it", keeper.key),
            false => first_keeps(&keys),
        };
        for claim in claims {
            let value = match &claim.name {
                Some(name) => format!("{name}, which leads to {}", claim.address),
                None => claim.address.to_string(),
            };
            problems.push(taken(claim.key, value, "address", &keys, &keeps));
        }
        for claim in &claims[1..] {
            if let Some(gateway) = gateways.get_mut(claim.key) {
                gateway.addresses.retain(|address| *address != claim.address);
            }
        }
    }
    // A name may still be proved by a certificate.
    gateways.retain(|_, gateway| gateway.fqdn.is_some() || !gateway.addresses.is_empty());
}

/// What a gateway claims.
struct Claim<'w> {
    key: &'w Key,
    address: Prefix,
    /// The name that leads to it, if it is not written.
    name: Option<String>,
}

impl Claim<'_> {
    fn order(&self) -> (&str, Prefix, bool, &str) {
        (&self.key.namespace, self.address, self.name.is_some(), &self.key.name)
    }
}

/// Two gateways with one name: the first by name keeps it.
fn gateway_names(gateways: &mut BTreeMap<&Key, Gateway>, problems: &mut Vec<Problem>) {
    let mut named: BTreeMap<(&str, &str), Vec<&Key>> = BTreeMap::new();
    for (key, gateway) in &*gateways {
        if let Some(name) = &gateway.fqdn {
            named.entry((&key.namespace, name)).or_default().push(key);
        }
    }
    let mut lost = Vec::new();
    for ((_, name), keys) in named.iter().filter(|(_, keys)| keys.len() > 1) {
        let keeps = first_keeps(keys);
        problems.extend(keys.iter().map(|key| taken(key, (*name).to_owned(), "name", keys, &keeps)));
        lost.extend(keys[1..].iter().map(|key| (*key).clone()));
    }
    lost.iter().for_each(|key| {
        gateways.remove(key);
    });
}

fn first_keeps(keys: &[&Key]) -> String {
    format!("the first by name, {}, keeps it", keys[0])
}

/// That one of `keys` claims what the first of them keeps.
fn taken(key: &Key, value: String, what: &str, keys: &[&Key], keeps: &str) -> Problem {
    Problem {
        code: Code::GatewayAddressTaken,
        object: Some(ObjectRef::new(Kind::UMIPGateway, key)),
        field: "spec.address".into(),
        value,
        rule: format!("one gateway for each {what}; {} has it too; {keeps}", others(key, keys)),
        fix: format!("give each gateway its own {what}, or remove all but one"),
        waits_for: None,
    }
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
pub(crate) fn pilots(hunt_groups: &mut BTreeMap<&Key, &LinkedHuntGroup>, problems: &mut Vec<Problem>) {
    let mut keepers: BTreeMap<(&Key, Option<String>), &Key> = BTreeMap::new();
    hunt_groups.retain(|key, hunt_group| {
        let hunt_group: &LinkedHuntGroup = hunt_group;
        let pilot = hunt_group.pilot.as_deref();
        let keeper = *keepers.entry((&hunt_group.gateway, hunt_group.normal_pilot())).or_insert(key);
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
pub(crate) fn gateways_per_dial_plan(
    hunt_groups: &mut BTreeMap<&Key, &LinkedHuntGroup>,
    problems: &mut Vec<Problem>,
) {
    let mut gateways: BTreeMap<&Key, Vec<&Key>> = BTreeMap::new();
    for hunt_group in hunt_groups.values() {
        let known = gateways.entry(&hunt_group.dial_plan).or_default();
        if let Err(place) = known.binary_search(&&hunt_group.gateway) {
            known.insert(place, &hunt_group.gateway);
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
    hunt_groups.retain(|key, hunt_group| {
        let Some(gateways) = gateways.get(&hunt_group.dial_plan) else { return true };
        if gateways[..MAX_GATEWAYS_PER_DIAL_PLAN].binary_search(&&hunt_group.gateway).is_ok() {
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
pub(crate) fn gateways_without_hunt_group(
    objects: &HuntGroupObjects,
    is_led: impl Fn(&Key) -> bool,
    problems: &mut Vec<Problem>,
) {
    for key in objects.ends.gateways.keys().filter(|key| !is_led(key)) {
        let broken = objects.objects.iter().find(|(hunt_group, object)| {
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
