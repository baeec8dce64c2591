//! What UMCallRouter and UMService have in common (spec 1.7 and 1.8).
//!
//! Decides the shared values and the rules about ports. Refuses to know which transports are
//! listened on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rule::{Range, cel_at};
use crate::violation::{Checks, ViolationCode};

/// A port (RFC 768), except 0, which is none; `example` is what messages propose.
pub(crate) const fn port(example: i64) -> Range {
    Range { low: 1, high: 65_535, unit: "", example }
}

/// The rule that TLS and TCP have a port each.
const PORTS_ALLOWED: &str = "another port than sipTcpListeningPort, because TLS runs over TCP";

/// Which transports a server takes calls by (spec 4.1, decision 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StartupMode {
    /// UDP and TCP.
    #[default]
    TCP,
    /// TLS only.
    TLS,
    /// UDP, TCP and TLS.
    Dual,
}

/// Whether a server takes calls (decision 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServerStatus {
    /// Takes calls.
    #[default]
    Enabled,
    /// Refuses every call.
    Disabled,
    /// Refuses new calls; those that it has go on.
    NoNewCalls,
}

/// How callers reach a server that runs in a cluster (decision 25).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Exposure {
    /// At the address of its pod: for callers who have a route to pods.
    #[default]
    Pod,
    /// At the address that a load balancer gives to a Service.
    LoadBalancer,
    /// At the address of its node, and at the ports that Kubernetes gives to a Service.
    NodePort,
    /// At the address of its node, and at the server's own ports there.
    Host,
}

/// Ports are ports, and TLS does not share its port with TCP, which it runs over.
pub(crate) fn check_ports(checks: &mut Checks, tcp: i64, tls: i64, udp: i64, examples: [i64; 3]) {
    let [tcp_example, tls_example, udp_example] = examples;
    checks.range("spec.sipTcpListeningPort", tcp, &port(tcp_example));
    checks.range("spec.sipTlsListeningPort", tls, &port(tls_example));
    checks.range("spec.sipUdpListeningPort", udp, &port(udp_example));
    if tcp == tls {
        let fix = ports_fix(tcp_example, tls_example);
        checks.add(ViolationCode::PortConflict, "spec.sipTlsListeningPort", tls, PORTS_ALLOWED, fix);
    }
}

/// The same about TCP and TLS, as a rule of the schema.
pub(crate) fn ports_rule(tcp_example: i64, tls_example: i64) -> serde_json::Value {
    let rule = "self.sipTcpListeningPort != self.sipTlsListeningPort";
    let texts = [PORTS_ALLOWED, PORTS_ALLOWED, &ports_fix(tcp_example, tls_example)];
    cel_at("sipTlsListeningPort", rule, ViolationCode::PortConflict, &["self.sipTlsListeningPort"], texts)
}

fn ports_fix(tcp_example: i64, tls_example: i64) -> String {
    format!("give each its own, such as {tcp_example} for TCP and {tls_example} for TLS")
}
