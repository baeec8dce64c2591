//! What was asked of an API server, by its audit log.
//!
//! Decides what counts as the use of a right. Refuses to know what the rights are for.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Something that may be done: a verb on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource, with its part behind a `/`.
    pub resource: String,
    /// Such as `patch`.
    pub verb: String,
}

impl fmt::Display for Right {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = if self.group.is_empty() { "core" } else { &self.group };
        write!(formatter, "{} {} of API group {group}", self.verb, self.resource)
    }
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asked.
    pub user: String,
    /// What for.
    pub right: Right,
    /// The object, if there is one name.
    pub object: String,
    /// The HTTP status.
    pub status: u64,
    /// Whether it was refused for want of a right. What is forbidden for another reason, such as in a
    /// namespace that is about to go, was allowed by the rights.
    pub denied: bool,
}

impl Request {
    /// Whether it was to change something.
    #[must_use]
    pub fn writes(&self) -> bool {
        !["get", "list", "watch"].contains(&self.right.verb.as_str())
    }

    /// The rights that it needed. Applying something that is not there yet makes it, too.
    fn rights(&self) -> Vec<Right> {
        let mut rights = vec![self.right.clone()];
        if self.right.verb == "patch" && self.status == 201 {
            rights.push(Right { verb: "create".into(), ..self.right.clone() });
        }
        rights
    }
}

/// An audit log that is being written.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
}

impl Audit {
    /// The log of a cluster with this folder.
    #[must_use]
    pub fn of(folder: &Path) -> Audit {
        Audit { path: folder.join("audit.log") }
    }

    /// How many bytes have been written.
    ///
    /// # Panics
    /// If there is no log.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.path.metadata().expect("an audit log").len()
    }

    /// Every request that was answered since the log had `start` bytes.
    ///
    /// # Panics
    /// If the log cannot be read.
    #[must_use]
    pub fn since(&self, start: u64) -> Vec<Request> {
        let bytes = std::fs::read(&self.path).expect("an audit log");
        let rest = &bytes[usize::try_from(start).expect("a short log")..];
        // The last line may be half written.
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        String::from_utf8_lossy(&rest[..whole]).lines().filter_map(request).collect()
    }
}

/// The rights that a user has made use of.
#[must_use]
pub fn used_by(user: &str, requests: &[Request]) -> BTreeSet<Right> {
    let requests = requests.iter().filter(|request| request.user == user && !request.denied);
    requests.flat_map(Request::rights).collect()
}

/// What a user was denied, and at which objects.
#[must_use]
pub fn denied_to(user: &str, requests: &[Request]) -> BTreeSet<String> {
    let denied = requests.iter().filter(|request| request.user == user && request.denied);
    denied.map(|request| format!("{}: {}", request.right, request.object)).collect()
}

fn request(line: &str) -> Option<Request> {
    let event: Value = serde_json::from_str(line).ok()?;
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let part = text("/objectRef/subresource");
    let resource = text("/objectRef/resource");
    let resource = if part.is_empty() { resource } else { format!("{resource}/{part}") };
    Some(Request {
        user: text("/user/username"),
        right: Right { group: text("/objectRef/apiGroup"), resource, verb: text("/verb") },
        object: format!("{}/{}", text("/objectRef/namespace"), text("/objectRef/name")),
        status: event.pointer("/responseStatus/code").and_then(Value::as_u64)?,
        denied: event["annotations"]["authorization.k8s.io/decision"] == "forbid",
    })
}

/// The rights in the rules of a Role or ClusterRole, as JSON.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn granted(role: &str) -> BTreeSet<Right> {
    let role: Value = serde_json::from_str(role).expect("JSON");
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        let texts = rule[field].as_array().expect("a list").iter();
        texts.map(|text| text.as_str().expect("a text").to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().expect("rules") {
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                for verb in texts(rule, "verbs") {
                    rights.insert(Right { group: group.clone(), resource: resource.clone(), verb });
                }
            }
        }
    }
    rights
}
