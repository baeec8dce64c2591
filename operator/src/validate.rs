//! Third step: objects beside each other.
//!
//! Decides who keeps what two objects claim: the first by name, so that the answer is the same
//! after every restart. What the other loses is as little as possible: an extension, not the
//! mailbox. Refuses to know references; those were resolved before.

use std::collections::BTreeMap;
use std::net::IpAddr;

use config::{Code, Listeners};
use crds::Kind;

use crate::build::{router_listeners, service_listeners};
use crate::dereference::Linked;
use crate::problem::Problem;
use crate::world::{Key, ObjectRef, TlsSecret, World};

/// Gateways that may lead to one dial plan (spec 1.2, decision 15).
const MAX_GATEWAYS_PER_DIAL_PLAN: usize = 200;

/// Leaves in `linked` what can be served together, and reports the rest.
pub(crate) fn validate_together(world: &World, linked: &mut Linked<'_>, problems: &mut Vec<Problem>) {
    gateway_addresses(linked, problems);
    pilots(linked, problems);
    gateways_per_dial_plan(linked, problems);
    gateways_without_hunt_group(world, linked, problems);
    extension_lengths(linked, problems);
    extensions_taken(linked, problems);
    certificates(linked, problems);
    one_server_of_each_kind(linked, problems);
    ports(linked, problems);
    missing_servers(world, problems);
}

/// Two gateways with one address: nobody can tell whose call it is. Both are told; the first keeps it.
fn gateway_addresses(linked: &mut Linked<'_>, problems: &mut Vec<Problem>) {
    let mut claims: BTreeMap<(String, IpAddr), Vec<&Key>> = BTreeMap::new();
    for (key, gateway) in &linked.gateways {
        claims.entry((key.namespace.clone(), gateway.address.to_canonical())).or_default().push(key);
    }
    for ((_, address), keys) in claims.into_iter().filter(|(_, keys)| keys.len() > 1) {
        let keeper = keys[0];
        for key in &keys {
            let others: Vec<String> =
                keys.iter().filter(|other| *other != key).map(|other| other.to_string()).collect();
            let keeps = if *key == keeper { "this one keeps it" } else { "that one keeps it" };
            let keeps = if others.len() > 1 { format!("{keeper} keeps it") } else { keeps.into() };
            problems.push(Problem {
                code: Code::GatewayAddressTaken,
                object: Some(ObjectRef::new(Kind::UMIPGateway, key)),
                field: "spec.address".into(),
                value: address.to_string(),
                rule: format!(
                    "one gateway for each address; {} claims it too, and {keeps}",
                    others.join(", ")
                ),
                fix: "give each gateway its own address, or remove all but one".into(),
            });
        }
        for key in &keys[1..] {
            linked.gateways.remove(*key);
        }
    }
    let gateways = &linked.gateways;
    linked.hunt_groups.retain(|key, hunt_group| {
        let kept = gateways.contains_key(&hunt_group.gateway);
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
            });
        }
        kept
    });
}

/// Two hunt groups of one gateway with one pilot, or both with none: the first keeps the calls.
fn pilots(linked: &mut Linked<'_>, problems: &mut Vec<Problem>) {
    let mut keepers: BTreeMap<(Key, Option<String>), &Key> = BTreeMap::new();
    linked.hunt_groups.retain(|key, hunt_group| {
        let pilot = hunt_group.spec.pilot_identifier.as_deref();
        let digits = pilot.map(|pilot| pilot.trim_start_matches('+').to_owned());
        let keeper = *keepers.entry((hunt_group.gateway.clone(), digits)).or_insert(key);
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
        });
        false
    });
}

/// More gateways than a dial plan may have: the first 200 lead to it, the rest do not.
fn gateways_per_dial_plan(linked: &mut Linked<'_>, problems: &mut Vec<Problem>) {
    let mut gateways: BTreeMap<Key, Vec<Key>> = BTreeMap::new();
    for hunt_group in linked.hunt_groups.values() {
        let known = gateways.entry(hunt_group.dial_plan.clone()).or_default();
        if let Err(place) = known.binary_search(&hunt_group.gateway) {
            known.insert(place, hunt_group.gateway.clone());
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
        });
    }
    linked.hunt_groups.retain(|key, hunt_group| {
        let Some(gateways) = gateways.get(&hunt_group.dial_plan) else { return true };
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
        });
        false
    });
}

