//! What an operator says about objects on a real API server: conditions, events, and what it makes
//! for others.
//!
//! Decides nothing about calls, except that one is answered once its objects are served.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use umbriel_tests::cluster::Namespace;
use umbriel_tests::operator::{Applied, Audit, BRIDGE, Operator, Run, owned};
use umbriel_tests::wire::{Invite, Wire};
use umbriel_tests::{Cluster, house, wait_until};

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

/// Whether a text is that of `Served` when it has turned: such servers serve it, and so many
/// milliseconds.
fn says_milliseconds(message: &str, servers: &str) -> bool {
    let rest = message.strip_prefix(servers);
    let rest = rest.and_then(|rest| rest.strip_prefix(" it, for which it waited ")?.strip_suffix(" ms."));
    rest.is_some_and(|number| number.parse::<u32>().is_ok_and(|ms| ms > 0))
}

fn patch(namespace: &Namespace<'_>, name: &str, spec: &Value) {
    let patch = json!({ "spec": spec }).to_string();
    let _patched = namespace.kubectl(&["patch", name, "--type=merge", "--patch", &patch]);
}

/// A call right after everything is served is redirected by each router, and answered where it is
/// sent. Nothing is tried twice.
fn call_right_after(cluster: &Cluster, office: &Applied<'_>, namespace: &Namespace<'_>) {
    let routers = office.pods(namespace, "router");
    assert_eq!(routers.len(), 2);
    cluster.within(|| {
        for (number, router) in routers.into_iter().enumerate() {
            let wire = Wire::new(BRIDGE, SocketAddr::new(router, 5060));
            let call_id = format!("right-after-{number}");
            let invite = Invite { called: "101", diverting: None, call_id: &call_id };
            let answer = wire.invite(&invite);
            assert!(answer.starts_with("SIP/2.0 302 "), "{answer}");
        }
        for mailbox_server in office.pods(namespace, "mailbox") {
            let wire = Wire::new(BRIDGE, SocketAddr::new(mailbox_server, 5062));
            let invite = Invite { called: "101", diverting: None, call_id: "right-after" };
            let answer = wire.invite(&invite);
            assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
        }
    });
}

#[test]
fn served_says_how_many_servers_and_milliseconds_and_each_turn_is_told_once() {
    let test = "served_says_how_many_servers_and_milliseconds_and_each_turn_is_told_once";
    let Some(cluster) = Cluster::shared(test) else { return };
    let namespace = cluster.namespace();
    let operator = Operator::start(cluster, &namespace, Run::default());
    let office = Applied::office(cluster, &namespace);
    office.wait_until_served(&namespace);
    call_right_after(cluster, &office, &namespace);
    patch(&namespace, "ummb/alice", &json!({ "displayName": "Alice Adams" }));
    let wait = ["wait", "--for=jsonpath={.status.observedGeneration}=2", "ummb/alice", "--timeout=30s"];
    let _observed = namespace.kubectl(&wait);
    office.wait_until_served(&namespace);
    let served = message(&namespace, "ummb/alice", "Served", "True").unwrap();
    assert!(says_milliseconds(&served, "2 call routers and 1 mailbox server serve"), "{served}");
    let service = message(&namespace, "umsvc/mailbox", "Served", "True").unwrap();
    assert!(says_milliseconds(&service, "1 mailbox server serves"), "{service}");

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
    // Two turns may have taken the same number of milliseconds, so those are counted: alice began to be
    // served three times.
    assert!(count(&told, "UMMailbox/alice", "Normal", "Serving") <= 3, "{told:#?}");
    assert!(told.iter().all(|(event, times)| event[2] == "Serving" || *times == 1), "{told:#?}");
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

#[test]
fn a_write_that_is_refused_holds_up_no_other_and_is_tried_more_and_more_rarely() {
    let test = "a_write_that_is_refused_holds_up_no_other_and_is_tried_more_and_more_rarely";
    let Some(cluster) = Cluster::shared(test) else { return };
    let (namespace, audit) = (cluster.namespace(), Audit::of(cluster));
    namespace.apply(
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: none}\nspec:\n  \
         hard: {count/poddisruptionbudgets.policy: 0}\n",
    );
    let counted = ["wait", "--for=jsonpath={.status.hard}", "resourcequota/none", "--timeout=30s"];
    let _counted = namespace.kubectl(&counted);
    let begun = Instant::now();
    let operator = Operator::start(cluster, &namespace, Run::default());
    let files = house::office(BRIDGE, None);
    namespace.apply(&files.iter().map(|(_, yaml)| yaml.as_str()).collect::<Vec<_>>().join("---\n"));
    wait_until("what comes after it is there", LIMIT, || {
        (owned(&namespace, "deployment,statefulset").len() == 2).then_some(())
    });
    wait_until("what comes last is said", LIMIT, || message(&namespace, "ummb/bob", "Ready", "True"));
    wait_until("who is concerned is told", LIMIT, || {
        let told = events(&namespace);
        let refused = |about: &str| count(&told, about, "Warning", "WriteRefused") == 1;
        (refused("UMCallRouter/router") && refused("UMService/mailbox")).then_some(())
    });
    // Edits have everything else written at once, and not the one that is refused.
    for number in 0..10 {
        let address = format!("bob.{number}@contoso.example");
        patch(&namespace, "ummb/bob", &json!({ "primarySmtpAddress": address }));
        let generation = format!("--for=jsonpath={{.status.observedGeneration}}={}", number + 2);
        let _seen = namespace.kubectl(&["wait", &generation, "ummb/bob", "--timeout=30s"]);
    }
    let writes = audit.writes(&operator.user);
    let refused =
        writes.iter().filter(|request| request.resource == "poddisruptionbudgets" && request.status == 403);
    // Each of the two at once, and after 1, 3, 7, 15, 31 … seconds.
    let times = 2 * (1 + (begun.elapsed().as_secs() + 1).ilog2() as usize);
    let refused = refused.count();
    assert!((2..=times).contains(&refused), "{refused} times in {:?}", begun.elapsed());
    let _deleted = namespace.kubectl(&["delete", "resourcequota/none"]);
    wait_until("it is written in the end", Duration::from_secs(45), || {
        (owned(&namespace, "poddisruptionbudget").len() == 2).then_some(())
    });
}
