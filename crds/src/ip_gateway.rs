//! UMIPGateway: a peer that may call us (spec 1.2).
//!
//! Decides its fields and bounds. Refuses to know who refers to it.

use std::net::IpAddr;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rule::Shape;
use crate::status::Status;
use crate::violation::{Checks, Violation};

/// The longest text of an IPv6 address, with an IPv4 one in its last 32 bits (RFC 4291 §2.2).
const MAX_ADDRESS_CHARS: usize = 45;
const ADDRESS: Shape = Shape {
    rule: "isIP(self)",
    allowed: "an IPv4 or IPv6 address",
    fix: "write the address that its calls come from, such as 192.0.2.10",
};

/// A peer that may call us: a PBX, a gateway to the telephone network or a session border
/// controller, known by the address that its calls come from.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "umbriel.dev",
    version = "v1alpha1",
    kind = "UMIPGateway",
    plural = "umipgateways",
    shortname = "umgw",
    category = "um",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    doc = "A peer that may call us: a PBX, a gateway to the telephone network or a session border controller, known by the address that its calls come from.",
    printcolumn(
        name = "Address",
        type_ = "string",
        json_path = ".spec.address",
        description = "Where its calls come from"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".spec.status",
        description = "Whether its calls are taken"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether it can be used"
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
pub struct UMIPGatewaySpec {
    /// The IPv4 or IPv6 address that its calls come from. No two gateways share one.
    #[schemars(length(max = MAX_ADDRESS_CHARS), extend("x-kubernetes-validations" = ADDRESS.schema()))]
    pub address: String,
    /// Whether its calls are taken: Enabled takes them, NoNewCalls refuses new ones and leaves
    /// those that it has, Disabled refuses them.
    #[serde(default)]
    pub status: GatewayStatus,
}

/// Whether calls of a gateway are taken (spec 1.10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GatewayStatus {
    /// Its calls are taken.
    #[default]
    Enabled,
    /// Its calls are refused.
    Disabled,
    /// New calls are refused; those that it has go on.
    NoNewCalls,
}

impl UMIPGatewaySpec {
    /// What it says about itself that cannot be.
    pub fn check(&self) -> Vec<Violation> {
        let mut checks = Checks::default();
        checks.shape("spec.address", &self.address, &ADDRESS, self.ip().is_some());
        checks.into_violations()
    }

    /// The address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.parse().ok()
    }
}
