//! What every object says about itself once it was observed.
//!
//! Decides the shape of a status, which is the shape that Kubernetes tools know. Refuses to know
//! who sets it and when.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was observed about an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Status {
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
}

/// One statement about an object, as Kubernetes writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// What is stated: `Ready`, `Served` or `InUse`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it is so.
    pub status: ConditionStatus,
    /// Why, as one word: the name of a code under docs/codes, or `Accepted`, `Serving`, `Waiting`,
    /// `Referenced`.
    pub reason: String,
    /// Why, as a sentence.
    pub message: String,
    /// The generation of the object that this statement is about.
    #[serde(default)]
    pub observed_generation: i64,
    /// When `status` last changed (RFC 3339).
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
}

/// Whether a statement holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// Nobody has said.
    Unknown,
}
