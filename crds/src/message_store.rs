//! The message store of a UMService: a volume that mailbox servers share.
//!
//! Decides its field and bounds. Refuses to know whether it can be used.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rule::name_schema;
use crate::violation::{Checks, MAX_NAME_CHARS};

/// Where messages are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageStore {
    /// Name of a PersistentVolumeClaim, in the same namespace, with access mode ReadWriteMany. Not
    /// for the standalone server.
    #[schemars(length(max = MAX_NAME_CHARS), extend("x-kubernetes-validations" = name_schema()))]
    pub claim_name: String,
}

impl MessageStore {
    /// Gathers what it says about itself that cannot be.
    pub(crate) fn check(&self, checks: &mut Checks) {
        checks.reference("spec.store.claimName", &self.claim_name);
    }
}