/// A gateway that no hunt group leads on from cannot deliver a call (spec 1.10 rule 4).
fn gateways_without_hunt_group(world: &World, linked: &Linked<'_>, problems: &mut Vec<Problem>) {
    for key in linked.gateways.keys() {
        if linked.hunt_groups.values().any(|hunt_group| hunt_group.gateway == **key) {
            continue;
        }
        let broken = world.hunt_groups.iter().find(|(hunt_group, object)| {
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
        });
    }
}

/// An extension has as many digits as its dial plan says (spec 1.6).
fn extension_lengths(linked: &mut Linked<'_>, problems: &mut Vec<Problem>) {
    for (key, mailbox) in &mut linked.mailboxes {
        let digits = mailbox.plan.number_of_digits_in_extension;
        let plan = &mailbox.plan_key;
        mailbox.extensions.retain(|(index, extension)| {
            let fits = i64::try_from(extension.len()).is_ok_and(|length| length == digits);
            if !fits {
                problems.push(Problem {
                    code: Code::ExtensionLength,
                    object: Some(ObjectRef::new(Kind::UMMailbox, key)),
                    field: format!("spec.extensions[{index}]"),
                    value: (*extension).into(),
                    rule: format!("{digits} digits, as numberOfDigitsInExtension of UMDialPlan {plan} says"),
                    fix: format!("write an extension of {digits} digits"),
                });
            }
            fits
        });
    }
    linked.mailboxes.retain(|_, mailbox| !mailbox.extensions.is_empty());
}

/// Two mailboxes with one extension in a dial plan: the first by name keeps it (spec 1.10 rule 8).
fn extensions_taken(linked: &mut Linked<'_>, problems: &mut Vec<Problem>) {
    let mut keepers: BTreeMap<(Key, &str), &Key> = BTreeMap::new();
    for (key, mailbox) in &mut linked.mailboxes {
        let plan = mailbox.plan_key.clone();
        mailbox.extensions.retain(|(index, extension)| {
            let keeper = *keepers.entry((plan.clone(), *extension)).or_insert(key);
            if keeper == *key {
                return true;
            }
            problems.push(Problem {
                code: Code::ExtensionTaken,
                object: Some(ObjectRef::new(Kind::UMMailbox, key)),
                field: format!("spec.extensions[{index}]"),
                value: (*extension).into(),
                rule: format!("one mailbox for each extension of UMDialPlan {plan}; {keeper} has it already"),
                fix: format!("write an extension that is free, or take {extension} from UMMailbox {keeper}"),
            });
            false
        });
    }
    linked.mailboxes.retain(|_, mailbox| !mailbox.extensions.is_empty());
}

/// A certificate that TLS cannot use would be found out by the first caller; it is found out here.
fn certificates(linked: &mut Linked<'_>, problems: &mut Vec<Problem>) {
    linked.routers.retain(|key, server| {
        let name = server.spec.certificate_secret.as_deref();
        certificate(Kind::UMCallRouter, key, name, server.secret, problems)
    });
    linked.services.retain(|key, server| {
        let name = server.spec.certificate_secret.as_deref();
        certificate(Kind::UMService, key, name, server.secret, problems)
    });
}

fn certificate(
    kind: Kind,
    key: &Key,
    name: Option<&str>,
    secret: Option<&TlsSecret>,
    problems: &mut Vec<Problem>,
) -> bool {
    let Some(secret) = secret else { return true };
    let why = match (&secret.chain, &secret.key) {
        (None, _) => "it has no tls.crt",
        (Some(_), None) => "it has no tls.key",
        (Some(chain), Some(_)) if !chain.contains("-----BEGIN CERTIFICATE-----") => {
            "its tls.crt is not a certificate in PEM form"
        }
        (Some(_), Some(key)) if !key.contains("PRIVATE KEY-----") => {
            "its tls.key is not a private key in PEM form"
        }
        (Some(_), Some(_)) => return true,
    };
    problems.push(Problem {
        code: Code::CertificateUnusable,
        object: Some(ObjectRef::new(kind, key)),
        field: "spec.certificateSecret".into(),
        value: name.unwrap_or_default().into(),
        rule: format!("a Secret of type kubernetes.io/tls with a certificate and its key; {why}"),
        fix: "put the certificate chain into tls.crt and its private key into tls.key, both as PEM".into(),
    });
    false
}

