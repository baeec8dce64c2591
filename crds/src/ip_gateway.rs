//! UMIPGateway: a peer that may call us (spec 1.2).
//!
//! Decides its fields and bounds. Refuses to know who refers to it.

use std::net::IpAddr;

use ipnet::IpNet;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rule::{NOTHING, Shape, cel_at, fixed_optional_rule, name_schema};
use crate::status::Condition;
use crate::violation::{Checks, MAX_NAME_CHARS, Violation, ViolationCode};

/// The longest name of a host (RFC 1035 §2.3.4); every address and prefix is shorter.
const MAX_ADDRESS_CHARS: usize = 253;
/// The longest piece of a name (RFC 1035 §2.3.4).
const MAX_LABEL_CHARS: usize = 63;
const ADDRESS: Shape = Shape {
    rule: "isIP(self) || isCIDR(self) && cidr(self).masked() == cidr(self) || self.matches('^([A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?[.])+[A-Za-z]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?$')",
    allowed: "an IPv4 or IPv6 address, a prefix of addresses without further bits, or a fully qualified domain name",
    fix: "write what its calls come from, such as 192.0.2.10, 192.0.2.0/24 or sbc.contoso.example",
};

/// What ipAddressFamily may be where addresses are written.
const FAMILY_ALLOWED: &str = "Any, or the family that spec.address is of";
const FAMILY_FIX: &str = "leave ipAddressFamily out, or write another address";

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
#[schemars(extend("x-kubernetes-validations" = [fixed_optional_rule("umDialPlan", GATEWAY), family_rule()]))]
pub struct UMIPGatewaySpec {
    /// What its calls come from: an IPv4 or IPv6 address, a prefix of addresses such as 192.0.2.0/24, or a
    /// fully qualified domain name such as sbc.contoso.example, which a certificate proves or name servers
    /// lead to addresses. No two gateways share one; of prefixes that overlap the longest counts.
    #[schemars(length(max = MAX_ADDRESS_CHARS), extend("x-kubernetes-validations" = ADDRESS.schema()))]
    pub address: String,
    /// Which addresses of a name its calls come from: IPv4Only, IPv6Only or Any. Without it IPv4Only. An
    /// address and a prefix are of their own family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address_family: Option<IpAddressFamily>,
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

/// Which addresses are used (spec 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IpAddressFamily {
    /// IPv4 addresses.
    IPv4Only,
    /// IPv6 addresses.
    IPv6Only,
    /// Both.
    Any,
}

/// What a gateway's calls come from, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// Addresses that begin in the same way, or a single one.
    Prefix(IpNet),
    /// A name, in small letters.
    Name(String),
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
        checks.shape("spec.address", &self.address, &ADDRESS, self.peer_address().is_some());
        if let (Some(family), Some(PeerAddress::Prefix(net))) = (self.ip_address_family, self.peer_address())
            && !family.has(net.addr())
        {
            let code = ViolationCode::OutOfRange;
            checks.add(code, "spec.ipAddressFamily", format!("{family:?}"), FAMILY_ALLOWED, FAMILY_FIX);
        }
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

    /// What its calls come from, if it is something that may be written.
    pub fn peer_address(&self) -> Option<PeerAddress> {
        if let Some(prefix) = self.prefix() {
            return Some(PeerAddress::Prefix(prefix));
        }
        is_name(&self.address).then(|| PeerAddress::Name(self.address.to_ascii_lowercase()))
    }

    fn prefix(&self) -> Option<IpNet> {
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

impl IpAddressFamily {
    /// Whether `address` is of this family.
    pub fn has(self, address: IpAddr) -> bool {
        match self {
            IpAddressFamily::IPv4Only => address.is_ipv4(),
            IpAddressFamily::IPv6Only => address.is_ipv6(),
            IpAddressFamily::Any => true,
        }
    }
}

/// An address or prefix is of the family that is written beside it.
fn family_rule() -> serde_json::Value {
    let family = "self.ipAddressFamily == 'IPv4Only' ? 4 : 6";
    let rule = format!(
        "!has(self.ipAddressFamily) || self.ipAddressFamily == 'Any' \
         || (isIP(self.address) ? ip(self.address).family() == ({family}) \
         : !isCIDR(self.address) || cidr(self.address).ip().family() == ({family}))"
    );
    let texts = [FAMILY_ALLOWED, FAMILY_ALLOWED, FAMILY_FIX];
    cel_at("ipAddressFamily", &rule, ViolationCode::OutOfRange, &["self.ipAddressFamily"], texts)
}

/// Whether `text` is a fully qualified domain name, as [`ADDRESS`] says: what ends in a number would be taken for
/// an address.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=MAX_LABEL_CHARS).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let ends_in_a_name = last.starts_with(|first: char| first.is_ascii_alphabetic());
    text.len() <= MAX_ADDRESS_CHARS && text.contains('.') && text.split('.').all(label) && ends_in_a_name
}

/// An IPv4 address in IPv6 clothes, `::ffff:192.0.2.10`, is written as what it is.
fn is_plain(address: IpAddr) -> bool {
    address.to_canonical() == address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(address: &str, ip_address_family: Option<IpAddressFamily>) -> UMIPGatewaySpec {
        UMIPGatewaySpec {
            address: address.into(),
            ip_address_family,
            um_dial_plan: None,
            status: GatewayStatus::Enabled,
        }
    }

    fn read(address: &str) -> Option<String> {
        Some(match spec(address, None).peer_address()? {
            PeerAddress::Prefix(prefix) => prefix.to_string(),
            PeerAddress::Name(name) => name,
        })
    }

    #[test]
    fn addresses_prefixes_and_names_are_what_calls_come_from() {
        let long = format!("{}.example", "a".repeat(63));
        for (text, expected) in [
            ("192.0.2.10", "192.0.2.10/32"),
            ("2001:db8::10", "2001:db8::10/128"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("SBC-1.Contoso.example", "sbc-1.contoso.example"),
            ("3.a", "3.a"),
            (&long, &long),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        let (long, longest) = (format!("{}.example", "a".repeat(64)), format!("{}example", "a.".repeat(124)));
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
            "192.0.2.256",
            "sbc.contoso.example.",
            "sbc..example",
            "-sbc.example",
            "sbc-.example",
            "sbc_1.example",
            "sbc.example:5060",
            "sip:sbc.example",
            "*.example",
            "zo\u{eb}.example",
            &long,
            &longest,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn an_address_is_of_the_family_that_is_written_beside_it() {
        let fields = |address: &str, family| {
            let violations = spec(address, Some(family)).check();
            violations.into_iter().map(|violation| violation.field).collect::<Vec<_>>()
        };
        for (address, wrong) in [
            ("192.0.2.10", IpAddressFamily::IPv6Only),
            ("192.0.2.0/24", IpAddressFamily::IPv6Only),
            ("2001:db8::10", IpAddressFamily::IPv4Only),
            ("2001:db8::/32", IpAddressFamily::IPv4Only),
        ] {
            assert_eq!(fields(address, wrong), ["spec.ipAddressFamily"], "{address}");
            assert_eq!(fields(address, IpAddressFamily::Any), [""; 0], "{address}");
        }
        for family in [IpAddressFamily::IPv4Only, IpAddressFamily::IPv6Only, IpAddressFamily::Any] {
            assert_eq!(fields("sbc.contoso.example", family), [""; 0]);
        }
    }
}
