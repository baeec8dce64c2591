//! What a memory of earlier worlds may change of a plan: nothing. Edits come one after the other, in
//! several slices of databases, and each plan is carried out in whole, in part or not at all.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use config::{Code, TokenKey, slice_of};
use crds::Kind;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use umbriel_operator::{
    Cluster, Effort, Family, Instance, Key, Object, ObjectRef, Problem, Question, Reconciler, World,
    reconcile,
};

/// Mailboxes of several slices.
const NAMES: [&str; 8] = ["alice", "bob", "carol", "dave", "erin", "frank", "heidi", "judy"];

fn key(name: &str) -> Key {
    Key::new("default", name)
}

fn object<S: DeserializeOwned>(generation: i64, spec: Value) -> Object<S> {
    Object { generation, spec: serde_json::from_value(spec).unwrap() }
}

/// Two dial plans with a policy each, a router and a mailbox server.
fn company() -> World {
    let mut world = World::empty(IpAddr::from([127, 0, 0, 1]), jiff::Timestamp::UNIX_EPOCH);
    for (plan, policy) in [("contoso", "staff"), ("fabrikam", "guests")] {
        let spec = json!({ "numberOfDigitsInExtension": 3, "generateUMMailboxPolicy": false });
        world.dial_plans.insert(key(plan), object(1, spec));
        world.policies.insert(key(policy), object(1, json!({ "umDialPlan": plan })));
    }
    world.routers.insert(key("router"), object(1, json!({})));
    world.services.insert(key("main"), object(1, json!({})));
    let secret = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into();
    world.spare_key = Some(TokenKey { id: "a".into(), secret });
    let uids = [router(), service()].map(|server| (server, "uid".into()));
    world.cluster = Some(Cluster { uids: BTreeMap::from(uids), ..Cluster::default() });
    world
}

fn router() -> ObjectRef {
    ObjectRef::new(Kind::UMCallRouter, &key("router"))
}

fn service() -> ObjectRef {
    ObjectRef::new(Kind::UMService, &key("main"))
}

/// Something that happens to a world.
#[derive(Clone, Debug)]
enum Edit {
    /// A mailbox is written: which, its policy and its extensions.
    Mailbox(usize, String, Vec<String>),
    /// A mailbox that is there gets an address in a dial plan.
    Secondary(usize, String, String),
    /// A mailbox is removed.
    Gone(usize),
    /// An edit of an object is refused: its kind and name; or of nobody knows which.
    Refused(Option<(Kind, String)>),
    /// Nothing is refused any more.
    Repaired,
    /// A dial plan is written: which, its access number, another one that is equivalent to it, and whether
    /// a policy is made for it.
    DialPlan(String, Option<String>, Option<String>, bool),
    /// A gateway is written: which, its address, and the dial plan that a hunt group is made for.
    Gateway(String, String, Option<String>),
    /// What a name leads to, or that nobody answers.
    Name(String, Option<u8>),
    /// A hunt group is written: which, its gateway, its dial plan and its pilot.
    HuntGroup(String, String, String, Option<String>),
    /// One of those is removed, or a server.
    Removed(Kind, String),
    /// A server is written: which.
    Server(Kind),
    /// The cluster has so many nodes.
    Nodes(u8),
    /// A policy is written: which, its dial plan and its text.
    Policy(String, String, Option<String>),
    /// The access number of a dial plan and the pilot of its auto attendant change: what was a user's
    /// extension may be called for something else.
    Reserved(String, String, String),
    /// The digits of a dial plan change, as only a world does that nobody checked.
    Digits(String, i64),
    /// The servers are there or not, and serve what is written, something earlier, or nothing.
    Pods(bool, Option<u64>),
    /// So many of the plan's writes are carried out.
    Writes(usize),
}

/// The address of a gateway.
fn address(last: u8) -> String {
    format!("192.0.2.{last}")
}

/// Names of gateways and hunt groups.
fn few() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just("east"), 2 => Just("north"), 1 => Just("west")].prop_map(String::from)
}

