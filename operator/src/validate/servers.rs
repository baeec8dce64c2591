//! Servers beside each other and beside the objects that they serve.
//!
//! Decides which servers can run together on one machine.

use config::{Code, Listeners};
use crds::Kind;

use crate::dereference::LinkedServers;
use crate::directory::{router_listeners, service_listeners};
use crate::problem::Problem;
use crate::world::{Key, ObjectRef, TlsSecret, World};

/// A label of 63 characters holds a server's name, `-mailbox`, and a hyphen and 10 characters more
/// that a StatefulSet adds for its revision: 63 - 8 - 11.
const MAX_SERVER_NAME_CHARS: usize = 44;

/// A certificate that TLS cannot use would be found out by the first caller; it is found out here.
pub(super) fn certificates(linked: &mut LinkedServers<'_>, problems: &mut Vec<Problem>) {
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
        (None, _) => String::from("it has no tls.crt"),
        (Some(_), None) => String::from("it has no tls.key"),
        (Some(chain), Some(key)) => {
            match runtime::tls::server_config(chain, key, secret.authorities.as_deref()) {
                Ok(_) => return true,
                Err(error) => format!("TLS says: {error}"),
            }
        }
    };
    problems.push(Problem {
        code: Code::CertificateUnusable,
        object: Some(ObjectRef::new(kind, key)),
        field: "spec.certificateSecret".into(),
        value: name.unwrap_or_default().into(),
        rule: format!("a Secret of type kubernetes.io/tls with a certificate and its key; {why}"),
        fix:
            "put the certificate chain into tls.crt, its private key into tls.key and, if peers are to show \
              theirs, who signs those into ca.crt, all as PEM"
                .into(),
        waits_for: None,
    });
    false
}

/// One machine runs one server of each kind; the first by name is it.
pub(super) fn one_server_of_each_kind(linked: &mut LinkedServers<'_>, problems: &mut Vec<Problem>) {
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
        waits_for: None,
    });
    false
}

/// Pods and Services are named after a server, and have stricter names than it.
pub(super) fn names_of_pods(linked: &mut LinkedServers<'_>, problems: &mut Vec<Problem>) {
    linked.routers.retain(|key, _| names_a_pod(Kind::UMCallRouter, key, problems));
    linked.services.retain(|key, _| names_a_pod(Kind::UMService, key, problems));
}

fn names_a_pod(kind: Kind, key: &Key, problems: &mut Vec<Problem>) -> bool {
    let name = &key.name;
    let starts_with_a_letter = name.starts_with(|first: char| first.is_ascii_lowercase());
    if name.len() <= MAX_SERVER_NAME_CHARS && starts_with_a_letter && !name.contains('.') {
        return true;
    }
    problems.push(Problem {
        code: Code::InvalidName,
        object: Some(ObjectRef::new(kind, key)),
        field: "metadata.name".into(),
        value: name.clone(),
        rule: format!(
            "at most {MAX_SERVER_NAME_CHARS} lower-case letters, digits and '-', beginning with a letter, \
             because pods and a Service are named after it"
        ),
        fix: format!("make a {kind} of another name, such as main, and remove this one"),
        waits_for: None,
    });
    false
}

/// Router and mailbox server listen on one machine, so they cannot share a port; the router keeps it.
pub(super) fn ports(linked: &mut LinkedServers<'_>, problems: &mut Vec<Problem>) {
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
                waits_for: None,
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
pub(super) fn missing_servers(world: &World, problems: &mut Vec<Problem>) {
    for namespace in namespaces(world) {
        let router = world.routers.keys().find(|key| key.namespace == namespace);
        let service = world.services.keys().find(|key| key.namespace == namespace);
        // One that was written and refused is not missing, but to be repaired.
        let refused = |kind: Kind| {
            let mut named = world.refused.iter().filter_map(|problem| problem.object.as_ref());
            named.any(|object| object.kind == kind.name() && object.key.namespace == namespace)
        };
        let (no_router, no_service) = (
            router.is_none() && !refused(Kind::UMCallRouter),
            service.is_none() && !refused(Kind::UMService),
        );
        let mut report = |kind, key: &Key, missing: Kind, consequence: &str| {
            problems.push(Problem {
                code: Code::ServerMissing,
                object: Some(ObjectRef::new(kind, key)),
                field: "metadata.namespace".into(),
                value: namespace.into(),
                rule: format!("a {missing} in the same namespace; without one {consequence}"),
                fix: format!("add a {missing} to namespace {namespace}"),
                waits_for: None,
            });
        };
        match (router, service) {
            (Some(router), None) if no_service => {
                report(Kind::UMCallRouter, router, Kind::UMService, "nobody answers the calls");
            }
            (None, Some(service)) if no_router => {
                report(Kind::UMService, service, Kind::UMCallRouter, "nobody redirects calls to it");
            }
            (None, None) if no_router && no_service => {
                for key in world.dial_plans.keys().filter(|key| key.namespace == namespace) {
                    report(Kind::UMDialPlan, key, Kind::UMCallRouter, "nobody takes the calls");
                }
            }
            (_, _) => {}
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
