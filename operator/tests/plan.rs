//! What holds of every plan, whatever the world: it is made without failing, carrying out any part
//! of it and planning again ends in the same place, and once it holds nothing is written.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use config::parts::digest;
use config::{Code, RouterConfig, TokenKey};
use crds::{
    Kind, UMCallRouterSpec, UMDialPlanSpec, UMHuntGroupSpec, UMIPGatewaySpec, UMMailboxPolicySpec,
    UMMailboxSpec, UMServiceSpec,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use umbriel_operator::{
    Cluster, Generations, Instance, Key, Object, ObjectRef, Observed, Plan, Problem, Reconciler, TlsSecret,
    World, Write, reconcile,
};

fn now() -> jiff::Timestamp {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

fn empty() -> World {
    World::empty(IpAddr::from([127, 0, 0, 1]), now())
}

fn object<S: DeserializeOwned>(generation: i64, spec: Value) -> Object<S> {
    Object { generation, spec: serde_json::from_value(spec).unwrap() }
}

fn key(name: &str) -> Key {
    Key::new("default", name)
}

/// A dial plan, a policy and both servers.
fn company() -> World {
    let mut world = empty();
    world.spare_key = Some(token_key());
    world.dial_plans.insert(key("contoso"), object(1, json!({"numberOfDigitsInExtension": 3})));
    world.policies.insert(key("staff"), object(1, json!({"umDialPlan": "contoso"})));
    world.routers.insert(key("router"), object(1, json!({})));
    world.services.insert(key("mailbox"), object(1, json!({})));
    world
}

fn add_gateways(world: &mut World, count: u16) {
    for number in 0..count {
        let name = format!("gw-{number:04}");
        let [high, low] = number.to_be_bytes();
        let address = format!("10.0.{high}.{low}");
        world.gateways.insert(key(&name), object(1, json!({"address": address})));
        let spec = json!({"umIPGateway": name, "umDialPlan": "contoso"});
        world.hunt_groups.insert(key(&format!("{name}-default")), object(1, spec));
    }
}

/// Carries out `count` writes of a plan.
fn apply(observed: &mut Observed, plan: Plan, count: usize) {
    plan.writes.into_iter().take(count).for_each(|write| write.apply(observed));
}

/// A key that can sign.
fn token_key() -> TokenKey {
    TokenKey { id: "a".into(), secret: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into() }
}

/// What each router reads.
fn routers(observed: &Observed) -> Vec<RouterConfig> {
    let config = |key| observed.router_config(key, &[token_key()]).unwrap().unwrap();
    observed.routers.keys().map(config).collect()
}

/// The configuration of the only router.
fn the_router(observed: &Observed) -> RouterConfig {
    let mut routers = routers(observed);
    assert_eq!(routers.len(), 1);
    routers.remove(0)
}

#[test]
fn two_hundred_gateways_lead_to_a_dial_plan_and_one_more_does_not() {
    let mut world = company();
    add_gateways(&mut world, 200);
    assert_eq!(reconcile(&world).problems, []);
    add_gateways(&mut world, 201);
    let plan = reconcile(&world);
    let found: Vec<(Code, String)> = plan
        .problems
        .iter()
        .map(|problem| (problem.code, problem.object.as_ref().unwrap().to_string()))
        .collect();
    assert_eq!(
        found,
        [
            (Code::TooManyGateways, "UMDialPlan default/contoso".into()),
            (Code::TooManyGateways, "UMHuntGroup default/gw-0200-default".into()),
            (Code::GatewayWithoutHuntGroup, "UMIPGateway default/gw-0200".into()),
        ]
    );
    assert_eq!(plan.problems[0].value, "201 gateways");
    let mut observed = Observed::default();
    apply(&mut observed, plan, usize::MAX);
    assert_eq!(the_router(&observed).directory.hunt_groups.len(), 200);
}

#[test]
fn a_certificate_and_its_key_reach_the_server() {
    let made = || runtime::tls::self_signed("router", IpAddr::from([127, 0, 0, 1])).unwrap();
    let ((chain, key_of_it), (_, other_key)) = (made(), made());
    let pem = || Some(chain.clone());
    let secret = |key| TlsSecret { chain: pem(), key: Some(key), authorities: pem() };
    let mut world = company();
    let spec = json!({"umStartupMode": "Dual", "certificateSecret": "tls"});
    world.routers.insert(key("router"), object(2, spec));
    world.secrets.insert(key("tls"), secret(key_of_it.clone()));
    let plan = reconcile(&world);
    assert_eq!(plan.problems, []);
    let mut observed = Observed::default();
    apply(&mut observed, plan, usize::MAX);
    for (file, text) in [("tls.crt", &chain), ("tls.key", &key_of_it), ("ca.crt", &chain)] {
        assert_eq!(observed.routers.values().next().unwrap().parts[file], digest(text.as_bytes()));
    }
    world.secrets.insert(key("tls"), secret(other_key));
    let codes: Vec<Code> = reconcile(&world).problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [Code::CertificateUnusable], "a key of another certificate");
}

#[test]
fn tls_runs_over_tcp_so_the_two_cannot_share_a_port_of_one_machine() {
    let mut world = company();
    world.routers.insert(key("router"), object(2, json!({"umStartupMode": "Dual"})));
    world.services.insert(key("mailbox"), object(2, json!({"sipTcpListeningPort": 5061})));
    let found: Vec<(Code, String)> =
        reconcile(&world).problems.into_iter().map(|problem| (problem.code, problem.field)).collect();
    assert_eq!(found, [(Code::PortConflict, "spec.sipTcpListeningPort".into())]);
}

#[test]
fn a_world_that_nobody_checked_gets_its_problems_here() {
    let mut world = company();
    let spec = json!({"numberOfDigitsInExtension": 99, "maxCallDuration": 1});
    world.dial_plans.insert(key("contoso"), object(1, spec));
    let found: Vec<(Code, String)> =
        reconcile(&world).problems.into_iter().map(|problem| (problem.code, problem.field)).collect();
    assert_eq!(
        found,
        [
            (Code::OutOfRange, "spec.numberOfDigitsInExtension".into()),
            (Code::OutOfRange, "spec.maxCallDuration".into()),
            (Code::DanglingReference, "spec.umDialPlan".into()),
        ]
    );
}

#[test]
fn the_mailbox_server_learns_of_a_user_before_the_router_does() {
    let plan = reconcile(&company());
    let name = |write: &Write| format!("{write:?}").split('(').next().unwrap()[..4].to_owned();
    let order: Vec<String> = plan.writes.iter().map(name).collect();
    assert_eq!(order, ["Toke", "Part", "Mail", "Rout", "Stat", "Stat", "Stat", "Stat", "Defa"]);
}

#[test]
fn a_condition_that_stays_keeps_its_time_and_one_that_moves_gets_a_new_one() {
    let mut world = company();
    let plan = reconcile(&world);
    apply(&mut world.observed, plan, usize::MAX);
    world.now = "2026-11-21T09:00:00Z".parse().unwrap();
    world.observed.served = Generations::from([
        (ObjectRef::new(Kind::UMCallRouter, &key("router")), 1),
        (ObjectRef::new(Kind::UMService, &key("mailbox")), 1),
    ]);
    let plan = reconcile(&world);
    apply(&mut world.observed, plan, usize::MAX);
    let status = &world.observed.statuses[&ObjectRef::new(Kind::UMDialPlan, &key("contoso"))];
    assert_eq!(status.condition("Ready").unwrap().last_transition_time, "2026-11-21T08:00:00Z");
    assert_eq!(status.condition("Served").unwrap().last_transition_time, "2026-11-21T09:00:00Z");
}

#[test]
fn a_status_has_the_shape_that_the_definition_of_its_kind_gives_it() {
    let mut observed = Observed::default();
    apply(&mut observed, reconcile(&company()), usize::MAX);
    for (object, status) in observed.statuses.iter() {
        let json = serde_json::to_value(status).unwrap();
        let error = match Kind::of(&object.kind).unwrap() {
            Kind::UMDialPlan => serde_json::from_value::<crds::UMDialPlanStatus>(json).err(),
            Kind::UMIPGateway => serde_json::from_value::<crds::UMIPGatewayStatus>(json).err(),
            Kind::UMMailboxPolicy => serde_json::from_value::<crds::UMMailboxPolicyStatus>(json).err(),
            Kind::UMHuntGroup | Kind::UMMailbox => serde_json::from_value::<crds::Status>(json).err(),
            Kind::UMAutoAttendant => serde_json::from_value::<crds::Status>(json).err(),
            Kind::UMCallRouter | Kind::UMService => serde_json::from_value::<crds::Status>(json).err(),
        };
        assert!(error.is_none(), "{object}: {error:?}");
    }
}

/// Carries out plans until one has nothing to write.
fn settle(world: &mut World) {
    for _ in 0..4 {
        let plan = reconcile(world);
        if plan.writes.is_empty() {
            return;
        }
        plan.writes.into_iter().for_each(|write| world.apply(write));
    }
    panic!("there is always something to write: {:?}", reconcile(world).writes);
}

#[test]
fn what_is_made_for_an_object_is_made_once() {
    let mut world = company();
    let spec = json!({"address": "192.0.2.10", "umDialPlan": "contoso"});
    world.gateways.insert(key("pbx"), object(1, spec));
    settle(&mut world);
    assert_eq!(world.policies[&key("contoso-default")].spec.um_dial_plan, "contoso");
    assert_eq!(world.hunt_groups[&key("pbx-default")].spec.um_ip_gateway, "pbx");
    assert_eq!(world.hunt_groups[&key("pbx-default")].spec.pilot_identifier, None);
    assert_eq!(the_router(&world.observed).directory.hunt_groups.len(), 1);

    // Somebody deletes both: that is how it stays.
    world.policies.remove(&key("contoso-default"));
    world.hunt_groups.remove(&key("pbx-default"));
    settle(&mut world);
    assert!(!world.policies.contains_key(&key("contoso-default")));
    assert!(!world.hunt_groups.contains_key(&key("pbx-default")));
}

#[test]
fn a_crash_after_something_was_made_neither_makes_it_again_nor_forgets_it() {
    let mut world = company();
    let made = reconcile(&world).writes.pop().unwrap();
    world.apply(made);
    settle(&mut world);
    let status = &world.observed.statuses[&ObjectRef::new(Kind::UMDialPlan, &key("contoso"))];
    assert_eq!(status.default_mailbox_policy.as_deref(), Some("contoso-default"));
    assert_eq!(world.policies.len(), 2);
}

#[test]
fn what_a_person_wrote_takes_the_place_of_what_would_be_made() {
    let mut world = company();
    let spec = json!({"umDialPlan": "contoso", "voiceMailText": "Written by hand."});
    world.policies.insert(key("contoso-default"), object(7, spec.clone()));
    settle(&mut world);
    assert_eq!(world.policies[&key("contoso-default")], object(7, spec));
    world.policies.remove(&key("contoso-default"));
    settle(&mut world);
    assert!(!world.policies.contains_key(&key("contoso-default")));
}

#[test]
fn what_is_left_of_a_dial_plan_that_is_gone_is_not_that_of_its_successor() {
    let mut world = company();
    let plan = ObjectRef::new(Kind::UMDialPlan, &key("contoso"));
    let left_over = ObjectRef::new(Kind::UMMailboxPolicy, &key("contoso-default"));
    world.policies.insert(key("contoso-default"), object(1, json!({"umDialPlan": "contoso"})));
    world.cluster = Some(Cluster {
        uids: BTreeMap::from([(plan.clone(), "second".into())]),
        owners: BTreeMap::from([(left_over, vec!["first".into()])]),
        ..Cluster::default()
    });
    settle(&mut world);
    assert_eq!(world.observed.statuses[&plan].default_mailbox_policy, None, "it goes in a moment");
    world.policies.remove(&key("contoso-default"));
    settle(&mut world);
    assert!(world.policies.contains_key(&key("contoso-default")));
}

/// A few names, so that references meet, and one that is none.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("c"), Just("No Name")].prop_map(String::from)
}