/// One machine runs one server of each kind; the first by name is it.
fn one_server_of_each_kind(linked: &mut Linked<'_>, problems: &mut Vec<Problem>) {
    let router = linked.routers.keys().next().copied();
    let service = linked.services.keys().next().copied();
    linked.routers.retain(|key, _| only(Kind::UMCallRouter, key, router, problems));
    linked.services.retain(|key, _| only(Kind::UMService, key, service, problems));
}

fn only(kind: Kind, key: &Key, first: Option<&Key>, problems: &mut Vec<Problem>) -> bool {
    let Some(first) = first.filter(|first| *first != key) else { return true };
    problems.push(Problem {
        code: Code::SecondServer,
        object: Some(ObjectRef::new(kind, key)),
        field: "metadata.name".into(),
        value: key.name.clone(),
        rule: format!(
            "one {kind}, because the standalone server runs one server of each kind; {first} is it"
        ),
        fix: format!("remove {kind} {key} or {kind} {first}"),
    });
    false
}

/// Router and mailbox server listen on one machine, so they cannot share a port; the router keeps it.
fn ports(linked: &mut Linked<'_>, problems: &mut Vec<Problem>) {
    let Some((router, theirs)) =
        linked.routers.iter().next().map(|(key, server)| (*key, router_listeners(server.spec)))
    else {
        return;
    };
    linked.services.retain(|key, server| {
        let ours = service_listeners(server.spec);
        let taken = shared_ports(theirs, ours);
        for (field, port) in &taken {
            problems.push(Problem {
                code: Code::PortConflict,
                object: Some(ObjectRef::new(Kind::UMService, key)),
                field: (*field).into(),
                value: port.to_string(),
                rule: format!("a port of its own; UMCallRouter {router} on the same machine has it"),
                fix: "write another port, such as the default, which the field has when it is left out"
                    .into(),
            });
        }
        taken.is_empty()
    });
}

/// The ports of `ours` that `theirs` has too. TLS runs over TCP, so those two can meet.
fn shared_ports(theirs: Listeners, ours: Listeners) -> Vec<(&'static str, u16)> {
    let streams = [theirs.tcp, theirs.tls];
    let mut shared = Vec::new();
    for (field, port, others) in [
        ("spec.sipUdpListeningPort", ours.udp, &[theirs.udp][..]),
        ("spec.sipTcpListeningPort", ours.tcp, &streams[..]),
        ("spec.sipTlsListeningPort", ours.tls, &streams[..]),
    ] {
        shared.extend(port.filter(|port| others.contains(&Some(*port))).map(|port| (field, port)));
    }
    shared
}

/// Without a router nobody takes the calls, and without a mailbox server nobody answers them.
/// The server that is there is told, or else the dial plans of the namespace.
fn missing_servers(world: &World, problems: &mut Vec<Problem>) {
    for namespace in namespaces(world) {
        let router = world.routers.keys().find(|key| key.namespace == namespace);
        let service = world.services.keys().find(|key| key.namespace == namespace);
        let mut report = |kind, key: &Key, missing: Kind, consequence: &str| {
            problems.push(Problem {
                code: Code::ServerMissing,
                object: Some(ObjectRef::new(kind, key)),
                field: "metadata.namespace".into(),
                value: namespace.into(),
                rule: format!("a {missing} in the same namespace; without one {consequence}"),
                fix: format!("add a {missing} to namespace {namespace}"),
            });
        };
        match (router, service) {
            (Some(router), None) => {
                report(Kind::UMCallRouter, router, Kind::UMService, "nobody answers the calls");
            }
            (None, Some(service)) => {
                report(Kind::UMService, service, Kind::UMCallRouter, "nobody redirects calls to it");
            }
            (None, None) => {
                for key in world.dial_plans.keys().filter(|key| key.namespace == namespace) {
                    report(Kind::UMDialPlan, key, Kind::UMCallRouter, "nobody takes the calls");
                }
            }
            (Some(_), Some(_)) => {}
        }
    }
}

/// The namespaces that have a dial plan or a server.
fn namespaces(world: &World) -> Vec<&str> {
    let keys = world.dial_plans.keys().chain(world.routers.keys()).chain(world.services.keys());
    let mut namespaces: Vec<&str> = keys.map(|key| key.namespace.as_str()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    namespaces
}
