//! Whether servers that run as pods can be reached, and callers be told where.
//!
//! Decides what to say while that is not known. Nothing is withheld because of it: the server runs,
//! and is in service as soon as it knows its address. Ports that can never be had are another
//! matter: no pod could start with them.

use config::Code;
use crds::{Exposure, Kind};

use crate::dereference::LinkedServers;
use crate::exposure::{Awaited, place, reachable};
use crate::problem::Problem;
use crate::workloads::{Role, mailbox_ports, media_ports, router_ports};
use crate::world::{ObjectRef, World};

/// Servers of a cluster that do not know where callers reach them.
pub(super) fn awaited(world: &World, linked: &LinkedServers<'_>, problems: &mut Vec<Problem>) {
    let Some(cluster) = &world.cluster else { return };
    for (key, server) in &linked.services {
        let exposure = server.spec.exposure;
        let object = ObjectRef::new(Kind::UMService, key);
        let pods = cluster.instances(&object);
        let mut problem = |pod: &str, awaited: &Awaited| {
            problems.push(problem(object.clone(), pod, exposure, awaited));
        };
        for pod in pods.iter().filter(|pod| !pod.ends) {
            let service = world.service_before(&key.beside(&pod.name));
            match place(exposure, pod, &mailbox_ports(server.spec), service) {
                // Kubernetes gives it in a moment, and nobody else could.
                Ok(_) | Err(Awaited::PodAddress) => {}
                Err(awaited) => problem(&pod.name, &awaited),
            }
        }
        // Ports of nodes may be what keeps pods from being made at all.
        if exposure == Exposure::Host && pods.is_empty() {
            problem(&Role::Mailbox.object_name(key), &Awaited::NodeAddress);
        }
    }
    for (key, server) in &linked.routers {
        let exposure = server.spec.exposure;
        let object = ObjectRef::new(Kind::UMCallRouter, key);
        let name = Role::Router.object_name(key);
        let service = world.service_before(&key.beside(&name));
        let pods = cluster.instances(&object);
        if let Err(awaited) = reachable(exposure, pods, &router_ports(server.spec), service) {
            problems.push(problem(object, &name, exposure, &awaited));
        }
    }
}

/// Media and SIP over UDP cannot share a port. On one machine media takes whatever is free.
pub(super) fn ports(linked: &mut LinkedServers<'_>, problems: &mut Vec<Problem>) {
    let media = media_ports();
    linked.services.retain(|key, server| {
        let ours = mailbox_ports(server.spec).listeners.udp;
        let Some(port) = ours.filter(|port| media.contains(port)) else { return true };
        problems.push(Problem {
            code: Code::PortConflict,
            object: Some(ObjectRef::new(Kind::UMService, key)),
            field: "spec.sipUdpListeningPort".into(),
            value: port.to_string(),
            rule: "a port of its own; the pods of a UMService take media at it".into(),
            fix: "write another port, such as the default, which the field has when it is left out".into(),
            waits_for: None,
        });
        false
    });
}

fn problem(object: ObjectRef, server: &str, exposure: Exposure, awaited: &Awaited) -> Problem {
    Problem {
        code: Code::AddressAwaited,
        object: Some(object),
        field: "spec.exposure".into(),
        value: format!("{exposure:?}"),
        rule: format!("an address that callers can be told; {server} waits for {awaited}"),
        fix: awaited.fix(exposure),
        waits_for: None,
    }
}
