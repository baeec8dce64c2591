//! UMMailbox: a user (spec 1.6).
//!
//! Decides its fields and bounds. Refuses to know other users and the length that a dial plan asks
//! extensions to have.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::{ADDRESS, MAX_ADDRESS_CHARS, is_address};
use crate::rule::{NotEmpty, Shape, name_schema};
use crate::status::Status;
use crate::violation::{Checks, EMAIL, MAX_EMAIL_CHARS, MAX_NAME_CHARS, Violation, ViolationCode};

/// A dial plan has at most 20 digits (spec 1.1), so no extension is longer.
const MAX_EXTENSION_DIGITS: usize = 20;
const EXTENSION: Shape = Shape {
    rule: "self.matches('^[0-9]{1,20}$')",
    allowed: "1 to 20 digits and nothing else",
    fix: "write digits in quotes, such as \"101\"",
};
/// Extensions of one user: a cap so that one object stays small.
const MAX_EXTENSIONS: usize = 32;
const EXTENSIONS: NotEmpty = NotEmpty {
    shown: "0 extensions",
    allowed: "1 to 32 extensions",
    fix: "write at least one, such as [\"101\"]",
};
/// Addresses of one user in other dial plans: a cap so that one object stays small.
const MAX_SECONDARY_ADDRESSES: usize = 16;
const MAX_DISPLAY_NAME_CHARS: usize = 64;
const DISPLAY_NAME: NotEmpty =
    NotEmpty { shown: "\"\"", allowed: "1 to 64 characters", fix: "write a text, or leave the field out" };

/// A user: who can be reached, by which extensions, and where their messages go.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "umbriel.dev",
    version = "v1alpha1",
    kind = "UMMailbox",
    plural = "ummailboxes",
    shortname = "ummb",
    category = "um",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    doc = "A user: who can be reached, by which extensions, and where their messages go.",
    printcolumn(
        name = "Extensions",
        type_ = "string",
        json_path = ".spec.extensions",
        description = "Numbers that reach the user"
    ),
    printcolumn(
        name = "DisplayName",
        type_ = "string",
        json_path = ".spec.displayName",
        description = "The name that the greeting speaks"
    ),
    printcolumn(
        name = "Policy",
        type_ = "string",
        json_path = ".spec.umMailboxPolicy",
        description = "What it has in common with others"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether calls can reach it"
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
pub struct UMMailboxSpec {
    /// Name of the UMMailboxPolicy, in the same namespace; through it the mailbox belongs to a
    /// dial plan.
    #[schemars(length(max = MAX_NAME_CHARS), extend("x-kubernetes-validations" = name_schema()))]
    pub um_mailbox_policy: String,
    /// Numbers that reach the user, in quotes, each with as many digits as the dial plan asks for.
    #[schemars(length(max = MAX_EXTENSIONS), extend("items" = extension_schema()))]
    #[schemars(extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = EXTENSIONS.schema()))]
    pub extensions: Vec<String>,
    /// What the user is called by in a dial plan whose uriType is SipName or E164, and only there: a SIP
    /// address such as alice@contoso.example, or a number such as +14255550101.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_ADDRESS_CHARS), extend("x-kubernetes-validations" = ADDRESS.schema()))]
    pub sip_resource_identifier: Option<String>,
    /// What the user is called by in other dial plans. The mailbox policy stays the one above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_SECONDARY_ADDRESSES))]
    pub secondary_addresses: Vec<SecondaryAddress>,
    /// The name that the greeting speaks, 1 to 64 characters; without one it speaks the extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_DISPLAY_NAME_CHARS), extend("x-kubernetes-validations" = DISPLAY_NAME.schema()))]
    pub display_name: Option<String>,
    /// Whether callers who show no number can leave a message.
    #[serde(default = "yes")]
    pub anonymous_callers_can_leave_messages: bool,
    /// Where voice messages are mailed.
    #[schemars(length(max = MAX_EMAIL_CHARS), extend("x-kubernetes-validations" = EMAIL.schema()))]
    pub primary_smtp_address: String,
}

/// What a user is called by in another dial plan than that of the mailbox policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecondaryAddress {
    /// Name of the UMDialPlan, in the same namespace.
    #[schemars(length(max = MAX_NAME_CHARS), extend("x-kubernetes-validations" = name_schema()))]
    pub um_dial_plan: String,
    /// An extension of that dial plan, or what its uriType asks for: a SIP address, or a number in the
    /// form of E.164.
    #[schemars(length(max = MAX_ADDRESS_CHARS), extend("x-kubernetes-validations" = ADDRESS.schema()))]
    pub address: String,
}

impl UMMailboxSpec {
    /// What it says about itself that cannot be.
    pub fn check(&self) -> Vec<Violation> {
        let mut checks = Checks::default();
        checks.reference("spec.umMailboxPolicy", &self.um_mailbox_policy);
        self.check_extensions(&mut checks);
        if let Some(address) = &self.sip_resource_identifier {
            checks.shape("spec.sipResourceIdentifier", address, &ADDRESS, is_address(address));
        }
        self.check_secondary_addresses(&mut checks);
        if let Some(name) = &self.display_name {
            checks.length("spec.displayName", name, MAX_DISPLAY_NAME_CHARS);
        }
        checks.email("spec.primarySmtpAddress", &self.primary_smtp_address);
        checks.into_violations()
    }

    fn check_secondary_addresses(&self, checks: &mut Checks) {
        let addresses = &self.secondary_addresses;
        if addresses.len() > MAX_SECONDARY_ADDRESSES {
            let (field, value) = ("spec.secondaryAddresses", format!("{} addresses", addresses.len()));
            let rule = format!("at most {MAX_SECONDARY_ADDRESSES} addresses");
            checks.add(ViolationCode::OutOfRange, field, value, rule, "remove those that nobody calls");
        }
        for (index, SecondaryAddress { um_dial_plan, address }) in addresses.iter().enumerate() {
            let field = |name: &str| format!("spec.secondaryAddresses[{index}].{name}");
            checks.reference(&field("umDialPlan"), um_dial_plan);
            checks.shape(&field("address"), address, &ADDRESS, is_address(address));
        }
    }

    fn check_extensions(&self, checks: &mut Checks) {
        if !(1..=MAX_EXTENSIONS).contains(&self.extensions.len()) {
            checks.add(
                ViolationCode::OutOfRange,
                "spec.extensions",
                format!("{} extensions", self.extensions.len()),
                EXTENSIONS.allowed,
                EXTENSIONS.fix,
            );
        }
        for (index, extension) in self.extensions.iter().enumerate() {
            let field = format!("spec.extensions[{index}]");
            let fits = (1..=MAX_EXTENSION_DIGITS).contains(&extension.len())
                && extension.bytes().all(|byte| byte.is_ascii_digit());
            if !fits {
                checks.shape(&field, extension, &EXTENSION, fits);
            } else if self.extensions[..index].contains(extension) {
                checks.add(
                    ViolationCode::OutOfRange,
                    &field,
                    extension,
                    "each extension once",
                    "remove the second one",
                );
            }
        }
    }
}

fn yes() -> bool {
    true
}

/// The schema of one extension.
fn extension_schema() -> serde_json::Value {
    serde_json::json!({
        "type": "string",
        "maxLength": MAX_EXTENSION_DIGITS,
        "x-kubernetes-validations": EXTENSION.schema(),
    })
}
