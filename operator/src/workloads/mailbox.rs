//! What a UMService needs to run.
//!
//! Decides that each mailbox server is a pod with a volume of its own, which outlives the pod, and
//! that none of them waits for another one to start.

use std::collections::BTreeSet;

use crds::UMServiceSpec;
use serde_json::json;

use super::pod::{Extra, template};
use super::{Owner, WORKERS, Workload, WorkloadKind, host_ports, mailbox_ports, policies, services};
use crate::site::{Cluster, Instance};

/// Where recordings and mail are kept.
const STATE_DIR: &str = "/var/lib/umbriel";

/// Where the claim is mounted that all mailbox servers store messages in.
pub(crate) const STORE_DIR: &str = "/var/lib/umbriel-store";

/// The volume for recordings: at 8000 bytes a second, 370 hours.
const STATE_SIZE: &str = "10Gi";

/// The longest call that a dial plan allows is 120 min; its message then has a minute to leave.
const GRACE_PERIOD_S: u32 = 120 * 60 + 60;

/// The objects of one mailbox service.
pub(super) fn workloads(
    owner: &Owner<'_>,
    cluster: &Cluster,
    spec: &UMServiceSpec,
    pods: &[Instance],
) -> Vec<Workload> {
    let ports = mailbox_ports(spec);
    // espeak-ng may want a place for what it is doing.
    let mut mounts = vec![("state", STATE_DIR), ("tmp", "/tmp")];
    let mut volumes = vec![json!({ "name": "tmp", "emptyDir": {} })];
    let store = spec.store.as_ref();
    if let Some(claim) = store.and_then(|store| store.claim_name.as_ref()) {
        mounts.push(("store", STORE_DIR));
        let claim = json!({ "claimName": claim });
        volumes.push(json!({ "name": "store", "persistentVolumeClaim": claim }));
    }
    let extra = Extra {
        certificate: spec.certificate_secret.as_deref(),
        store_keys: store.and_then(|store| Some(store.s3.as_ref()?.secret_name.as_str())),
        args: ["--state", STATE_DIR, "--name", "$(POD_NAME)", "--workers", &WORKERS.to_string()]
            .map(String::from)
            .into(),
        mounts,
        volumes,
        host_ports: host_ports(spec.exposure, &ports),
        grace_period_s: GRACE_PERIOD_S,
        memory: "64Mi",
    };
    let stateful_set = json!({
        "replicas": spec.replicas,
        "podManagementPolicy": "Parallel",
        "serviceName": owner.name(),
        "selector": { "matchLabels": owner.selector() },
        "template": template(owner, &cluster.image, &extra),
        "volumeClaimTemplates": [{
            "metadata": { "name": "state" },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": STATE_SIZE } },
            },
        }],
    });
    // A pod that is not wanted any more keeps its Service until its last call is over.
    let wanted = (0..spec.replicas).map(|number| format!("{}-{number}", owner.name()));
    let names: BTreeSet<String> = wanted.chain(pods.iter().map(|pod| pod.name.clone())).collect();
    let mut workloads = vec![owner.disruption_budget()];
    workloads.extend(policies::of_mailbox_servers(owner, cluster, spec, &ports));
    workloads.push(services::of_names(owner, &ports));
    workloads.extend(services::of_pods(owner, spec.exposure, &ports, names.iter().map(String::as_str)));
    workloads.push(owner.workload(WorkloadKind::StatefulSet, &stateful_set));
    workloads
}
