//! What UMCallRouter and UMService have in common (spec 1.7 and 1.8).
//!
//! Decides the shared values and the rules about ports. Refuses to know which transports are
//! listened on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::violation::{Checks, ViolationCode};

pub(crate) const MIN_PORT: i64 = 1;
/// 2^16 - 1.
pub(crate) const MAX_PORT: i64 = 65_535;

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

/// Ports are ports, and TLS does not share its port with TCP, which it runs over.
pub(crate) fn check_ports(checks: &mut Checks, tcp: i64, tls: i64, udp: i64, examples: [i64; 3]) {
    let [tcp_example, tls_example, udp_example] = examples;
    checks.range("spec.sipTcpListeningPort", tcp, MIN_PORT..=MAX_PORT, "", tcp_example);
    checks.range("spec.sipTlsListeningPort", tls, MIN_PORT..=MAX_PORT, "", tls_example);
    checks.range("spec.sipUdpListeningPort", udp, MIN_PORT..=MAX_PORT, "", udp_example);
    if tcp == tls {
        checks.add(
            ViolationCode::PortConflict,
            "spec.sipTlsListeningPort",
            tls,
            "another port than sipTcpListeningPort, because TLS runs over TCP",
            format!("write {tls_example}, or another port that is free"),
        );
    }
}
