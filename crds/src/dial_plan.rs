//! UMDialPlan: a numbering plan (spec 1.1).
//!
//! Decides its fields and bounds. Refuses to know who refers to it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::{address_schema, check_addresses};
use crate::rule::{Range, Shape, cel_at, fixed_range_schema, fixed_schema, name_schema};
use crate::status::Condition;
use crate::violation::{Checks, MAX_NAME_CHARS, Violation, ViolationCode};

const DIGITS: Range = Range { low: 1, high: 20, unit: "digits", example: 3 };
const CALL: Range = Range { low: 10, high: 120, unit: "minutes", example: DEFAULT_CALL_MIN };
const RECORDING: Range = Range { low: 1, high: 100, unit: "minutes", example: DEFAULT_RECORDING_MIN };
const IDLE: Range = Range { low: 2, high: 10, unit: "seconds", example: DEFAULT_IDLE_S };

const DEFAULT_CALL_MIN: i64 = 30;
const DEFAULT_RECORDING_MIN: i64 = 20;
const DEFAULT_IDLE_S: i64 = 5;

/// Access numbers of one dial plan: a cap so that one object stays small.
const MAX_ACCESS_NUMBERS: usize = 32;

/// Forms of numbers, and dial plans beside this one: caps so that one object stays small.
const MAX_FORMATS: usize = 32;
const MAX_EQUIVALENT_DIAL_PLANS: usize = 32;

/// The longest form: a number of 32 digits, as long as one can be.
const MAX_FORMAT_CHARS: usize = 32;
const FORMAT: Shape = Shape {
    rule: "self.matches('^[+]?[0-9]*x{1,20}$') && size(self) <= 32",
    allowed: "digits, with or without a leading \"+\", and then 1 to 20 x, at most 32 characters",
    fix: "write the digits before the extension, and an x for each of its digits, such as 1425555xxx",
};

/// How messages call it.
const DIAL_PLAN: &str = "dial plan";

/// What to do about a recording that may be longer than its call.
const ORDER_FIX: &str = "shorten maxRecordingDuration or lengthen maxCallDuration";

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
        name = "Type",
        type_ = "string",
        json_path = ".spec.uriType",
        description = "How calls name its users"
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
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "How long it has been there"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [order_rule()]))]
pub struct UMDialPlanSpec {
    /// How many digits every extension of this plan has, 1 to 20. It cannot change while the dial
    /// plan exists.
    #[schemars(extend("example" = DIGITS.example))]
    #[schemars(extend("x-kubernetes-validations" = fixed_range_schema(&DIGITS, DIAL_PLAN)))]
    pub number_of_digits_in_extension: i64,
    /// Whether a mailbox policy, NAME-default, is made for it when it is made. It cannot change
    /// while the dial plan exists.
    #[serde(default = "yes", rename = "generateUMMailboxPolicy")]
    #[schemars(extend("x-kubernetes-validations" = fixed_schema(DIAL_PLAN)))]
    pub generate_um_mailbox_policy: bool,
    /// How calls name its users: by extension (TelExtn), by SIP address too (SipName), or by number in the
    /// form of E.164 too (E164). It cannot change while the dial plan exists.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-validations" = fixed_schema(DIAL_PLAN)))]
    pub uri_type: UriType,
    /// Numbers and SIP addresses that users call to get at their mailbox, each of one dial plan alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_ACCESS_NUMBERS), extend("items" = address_schema()))]
    pub access_telephone_numbers: Vec<String>,
    /// Forms in which numbers of this plan's users reach us when they call: digits, and an x for each
    /// digit of the extension that follows them. Whoever calls from one is shown by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_FORMATS), extend("items" = format_schema()))]
    pub numbering_plan_formats: Vec<String>,
    /// Names of UMDialPlans, in the same namespace, whose users are shown by name too when they call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_EQUIVALENT_DIAL_PLANS), extend("items" = dial_plan_name_schema()))]
    pub equivalent_dial_plan_phone_contexts: Vec<String>,
    /// What callers must protect: nothing (Unsecured), their signalling by TLS (SIPSecured), or their
    /// audio by SRTP too (Secured), which mailbox servers do not speak yet: they refuse such calls.
    #[serde(default, rename = "voIPSecurity")]
    pub voip_security: VoIPSecurity,
    /// The language that callers hear.
    #[serde(default)]
    pub default_language: DefaultLanguage,
    /// A call is ended after this many minutes, 10 to 120.
    #[serde(default = "default_call")]
    #[schemars(extend("x-kubernetes-validations" = CALL.schema()))]
    pub max_call_duration: i64,
    /// A recording is ended after this many minutes, 1 to 100; it must be shorter than
    /// maxCallDuration.
    #[serde(default = "default_recording")]
    #[schemars(extend("x-kubernetes-validations" = RECORDING.schema()))]
    pub max_recording_duration: i64,
    /// This many seconds of silence end a recording, 2 to 10.
    #[serde(default = "default_idle")]
    #[schemars(extend("x-kubernetes-validations" = IDLE.schema()))]
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
    /// it as it is written. `InUse`: whether something refers to it.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Since when the servers that need it do not serve it as it is written (RFC 3339); absent while
    /// they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub waiting_since: Option<String>,
    /// How many gateways lead to it.
    #[serde(default)]
    pub gateways: i64,
    /// How many users calls can reach in it.
    #[serde(default)]
    pub mailboxes: i64,
    /// The mailbox policy that was made for it. It is not made again when somebody deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_mailbox_policy: Option<String>,
}

