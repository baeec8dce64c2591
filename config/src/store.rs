//! Where a mailbox server stores messages.
//!
//! Decides the places that there are and what each needs to be found. Refuses to know how they are
//! written, and how keys travel.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where messages are stored (decision 16).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Store {
    /// In the state folder of the server, which no other server reads.
    #[default]
    Own,
    /// In a folder that every server of the namespace has, such as a mounted ReadWriteMany claim.
    Folder(PathBuf),
    /// In a bucket.
    S3(S3),
}

impl Store {
    /// Whether it is the state folder of the server.
    #[must_use]
    pub fn is_own(&self) -> bool {
        *self == Store::Own
    }
}

/// A bucket of a server that speaks the S3 protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct S3 {
    /// Name of the bucket.
    pub bucket: String,
    /// `http://` or `https://`, a host and perhaps a port; without one that of AWS for the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// Who we are there. They have files of their own and never stand beside the rest.
    #[serde(skip)]
    pub keys: S3Keys,
}

/// What requests to a bucket are signed with, and whom its server is trusted by.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct S3Keys {
    /// The access key's name.
    pub access_key_id: String,
    /// The access key itself.
    pub secret_access_key: String,
    /// Certificates, as PEM text, that the server may be signed by, beside those that the system
    /// trusts.
    pub authorities: Option<String>,
}

impl fmt::Debug for S3Keys {
    /// Shows nothing of them.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("S3Keys(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_shown() {
        let keys = S3Keys {
            access_key_id: "AKIAEXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI".into(),
            authorities: None,
        };
        assert_eq!(format!("{keys:?}"), "S3Keys(..)");
    }
}
