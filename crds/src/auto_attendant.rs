//! UMAutoAttendant: what answers calls for nobody in particular (spec 1.5).
//!
//! Decides its fields and bounds. Refuses to know whether what it refers to exists.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::{address_schema, check_addresses};
use crate::rule::fixed_name_schema;
use crate::status::Status;
use crate::violation::{Checks, MAX_NAME_CHARS, Violation};

/// Pilots of one auto attendant: a cap so that one object stays small.
const MAX_PILOTS: usize = 32;

/// How messages call it.
const AUTO_ATTENDANT: &str = "auto attendant";

/// What answers calls for nobody in particular, at numbers of its own.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "umbriel.dev",
    version = "v1alpha1",
    kind = "UMAutoAttendant",
    plural = "umautoattendants",
    shortname = "umaa",
    category = "um",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    doc = "What answers calls for nobody in particular, at numbers of its own. Routers redirect its calls; mailbox servers do not let it speak yet, and refuse them.",
    printcolumn(
        name = "DialPlan",
        type_ = "string",
        json_path = ".spec.umDialPlan",
        description = "Whose numbers its pilots are"
    ),
    printcolumn(
        name = "Pilots",
        type_ = "string",
        json_path = ".spec.pilotIdentifierList",
        description = "Which numbers reach it"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".spec.status",
        description = "Whether it answers"
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
pub struct UMAutoAttendantSpec {
    /// Name of the UMDialPlan, in the same namespace, whose numbers its pilots are. It cannot change
    /// while the auto attendant exists.
    #[schemars(length(max = MAX_NAME_CHARS))]
    #[schemars(extend("x-kubernetes-validations" = fixed_name_schema(AUTO_ATTENDANT)))]
    pub um_dial_plan: String,
    /// The numbers and SIP addresses that are called to reach it: calls that a hunt group leads to its
    /// dial plan. Each leads to one auto attendant of a dial plan, and is no access number of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_PILOTS), extend("items" = address_schema()))]
    pub pilot_identifier_list: Vec<String>,
    /// Whether it answers: Enabled answers, Disabled refuses its calls.
    #[serde(default)]
    pub status: AttendantStatus,
}

/// Whether an auto attendant answers (spec 1.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AttendantStatus {
    /// It answers.
    Enabled,
    /// Its calls are refused.
    #[default]
    Disabled,
}

impl UMAutoAttendantSpec {
    /// What it says about itself that cannot be.
    pub fn check(&self) -> Vec<Violation> {
        let mut checks = Checks::default();
        checks.reference("spec.umDialPlan", &self.um_dial_plan);
        let pilots = &self.pilot_identifier_list;
        check_addresses(&mut checks, "spec.pilotIdentifierList", pilots, MAX_PILOTS);
        checks.into_violations()
    }

    /// What of it cannot have changed since it was `before`.
    pub fn check_change(&self, before: &UMAutoAttendantSpec) -> Vec<Violation> {
        let mut checks = Checks::default();
        checks.fixed("spec.umDialPlan", &before.um_dial_plan, &self.um_dial_plan, AUTO_ATTENDANT);
        checks.into_violations()
    }
}
