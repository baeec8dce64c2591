//! UMDialPlan: a numbering plan (spec 1.1).
//!
//! Decides its fields and bounds. Refuses to know who refers to it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::status::Condition;
use crate::violation::{Checks, Violation, ViolationCode};

const MIN_DIGITS: i64 = 1;
const MAX_DIGITS: i64 = 20;
const MIN_CALL_MIN: i64 = 10;
const MAX_CALL_MIN: i64 = 120;
const MIN_RECORDING_MIN: i64 = 1;
const MAX_RECORDING_MIN: i64 = 100;
const MIN_IDLE_S: i64 = 2;
const MAX_IDLE_S: i64 = 10;

const DEFAULT_CALL_MIN: i64 = 30;
const DEFAULT_RECORDING_MIN: i64 = 20;
const DEFAULT_IDLE_S: i64 = 5;

/// A numbering plan: how long its extensions are, and how calls to its users are conducted.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "umbriel.dev",
    version = "v1alpha1",
    kind = "UMDialPlan",
    plural = "umdialplans",
    shortname = "umdp",
    category = "um",
    namespaced,
    status = "UMDialPlanStatus",
    derive = "PartialEq",
    doc = "A numbering plan: how long its extensions are, and how calls to its users are conducted.",
    printcolumn(
        name = "Digits",
        type_ = "integer",
        json_path = ".spec.numberOfDigitsInExtension",
        description = "Length of every extension"
    ),
    printcolumn(
        name = "Security",
        type_ = "string",
        json_path = ".spec.voIPSecurity",
        description = "What callers must protect"
    ),
    printcolumn(
        name = "Gateways",
        type_ = "integer",
        json_path = ".status.gateways",
        description = "Gateways that lead to it"
    ),
    printcolumn(
        name = "Mailboxes",
        type_ = "integer",
        json_path = ".status.mailboxes",
        description = "Users that calls can reach"
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
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.maxRecordingDuration < self.maxCallDuration",
    "message": "maxRecordingDuration must be shorter than maxCallDuration"
}]))]
pub struct UMDialPlanSpec {
    /// How many digits every extension of this plan has, 1 to 20.
    #[schemars(range(min = MIN_DIGITS, max = MAX_DIGITS))]
    pub number_of_digits_in_extension: i64,
    /// What callers must protect: nothing (Unsecured) or their signalling, by TLS (SIPSecured).
    #[serde(default, rename = "voIPSecurity")]
    pub voip_security: VoIPSecurity,
    /// The language that callers hear.
    #[serde(default)]
    pub default_language: DefaultLanguage,
    /// A call is ended after this many minutes, 10 to 120.
    #[serde(default = "default_call")]
    #[schemars(range(min = MIN_CALL_MIN, max = MAX_CALL_MIN))]
    pub max_call_duration: i64,
    /// A recording is ended after this many minutes, 1 to 100; it must be shorter than
    /// maxCallDuration.
    #[serde(default = "default_recording")]
    #[schemars(range(min = MIN_RECORDING_MIN, max = MAX_RECORDING_MIN))]
    pub max_recording_duration: i64,
    /// This many seconds of silence end a recording, 2 to 10.
    #[serde(default = "default_idle")]
    #[schemars(range(min = MIN_IDLE_S, max = MAX_IDLE_S))]
    pub recording_idle_timeout: i64,
}

/// What was observed about a dial plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UMDialPlanStatus {
    /// The generation of the object that this status speaks of.
    #[serde(default)]
    pub observed_generation: i64,
    /// `Ready`: whether the object can be used. `Served`: whether the servers that need it serve
    /// it as it is written.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How many gateways lead to it.
    #[serde(default)]
    pub gateways: i64,
    /// How many users calls can reach in it.
    #[serde(default)]
    pub mailboxes: i64,
}

/// What callers of a dial plan must protect (spec 2.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VoIPSecurity {
    /// Nothing.
    #[default]
    Unsecured,
    /// Signalling: calls come by TLS or are refused.
    SIPSecured,
}

/// A language that prompts are spoken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DefaultLanguage {
    /// English, United States.
    #[default]
    #[serde(rename = "en-US")]
    EnUs,
    /// English, Great Britain.
    #[serde(rename = "en-GB")]
    EnGb,
    /// German.
    #[serde(rename = "de-DE")]
    DeDe,
    /// French.
    #[serde(rename = "fr-FR")]
    FrFr,
}

impl UMDialPlanSpec {
    /// What it says about itself that cannot be.
    pub fn check(&self) -> Vec<Violation> {
        let mut checks = Checks::default();
        checks.range(
            "spec.numberOfDigitsInExtension",
            self.number_of_digits_in_extension,
            MIN_DIGITS..=MAX_DIGITS,
            "digits",
            3,
        );
        checks.range(
            "spec.maxCallDuration",
            self.max_call_duration,
            MIN_CALL_MIN..=MAX_CALL_MIN,
            "minutes",
            DEFAULT_CALL_MIN,
        );
        checks.range(
            "spec.maxRecordingDuration",
            self.max_recording_duration,
            MIN_RECORDING_MIN..=MAX_RECORDING_MIN,
            "minutes",
            DEFAULT_RECORDING_MIN,
        );
        checks.range(
            "spec.recordingIdleTimeout",
            self.recording_idle_timeout,
            MIN_IDLE_S..=MAX_IDLE_S,
            "seconds",
            DEFAULT_IDLE_S,
        );
        // Beside a length that cannot be, the order of the two says nothing.
        let call_can_be = (MIN_CALL_MIN..=MAX_CALL_MIN).contains(&self.max_call_duration);
        if call_can_be && self.max_recording_duration >= self.max_call_duration {
            checks.add(
                ViolationCode::DurationOrder,
                "spec.maxRecordingDuration",
                self.max_recording_duration,
                format!("shorter than maxCallDuration, which is {} minutes", self.max_call_duration),
                "shorten maxRecordingDuration or lengthen maxCallDuration",
            );
        }
        checks.into_violations()
    }
}

fn default_call() -> i64 {
    DEFAULT_CALL_MIN
}

fn default_recording() -> i64 {
    DEFAULT_RECORDING_MIN
}

fn default_idle() -> i64 {
    DEFAULT_IDLE_S
}
