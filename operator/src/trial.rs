//! What a trial of an installed operator makes for its one call, and what it reads from their status.
//!
//! Decides which objects there are, that they get in nobody's way, and how far they are. Refuses to
//! know how they reach a cluster and how the call is placed.

use std::net::IpAddr;

use crds::{GROUP, Kind, VERSION};
use serde_json::{Value as Json, json};

/// The name of everything that a trial makes.
pub(crate) const NAME: &str = "umbriel-test";

/// The number that it calls, in a dial plan of its own.
pub(crate) const EXTENSION: &str = "100";

/// Where the message goes if no mail server is asked to deliver it. Nobody has this domain (RFC 2606).
const NOBODY: &str = "umbriel-test@umbriel.invalid";

/// What the namespace has already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its first call router.
    pub(crate) router: Option<String>,
    /// Its first mailbox server.
    pub(crate) service: Option<String>,
    /// Whom that one's mails come from: somebody who can be written to as well.
    pub(crate) mail_from: Option<String>,
}

impl Found {
    /// The call router that takes the call.
    pub(crate) fn router(&self) -> &str {
        self.router.as_deref().unwrap_or(NAME)
    }
}

/// Why an object is not served yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// No operator has looked at it.
    Unseen,
    /// What its status says.
    Told(String),
}

/// The kinds of what a trial makes, in the order in which they lead to each other. It has rights to these alone.
pub(crate) const KINDS: [Kind; 7] = [
    Kind::UMDialPlan,
    Kind::UMIPGateway,
    Kind::UMHuntGroup,
    Kind::UMMailboxPolicy,
    Kind::UMMailbox,
    Kind::UMCallRouter,
    Kind::UMService,
];

/// The objects of a trial whose calls come from `address`, in the order in which they lead to each
/// other. Servers are among them only where there are none.
pub(crate) fn objects(found: &Found, address: IpAddr) -> Vec<(Kind, Json)> {
    let mail_to = found.mail_from.as_deref().unwrap_or(NOBODY);
    let mut objects = vec![
        (Kind::UMDialPlan, json!({ "numberOfDigitsInExtension": EXTENSION.len() })),
        (Kind::UMIPGateway, json!({ "address": address.to_string() })),
        (Kind::UMHuntGroup, json!({ "umIPGateway": NAME, "umDialPlan": NAME })),
        (Kind::UMMailboxPolicy, json!({ "umDialPlan": NAME })),
        (
            Kind::UMMailbox,
            json!({
                "umMailboxPolicy": NAME,
                "extensions": [EXTENSION],
                "displayName": "Test of Umbriel",
                "primarySmtpAddress": mail_to,
            }),
        ),
    ];
    if found.router.is_none() {
        objects.push((Kind::UMCallRouter, json!({})));
    }
    if found.service.is_none() {
        objects.push((Kind::UMService, json!({})));
    }
    objects.into_iter().map(|(kind, spec)| (kind, object(kind, &spec))).collect()
}

fn object(kind: Kind, spec: &Json) -> Json {
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": kind.name(),
        "metadata": { "name": NAME, "labels": { "app.kubernetes.io/managed-by": NAME } },
        "spec": spec,
    })
}

/// Why an object is not served yet, by its status; `None` if it is.
pub(crate) fn waiting(object: &Json) -> Option<Waiting> {
    let generation = &object["metadata"]["generation"];
    let condition = |of: &str| {
        let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().find(|condition| condition["type"] == of)
    };
    let (Some(ready), Some(served)) = (condition("Ready"), condition("Served")) else {
        return Some(Waiting::Unseen);
    };
    if object["status"]["observedGeneration"] != *generation {
        return Some(Waiting::Unseen);
    }
    let told = |condition: &Json| condition["message"].as_str().unwrap_or_default().to_owned();
    match (ready["status"] == "True", served["status"] == "True") {
        (true, true) => None,
        (true, false) => Some(Waiting::Told(told(served))),
        (false, _) => Some(Waiting::Told(told(ready))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(found: &Found) -> Vec<Kind> {
        let address = "192.0.2.7".parse().expect("an address");
        objects(found, address).into_iter().map(|(kind, _)| kind).collect()
    }

    #[test]
    fn servers_are_made_only_where_there_are_none() {
        let servers = [Kind::UMCallRouter, Kind::UMService];
        assert!(servers.iter().all(|kind| kinds(&Found::default()).contains(kind)));
        let found = Found { router: Some("main".into()), service: Some("main".into()), mail_from: None };
        assert!(!servers.iter().any(|kind| kinds(&found).contains(kind)));
        assert_eq!((found.router(), Found::default().router()), ("main", "umbriel-test"));
    }

    #[test]
    fn what_is_made_is_what_is_taken_away() {
        assert_eq!(kinds(&Found::default()), KINDS);
    }

    #[test]
    fn what_is_made_is_what_a_person_may_write() {
        let found = Found { mail_from: Some("voicemail@contoso.example".into()), ..Found::default() };
        let made = objects(&found, "192.0.2.7".parse().expect("an address"));
        let text = made.iter().map(|(_, object)| object.to_string()).collect::<Vec<_>>().join("\n---\n");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("trial.yaml"), text).expect("a file");
        let address = "127.0.0.1".parse().expect("an address");
        let preview = crate::preview(folder.path(), address, std::time::SystemTime::UNIX_EPOCH, &[]);
        assert_eq!(preview.problems, vec![]);
    }

    #[test]
    fn an_object_is_served_when_its_newest_version_is() {
        let object = |seen: i64, served: &str| {
            json!({
                "metadata": { "generation": 2 },
                "status": { "observedGeneration": seen, "conditions": [
                    { "type": "Ready", "status": "True", "message": "" },
                    { "type": "Served", "status": served, "message": "It waits." },
                ] },
            })
        };
        assert_eq!(waiting(&object(2, "True")), None);
        assert_eq!(waiting(&object(2, "False")), Some(Waiting::Told("It waits.".into())));
        assert_eq!(waiting(&object(1, "True")), Some(Waiting::Unseen));
        assert_eq!(waiting(&json!({ "metadata": { "generation": 1 } })), Some(Waiting::Unseen));
    }
}