/// What happens to objects that are no mailboxes.
fn edit_of_others() -> impl Strategy<Value = Edit> {
    let plan =
        || prop_oneof![2 => Just("contoso"), 1 => Just("fabrikam"), 1 => Just("none")].prop_map(String::from);
    let number = || prop::option::of("42[1-3]");
    let fqdn = || "[ab]\\.example";
    let address = prop_oneof![3 => (1..4_u8).prop_map(address), 2 => fqdn().boxed()];
    let name = prop_oneof![
        few().prop_map(|name| (Kind::UMIPGateway, name)),
        few().prop_map(|name| (Kind::UMHuntGroup, name)),
        plan().prop_map(|name| (Kind::UMDialPlan, name)),
        Just((Kind::UMMailboxPolicy, "staff".into())),
        Just((Kind::UMMailboxPolicy, "nobody".into())),
        (0..NAMES.len()).prop_map(|name| (Kind::UMMailbox, NAMES[name].into())),
        Just((Kind::UMCallRouter, "router".into())),
        Just((Kind::UMService, "main".into())),
    ];
    let name = name.boxed();
    prop_oneof![
        4 => (plan(), number(), prop::option::of(plan()), any::<bool>())
            .prop_map(|(plan, number, equivalent, makes)| Edit::DialPlan(plan, number, equivalent, makes)),
        5 => (few(), address, prop::option::of(plan()))
            .prop_map(|(name, address, plan)| Edit::Gateway(name, address, plan)),
        3 => (fqdn(), prop::option::of(1..4_u8)).prop_map(|(name, address)| Edit::Name(name, address)),
        6 => (few(), few(), plan(), number())
            .prop_map(|(name, gateway, plan, pilot)| Edit::HuntGroup(name, gateway, plan, pilot)),
        4 => name.clone().prop_map(|(kind, name)| Edit::Removed(kind, name)),
        3 => prop::option::weighted(0.8, name).prop_map(Edit::Refused),
        2 => Just(Edit::Repaired),
        2 => prop_oneof![Just(Kind::UMCallRouter), Just(Kind::UMService)].prop_map(Edit::Server),
        1 => (0..3_u8).prop_map(Edit::Nodes),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    let policy =
        || prop_oneof![4 => Just("staff"), 2 => Just("guests"), 1 => Just("nobody")].prop_map(String::from);
    let plan =
        || prop_oneof![2 => Just("contoso"), 1 => Just("fabrikam"), 1 => Just("none")].prop_map(String::from);
    let extension =
        prop_oneof![8 => "10[1-4]", 1 => Just(String::from("1010")), 1 => Just(String::from("x"))];
    let number = || prop_oneof!["10[1-4]", Just(String::from("600"))];
    let mailbox = 0..NAMES.len();
    prop_oneof![
        8 => (mailbox.clone(), policy(), prop::collection::vec(extension, 1..3))
            .prop_map(|(mailbox, policy, extensions)| Edit::Mailbox(mailbox, policy, extensions)),
        2 => mailbox.clone().prop_map(Edit::Gone),
        12 => edit_of_others(),
        2 => (mailbox, plan(), number()).prop_map(|(mailbox, plan, number)| Edit::Secondary(mailbox, plan, number)),
        2 => (policy(), plan(), prop::option::of("[ab]")).prop_map(|(policy, plan, text)| Edit::Policy(policy, plan, text)),
        1 => (plan(), 3..5_i64).prop_map(|(plan, digits)| Edit::Digits(plan, digits)),
        2 => (plan(), number(), number()).prop_map(|(plan, access, pilot)| Edit::Reserved(plan, access, pilot)),
        3 => (any::<bool>(), prop::option::of(0..3_u64)).prop_map(|(ready, behind)| Edit::Pods(ready, behind)),
        6 => prop_oneof![0..6_usize, Just(usize::MAX)].prop_map(Edit::Writes),
    ]
}

/// What a person writes grows by one generation each time.
fn next<S>(before: Option<&Object<S>>) -> i64 {
    before.map_or(1, |before| before.generation + 1)
}

fn happen(world: &mut World, edit: Edit) {
    match edit {
        Edit::Mailbox(mailbox, policy, extensions) => {
            let key = key(NAMES[mailbox]);
            let spec = json!({
                "umMailboxPolicy": policy, "extensions": extensions, "primarySmtpAddress": "a@contoso.example",
            });
            let generation = next(world.mailboxes.get(&key));
            world.mailboxes.insert(key, object(generation, spec));
        }
        Edit::Secondary(mailbox, plan, address) => secondary(world, NAMES[mailbox], &plan, &address),
        Edit::Gone(mailbox) => drop(world.mailboxes.remove(&key(NAMES[mailbox]))),
        Edit::Refused(object) => world.refused.push(Problem {
            code: Code::UnknownField,
            object: object.map(|(kind, name)| ObjectRef::new(kind, &key(&name))),
            field: "spec.x".into(),
            value: "y".into(),
            rule: "z".into(),
            fix: String::new(),
            waits_for: None,
        }),
        Edit::Repaired => world.refused.clear(),
        Edit::Policy(policy, plan, text) => {
            let generation = next(world.policies.get(&key(&policy)));
            let spec = json!({ "umDialPlan": plan, "voiceMailText": text });
            world.policies.insert(key(&policy), object(generation, spec));
        }
        Edit::DialPlan(plan, number, equivalent, makes) => {
            let generation = next(world.dial_plans.get(&key(&plan)));
            let numbers: Vec<String> = number.into_iter().collect();
            let equivalents: Vec<String> = equivalent.into_iter().collect();
            let spec = json!({
                "numberOfDigitsInExtension": 3, "generateUMMailboxPolicy": makes,
                "accessTelephoneNumbers": numbers, "equivalentDialPlanPhoneContexts": equivalents,
            });
            world.dial_plans.insert(key(&plan), object(generation, spec));
        }
        Edit::Gateway(name, address, plan) => {
            let generation = next(world.gateways.get(&key(&name)));
            let spec = json!({ "address": address, "umDialPlan": plan });
            world.gateways.insert(key(&name), object(generation, spec));
        }
        Edit::Name(name, leads_to) => answer(world, name, leads_to),
        Edit::HuntGroup(name, gateway, plan, pilot) => {
            let generation = next(world.hunt_groups.get(&key(&name)));
            let spec = json!({ "umIPGateway": gateway, "umDialPlan": plan, "pilotIdentifier": pilot });
            world.hunt_groups.insert(key(&name), object(generation, spec));
        }
        Edit::Removed(kind, name) => remove(world, kind, &key(&name)),
        Edit::Server(Kind::UMCallRouter) => {
            let generation = next(world.routers.get(&key("router")));
            world.routers.insert(key("router"), object(generation, json!({})));
        }
        Edit::Server(_) => {
            let generation = next(world.services.get(&key("main")));
            world.services.insert(key("main"), object(generation, json!({})));
        }
        Edit::Nodes(count) => {
            let nodes = (0..count).map(|node| IpAddr::from([198, 51, 100, node])).collect();
            world.cluster.as_mut().unwrap().nodes = nodes;
        }
        Edit::Reserved(plan, access, pilot) => reserve(world, &plan, access, &pilot),
        Edit::Digits(plan, digits) => {
            if let Some(plan) = world.dial_plans.get_mut(&key(&plan)) {
                plan.spec.number_of_digits_in_extension = digits;
            }
        }
        Edit::Pods(ready, behind) => pods(world, ready, behind),
        Edit::Writes(count) => carry_out(world, count),
    }
}

fn answer(world: &mut World, name: String, leads_to: Option<u8>) {
    let mut answers = (*world.names).clone();
    let answer = answers.entry(Question { name, family: Family::V4 }).or_default();
    answer.trouble = leads_to.is_none().then(|| "timed out".into());
    answer.addresses.extend(leads_to.map(|last| IpAddr::from([192, 0, 2, last])));
    world.names = Arc::new(answers);
}

fn secondary(world: &mut World, mailbox: &str, plan: &str, address: &str) {
    let Some(before) = world.mailboxes.get(&key(mailbox)).cloned() else { return };
    let mut spec = serde_json::to_value(&before.spec).unwrap();
    spec["secondaryAddresses"] = json!([{ "umDialPlan": plan, "address": address }]);
    world.mailboxes.insert(key(mailbox), object(before.generation + 1, spec));
}

fn reserve(world: &mut World, plan: &str, access: String, pilot: &str) {
    if let Some(plan) = world.dial_plans.get_mut(&key(plan)) {
        plan.spec.access_telephone_numbers = vec![access];
    }
    let spec = json!({ "umDialPlan": plan, "pilotIdentifierList": [pilot] });
    let generation = next(world.attendants.get(&key(plan)));
    world.attendants.insert(key(plan), object(generation, spec));
}

fn remove(world: &mut World, kind: Kind, key: &Key) {
    match kind {
        Kind::UMDialPlan => drop(world.dial_plans.remove(key)),
        Kind::UMIPGateway => drop(world.gateways.remove(key)),
        Kind::UMHuntGroup => drop(world.hunt_groups.remove(key)),
        Kind::UMAutoAttendant => drop(world.attendants.remove(key)),
        Kind::UMMailboxPolicy => drop(world.policies.remove(key)),
        Kind::UMMailbox => drop(world.mailboxes.remove(key)),
        Kind::UMCallRouter => drop(world.routers.remove(key)),
        Kind::UMService => drop(world.services.remove(key)),
    }
}

fn pods(world: &mut World, ready: bool, behind: Option<u64>) {
    let written = [
        (router(), world.observed.routers.get(&key("router")).map(|index| index.generation)),
        (service(), world.observed.services.get(&key("main")).map(|index| index.generation)),
    ];
    world.observed.served.clear();
    for (server, generation) in written {
        let serves = generation.zip(behind).map(|(generation, behind)| generation.saturating_sub(behind));
        let name = format!("{}-mailbox-0", server.key.name);
        let address = Some(IpAddr::from([10, 244, 0, 7]));
        let pod = Instance { name, address, node_address: None, ready, ends: false, serves };
        world.cluster.as_mut().unwrap().instances.insert(server.clone(), vec![pod]);
        world.observed.served.extend(serves.map(|serves| (server, serves)));
    }
}

fn carry_out(world: &mut World, count: usize) {
    let plan = reconcile(world);
    world.observed.awaited = plan.awaited;
    plan.writes.into_iter().take(count).for_each(|write| world.apply(write));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_memory_of_what_was_changes_nothing_of_what_is_said(edits in prop::collection::vec(edit(), 1..50)) {
        let mut world = company();
        let mut reconciler = Reconciler::default();
        prop_assert_eq!(reconciler.reconcile(&world), reconcile(&world));
        for edit in edits {
            happen(&mut world, edit.clone());
            prop_assert_eq!(reconciler.reconcile(&world), reconcile(&world), "after {:?}", edit);
        }
    }
}

/// A company with everybody in it, served, and a memory of that.
fn served() -> (World, Reconciler) {
    let mut world = company();
    for (number, name) in NAMES.into_iter().enumerate() {
        let extensions = vec![format!("2{number:02}")];
        happen(&mut world, Edit::Mailbox(number, "staff".into(), extensions));
        assert_eq!(NAMES.iter().filter(|other| slice_of(other) == slice_of(name)).count(), 1, "{name}");
    }
    let mut reconciler = Reconciler::default();
    for _ in 0..4 {
        pods(&mut world, true, Some(0));
        carry_out(&mut world, usize::MAX);
    }
    assert_eq!(reconciler.reconcile(&world).writes, []);
    assert_eq!(reconciler.reconcile(&world).writes, []);
    assert_eq!(reconciler.effort(), Effort::default(), "nothing is looked at where nothing has changed");
    (world, reconciler)
}

fn effort(slices: usize, mailboxes: usize, statuses: usize) -> Effort {
    Effort { routing: 0, slices, mailboxes, statuses }
}

#[test]
fn a_change_costs_the_slices_that_it_touches() {
    let (mut world, mut reconciler) = served();
    happen(&mut world, Edit::Mailbox(1, "staff".into(), vec!["102".into()]));
    reconciler.reconcile(&world);
    assert_eq!(reconciler.effort(), effort(1, 1, 1), "bob has another extension");
    happen(&mut world, Edit::Mailbox(0, "staff".into(), vec!["102".into()]));
    let plan = reconciler.reconcile(&world);
    assert_eq!(plan.problems.len(), 1, "alice takes it from him");
    // Who waited before is compared again, as nothing was written.
    assert_eq!(reconciler.effort(), effort(2, 2, 2));
    happen(&mut world, Edit::Gone(0));
    assert_eq!(reconciler.reconcile(&world).problems, []);
    assert_eq!(reconciler.effort(), effort(2, 1, 2), "he has it again");
}

#[test]
fn where_a_policy_leads_costs_the_slices_whose_mailboxes_name_it_and_what_it_says_does_not() {
    let (mut world, mut reconciler) = served();
    happen(&mut world, Edit::Policy("guests".into(), "fabrikam".into(), Some("a".into())));
    reconciler.reconcile(&world);
    assert_eq!(reconciler.effort(), Effort { routing: 4, ..effort(0, 0, 0) }, "nobody names it");
    happen(&mut world, Edit::Policy("staff".into(), "contoso".into(), Some("a".into())));
    reconciler.reconcile(&world);
    assert_eq!(reconciler.effort(), Effort { routing: 4, ..effort(0, 0, 0) }, "its text is no part of them");
    happen(&mut world, Edit::Policy("staff".into(), "fabrikam".into(), Some("a".into())));
    reconciler.reconcile(&world);
    assert_eq!(reconciler.effort(), Effort { routing: 4, ..effort(8, 8, 8) });
}

#[test]
fn what_is_called_for_something_else_costs_the_slices_that_ask_for_it() {
    let (mut world, mut reconciler) = served();
    happen(&mut world, Edit::Reserved("contoso".into(), "203".into(), "600".into()));
    let plan = reconciler.reconcile(&world);
    let told: Vec<_> = plan.problems.iter().filter(|problem| problem.code == Code::NumberTaken).collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].object.as_ref().unwrap().key.name, NAMES[3]);
    // The plan, its auto attendant, and whoever has the extension.
    assert_eq!(reconciler.effort(), Effort { routing: 5, ..effort(1, 1, 2) });
    happen(&mut world, Edit::Reserved("contoso".into(), "600".into(), "204".into()));
    let plan = reconciler.reconcile(&world);
    let told: Vec<_> = plan.problems.iter().filter(|problem| problem.code == Code::NumberTaken).collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].object.as_ref().unwrap().key.name, NAMES[4]);
    assert_eq!(reconciler.effort().slices, 2, "one has it again, and another one loses it");
}

