//! The Services before servers: one before all routers, and one before each mailbox server where
//! callers need it (decision 25).
//!
//! Decides their type and their ports. A call belongs to one mailbox server, so no Service leads to
//! several of them.

use crds::Exposure;
use serde_json::{Value as Json, json};

use super::{Owner, Workload, WorkloadKind};
use crate::exposure::{Ports, needs_a_service_per_pod};

/// The label that a StatefulSet gives to each of its pods.
const POD_NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";

/// The Service before the routers.
pub(super) fn of_routers(owner: &Owner<'_>, exposure: Exposure, ports: &Ports) -> Workload {
    let spec = spec(exposure, &owner.selector(), ports);
    owner.workload(WorkloadKind::Service, &spec)
}

/// The Service that gives names to the pods of mailbox servers.
pub(super) fn of_names(owner: &Owner<'_>, ports: &Ports) -> Workload {
    let spec = json!({ "clusterIP": "None", "selector": owner.selector(), "ports": service_ports(ports) });
    owner.workload(WorkloadKind::Service, &spec)
}

/// The Service before each of `pods`, if callers need it.
pub(super) fn of_pods<'p>(
    owner: &Owner<'_>,
    exposure: Exposure,
    ports: &Ports,
    pods: impl Iterator<Item = &'p str>,
) -> Vec<Workload> {
    if !needs_a_service_per_pod(exposure) {
        return Vec::new();
    }
    pods.map(|pod| {
        let mut spec = spec(exposure, &json!({ POD_NAME_LABEL: pod }), ports);
        // A pod that takes no new calls keeps those that it has, and their packets come this way.
        spec["publishNotReadyAddresses"] = true.into();
        owner.workload_named(WorkloadKind::Service, pod, &spec)
    })
    .collect()
}

fn spec(exposure: Exposure, selector: &Json, ports: &Ports) -> Json {
    let type_ = match exposure {
        Exposure::LoadBalancer => "LoadBalancer",
        Exposure::NodePort => "NodePort",
        Exposure::Pod | Exposure::Host => "ClusterIP",
    };
    let mut spec = json!({ "type": type_, "selector": selector, "ports": service_ports(ports) });
    if type_ != "ClusterIP" {
        // A gateway is known by its address: nobody on the way may put another one in its place.
        spec["externalTrafficPolicy"] = "Local".into();
    }
    spec
}

fn service_ports(ports: &Ports) -> Vec<Json> {
    let port = |port: crate::exposure::NamedPort| json!({ "name": port.name, "port": port.port, "targetPort": port.port, "protocol": port.protocol });
    ports.named().into_iter().map(port).collect()
}
