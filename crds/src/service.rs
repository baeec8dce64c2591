//! UMService: a server that answers calls and records messages (spec 1.7).
//!
//! Decides its fields and bounds. Refuses to know where it runs and whose mailboxes it hosts.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::message_store::MessageStore;
use crate::rule::{NotEmpty, Range, name_schema};
use crate::server::{Exposure, ServerStatus, StartupMode, check_ports, port, ports_rule};
use crate::status::Status;
use crate::violation::{Checks, EMAIL, MAX_EMAIL_CHARS, MAX_NAME_CHARS, Violation};

const DEFAULT_TCP_PORT: i64 = 5062;
const DEFAULT_TLS_PORT: i64 = 5063;
const DEFAULT_UDP_PORT: i64 = 5062;
const DEFAULT_MAX_CALLS: i64 = 100;
const CALLS: Range = Range { low: 0, high: 200, unit: "calls", example: DEFAULT_MAX_CALLS };
const DEFAULT_REPLICAS: i64 = 1;
/// As many as there are databases: one more would host none.
const REPLICAS: Range = Range { low: 1, high: 32, unit: "mailbox servers", example: DEFAULT_REPLICAS };
/// SMTP (RFC 5321 §4.5.4.2).
const DEFAULT_SMTP_PORT: i64 = 25;
/// Longest host name (RFC 1035 §2.3.4: 255 octets with their length bytes).
const MAX_HOST_CHARS: usize = 253;
const HOST: NotEmpty =
    NotEmpty { shown: "\"\"", allowed: "1 to 253 characters", fix: "write the name of the mail server" };

/// A server that answers calls, records messages and delivers them.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "umbriel.dev",
    version = "v1alpha1",
    kind = "UMService",
    plural = "umservices",
    shortname = "umsvc",
    category = "um",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    doc = "A server that answers calls, records messages and delivers them.",
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
        name = "Replicas",
        type_ = "integer",
        json_path = ".spec.replicas",
        description = "Mailbox servers"
    ),
    printcolumn(
        name = "MaxCalls",
        type_ = "integer",
        json_path = ".spec.maxCallsAllowed",
        description = "Calls at once of each"
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
pub struct UMServiceSpec {
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
    /// Whether it takes calls: Enabled takes them, NoNewCalls refuses new ones and leaves those
    /// that it has, Disabled refuses them.
    #[serde(default)]
    pub status: ServerStatus,
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
    /// Mailbox servers, 1 to 32. Each is a pod that hosts its share of the mailboxes; when one goes,
    /// the others host what it hosted. The standalone server is one, whatever is written here.
    #[serde(default = "default_replicas")]
    #[schemars(extend("x-kubernetes-validations" = REPLICAS.schema()))]
    pub replicas: i64,
    /// Calls at once on each mailbox server, 0 to 200; the next one is refused with 503.
    #[serde(default = "default_max_calls")]
    #[schemars(extend("x-kubernetes-validations" = CALLS.schema()))]
    pub max_calls_allowed: i64,
    /// The mail server that takes voice messages. Without one they are written to a Maildir below
    /// the state folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smtp: Option<Smtp>,
    /// Where messages are stored. Without it in the volume of each mailbox server, which is enough
    /// for one: several of a namespace need one store that all of them can read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<MessageStore>,
}

/// The mail server that takes voice messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Smtp {
    /// Host name or address of the mail server.
    #[schemars(length(max = MAX_HOST_CHARS), extend("x-kubernetes-validations" = HOST.schema()))]
    pub host: String,
    /// Port of the mail server.
    #[serde(default = "default_smtp_port")]
    #[schemars(extend("x-kubernetes-validations" = port(DEFAULT_SMTP_PORT).schema()))]
    pub port: i64,
    /// Sender address of the messages.
    #[schemars(length(max = MAX_EMAIL_CHARS), extend("x-kubernetes-validations" = EMAIL.schema()))]
    pub from: String,
    /// Whether the connection must be encrypted: StartTLS with a certificate that the system
    /// trusts, or None.
    #[serde(default)]
    pub security: SmtpSecurity,
}

/// Whether mail leaves encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SmtpSecurity {
    /// STARTTLS with a certificate that the system trusts, or the message waits.
    #[default]
    StartTLS,
    /// In the clear.
    None,
}

impl UMServiceSpec {
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
        checks.range("spec.replicas", self.replicas, &REPLICAS);
        checks.range("spec.maxCallsAllowed", self.max_calls_allowed, &CALLS);
        if let Some(smtp) = &self.smtp {
            checks.length("spec.smtp.host", &smtp.host, MAX_HOST_CHARS);
            checks.range("spec.smtp.port", smtp.port, &port(DEFAULT_SMTP_PORT));
            checks.email("spec.smtp.from", &smtp.from);
        }
        if let Some(store) = &self.store {
            store.check(&mut checks);
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

fn default_replicas() -> i64 {
    DEFAULT_REPLICAS
}

fn default_max_calls() -> i64 {
    DEFAULT_MAX_CALLS
}

fn default_smtp_port() -> i64 {
    DEFAULT_SMTP_PORT
}