fn some_key() -> impl Strategy<Value = Key> {
    (prop_oneof![Just("default"), Just("other")], name())
        .prop_map(|(namespace, name)| Key::new(namespace, &name))
}

/// A number that is mostly allowed and sometimes as wrong as it can be.
fn number(usual: i64) -> impl Strategy<Value = i64> {
    prop_oneof![6 => Just(usual), 1 => Just(usual + 1), 1 => any::<i64>()]
}

fn objects<S: std::fmt::Debug + Clone>(
    spec: impl Strategy<Value = S>,
) -> impl Strategy<Value = std::collections::BTreeMap<Key, Object<S>>> {
    btree_map(some_key(), (1..3_i64, spec).prop_map(|(generation, spec)| Object { generation, spec }), 0..4)
}

prop_compose! {
    fn dial_plan()(digits in number(3), call in number(30), recording in number(20), idle in number(5), uri_type in "TelExtn|SipName|E164") -> UMDialPlanSpec {
        serde_json::from_value(json!({
            "numberOfDigitsInExtension": digits, "maxCallDuration": call, "uriType": uri_type,
            "maxRecordingDuration": recording, "recordingIdleTimeout": idle,
        })).unwrap()
    }
}

fn gateway() -> impl Strategy<Value = UMIPGatewaySpec> {
    let address = prop_oneof!["192\\.0\\.2\\.[012](/3[12])?", "::ffff:192\\.0\\.2\\.1", ".{0,9}"];
    (address, option::of(name())).prop_map(|(address, plan)| {
        serde_json::from_value(json!({"address": address, "umDialPlan": plan})).unwrap()
    })
}

