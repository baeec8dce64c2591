//! What a UMCallRouter needs to run.
//!
//! Decides that there are two routers, so that one may go, and where callers find them.

use config::Listeners;
use crds::UMCallRouterSpec;
use serde_json::{Value as Json, json};

use super::pod::{Extra, template};
use super::{Owner, Workload, WorkloadKind};
use crate::build::router_listeners;

/// One may be taken away, and the other one answers.
const REPLICAS: u32 = 2;

/// A router lingers for 5 s and has no calls of its own.
const GRACE_PERIOD_S: u32 = 30;

/// The objects of one router.
pub(super) fn workloads(owner: &Owner<'_>, image: &str, spec: &UMCallRouterSpec) -> Vec<Workload> {
    let extra = Extra {
        args: Vec::new(),
        mounts: Vec::new(),
        volumes: Vec::new(),
        grace_period_s: GRACE_PERIOD_S,
        memory: "32Mi",
    };
    let deployment = json!({
        "replicas": REPLICAS,
        "selector": { "matchLabels": owner.selector() },
        // There are never fewer routers than before while they are replaced.
        "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
        "template": template(owner, image, &extra),
    });
    let service = json!({ "selector": owner.selector(), "ports": ports(&router_listeners(spec)) });
    vec![
        owner.disruption_budget(),
        owner.workload(WorkloadKind::Service, &service),
        owner.workload(WorkloadKind::Deployment, &deployment),
    ]
}

/// The ports of a Service before these listeners.
pub(super) fn ports(listeners: &Listeners) -> Vec<Json> {
    let port = |name: &str, port: Option<u16>, protocol: &str| {
        let port = port?;
        Some(json!({ "name": name, "port": port, "targetPort": port, "protocol": protocol }))
    };
    [
        port("sip-udp", listeners.udp, "UDP"),
        port("sip-tcp", listeners.tcp, "TCP"),
        port("sip-tls", listeners.tls, "TCP"),
    ]
    .into_iter()
    .flatten()
    .collect()
}