/// How calls name the users of a dial plan (spec 2.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UriType {
    /// By extension.
    #[default]
    TelExtn,
    /// By SIP address, or by extension.
    SipName,
    /// By number in the form of E.164, or by extension.
    E164,
}

/// What callers of a dial plan must protect (spec 2.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VoIPSecurity {
    /// Nothing.
    #[default]
    Unsecured,
    /// Signalling: calls come by TLS or are refused.
    SIPSecured,
    /// Signalling and audio: calls come by TLS and offer SRTP, or are refused.
    Secured,
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
        checks.range("spec.numberOfDigitsInExtension", self.number_of_digits_in_extension, &DIGITS);
        checks.range("spec.maxCallDuration", self.max_call_duration, &CALL);
        checks.range("spec.maxRecordingDuration", self.max_recording_duration, &RECORDING);
        checks.range("spec.recordingIdleTimeout", self.recording_idle_timeout, &IDLE);
        let numbers = &self.access_telephone_numbers;
        check_addresses(&mut checks, "spec.accessTelephoneNumbers", numbers, MAX_ACCESS_NUMBERS);
        self.check_callers(&mut checks);
        // Beside a length that cannot be, the order of the two says nothing.
        let call_can_be = (CALL.low..=CALL.high).contains(&self.max_call_duration);
        if call_can_be && self.max_recording_duration >= self.max_call_duration {
            checks.add(
                ViolationCode::DurationOrder,
                "spec.maxRecordingDuration",
                self.max_recording_duration,
                format!("shorter than maxCallDuration, which is {} minutes", self.max_call_duration),
                ORDER_FIX,
            );
        }
        checks.into_violations()
    }

    fn check_callers(&self, checks: &mut Checks) {
        let (formats, plans) = (&self.numbering_plan_formats, &self.equivalent_dial_plan_phone_contexts);
        let of = "remove those that are not needed";
        if formats.len() > MAX_FORMATS {
            let (value, rule) =
                (format!("{} formats", formats.len()), format!("at most {MAX_FORMATS} formats"));
            checks.add(ViolationCode::OutOfRange, "spec.numberingPlanFormats", value, rule, of);
        }
        for (index, format) in formats.iter().enumerate() {
            checks.shape(&format!("spec.numberingPlanFormats[{index}]"), format, &FORMAT, is_format(format));
        }
        let field = "spec.equivalentDialPlanPhoneContexts";
        if plans.len() > MAX_EQUIVALENT_DIAL_PLANS {
            let value = format!("{} dial plans", plans.len());
            let rule = format!("at most {MAX_EQUIVALENT_DIAL_PLANS} dial plans");
            checks.add(ViolationCode::OutOfRange, field, value, rule, of);
        }
        for (index, plan) in plans.iter().enumerate() {
            checks.reference(&format!("{field}[{index}]"), plan);
        }
    }

    /// What of it cannot have changed since it was `before`.
    pub fn check_change(&self, before: &UMDialPlanSpec) -> Vec<Violation> {
        let mut checks = Checks::default();
        let digits = |spec: &UMDialPlanSpec| spec.number_of_digits_in_extension.to_string();
        checks.fixed("spec.numberOfDigitsInExtension", &digits(before), &digits(self), DIAL_PLAN);
        let uri_type = |spec: &UMDialPlanSpec| format!("{:?}", spec.uri_type);
        checks.fixed("spec.uriType", &uri_type(before), &uri_type(self), DIAL_PLAN);
        let generate = |spec: &UMDialPlanSpec| spec.generate_um_mailbox_policy.to_string();
        checks.fixed("spec.generateUMMailboxPolicy", &generate(before), &generate(self), DIAL_PLAN);
        checks.into_violations()
    }
}

/// The rule that a recording is shorter than its call, where that can be one.
fn order_rule() -> serde_json::Value {
    let Range { low, high, .. } = CALL;
    let call = "self.maxCallDuration";
    let rule = format!("self.maxRecordingDuration < {call} || {call} < {low} || {call} > {high}");
    let texts =
        ["shorter than maxCallDuration, which is %s minutes", "shorter than maxCallDuration", ORDER_FIX];
    let shown = ["self.maxRecordingDuration", call];
    cel_at("maxRecordingDuration", &rule, ViolationCode::DurationOrder, &shown, texts)
}

/// Whether `text` is a form of numbers, as [`FORMAT`] says.
fn is_format(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text).trim_end_matches('x');
    let marks = text.len() - text.trim_end_matches('x').len();
    text.len() <= MAX_FORMAT_CHARS
        && (1..=20).contains(&marks)
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The schema of one form of numbers.
fn format_schema() -> serde_json::Value {
    serde_json::json!({
        "type": "string",
        "maxLength": MAX_FORMAT_CHARS,
        "x-kubernetes-validations": FORMAT.schema(),
    })
}

/// The schema of the name of another dial plan.
fn dial_plan_name_schema() -> serde_json::Value {
    serde_json::json!({
        "type": "string",
        "maxLength": MAX_NAME_CHARS,
        "x-kubernetes-validations": name_schema(),
    })
}

fn yes() -> bool {
    true
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
