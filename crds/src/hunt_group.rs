//! UMHuntGroup: which calls of a gateway belong to which dial plan (spec 1.3).
//!
//! Decides its fields and bounds. Refuses to know whether what it refers to exists.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::{ADDRESS, MAX_ADDRESS_CHARS, is_address};
use crate::rule::{NOTHING, fixed_name_schema, fixed_optional_rule};
use crate::status::Status;
use crate::violation::{Checks, MAX_NAME_CHARS, Violation};

/// How messages call it.
const HUNT_GROUP: &str = "hunt group";

/// Which calls of a gateway belong to which dial plan. It stays as it was made: what should be
/// otherwise is deleted and made anew.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "umbriel.dev",
    version = "v1alpha1",
    kind = "UMHuntGroup",
    plural = "umhuntgroups",
    shortname = "umhg",
    category = "um",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    doc = "Which calls of a gateway belong to which dial plan. It stays as it was made: what should be otherwise is deleted and made anew.",
    printcolumn(
        name = "Gateway",
        type_ = "string",
        json_path = ".spec.umIPGateway",
        description = "Whose calls"
    ),
    printcolumn(
        name = "Pilot",
        type_ = "string",
        json_path = ".spec.pilotIdentifier",
        description = "To which number; empty for every number that no other hunt group takes"
    ),
    printcolumn(
        name = "DialPlan",
        type_ = "string",
        json_path = ".spec.umDialPlan",
        description = "Where they belong"
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
#[schemars(extend("x-kubernetes-validations" = [fixed_optional_rule("pilotIdentifier", HUNT_GROUP)]))]
pub struct UMHuntGroupSpec {
    /// Name of the UMIPGateway, in the same namespace, whose calls it takes.
    #[serde(rename = "umIPGateway")]
    #[schemars(length(max = MAX_NAME_CHARS))]
    #[schemars(extend("x-kubernetes-validations" = fixed_name_schema(HUNT_GROUP)))]
    pub um_ip_gateway: String,
    /// Name of the UMDialPlan, in the same namespace, that those calls belong to.
    #[schemars(length(max = MAX_NAME_CHARS))]
    #[schemars(extend("x-kubernetes-validations" = fixed_name_schema(HUNT_GROUP)))]
    pub um_dial_plan: String,
    /// The called number that selects this hunt group, digits with or without a leading "+", or the
    /// called SIP address. Without one it takes whatever no other hunt group of the gateway takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_ADDRESS_CHARS), extend("x-kubernetes-validations" = ADDRESS.schema()))]
    pub pilot_identifier: Option<String>,
}

impl UMHuntGroupSpec {
    /// What it says about itself that cannot be.
    pub fn check(&self) -> Vec<Violation> {
        let mut checks = Checks::default();
        checks.reference("spec.umIPGateway", &self.um_ip_gateway);
        checks.reference("spec.umDialPlan", &self.um_dial_plan);
        if let Some(pilot) = &self.pilot_identifier {
            checks.shape("spec.pilotIdentifier", pilot, &ADDRESS, is_address(pilot));
        }
        checks.into_violations()
    }

    /// What of it cannot have changed since it was `before`: nothing of a hunt group can.
    pub fn check_change(&self, before: &UMHuntGroupSpec) -> Vec<Violation> {
        let mut checks = Checks::default();
        checks.fixed("spec.umIPGateway", &before.um_ip_gateway, &self.um_ip_gateway, HUNT_GROUP);
        checks.fixed("spec.umDialPlan", &before.um_dial_plan, &self.um_dial_plan, HUNT_GROUP);
        let pilot = |spec: &UMHuntGroupSpec| spec.pilot_identifier.clone().unwrap_or(NOTHING.into());
        checks.fixed("spec.pilotIdentifier", &pilot(before), &pilot(self), HUNT_GROUP);
        checks.into_violations()
    }
}