prop_compose! {
    fn hunt_group()(um_ip_gateway in name(), um_dial_plan in name(), pilot_identifier in option::of("[+]?[0-9x]{0,3}")) -> UMHuntGroupSpec {
        UMHuntGroupSpec { um_ip_gateway, um_dial_plan, pilot_identifier }
    }
}

prop_compose! {
    fn policy()(um_dial_plan in name(), voice_mail_text in option::of(".{0,5}")) -> UMMailboxPolicySpec {
        UMMailboxPolicySpec { um_dial_plan, voice_mail_text }
    }
}

prop_compose! {
    fn mailbox()(policy in name(), extensions in vec("[12]0[12]|.{0,4}", 0..4), shown in option::of(".{0,4}"),
        address in option::of("[ab]@c|[+]?10[12]|x"), others in vec((name(), "A@c|[+]?10[12]"), 0..2)) -> UMMailboxSpec {
        let others: Vec<_> = others.iter().map(|(plan, address)| json!({"umDialPlan": plan, "address": address})).collect();
        serde_json::from_value(json!({
            "umMailboxPolicy": policy, "extensions": extensions, "displayName": shown, "primarySmtpAddress": "a@b.example",
            "sipResourceIdentifier": address, "secondaryAddresses": others})).unwrap()
    }
}

