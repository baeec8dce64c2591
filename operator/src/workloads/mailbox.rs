//! What a UMService needs to run.
//!
//! Decides that each mailbox server is a pod with a volume of its own, which outlives the pod, and
//! that none of them waits for another one to start.

use crds::UMServiceSpec;
use serde_json::json;

use super::pod::{Extra, template};
use super::router::ports;
use super::{Owner, Workload, WorkloadKind};
use crate::build::service_listeners;

/// Where recordings and mail are kept.
const STATE_DIR: &str = "/var/lib/umbriel";

/// The volume for recordings: at 8000 bytes a second, 370 hours.
const STATE_SIZE: &str = "10Gi";

/// The longest call that a dial plan allows is 120 min; its message then has a minute to leave.
const GRACE_PERIOD_S: u32 = 120 * 60 + 60;

/// The objects of one mailbox service.
pub(super) fn workloads(owner: &Owner<'_>, image: &str, spec: &UMServiceSpec) -> Vec<Workload> {
    let extra = Extra {
        args: vec!["--state".into(), STATE_DIR.into(), "--name".into(), "$(POD_NAME)".into()],
        // espeak-ng may want a place for what it is doing.
        mounts: vec![("state", STATE_DIR), ("tmp", "/tmp")],
        volumes: vec![json!({ "name": "tmp", "emptyDir": {} })],
        grace_period_s: GRACE_PERIOD_S,
        memory: "64Mi",
    };
    let stateful_set = json!({
        "replicas": spec.replicas,
        "podManagementPolicy": "Parallel",
        "serviceName": owner.name(),
        "selector": { "matchLabels": owner.selector() },
        "template": template(owner, image, &extra),
        "volumeClaimTemplates": [{
            "metadata": { "name": "state" },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": STATE_SIZE } },
            },
        }],
    });
    let service = json!({
        "clusterIP": "None",
        "selector": owner.selector(),
        "ports": ports(&service_listeners(spec)),
    });
    vec![
        owner.disruption_budget(),
        owner.workload(WorkloadKind::Service, &service),
        owner.workload(WorkloadKind::StatefulSet, &stateful_set),
    ]
}
