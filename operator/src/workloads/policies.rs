//! The NetworkPolicies of servers: who reaches which port of a pod, and what a pod reaches.
//!
//! Decides that calls may come from anywhere, because gateways are outside of the cluster and a stranger
//! is told so by SIP; that only the operator and whoever collects metrics reach the admin port, beside
//! the pod's own node; and that servers begin nothing they have no reason for. Policies add up: whoever
//! needs more writes one of their own.

use crds::UMServiceSpec;
use serde_json::{Value as Json, json};

use super::{ADMIN_PORT, COMPONENT_LABEL, Owner, Workload, WorkloadKind};
use crate::exposure::{NamedPort, Ports};
use crate::site::{AdminPeers, Cluster};

/// What the API server writes into the labels of each namespace: its name.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Where names are looked up (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;

/// Peers choose where they want answers, requests within a call and media, and do not choose a port that
/// is assigned to a service of the system (RFC 6335 §6).
const FIRST_PORT_OF_PEERS: u16 = 1024;

/// The policy of routers.
pub(super) fn of_routers(owner: &Owner<'_>, cluster: &Cluster, ports: &Ports) -> Option<Workload> {
    policy(owner, cluster, ports, &[])
}

/// The policy of mailbox servers: they bring messages to a mail server, and store them in a bucket.
pub(super) fn of_mailbox_servers(
    owner: &Owner<'_>,
    cluster: &Cluster,
    spec: &UMServiceSpec,
    ports: &Ports,
) -> Option<Workload> {
    let smtp = spec.smtp.as_ref().and_then(|smtp| u16::try_from(smtp.port).ok());
    let bucket = spec.store.as_ref().and_then(|store| store.s3.as_ref()).map(|s3| s3.port());
    let mut others: Vec<u16> = smtp.into_iter().chain(bucket).collect();
    others.sort_unstable();
    others.dedup();
    policy(owner, cluster, ports, &others)
}

/// The policy of a server with these ports, which reaches `others` by TCP.
fn policy(owner: &Owner<'_>, cluster: &Cluster, ports: &Ports, others: &[u16]) -> Option<Workload> {
    let peers = cluster.admin_peers.as_ref()?;
    let calls = ports.named().into_iter().map(|NamedPort { port, protocol, .. }| one(port, protocol));
    let peers_of_calls = ["UDP", "TCP"]
        .map(|protocol| json!({ "port": FIRST_PORT_OF_PEERS, "endPort": u16::MAX, "protocol": protocol }));
    let dns = ["UDP", "TCP"].map(|protocol| one(DNS_PORT, protocol));
    let others = others.iter().map(|port| one(*port, "TCP"));
    let out: Vec<Json> = peers_of_calls.into_iter().chain(dns).chain(others).collect();
    let spec = json!({
        "podSelector": { "matchLabels": owner.selector() },
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            { "ports": calls.collect::<Vec<_>>() },
            { "ports": [one(ADMIN_PORT, "TCP")], "from": from(peers) },
        ],
        "egress": [{ "ports": out }],
    });
    Some(owner.workload(WorkloadKind::NetworkPolicy, &spec))
}

fn one(port: u16, protocol: &str) -> Json {
    json!({ "port": port, "protocol": protocol })
}

/// The pods that may ask a server how it is.
fn from(peers: &AdminPeers) -> Vec<Json> {
    let mut from = vec![json!({
        "namespaceSelector": { "matchLabels": { NAMESPACE_NAME_LABEL: peers.operator_namespace } },
        "podSelector": { "matchLabels": { "app.kubernetes.io/name": "umbriel", COMPONENT_LABEL: "operator" } },
    })];
    if !peers.metrics_namespaces.is_empty() {
        let named = json!({
            "key": NAMESPACE_NAME_LABEL, "operator": "In", "values": peers.metrics_namespaces,
        });
        from.push(json!({ "namespaceSelector": { "matchExpressions": [named] } }));
    }
    from
}