fn server(udp: i64) -> impl Strategy<Value = Value> {
    let mode = prop_oneof![Just("TCP"), Just("TLS"), Just("Dual")];
    let secret = option::weighted(0.2, name());
    let exposure = prop_oneof![Just("Pod"), Just("LoadBalancer"), Just("NodePort"), Just("Host")];
    let ports = (number(udp), number(udp), number(udp + 1));
    (ports, mode, exposure, secret).prop_map(|((udp, tcp, tls), mode, exposure, secret)| {
        let mut spec = json!({
            "sipUdpListeningPort": udp, "sipTcpListeningPort": tcp, "sipTlsListeningPort": tls,
            "umStartupMode": mode, "exposure": exposure,
        });
        if let Some(secret) = secret {
            spec["certificateSecret"] = secret.into();
        }
        spec
    })
}

fn refused() -> impl Strategy<Value = Problem> {
    option::of((prop_oneof![Just("UMMailbox"), Just("Unheard"), Just("UMCallRouter")], some_key())).prop_map(
        |object| Problem {
            code: Code::UnknownField,
            object: object.map(|(kind, key)| ObjectRef { kind: kind.into(), key }),
            field: "spec.x".into(),
            value: "y".into(),
            rule: "z".into(),
            fix: String::new(),
            waits_for: None,
        },
    )
}

/// What servers say that they serve, some of which nobody wrote anything for.
fn served() -> impl Strategy<Value = Generations> {
    let server = (prop_oneof![Just(Kind::UMCallRouter), Just(Kind::UMService)], some_key())
        .prop_map(|(kind, key)| ObjectRef::new(kind, &key));
    btree_map(server, 0..3_u64, 0..6)
}

/// The surroundings of servers that run as pods: every object has an identity, and some have pods.
fn cluster() -> impl Strategy<Value = Cluster> {
    let pod = (0..3_u8, any::<bool>(), any::<bool>(), option::of(0..3_u64)).prop_map(
        |(number, ready, ends, serves)| Instance {
            name: format!("pod-{number}"),
            address: Some(IpAddr::from([10, 244, 0, number])),
            node_address: Some(IpAddr::from([198, 51, 100, number])),
            ready: ready && !ends,
            ends,
            serves,
        },
    );
    btree_map(some_key(), vec(pod, 0..3), 0..4).prop_map(|pods| {
        let kinds = [Kind::UMCallRouter, Kind::UMService];
        let of = |key: &Key| kinds.map(|kind| ObjectRef::new(kind, key));
        Cluster {
            image: "umbriel:1".into(),
            uids: pods.keys().flat_map(of).map(|server| (server, "uid".into())).collect(),
            instances: pods
                .iter()
                .map(|(key, pods)| (ObjectRef::new(Kind::UMService, key), pods.clone()))
                .collect(),
            nodes: BTreeSet::from([IpAddr::from([198, 51, 100, 1])]),
            ..Cluster::default()
        }
    })
}

