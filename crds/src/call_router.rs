//! UMCallRouter: a server that redirects calls (spec 1.8).
//!
//! Decides its fields and bounds. Refuses to know where it runs and what it routes.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rule::name_schema;
use crate::server::{Exposure, ServerStatus, StartupMode, check_ports, port, ports_rule};
use crate::status::Status;
use crate::violation::{Checks, MAX_NAME_CHARS, Violation};

const DEFAULT_TCP_PORT: i64 = 5060;
const DEFAULT_TLS_PORT: i64 = 5061;
const DEFAULT_UDP_PORT: i64 = 5060;

/// A server that takes every call first and redirects it to the mailbox server of the called user.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "umbriel.dev",
    version = "v1alpha1",
    kind = "UMCallRouter",
    plural = "umcallrouters",
    shortname = "umcr",
    category = "um",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    doc = "A server that takes every call first and redirects it to the mailbox server of the called user.",
    printcolumn(
        name = "Mode",
        type_ = "string",
        json_path = ".spec.umStartupMode",
        description = "Which transports calls come by"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".spec.status",
        description = "Whether it takes calls"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether it can be used"
    ),
    printcolumn(
        name = "Served",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Served\")].status",
        description = "Whether it serves its newest configuration"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "How long it has been there"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [ports_rule(DEFAULT_TCP_PORT, DEFAULT_TLS_PORT)]))]
pub struct UMCallRouterSpec {
    /// Port for SIP over TCP.
    #[serde(default = "default_tcp_port")]
    #[schemars(extend("x-kubernetes-validations" = port(DEFAULT_TCP_PORT).schema()))]
    pub sip_tcp_listening_port: i64,
    /// Port for SIP over TLS.
    #[serde(default = "default_tls_port")]
    #[schemars(extend("x-kubernetes-validations" = port(DEFAULT_TLS_PORT).schema()))]
    pub sip_tls_listening_port: i64,
    /// Port for SIP over UDP.
    #[serde(default = "default_udp_port")]
    #[schemars(extend("x-kubernetes-validations" = port(DEFAULT_UDP_PORT).schema()))]
    pub sip_udp_listening_port: i64,
    /// Which transports calls come by: TCP for UDP and TCP, TLS for TLS only, Dual for all three.
    #[serde(default)]
    pub um_startup_mode: StartupMode,
    /// Whether it takes calls: Enabled takes them, NoNewCalls and Disabled refuse them and say when
    /// to try again.
    #[serde(default)]
    pub status: ServerStatus,
    /// What peers get that are no UMIPGateway: Refuse answers each of them at most once in a second, by
    /// UDP with no more bytes than it sent; Ignore answers none.
    #[serde(default)]
    pub unknown_peers: UnknownPeers,
    /// How callers reach it in a cluster: Pod at the addresses of its pods, LoadBalancer at the
    /// address of a Service, NodePort at its nodes and the ports of a Service, Host at its nodes and
    /// its own ports.
    #[serde(default)]
    pub exposure: Exposure,
    /// Name of a Secret of type kubernetes.io/tls, in the same namespace, with the certificate for
    /// TLS. If it has a ca.crt too, peers are asked for a certificate that is signed by one in it. Without a
    /// Secret the server makes a self-signed certificate for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME_CHARS), extend("x-kubernetes-validations" = name_schema()))]
    pub certificate_secret: Option<String>,
}

/// What a router answers to peers that are no gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UnknownPeers {
    /// A small refusal now and then.
    #[default]
    Refuse,
    /// Nothing.
    Ignore,
}

impl UMCallRouterSpec {
    /// What it says about itself that cannot be.
    pub fn check(&self) -> Vec<Violation> {
        let mut checks = Checks::default();
        check_ports(
            &mut checks,
            self.sip_tcp_listening_port,
            self.sip_tls_listening_port,
            self.sip_udp_listening_port,
            [DEFAULT_TCP_PORT, DEFAULT_TLS_PORT, DEFAULT_UDP_PORT],
        );
        if let Some(secret) = &self.certificate_secret {
            checks.reference("spec.certificateSecret", secret);
        }
        checks.into_violations()
    }
}

fn default_tcp_port() -> i64 {
    DEFAULT_TCP_PORT
}

fn default_tls_port() -> i64 {
    DEFAULT_TLS_PORT
}

fn default_udp_port() -> i64 {
    DEFAULT_UDP_PORT
}
