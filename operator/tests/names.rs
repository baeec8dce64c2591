//! What follows from what names lead to, and what is said of names that lead nowhere or to somebody else.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use config::TokenKey;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use umbriel_operator::{Answer, Answers, Family, Key, Object, Question, Reconciler, World, reconcile};

fn key(name: &str) -> Key {
    Key::new("default", name)
}

fn object<S: DeserializeOwned>(spec: Value) -> Object<S> {
    Object { generation: 1, spec: serde_json::from_value(spec).unwrap() }
}

fn keys() -> TokenKey {
    TokenKey { id: "a".into(), secret: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into() }
}

/// A company with these gateways, each with its own hunt group.
fn company(gateways: &[(&str, Value)]) -> World {
    let mut world = World::empty(IpAddr::from([127, 0, 0, 1]), jiff::Timestamp::UNIX_EPOCH);
    world.spare_key = Some(keys());
    world.dial_plans.insert(key("contoso"), object(json!({"numberOfDigitsInExtension": 3})));
    world.routers.insert(key("router"), object(json!({})));
    world.services.insert(key("mailbox"), object(json!({})));
    for (name, spec) in gateways {
        world.gateways.insert(key(name), object(spec.clone()));
        let spec = json!({"umIPGateway": name, "umDialPlan": "contoso"});
        world.hunt_groups.insert(key(&format!("{name}-default")), object(spec));
    }
    world
}

fn led_to(name: &str, family: Family, addresses: &[&str], trouble: Option<&str>) -> (Question, Answer) {
    let addresses: BTreeSet<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    (Question { name: name.into(), family }, Answer { addresses, trouble: trouble.map(str::to_owned) })
}

fn know<const N: usize>(world: &mut World, answers: [(Question, Answer); N]) {
    world.names = Arc::new(Answers::from(answers));
}

/// What the router is told of each gateway, and what is said of them; whoever remembers says the same.
fn outcome(memory: &mut Reconciler, world: &mut World) -> (Vec<String>, Vec<String>) {
    let plan = reconcile(world);
    assert_eq!(memory.reconcile(world), plan);
    let said = plan.problems.iter().filter(|problem| problem.field == "spec.address");
    let said = said.map(|problem| {
        let object = problem.object.as_ref().unwrap();
        format!("{} {}: {}", problem.code.id(), object.key.name, problem.rule)
    });
    let said = said.collect();
    plan.writes.into_iter().for_each(|write| world.apply(write));
    let config = world.observed.router_config(&key("router"), &[keys()]).unwrap().unwrap();
    let told = config.directory.gateways.iter().map(|gateway| {
        let addresses: Vec<String> = gateway.addresses.iter().map(ToString::to_string).collect();
        format!("{} {}", gateway.name, addresses.join(" ")).trim().to_owned()
    });
    (told.collect(), said)
}

const NAME: &str = "sbc.example";

#[test]
fn names_are_asked_for_by_the_families_that_are_written() {
    let mut world = company(&[
        ("any", json!({"address": "Any.example", "ipAddressFamily": "Any"})),
        ("four", json!({"address": "four.example"})),
        ("literal", json!({"address": "192.0.2.1"})),
        ("six", json!({"address": "six.example", "ipAddressFamily": "IPv6Only"})),
    ]);
    world.gateways.insert(key("also-four"), object(json!({"address": "any.example"})));
    let wanted = reconcile(&world).names;
    let shown: Vec<String> = wanted
        .iter()
        .map(|(question, askers)| {
            let askers: Vec<&str> = askers.iter().map(|(key, _)| key.name.as_str()).collect();
            format!("{} {:?} {}", question.name, question.family, askers.join(" "))
        })
        .collect();
    assert_eq!(
        shown,
        ["any.example V4 also-four any", "any.example V6 any", "four.example V4 four", "six.example V6 six"]
    );
}

