//! What a UMCallRouter needs to run.
//!
//! Decides that there are two routers, so that one may go, and where callers find them.

use crds::{Exposure, UMCallRouterSpec};
use serde_json::json;

use super::pod::{Extra, template};
use super::{Owner, Workload, WorkloadKind, host_ports, policies, router_ports, services};
use crate::site::Cluster;

/// One may be taken away, and the other one answers.
const REPLICAS: u32 = 2;

/// A router lingers for 5 s and has no calls of its own.
const GRACE_PERIOD_S: u32 = 30;

/// The objects of one router.
pub(super) fn workloads(owner: &Owner<'_>, cluster: &Cluster, spec: &UMCallRouterSpec) -> Vec<Workload> {
    let ports = router_ports(spec);
    let extra = Extra {
        certificate: spec.certificate_secret.as_deref(),
        store_keys: None,
        args: Vec::new(),
        mounts: Vec::new(),
        volumes: Vec::new(),
        host_ports: host_ports(spec.exposure, &ports),
        grace_period_s: GRACE_PERIOD_S,
        memory: "32Mi",
    };
    // There are never fewer routers than before while they are replaced. Ports of a node cannot be
    // had twice, so there one goes before the next one comes.
    let (surge, unavailable) = if spec.exposure == Exposure::Host { (0, 1) } else { (1, 0) };
    let deployment = json!({
        "replicas": REPLICAS,
        "selector": { "matchLabels": owner.selector() },
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable },
        },
        "template": template(owner, &cluster.image, &extra),
    });
    let mut workloads = vec![owner.disruption_budget()];
    workloads.extend(policies::of_routers(owner, cluster, &ports));
    workloads.push(services::of_routers(owner, spec.exposure, &ports));
    workloads.push(owner.workload(WorkloadKind::Deployment, &deployment));
    workloads
}