#[test]
fn a_gateway_costs_no_mailbox_and_the_status_of_no_hunt_group() {
    let (mut world, mut reconciler) = served();
    happen(&mut world, Edit::Gateway("east".into(), address(1), None));
    happen(&mut world, Edit::HuntGroup("east".into(), "east".into(), "contoso".into(), None));
    for _ in 0..4 {
        pods(&mut world, true, Some(0));
        carry_out(&mut world, usize::MAX);
        reconciler.reconcile(&world);
    }
    happen(&mut world, Edit::Gateway("east".into(), address(2), None));
    reconciler.reconcile(&world);
    // The two dial plans and policies are looked at beside it, and no hunt group.
    assert_eq!(reconciler.effort(), Effort { routing: 5, ..effort(0, 0, 1) });
    reconciler.reconcile(&world);
    assert_eq!(reconciler.effort(), effort(0, 0, 1), "what is not written yet is said again");
}

#[test]
fn what_servers_say_costs_nobody_who_is_served() {
    let (mut world, mut reconciler) = served();
    for (ready, behind) in [(false, None), (true, Some(1)), (true, Some(0))] {
        pods(&mut world, ready, behind);
        reconciler.reconcile(&world);
        assert_eq!(reconciler.effort(), effort(0, 0, 0));
    }
}
