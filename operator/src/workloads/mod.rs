//! What runs the servers in a cluster: [`workloads`].
//!
//! Decides which objects of Kubernetes a server needs, and what they say. Refuses to know how they
//! are written and what became of them.

mod configuration;
mod difference;
mod mailbox;
mod pod;
mod policies;
mod router;
mod services;

use std::collections::BTreeMap;

use config::parts::{MAILBOX_FILE, ROUTER_FILE};
use crds::{Exposure, GROUP, Kind, UMCallRouterSpec, UMServiceSpec, VERSION};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::dereference::LinkedServers;
use crate::directory::{router_listeners, service_listeners};
use crate::exposure::{NamedPort, Ports};
use crate::site::Cluster;
use crate::world::{Key, ObjectRef};

pub(crate) use configuration::{
    PHASE_ANNOTATION, SINCE_ANNOTATION, TOKEN_SECRET, index, part, part_name, token_secret,
};
use difference::holds;
pub(crate) use mailbox::STORE_DIR;

/// The port of `/livez`, `/readyz`, `/metrics` and `/generation`.
pub const ADMIN_PORT: u16 = 9060;

/// Workers of a mailbox server, each with a media port of its own.
pub(crate) const WORKERS: u16 = 2;

/// The media port of the first worker; the others follow.
pub(crate) const FIRST_MEDIA_PORT: u16 = 5070;

/// The label of everything that the operator makes, and its value.
pub(crate) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "umbriel-operator");

/// The label that says which server object something belongs to.
pub(crate) const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";

/// The label that says which kind of server something belongs to.
pub(crate) const COMPONENT_LABEL: &str = "app.kubernetes.io/component";

/// Which version of the manifest an object was made from: a field that is no longer wanted would
/// not be missed otherwise.
const MANIFEST_ANNOTATION: &str = "umbriel.dev/manifest";

/// Bytes of the digest that the annotation shows.
const DIGEST_BYTES: usize = 8;

/// An object that a server needs to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Which object.
    pub object: WorkloadRef,
    /// What it says, as far as the operator has a say in it.
    pub manifest: Json,
}

impl Workload {
    /// Whether `live` says all that it should. A rule of a NetworkPolicy that somebody added would let
    /// in whom nobody else lets in.
    pub(crate) fn stands_in(&self, live: &Json) -> bool {
        let is_exact = self.object.kind == WorkloadKind::NetworkPolicy;
        holds(live, &self.manifest) && (!is_exact || live["spec"] == self.manifest["spec"])
    }
}

/// Which object that a server needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkloadRef {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Which of that kind.
    pub key: Key,
}

/// A kind of object that servers need, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkloadKind {
    /// How many pods may be taken away at once.
    PodDisruptionBudget,
    /// Who may reach which port of pods, and what they may reach.
    NetworkPolicy,
    /// Where routers are found, and the name of a mailbox server's pods.
    Service,
    /// Routers.
    Deployment,
    /// Mailbox servers: each pod has a volume of its own.
    StatefulSet,
}

impl WorkloadKind {
    /// Every kind.
    pub const ALL: [WorkloadKind; 5] = [
        WorkloadKind::PodDisruptionBudget,
        WorkloadKind::NetworkPolicy,
        WorkloadKind::Service,
        WorkloadKind::Deployment,
        WorkloadKind::StatefulSet,
    ];

    /// Its API group, version, kind and the name of it in paths.
    pub const fn api(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            WorkloadKind::PodDisruptionBudget => {
                ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
            }
            WorkloadKind::NetworkPolicy => ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
            WorkloadKind::Service => ("", "v1", "Service", "services"),
            WorkloadKind::Deployment => ("apps", "v1", "Deployment", "deployments"),
            WorkloadKind::StatefulSet => ("apps", "v1", "StatefulSet", "statefulsets"),
        }
    }

    fn api_version(self) -> String {
        match self.api() {
            ("", version, _, _) => version.into(),
            (group, version, _, _) => format!("{group}/{version}"),
        }
    }
}

/// One of the two kinds of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Router,
    Mailbox,
}

impl Role {
    /// The role as a label and as the last part of names; also the command of the program.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Role::Router => "router",
            Role::Mailbox => "mailbox",
        }
    }

    /// The name of what belongs to the server `key`.
    pub(crate) fn object_name(self, key: &Key) -> String {
        format!("{}-{}", key.name, self.name())
    }

    /// The index that it reads.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Role::Router => ROUTER_FILE,
            Role::Mailbox => MAILBOX_FILE,
        }
    }

    /// The kind that it is described by.
    pub(crate) const fn kind(self) -> Kind {
        match self {
            Role::Router => Kind::UMCallRouter,
            Role::Mailbox => Kind::UMService,
        }
    }
}

/// Whose objects are made: one server and its identity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    pub(crate) role: Role,
    pub(crate) key: &'a Key,
    pub(crate) uid: &'a str,
}

