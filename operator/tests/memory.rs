//! What a memory of earlier worlds may change of a plan: nothing. Edits come one after the other, in
//! several slices of databases, and each plan is carried out in whole, in part or not at all.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::collections::BTreeMap;
use std::net::IpAddr;

use config::{Code, TokenKey, slice_of};
use crds::Kind;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use umbriel_operator::{
    Cluster, Effort, Instance, Key, Object, ObjectRef, Problem, Reconciler, World, reconcile,
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
    /// A mailbox is removed.
    Gone(usize),
    /// An edit of a mailbox is refused.
    Refused(usize),
    /// Nothing is refused any more.
    Repaired,
    /// A policy is written: which, its dial plan and its text.
    Policy(String, String, Option<String>),
    /// A policy is removed.
    NoPolicy(String),
    /// The digits of a dial plan change, as only a world does that nobody checked.
    Digits(String, i64),
    /// The servers are there or not, and serve what is written, something earlier, or nothing.
    Pods(bool, Option<u64>),
    /// So many of the plan's writes are carried out.
    Writes(usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let policy =
        || prop_oneof![4 => Just("staff"), 2 => Just("guests"), 1 => Just("nobody")].prop_map(String::from);
    let plan =
        || prop_oneof![2 => Just("contoso"), 1 => Just("fabrikam"), 1 => Just("none")].prop_map(String::from);
    let extension =
        prop_oneof![8 => "10[1-4]", 1 => Just(String::from("1010")), 1 => Just(String::from("x"))];
    let mailbox = 0..NAMES.len();
    prop_oneof![
        8 => (mailbox.clone(), policy(), prop::collection::vec(extension, 1..3))
            .prop_map(|(mailbox, policy, extensions)| Edit::Mailbox(mailbox, policy, extensions)),
        2 => mailbox.clone().prop_map(Edit::Gone),
        1 => mailbox.prop_map(Edit::Refused),
        1 => Just(Edit::Repaired),
        2 => (policy(), plan(), prop::option::of("[ab]")).prop_map(|(policy, plan, text)| Edit::Policy(policy, plan, text)),
        1 => policy().prop_map(Edit::NoPolicy),
        1 => (plan(), 3..5_i64).prop_map(|(plan, digits)| Edit::Digits(plan, digits)),
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
        Edit::Gone(mailbox) => drop(world.mailboxes.remove(&key(NAMES[mailbox]))),
        Edit::Refused(mailbox) => world.refused.push(Problem {
            code: Code::UnknownField,
            object: Some(ObjectRef::new(Kind::UMMailbox, &key(NAMES[mailbox]))),
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
        Edit::NoPolicy(policy) => drop(world.policies.remove(&key(&policy))),
        Edit::Digits(plan, digits) => {
            if let Some(plan) = world.dial_plans.get_mut(&key(&plan)) {
                plan.spec.number_of_digits_in_extension = digits;
            }
        }
        Edit::Pods(ready, behind) => pods(world, ready, behind),
        Edit::Writes(count) => carry_out(world, count),
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
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_memory_of_what_was_changes_nothing_of_what_is_said(edits in prop::collection::vec(edit(), 1..40)) {
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
    Effort { slices, mailboxes, statuses }
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
fn a_policy_costs_the_slices_whose_mailboxes_name_it() {
    let (mut world, mut reconciler) = served();
    happen(&mut world, Edit::Policy("guests".into(), "fabrikam".into(), Some("a".into())));
    reconciler.reconcile(&world);
    assert_eq!(reconciler.effort(), effort(0, 0, 0), "nobody names it");
    happen(&mut world, Edit::Policy("staff".into(), "contoso".into(), Some("a".into())));
    reconciler.reconcile(&world);
    assert_eq!(reconciler.effort(), effort(8, 8, 8));
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
