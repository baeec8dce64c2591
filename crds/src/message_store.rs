//! The message store of a UMService: a volume that mailbox servers share, or a bucket.
//!
//! Decides its fields and bounds. Refuses to know whether it can be used.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::rule::{NOTHING, Shape, cel, cel_at, name_schema, quoted};
use crate::violation::{Checks, MAX_NAME_CHARS, ViolationCode};

/// Names of buckets have 3 to 63 characters, by the rules of AWS; other servers allow no less.
const MIN_BUCKET_CHARS: usize = 3;
const MAX_BUCKET_CHARS: usize = 63;
/// As long as a label of a host name (RFC 1035 §2.3.4), of which it becomes one.
const MAX_REGION_CHARS: usize = 63;
/// A scheme, the longest host name (RFC 1035 §2.3.4), and a port: 8 + 253 + 6.
const MAX_ENDPOINT_CHARS: usize = 267;
/// Most servers other than those of AWS call themselves so.
const DEFAULT_REGION: &str = "us-east-1";

const BUCKET: Shape = Shape {
    rule: "self.matches('^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$')",
    allowed: "3 to 63 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
    fix: "write the name of a bucket, such as umbriel-messages",
};
const REGION: Shape = Shape {
    rule: "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
    allowed: "lower-case letters, digits and '-', beginning and ending with a letter or digit",
    fix: "write a region such as eu-central-1, or leave the field out",
};
const ENDPOINT: Shape = Shape {
    rule: "self.matches('^https?://([a-zA-Z0-9][a-zA-Z0-9.-]*|[[][0-9a-fA-F:.]+[]])(:[0-9]{1,5})?$')",
    allowed: "http:// or https://, a host and perhaps a port, with nothing behind them",
    fix: "write an address such as https://s3.contoso.example:9000",
};

/// A store that is two, and one that is none.
const ONE_PLACE: &str = "claimName or s3, because messages are stored in one place";
const REMOVE_ONE: &str = "remove spec.store.claimName or spec.store.s3";
const NAME_ONE: &str =
    "name a claim in spec.store.claimName or a bucket in spec.store.s3, or remove spec.store";

fn place_rules() -> Json {
    let code = ViolationCode::OutOfRange;
    let two = "!has(self.claimName) || !has(self.s3)";
    let none = "has(self.claimName) || has(self.s3)";
    Json::Array(vec![
        cel_at("claimName", two, code, &["self.claimName"], [ONE_PLACE, ONE_PLACE, REMOVE_ONE]),
        cel(none, code, &quoted(NOTHING), ONE_PLACE, NAME_ONE),
    ])
}

/// Where messages are stored: a claim or a bucket, and not both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = place_rules()))]
pub struct MessageStore {
    /// Name of a PersistentVolumeClaim, in the same namespace, with access mode ReadWriteMany. Not
    /// for the standalone server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME_CHARS), extend("x-kubernetes-validations" = name_schema()))]
    pub claim_name: Option<String>,
    /// A bucket of a server that speaks the S3 protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<Bucket>,
}

/// A bucket of a server that speaks the S3 protocol and honours If-None-Match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bucket {
    /// Name of the bucket. It has to be there.
    #[schemars(length(max = MAX_BUCKET_CHARS), extend("x-kubernetes-validations" = BUCKET.schema()))]
    pub bucket: String,
    /// Where the server is: http:// or https://, a host and perhaps a port. Without it that of AWS
    /// for the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_ENDPOINT_CHARS), extend("x-kubernetes-validations" = ENDPOINT.schema()))]
    pub endpoint: Option<String>,
    /// Region that requests are signed for; most servers other than those of AWS take any.
    #[serde(default = "default_region")]
    #[schemars(length(max = MAX_REGION_CHARS), extend("x-kubernetes-validations" = REGION.schema()))]
    pub region: String,
    /// Name of a Secret of type umbriel.dev/s3, in the same namespace, with AWS_ACCESS_KEY_ID and
    /// AWS_SECRET_ACCESS_KEY, and perhaps ca.crt: who signs the server's certificate.
    #[schemars(length(max = MAX_NAME_CHARS), extend("x-kubernetes-validations" = name_schema()))]
    pub secret_name: String,
}

impl MessageStore {
    /// Gathers what it says about itself that cannot be.
    pub(crate) fn check(&self, checks: &mut Checks) {
        match (&self.claim_name, &self.s3) {
            (Some(claim), Some(_)) => {
                checks.add(ViolationCode::OutOfRange, "spec.store.claimName", claim, ONE_PLACE, REMOVE_ONE);
            }
            (None, None) => {
                checks.add(ViolationCode::OutOfRange, "spec.store", NOTHING, ONE_PLACE, NAME_ONE);
            }
            (Some(_), None) | (None, Some(_)) => {}
        }
        if let Some(claim) = &self.claim_name {
            checks.reference("spec.store.claimName", claim);
        }
        if let Some(s3) = &self.s3 {
            s3.check(checks);
        }
    }
}

