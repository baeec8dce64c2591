//! UMMailboxPolicy: what the mailboxes of a dial plan have in common (spec 1.4).
//!
//! Decides its fields and bounds. Refuses to know who refers to it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rule::{NotEmpty, name_schema};
use crate::status::Condition;
use crate::violation::{Checks, MAX_NAME_CHARS, Violation};

const MAX_TEXT_CHARS: usize = 512;
const TEXT: NotEmpty =
    NotEmpty { shown: "\"\"", allowed: "1 to 512 characters", fix: "write a text, or leave the field out" };

/// What the mailboxes of a dial plan have in common.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "umbriel.dev",
    version = "v1alpha1",
    kind = "UMMailboxPolicy",
    plural = "ummailboxpolicies",
    shortname = "ummp",
    category = "um",
    namespaced,
    status = "UMMailboxPolicyStatus",
    derive = "PartialEq",
    doc = "What the mailboxes of a dial plan have in common.",
    printcolumn(
        name = "DialPlan",
        type_ = "string",
        json_path = ".spec.umDialPlan",
        description = "Where its mailboxes belong"
    ),
    printcolumn(
        name = "Mailboxes",
        type_ = "integer",
        json_path = ".status.mailboxes",
        description = "Mailboxes that belong to it"
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
pub struct UMMailboxPolicySpec {
    /// Name of the UMDialPlan, in the same namespace, that its mailboxes belong to.
    #[schemars(length(max = MAX_NAME_CHARS), extend("x-kubernetes-validations" = name_schema()))]
    pub um_dial_plan: String,
    /// Text that is added to each voice message when it is mailed, 1 to 512 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_TEXT_CHARS), extend("x-kubernetes-validations" = TEXT.schema()))]
    pub voice_mail_text: Option<String>,
}

/// What was observed about a mailbox policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UMMailboxPolicyStatus {
    /// The generation of the object that this status speaks of.
    #[serde(default)]
    pub observed_generation: i64,
    /// `Ready`: whether the object can be used. `Served`: whether the servers that need it serve
    /// it as it is written. `InUse`: whether something refers to it.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Since when the servers that need it do not serve it as it is written (RFC 3339); absent while
    /// they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub waiting_since: Option<String>,
    /// How many mailboxes belong to it.
    #[serde(default)]
    pub mailboxes: i64,
}

impl UMMailboxPolicySpec {
    /// What it says about itself that cannot be.
    pub fn check(&self) -> Vec<Violation> {
        let mut checks = Checks::default();
        checks.reference("spec.umDialPlan", &self.um_dial_plan);
        if let Some(text) = &self.voice_mail_text {
            checks.length("spec.voiceMailText", text, MAX_TEXT_CHARS);
        }
        checks.into_violations()
    }
}
