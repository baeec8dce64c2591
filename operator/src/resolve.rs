//! What a gateway's name leads to: [`resolve`].
//!
//! Decides which addresses a gateway has whose name was asked for, and what is said where nobody answers: the
//! last good answer goes on being used, as it stands in what the servers have. Refuses to know who asks.

use std::collections::BTreeMap;

use config::{Code, Prefix};
use crds::{IpAddressFamily, Kind, UMIPGatewaySpec};

use crate::gateways::GatewayAnswers;
use crate::names::{Answer, questions};
use crate::problem::Problem;
use crate::shared::Shared;
use crate::told::Names;
use crate::world::{Key, ObjectRef, World};

/// The addresses that calls of the gateway `key` come from, which is known by the name `fqdn`.
pub(crate) fn resolve(
    answered: &GatewayAnswers,
    key: &Key,
    spec: &UMIPGatewaySpec,
    fqdn: &str,
    problems: &mut Vec<Problem>,
) -> Vec<Prefix> {
    let questions = questions(fqdn, spec);
    let answers: Vec<Option<&Answer>> =
        questions.iter().map(|question| answered.names.get(question)).collect();
    let known = answers.iter().copied().flatten();
    let mut addresses: Vec<Prefix> =
        known.flat_map(|answer| answer.addresses.iter().copied().map(Prefix::from)).collect();
    let is_unanswered = answers.contains(&None);
    if is_unanswered || addresses.is_empty() {
        addresses.extend(last_good(answered, key, spec, fqdn));
    }
    addresses.sort();
    addresses.dedup();
    let why = match answers.iter().flatten().find_map(|answer| answer.trouble.as_deref()) {
        Some(trouble) => trouble.to_owned(),
        // What stood there before stands until somebody has answered.
        None if is_unanswered && !addresses.is_empty() => return addresses,
        None if is_unanswered => "nobody has answered yet".to_owned(),
        None if answers.iter().flatten().all(|answer| answer.addresses.is_empty()) => {
            format!("it has no {}", family_name(spec))
        }
        None => return addresses,
    };
    problems.push(unresolved(key, fqdn, &why, &addresses));
    addresses
}

/// What the servers of each namespace were told last of gateways that are known by a name.
pub(crate) type LastGood = BTreeMap<String, Shared<Names>>;

/// What the servers of all namespaces were told last.
pub(crate) fn told(world: &World) -> LastGood {
    let sites = world.observed.sites.iter();
    sites.map(|(namespace, told)| (namespace.clone(), told.names.clone())).collect()
}

/// What the servers were told of the gateway last, if it had this name then.
fn last_good(answered: &GatewayAnswers, key: &Key, spec: &UMIPGatewaySpec, fqdn: &str) -> Vec<Prefix> {
    let family = spec.ip_address_family.unwrap_or(IpAddressFamily::IPv4Only);
    let told = answered.told.get(&key.namespace).and_then(|names| names.get(&key.name));
    let told = told.filter(|(name, _)| name == fqdn);
    let addresses = told.iter().flat_map(|(_, addresses)| addresses.iter().copied());
    addresses.filter(|address| address.single().is_some_and(|address| family.has(address))).collect()
}

fn family_name(spec: &UMIPGatewaySpec) -> &'static str {
    match spec.ip_address_family {
        None | Some(IpAddressFamily::IPv4Only) => "IPv4 address, and ipAddressFamily asks for one",
        Some(IpAddressFamily::IPv6Only) => "IPv6 address, and ipAddressFamily asks for one",
        Some(IpAddressFamily::Any) => "address",
    }
}

fn unresolved(key: &Key, fqdn: &str, why: &str, addresses: &[Prefix]) -> Problem {
    let shown = addresses.iter().map(Prefix::to_string).collect::<Vec<_>>().join(", ");
    let meanwhile = match addresses {
        [] => "until it leads to an address, only its certificate tells whose call it is".to_owned(),
        _ => format!("until then the last answer goes on being used: {shown}"),
    };
    Problem {
        code: Code::NameUnresolved,
        object: Some(ObjectRef::new(Kind::UMIPGateway, key)),
        field: "spec.address".into(),
        value: fqdn.into(),
        rule: format!("a name that name servers lead to an address; {why}; {meanwhile}"),
        fix: "repair the name, or the name server; it is asked again by itself".into(),
        waits_for: None,
    }
}