impl Bucket {
    /// The port of its server: the one that is written, or that of the scheme (RFC 9110 §4.2).
    pub fn port(&self) -> u16 {
        let endpoint = self.endpoint.as_deref().unwrap_or_default();
        let behind_host = endpoint.rsplit_once(']').map_or(endpoint, |(_, port)| port);
        let written = behind_host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        written.unwrap_or(if endpoint.starts_with("http://") { 80 } else { 443 })
    }

    fn check(&self, checks: &mut Checks) {
        let fits = |text: &str, chars: std::ops::RangeInclusive<usize>, others: &[u8]| {
            let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || others.contains(&b);
            chars.contains(&text.len())
                && text.bytes().all(known)
                && !text.starts_with(['-', '.'])
                && !text.ends_with(['-', '.'])
        };
        let bucket = fits(&self.bucket, MIN_BUCKET_CHARS..=MAX_BUCKET_CHARS, b"-.");
        checks.shape("spec.store.s3.bucket", &self.bucket, &BUCKET, bucket);
        if let Some(endpoint) = &self.endpoint {
            checks.shape("spec.store.s3.endpoint", endpoint, &ENDPOINT, is_endpoint(endpoint));
        }
        let region = fits(&self.region, 1..=MAX_REGION_CHARS, b"-");
        checks.shape("spec.store.s3.region", &self.region, &REGION, region);
        checks.reference("spec.store.s3.secretName", &self.secret_name);
    }
}

/// What the rule of [`ENDPOINT`] says.
fn is_endpoint(endpoint: &str) -> bool {
    let Some(place) = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://")) else {
        return false;
    };
    let is_port = |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => {
            let known = |b: u8| b.is_ascii_hexdigit() || b == b':' || b == b'.';
            (!host.is_empty() && host.bytes().all(known), port)
        }
        None => {
            let (host, port) = place.split_at(place.find(':').unwrap_or(place.len()));
            let known = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
            (host.bytes().all(known) && host.starts_with(|c: char| c.is_ascii_alphanumeric()), port)
        }
    };
    host && endpoint.len() <= MAX_ENDPOINT_CHARS
        && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

fn default_region() -> String {
    DEFAULT_REGION.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The fields with violations.
    fn broken(store: Json) -> Vec<String> {
        let store: MessageStore = serde_json::from_value(store).unwrap();
        let mut checks = Checks::default();
        store.check(&mut checks);
        checks.into_violations().into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn a_claim_or_a_bucket_is_a_store_and_both_or_neither_are_none() {
        let s3 = json!({ "bucket": "messages", "endpoint": "http://[::1]:9000", "secretName": "umbriel-s3" });
        assert!(broken(json!({ "claimName": "messages" })).is_empty());
        assert!(broken(json!({ "s3": s3 })).is_empty());
        assert_eq!(broken(json!({ "claimName": "messages", "s3": s3 })), ["spec.store.claimName"]);
        assert_eq!(broken(json!({})), ["spec.store"]);
    }

    #[test]
    fn what_no_bucket_could_be_is_named_by_its_field() {
        let s3 = json!({ "bucket": "My", "endpoint": "s3.contoso.example", "region": "", "secretName": "My Keys" });
        let fields =
            ["bucket", "endpoint", "region", "secretName"].map(|field| format!("spec.store.s3.{field}"));
        assert_eq!(broken(json!({ "s3": s3 })), fields);
    }

    #[test]
    fn an_endpoint_is_a_scheme_a_host_and_perhaps_a_port() {
        for (endpoint, fits) in [
            ("https://s3.contoso.example", true),
            ("http://10.244.0.1:9000", true),
            ("http://[2001:db8::7]", true),
            ("http://[2001:db8::7]:9000", true),
            ("s3.contoso.example:9000", false),
            ("ftp://s3.contoso.example", false),
            ("https://", false),
            ("https://:9000", false),
            ("https://s3.contoso.example:", false),
            ("https://s3.contoso.example:port", false),
            ("https://s3.contoso.example:900000", false),
            ("https://s3.contoso.example/", false),
            ("https://key:secret@s3.contoso.example", false),
            ("https://-s3.contoso.example", false),
            ("https://[s3]", false),
            ("https://[]", false),
            ("https://[::1]9000", false),
            ("https://2001:db8::7", false),
        ] {
            assert_eq!(is_endpoint(endpoint), fits, "{endpoint}");
        }
    }

    #[test]
    fn the_port_of_a_bucket_is_the_one_that_is_written_or_that_of_its_scheme() {
        for (endpoint, port) in [
            (None, 443),
            (Some("https://s3.contoso.example"), 443),
            (Some("https://s3.contoso.example:8443"), 8443),
            (Some("http://10.244.0.1"), 80),
            (Some("http://10.244.0.1:9000"), 9000),
            (Some("http://[2001:db8::7]"), 80),
            (Some("https://[2001:db8::7]:9000"), 9000),
        ] {
            let s3 = json!({ "bucket": "messages", "endpoint": endpoint, "secretName": "umbriel-s3" });
            let bucket: Bucket = serde_json::from_value(s3).unwrap();
            assert_eq!(bucket.port(), port, "{endpoint:?}");
        }
    }
}
