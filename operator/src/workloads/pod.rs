//! What router and mailbox pods have in common.
//!
//! Decides how a server is started in a pod and what it may do there, which is what Pod Security
//! calls restricted. Refuses to know what the servers do.

use serde_json::{Value as Json, json};

use super::configuration::volume;
use super::{ADMIN_PORT, Owner};
use crate::exposure::NamedPort;
use crate::site::Image;

/// The folder in which the configuration is mounted.
const CONFIG_DIR: &str = "/etc/umbriel";

/// The user and group of the servers; nobody else on the node has it.
const USER_ID: u32 = 65_532;

/// A server starts in less than a second; a slow disk may take it a minute to look through.
const START_FAILURES: u32 = 120;

/// A pod that is to end goes on serving for this long, so that whoever sends calls to it has learnt
/// to send them elsewhere before it takes none any more. News takes a second; this is several.
const FAREWELL_S: u32 = 5;

/// What a pod of one role adds.
pub(super) struct Extra<'a> {
    /// The Secret with the server's certificate.
    pub(super) certificate: Option<&'a str>,
    /// The Secret with the keys of the server's bucket.
    pub(super) store_keys: Option<&'a str>,
    /// Arguments after those that both roles have.
    pub(super) args: Vec<String>,
    /// Volumes that are mounted beside the configuration: name and folder.
    pub(super) mounts: Vec<(&'static str, &'static str)>,
    /// Volumes of those mounts, if the pod itself says them.
    pub(super) volumes: Vec<Json>,
    /// Ports that its node gives to it.
    pub(super) host_ports: Vec<NamedPort>,
    /// How long the server may take to finish what it has, seconds.
    pub(super) grace_period_s: u32,
    /// Memory that is set aside for it.
    pub(super) memory: &'static str,
}

/// The template of a server's pods.
pub(super) fn template(owner: &Owner<'_>, image: &Image, extra: &Extra<'_>) -> Json {
    let mut args = vec![
        owner.role.name().to_owned(),
        "--config".into(),
        CONFIG_DIR.into(),
        "--address".into(),
        "$(POD_ADDRESS)".into(),
    ];
    args.extend(extra.args.iter().cloned());
    let mut mounts = vec![json!({ "name": "config", "mountPath": CONFIG_DIR, "readOnly": true })];
    mounts.extend(extra.mounts.iter().map(|(name, path)| json!({ "name": name, "mountPath": path })));
    let mut volumes = vec![volume(owner, extra.certificate, extra.store_keys)];
    volumes.extend(extra.volumes.iter().cloned());
    let mut ports = vec![json!({ "name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP" })];
    ports.extend(extra.host_ports.iter().map(|NamedPort { name, port, protocol }| {
        json!({ "name": name, "containerPort": port, "hostPort": port, "protocol": protocol })
    }));
    let probe = |path: &str, period_s: u32, failures: u32| {
        json!({
            "httpGet": { "path": path, "port": "admin" },
            "periodSeconds": period_s,
            "failureThreshold": failures,
        })
    };
    let template = json!({
        "metadata": { "labels": owner.labels() },
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            // The grace period begins together with the farewell.
            "terminationGracePeriodSeconds": FAREWELL_S + extra.grace_period_s,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "fsGroup": USER_ID,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            // A node that is emptied must not leave its replacement without a place.
            "topologySpreadConstraints": [{
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": { "matchLabels": owner.selector() },
            }],
            "containers": [{
                "name": owner.role.name(),
                "image": image.name,
                "imagePullPolicy": "IfNotPresent",
                "args": args,
                "env": [of_the_pod("POD_ADDRESS", "status.podIP"), of_the_pod("POD_NAME", "metadata.name")],
                "ports": ports,
                "resources": { "requests": { "cpu": "50m", "memory": extra.memory } },
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                },
                "lifecycle": { "preStop": { "sleep": { "seconds": FAREWELL_S } } },
                "startupProbe": probe("/livez", 1, START_FAILURES),
                "readinessProbe": probe("/readyz", 1, 2),
                "livenessProbe": probe("/livez", 10, 3),
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        },
    });
    with_pull_secrets(template, image)
}

/// The template of pods whose nodes may need these Secrets to have the image.
fn with_pull_secrets(mut template: Json, image: &Image) -> Json {
    if !image.pull_secrets.is_empty() {
        let secrets = image.pull_secrets.iter().map(|name| json!({ "name": name })).collect();
        template["spec"]["imagePullSecrets"] = Json::Array(secrets);
    }
    template
}

/// A field of the pod that its server is told.
fn of_the_pod(name: &str, field: &str) -> Json {
    json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": field } } })
}
