//! What an operator says about objects on a real API server: conditions, events, and what it makes
//! for others.
//!
//! Decides nothing about calls, except that one is answered once its objects are served.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use umbriel_tests::cluster::Namespace;
use umbriel_tests::operator::{Applied, Operator, Run};
use umbriel_tests::{Cluster, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

fn object(namespace: &Namespace<'_>, name: &str) -> Value {
    serde_json::from_str(&namespace.kubectl(&["get", name, "--output=json"])).unwrap()
}

fn is_there(namespace: &Namespace<'_>, name: &str) -> bool {
    namespace.command(&["get", name]).output().unwrap().status.success()
}

/// The message of a condition of an object, if it is true or false as `status` says.
fn message(namespace: &Namespace<'_>, name: &str, type_: &str, status: &str) -> Option<String> {
    let object = object(namespace, name);
    let conditions = object["status"]["conditions"].as_array()?;
    let condition = conditions.iter().find(|condition| condition["type"] == type_)?;
    (condition["status"] == status).then(|| condition["message"].as_str().unwrap().to_owned())
}

fn wait_for_message(namespace: &Namespace<'_>, name: &str, type_: &str, status: &str, text: &str) {
    wait_until(&format!("{type_} of {name} is {status} and says {text}"), LIMIT, || {
        (message(namespace, name, type_, status)? == text).then_some(())
    });
}

/// How often each event was told: about what, whether it warns, why and what.
fn events(namespace: &Namespace<'_>) -> BTreeMap<[String; 4], usize> {
    let list = namespace.kubectl(&["get", "events.events.k8s.io", "--output=json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let mut told = BTreeMap::new();
    for event in list["items"].as_array().unwrap() {
        if event["reportingController"] != "umbriel.dev/operator" {
            continue;
        }
        let text = |pointer: &str| event.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        let about = format!("{}/{}", text("/regarding/kind"), text("/regarding/name"));
        *told.entry([about, text("/type"), text("/reason"), text("/note")]).or_default() += 1;
    }
    told
}

/// How many events there are about an object with this reason.
fn count(told: &BTreeMap<[String; 4], usize>, about: &str, type_: &str, reason: &str) -> usize {
    let fits = |event: &[String; 4]| event[0] == about && event[1] == type_ && event[2] == reason;
    told.iter().filter(|(event, _)| fits(event)).map(|(_, times)| times).sum()
}

/// Whether a text ends as `Served` does when it turns: `, 123 ms after the change was seen.`
fn says_milliseconds(message: &str, servers: &str) -> bool {
    let rest =
        message.strip_prefix(servers).and_then(|rest| rest.strip_suffix(" ms after the change was seen."));
    rest.is_some_and(|number| number.parse::<u32>().is_ok_and(|ms| ms > 0))
}

fn patch(namespace: &Namespace<'_>, name: &str, spec: &Value) {
    let patch = json!({ "spec": spec }).to_string();
    let _patched = namespace.kubectl(&["patch", name, "--type=merge", "--patch", &patch]);
}

#[test]
fn served_says_how_many_servers_and_milliseconds_and_each_turn_is_told_once() {
    let test = "served_says_how_many_servers_and_milliseconds_and_each_turn_is_told_once";
    let Some(cluster) = Cluster::shared(test) else { return };
    let namespace = cluster.namespace();
    let operator = Operator::start(cluster, &namespace, Run::default());
    let office = Applied::office(cluster, &namespace);
    office.wait_until_served(&namespace);
    patch(&namespace, "ummb/alice", &json!({ "displayName": "Alice Adams" }));
    let wait = ["wait", "--for=jsonpath={.status.observedGeneration}=2", "ummb/alice", "--timeout=30s"];
    let _observed = namespace.kubectl(&wait);
    office.wait_until_served(&namespace);
    let served = message(&namespace, "ummb/alice", "Served", "True").unwrap();
    assert!(says_milliseconds(&served, "2 call routers and 1 mailbox server serve it, "), "{served}");
    let service = message(&namespace, "umsvc/mailbox", "Served", "True").unwrap();
    assert!(says_milliseconds(&service, "1 mailbox server serves it, "), "{service}");

    patch(&namespace, "ummb/alice", &json!({ "umMailboxPolicy": "nobody-has-it" }));
    let problem = "UM1010: field spec.umMailboxPolicy; value nobody-has-it";
    wait_until("the problem is told", LIMIT, || {
        let told = events(&namespace);
        let about = |event: &&[String; 4]| event[0] == "UMMailbox/alice" && event[3].starts_with(problem);
        told.keys().find(about).cloned()
    });
    patch(&namespace, "ummb/alice", &json!({ "umMailboxPolicy": "staff" }));
    wait_until("its end is told", LIMIT, || {
        (count(&events(&namespace), "UMMailbox/alice", "Normal", "Accepted") > 0).then_some(())
    });
    office.wait_until_served(&namespace);
    let turned = |told: &BTreeMap<[String; 4], usize>| {
        [
            count(told, "UMMailbox/alice", "Warning", "DanglingReference"),
            count(told, "UMMailbox/alice", "Normal", "Accepted"),
            count(told, "UMMailbox/bob", "Normal", "Serving"),
            count(told, "UMDialPlan/contoso", "Normal", "DefaultMade"),
        ]
    };
    // An operator that begins anew tells none of it again: what it tells next is something else.
    drop(operator);
    let _operator = Operator::start(cluster, &namespace, Run::default());
    patch(&namespace, "ummb/bob", &json!({ "umMailboxPolicy": "nobody-has-it" }));
    wait_until("the next problem is told", LIMIT, || {
        (count(&events(&namespace), "UMMailbox/bob", "Warning", "DanglingReference") > 0).then_some(())
    });
    let told = events(&namespace);
    assert_eq!(turned(&told), [1, 1, 1, 1], "{told:#?}");
    assert!(told.values().all(|times| *times == 1), "{told:#?}");
}

#[test]
fn what_is_made_for_an_object_is_made_once_and_not_again_once_somebody_deleted_it() {
    let test = "what_is_made_for_an_object_is_made_once_and_not_again_once_somebody_deleted_it";
    let Some(cluster) = Cluster::shared(test) else { return };
    let namespace = cluster.namespace();
    let operator = Operator::start(cluster, &namespace, Run::default());
    let made = ["ummp/contoso-default", "umhg/pbx-default"];
    let object_of = |kind: &str, name: &str, spec: &str| {
        format!(
            "apiVersion: umbriel.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"
        )
    };
    namespace.apply(
        &[
            object_of("UMDialPlan", "contoso", "{numberOfDigitsInExtension: 3}"),
            object_of("UMIPGateway", "pbx", "{address: 192.0.2.10, umDialPlan: contoso}"),
            object_of(
                "UMDialPlan",
                "fabrikam",
                "{numberOfDigitsInExtension: 4, generateUMMailboxPolicy: false}",
            ),
        ]
        .concat(),
    );
    let remembered = [
        ("umdp/contoso", "--for=jsonpath={.status.defaultMailboxPolicy}=contoso-default"),
        ("umgw/pbx", "--for=jsonpath={.status.defaultHuntGroup}=pbx-default"),
    ];
    for (owner, remembers) in remembered {
        let _remembered = namespace.kubectl(&["wait", owner, remembers, "--timeout=30s"]);
    }
    for (made, owner) in made.iter().zip(["contoso", "pbx"]) {
        let owners = object(&namespace, made)["metadata"]["ownerReferences"].clone();
        assert_eq!(owners[0]["name"], owner, "{owners}");
    }
    let contoso = "UMHuntGroup pbx-default and UMIPGateway pbx refer to it and need it.";
    wait_for_message(&namespace, "umdp/contoso", "InUse", "True", contoso);
    wait_for_message(&namespace, "umdp/fabrikam", "InUse", "False", "Nothing refers to it.");

    for made in made {
        let _deleted = namespace.kubectl(&["delete", made]);
    }
    let contoso = "UMIPGateway pbx refers to it and needs it.";
    wait_for_message(&namespace, "umdp/contoso", "InUse", "True", contoso);
    // Not by the operator that comes after, either: it has looked at everything once it has said
    // something about what came last.
    drop(operator);
    let _operator = Operator::start(cluster, &namespace, Run::default());
    namespace.apply(&object_of("UMMailboxPolicy", "staff", "{umDialPlan: contoso}"));
    let contoso = "UMIPGateway pbx and UMMailboxPolicy staff refer to it and need it.";
    wait_for_message(&namespace, "umdp/contoso", "InUse", "True", contoso);
    for gone in made {
        assert!(!is_there(&namespace, gone), "{gone} is back");
    }
    assert!(!is_there(&namespace, "ummp/fabrikam-default"), "nobody asked for it");

    namespace.apply(
        &[
            object_of("UMDialPlan", "litware", "{numberOfDigitsInExtension: 5}"),
            object_of(
                "UMMailbox",
                "alice",
                "{umMailboxPolicy: staff, extensions: ['101'], primarySmtpAddress: alice@contoso.example}",
            ),
        ]
        .concat(),
    );
    let staff = "UMMailbox alice refers to it and needs it.";
    wait_for_message(&namespace, "ummp/staff", "InUse", "True", staff);
    wait_until("the policy of another plan is there", LIMIT, || {
        is_there(&namespace, "ummp/litware-default").then_some(())
    });
    let _deleted = namespace.kubectl(&["delete", "umdp/litware"]);
    wait_until("what was made goes with what it was made for", LIMIT, || {
        (!is_there(&namespace, "ummp/litware-default")).then_some(())
    });
}