prop_compose! {
    fn some_world()(
        (dial_plans, gateways, hunt_groups) in (objects(dial_plan()), objects(gateway()), objects(hunt_group())),
        (policies, mailboxes) in (objects(policy()), objects(mailbox())),
        attendants in objects((name(), vec("[+]?[0-9x]{0,3}|[Aa]@c", 0..3)).prop_map(|(plan, pilots)|
            serde_json::from_value(json!({"umDialPlan": plan, "pilotIdentifierList": pilots})).unwrap())),
        routers in objects(server(5060).prop_map(|spec| serde_json::from_value::<UMCallRouterSpec>(spec).unwrap())),
        services in objects(server(5062).prop_map(|spec| serde_json::from_value::<UMServiceSpec>(spec).unwrap())),
        secrets in btree_map(some_key(), Just(TlsSecret::default()), 0..2),
        refused in vec(refused(), 0..3),
        (served, cluster) in (served(), option::of(cluster())),
    ) -> World {
        let spare_key = Some(token_key());
        World {
            dial_plans: dial_plans.into(), gateways: gateways.into_iter().collect(),
            hunt_groups: hunt_groups.into_iter().collect(), attendants: attendants.into_iter().collect(), policies: policies.into(), mailboxes: mailboxes.into_iter().collect(),
            routers: routers.into(), services: services.into(), observed: Observed { served, ..Observed::default() },
            secrets, refused, spare_key, cluster, ..empty()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_part_of_a_plan_and_then_the_next_plan_end_where_the_whole_plan_ends(
        earlier in some_world(),
        mut world in some_world(),
    ) {
        // The world has a past: an earlier one, whose plan was carried out.
        let served = world.observed.served.clone();
        apply(&mut world.observed, reconcile(&earlier), usize::MAX);
        world.observed.served = served;

        let plan = reconcile(&world);
        let mut whole = world.observed.clone();
        apply(&mut whole, plan.clone(), usize::MAX);
        for count in 0..=plan.writes.len() {
            let mut crashed = world.clone();
            apply(&mut crashed.observed, plan.clone(), count);
            let next = reconcile(&crashed);
            prop_assert_eq!(&next.problems, &plan.problems);
            apply(&mut crashed.observed, next, usize::MAX);
            prop_assert_eq!(&crashed.observed, &whole, "after {} of {}", count, plan.writes.len());
        }
        world.observed = whole;
        // What is made for an object is an object itself, and has a status then.
        let made = reconcile(&world).writes;
        prop_assert!(made.iter().all(|write| matches!(write, Write::Default(_))), "{:?}", made);
        made.into_iter().for_each(|write| world.apply(write));
        reconcile(&world).writes.into_iter().for_each(|write| world.apply(write));
        prop_assert_eq!(reconcile(&world).writes, []);
    }

    #[test]
    fn a_memory_of_other_worlds_changes_nothing(worlds in vec(some_world(), 1..4)) {
        let mut reconciler = Reconciler::default();
        for world in &worlds {
            prop_assert_eq!(reconciler.reconcile(world), reconcile(world));
        }
    }

    #[test]
    fn a_problem_always_says_what_and_what_to_do(world in some_world()) {
        for problem in reconcile(&world).problems.iter().skip(world.refused.len()) {
            prop_assert!(problem.object.is_some(), "{}", problem);
            prop_assert!(!problem.field.is_empty() && !problem.rule.is_empty() && !problem.fix.is_empty(), "{}", problem);
        }
    }

    #[test]
    fn an_object_is_ready_if_and_only_if_no_problem_names_it(world in some_world()) {
        let plan = reconcile(&world);
        let named: Vec<ObjectRef> = plan.problems.iter().filter_map(|problem| problem.object.clone()).collect();
        let mut observed = Observed::default();
        apply(&mut observed, plan, usize::MAX);
        for (object, status) in observed.statuses.iter() {
            let ready = status.condition("Ready").unwrap().status == crds::ConditionStatus::True;
            prop_assert_eq!(ready, !named.contains(&object), "{}", object);
        }
    }

    #[test]
    fn no_two_mailboxes_of_a_document_share_an_extension(world in some_world()) {
        let mut observed = Observed::default();
        apply(&mut observed, reconcile(&world), usize::MAX);
        for router in routers(&observed) {
            let mut seen = std::collections::BTreeSet::new();
            for mailbox in &router.directory.mailboxes {
                for extension in &mailbox.extensions {
                    prop_assert!(seen.insert((&mailbox.dial_plan, extension)), "{} twice", extension);
                }
            }
        }
    }
}
