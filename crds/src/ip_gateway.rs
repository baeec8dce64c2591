//! UMIPGateway: a peer that may call us (spec 1.2).
//!
//! Decides its fields and bounds. Refuses to know who refers to it.

use std::net::IpAddr;

use ipnet::IpNet;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rule::{NOTHING, Shape, fixed_optional_rule, name_schema};
use crate::status::Condition;
use crate::violation::{Checks, MAX_NAME_CHARS, Violation};

/// The longest text of an IPv6 address, with an IPv4 one in its last 32 bits (RFC 4291 §2.2), and the
/// length of a prefix.
const MAX_ADDRESS_CHARS: usize = 45 + "/128".len();
const ADDRESS: Shape = Shape {
    rule: "isIP(self) || isCIDR(self) && cidr(self).masked() == cidr(self)",
    allowed: "an IPv4 or IPv6 address, or a prefix of addresses without further bits",
    fix: "write what its calls come from, such as 192.0.2.10 or 192.0.2.0/24",
};

/// How messages call it.
const GATEWAY: &str = "gateway";

/// A peer that may call us: a PBX, a gateway to the telephone network or a session border
/// controller, known by what its calls come from.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "umbriel.dev",
    version = "v1alpha1",
    kind = "UMIPGateway",
    plural = "umipgateways",
    shortname = "umgw",
    category = "um",
    namespaced,
    status = "UMIPGatewayStatus",
    derive = "PartialEq",
    doc = "A peer that may call us: a PBX, a gateway to the telephone network or a session border controller, known by what its calls come from.",
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
#[schemars(extend("x-kubernetes-validations" = [fixed_optional_rule("umDialPlan", GATEWAY)]))]
pub struct UMIPGatewaySpec {
    /// What its calls come from: an IPv4 or IPv6 address, or a prefix of addresses such as 192.0.2.0/24.
    /// No two gateways share one; of prefixes that overlap the longest counts.
    #[schemars(length(max = MAX_ADDRESS_CHARS), extend("x-kubernetes-validations" = ADDRESS.schema()))]
    pub address: String,
    /// Name of the UMDialPlan, in the same namespace, that all its calls belong to: a hunt group
    /// without a pilot, NAME-default, is made for it when it is made. It cannot change while the
    /// gateway exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME_CHARS), extend("x-kubernetes-validations" = name_schema()))]
    pub um_dial_plan: Option<String>,
    /// Whether its calls are taken: Enabled takes them, NoNewCalls refuses new ones and leaves
    /// those that it has, Disabled refuses them.
    #[serde(default)]
    pub status: GatewayStatus,
}

/// What was observed about a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UMIPGatewayStatus {
    /// The generation of the object that this status speaks of.
    #[serde(default)]
    pub observed_generation: i64,
    /// `Ready`: whether the object can be used. `Served`: whether the servers that need it serve
    /// it as it is written.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Since when the servers that need it do not serve it as it is written (RFC 3339); absent while
    /// they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub waiting_since: Option<String>,
    /// The hunt group that was made for it. It is not made again when somebody deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_hunt_group: Option<String>,
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
        checks.shape("spec.address", &self.address, &ADDRESS, self.prefix().is_some());
        if let Some(dial_plan) = &self.um_dial_plan {
            checks.reference("spec.umDialPlan", dial_plan);
        }
        checks.into_violations()
    }

    /// What of it cannot have changed since it was `before`.
    pub fn check_change(&self, before: &UMIPGatewaySpec) -> Vec<Violation> {
        let mut checks = Checks::default();
        let plan = |spec: &UMIPGatewaySpec| spec.um_dial_plan.clone().unwrap_or(NOTHING.into());
        checks.fixed("spec.umDialPlan", &plan(before), &plan(self), GATEWAY);
        checks.into_violations()
    }

    /// The addresses that it calls from, if that is what is written.
    pub fn prefix(&self) -> Option<IpNet> {
        if let Ok(address) = self.address.parse::<IpAddr>() {
            return is_plain(address).then(|| address.into());
        }
        let net: IpNet = self.address.parse().ok()?;
        let (_, length) = self.address.split_once('/')?;
        // As API servers read it: `/08` is no length, and bits behind the length are a mistake.
        let fits = net.trunc() == net && length == net.prefix_len().to_string() && is_plain(net.addr());
        fits.then_some(net)
    }
}

/// An IPv4 address in IPv6 clothes, `::ffff:192.0.2.10`, is written as what it is.
fn is_plain(address: IpAddr) -> bool {
    address.to_canonical() == address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(address: &str) -> Option<String> {
        let spec =
            UMIPGatewaySpec { address: address.into(), um_dial_plan: None, status: GatewayStatus::Enabled };
        spec.prefix().map(|prefix| prefix.to_string())
    }

    #[test]
    fn addresses_and_prefixes_are_what_calls_come_from() {
        for (text, read) in [
            ("192.0.2.10", "192.0.2.10/32"),
            ("2001:db8::10", "2001:db8::10/128"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(prefix(text).as_deref(), Some(read), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for text in [
            "",
            "pbx",
            "192.0.2",
            "192.0.2.010",
            "192.0.2.10/24",
            "192.0.2.0/33",
            "192.0.2.0/08",
            "192.0.2.0/",
            "192.0.2.0/24/24",
            "::ffff:192.0.2.10",
            "::ffff:192.0.2.0/120",
            "fe80::1%eth0",
            " 192.0.2.10",
        ] {
            assert_eq!(prefix(text), None, "{text}");
        }
    }
}