#[test]
fn a_gateway_has_the_addresses_of_its_family_and_keeps_the_last_ones_while_nobody_answers() {
    let memory = &mut Reconciler::default();
    let mut world = company(&[("sbc", json!({"address": NAME, "ipAddressFamily": "Any"}))]);
    let unanswered = "a name that name servers lead to an address; nobody has answered yet; until it leads to an \
                      address, only its certificate tells whose call it is";
    assert_eq!(outcome(memory, &mut world), (vec!["sbc".into()], vec![format!("UM1031 sbc: {unanswered}")]));
    let four = |trouble| led_to(NAME, Family::V4, &["192.0.2.1"], trouble);
    let six = |addresses: &[&str]| led_to(NAME, Family::V6, addresses, None);
    know(&mut world, [four(None), six(&["2001:db8::1"])]);
    assert_eq!(outcome(memory, &mut world), (vec!["sbc 192.0.2.1 2001:db8::1".into()], vec![]));
    know(&mut world, [four(None), six(&[])]);
    assert_eq!(outcome(memory, &mut world), (vec!["sbc 192.0.2.1".into()], vec![]));

    // An operator that starts anew knows what it wrote.
    world.names = Arc::default();
    assert_eq!(outcome(memory, &mut world), (vec!["sbc 192.0.2.1".into()], vec![]));
    know(&mut world, [four(Some("request timed out")), six(&[])]);
    let (told, said) = outcome(memory, &mut world);
    assert_eq!(told, ["sbc 192.0.2.1"]);
    let silent = "a name that name servers lead to an address; request timed out; until then the last answer goes on \
                  being used: 192.0.2.1";
    assert_eq!(said, [format!("UM1031 sbc: {silent}")]);
    know(&mut world, [led_to(NAME, Family::V4, &[], None), six(&[])]);
    let (told, said) = outcome(memory, &mut world);
    assert_eq!(told, ["sbc 192.0.2.1"]);
    assert!(said[0].contains("; it has no address; until then the last answer"), "{said:?}");

    // Another name has other addresses.
    world.gateways.insert(key("sbc"), object(json!({"address": "other.example"})));
    assert_eq!(outcome(memory, &mut world).0, ["sbc"]);
}

#[test]
fn a_name_that_leads_to_the_address_of_another_gateway_loses_that_address_alone() {
    let memory = &mut Reconciler::default();
    let mut world = company(&[("a-sbc", json!({"address": NAME})), ("pbx", json!({"address": "192.0.2.1"}))]);
    know(&mut world, [led_to(NAME, Family::V4, &["192.0.2.1", "192.0.2.2"], None)]);
    let (told, said) = outcome(memory, &mut world);
    assert_eq!(told, ["a-sbc 192.0.2.2", "pbx 192.0.2.1"]);
    let keeps = "default/pbx, where it is written, keeps it";
    assert_eq!(
        said,
        [
            format!("UM1013 pbx: one gateway for each address; default/a-sbc has it too; {keeps}"),
            format!("UM1013 a-sbc: one gateway for each address; default/pbx has it too; {keeps}"),
        ]
    );
    // Of two names the first gateway keeps it. A longer prefix is no conflict.
    let mut world = company(&[
        ("a", json!({"address": "a.example"})),
        ("b", json!({"address": "b.example"})),
        ("net", json!({"address": "192.0.2.0/24"})),
    ]);
    let address = ["192.0.2.1"];
    know(
        &mut world,
        [led_to("a.example", Family::V4, &address, None), led_to("b.example", Family::V4, &address, None)],
    );
    let (told, said) = outcome(memory, &mut world);
    assert_eq!(told, ["a 192.0.2.1", "b", "net 192.0.2.0/24"]);
    assert_eq!(said.len(), 2);
    assert!(said.iter().all(|said| said.ends_with("the first by name, default/a, keeps it")), "{said:?}");
}

#[test]
fn of_two_gateways_with_one_name_both_are_told_and_the_first_keeps_it() {
    let memory = &mut Reconciler::default();
    let mut world = company(&[
        ("a", json!({"address": "SBC.example"})),
        ("b", json!({"address": NAME, "ipAddressFamily": "IPv6Only"})),
    ]);
    know(
        &mut world,
        [led_to(NAME, Family::V4, &["192.0.2.1"], None), led_to(NAME, Family::V6, &["2001:db8::1"], None)],
    );
    let (told, said) = outcome(memory, &mut world);
    assert_eq!(told, ["a 192.0.2.1"]);
    let rule = |other| {
        format!(
            "one gateway for each name; default/{other} has it too; the first by name, default/a, keeps it"
        )
    };
    assert_eq!(said, [format!("UM1013 a: {}", rule("b")), format!("UM1013 b: {}", rule("a"))]);
}