/// Services and NetworkPolicies of `observed` that belong to servers of `wanted` and are not needed any
/// more. Those of a server whose object cannot be used as it is written stay.
pub(crate) fn stale(observed: &BTreeMap<WorkloadRef, Json>, wanted: &[Workload]) -> Vec<WorkloadRef> {
    let owner = |manifest: &Json| manifest["metadata"]["ownerReferences"][0]["uid"].clone();
    let owners: Vec<Json> = wanted.iter().map(|workload| owner(&workload.manifest)).collect();
    let removable = observed.iter().filter(|(object, live)| {
        let is_removable = match object.kind {
            WorkloadKind::Service | WorkloadKind::NetworkPolicy => true,
            WorkloadKind::PodDisruptionBudget | WorkloadKind::Deployment | WorkloadKind::StatefulSet => false,
        };
        is_removable && live["metadata"]["deletionTimestamp"].is_null()
    });
    removable
        .filter(|(object, live)| {
            owners.contains(&owner(live)) && !wanted.iter().any(|workload| workload.object == **object)
        })
        .map(|(object, _)| object.clone())
        .collect()
}

/// The ports of a router.
pub(crate) fn router_ports(spec: &UMCallRouterSpec) -> Ports {
    Ports { listeners: router_listeners(spec), media: Vec::new() }
}

/// The ports of a mailbox server.
pub(crate) fn mailbox_ports(spec: &UMServiceSpec) -> Ports {
    Ports { listeners: service_listeners(spec), media: media_ports() }
}

/// The media ports of a mailbox server, by worker.
pub(crate) fn media_ports() -> Vec<u16> {
    (0..WORKERS).map(|worker| FIRST_MEDIA_PORT + worker).collect()
}

/// The ports that a node gives to each pod of a server.
fn host_ports(exposure: Exposure, ports: &Ports) -> Vec<NamedPort> {
    match exposure {
        Exposure::Host => ports.named(),
        Exposure::Pod | Exposure::LoadBalancer | Exposure::NodePort => Vec::new(),
    }
}

/// The objects that the servers in `linked` need.
pub(crate) fn workloads(cluster: &Cluster, linked: &LinkedServers<'_>) -> Vec<Workload> {
    let mut workloads = Vec::new();
    let uid = |role: Role, key: &Key| cluster.uids.get(&ObjectRef::new(role.kind(), key));
    for (key, server) in &linked.routers {
        if let Some(uid) = uid(Role::Router, key) {
            let owner = Owner { role: Role::Router, key, uid };
            workloads.extend(router::workloads(&owner, cluster, server.spec));
        }
    }
    for (key, server) in &linked.services {
        if let Some(uid) = uid(Role::Mailbox, key) {
            let owner = Owner { role: Role::Mailbox, key, uid };
            let object = ObjectRef::new(Kind::UMService, key);
            workloads.extend(mailbox::workloads(&owner, cluster, server.spec, cluster.instances(&object)));
        }
    }
    workloads
}

impl Owner<'_> {
    /// The name of everything that belongs to the server.
    pub(crate) fn name(&self) -> String {
        self.role.object_name(self.key)
    }

    /// Labels of the server's pods, and of nothing else.
    fn selector(&self) -> Json {
        json!({ INSTANCE_LABEL: self.key.name, COMPONENT_LABEL: self.role.name() })
    }

    fn labels(&self) -> Json {
        json!({
            "app.kubernetes.io/name": "umbriel",
            INSTANCE_LABEL: self.key.name,
            COMPONENT_LABEL: self.role.name(),
            MANAGED_BY.0: MANAGED_BY.1,
        })
    }

    fn metadata(&self) -> Json {
        json!({
            "name": self.name(),
            "labels": self.labels(),
            "ownerReferences": [{
                "apiVersion": format!("{GROUP}/{VERSION}"),
                "kind": self.role.kind().name(),
                "name": self.key.name,
                "uid": self.uid,
                "controller": true,
            }],
        })
    }

    /// The object of the server that has its name, and says `spec`.
    fn workload(&self, kind: WorkloadKind, spec: &Json) -> Workload {
        self.workload_named(kind, &self.name(), spec)
    }

    /// An object of the server that says `spec`.
    fn workload_named(&self, kind: WorkloadKind, name: &str, spec: &Json) -> Workload {
        let mut metadata = self.metadata();
        metadata["name"] = name.into();
        let mut manifest = json!({
            "apiVersion": kind.api_version(),
            "kind": kind.api().2,
            "metadata": metadata,
            "spec": spec,
        });
        let digest = Sha256::digest(manifest.to_string());
        let digest: String = digest.iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect();
        manifest["metadata"]["namespace"] = self.key.namespace.clone().into();
        manifest["metadata"]["annotations"] = json!({ MANIFEST_ANNOTATION: digest });
        Workload { object: WorkloadRef { kind, key: self.key.beside(name) }, manifest }
    }

    /// One pod at a time may be taken away.
    fn disruption_budget(&self) -> Workload {
        let spec = json!({ "maxUnavailable": 1, "selector": { "matchLabels": self.selector() } });
        self.workload(WorkloadKind::PodDisruptionBudget, &spec)
    }
}
