//! The keys of the redirect token over months of virtual time: no router ever signs with a key that a
//! mailbox server does not know, however late each of them hears of news.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::collections::BTreeMap;
use std::net::IpAddr;

use config::TokenKey;
use config::parts::{TOKEN_KEYS_FILE, digest, token_keys_to_yaml};
use crds::Kind;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use umbriel_operator::{Cluster, Key, Object, ObjectRef, Phase, World, Write, reconcile};

/// The longest time for which a router's token may be presented: `config::token::WINDOW_S`.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_secs(120);

fn start() -> Timestamp {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

fn spare(number: u8) -> TokenKey {
    let secret = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".replacen(
        'A',
        &char::from(b'B' + number).to_string(),
        1,
    );
    TokenKey { id: format!("k{number}"), secret }
}

fn servers() -> [ObjectRef; 2] {
    let key = Key::new("default", "main");
    [ObjectRef::new(Kind::UMCallRouter, &key), ObjectRef::new(Kind::UMService, &key)]
}

/// A router and a mailbox server in a cluster.
fn world() -> World {
    let mut world = World::empty(IpAddr::from([0, 0, 0, 0]), start());
    let key = Key::new("default", "main");
    world
        .routers
        .insert(key.clone(), Object { generation: 1, spec: serde_json::from_value(json!({})).unwrap() });
    world.services.insert(key, Object { generation: 1, spec: serde_json::from_value(json!({})).unwrap() });
    let [router, service] = servers();
    let uids = BTreeMap::from([(router, "uid-1".to_owned()), (service, "uid-2".to_owned())]);
    world.cluster = Some(Cluster { image: "umbriel:1".into(), uids, ..Cluster::default() });
    world.spare_key = Some(spare(0));
    world
}

/// The plan is carried out; says whether it wrote keys.
fn settle(world: &mut World) -> bool {
    let writes = reconcile(world).writes;
    let wrote_keys = writes.iter().any(|write| matches!(write, Write::TokenKeys(..)));
    writes.into_iter().for_each(|write| write.apply(&mut world.observed));
    wrote_keys
}

fn ids(world: &World) -> (Phase, Vec<String>) {
    let keys = world.observed.token_keys.as_ref().unwrap();
    (keys.phase, keys.keys.iter().map(|key| key.id.clone()).collect())
}

fn generations(world: &World) -> [u64; 2] {
    let key = Key::new("default", "main");
    [world.observed.routers[&key].generation, world.observed.services[&key].generation]
}

/// Both servers say that they serve what is written.
fn serve(world: &mut World) {
    for (server, generation) in servers().into_iter().zip(generations(world)) {
        world.observed.served.insert(server, generation);
    }
}

#[test]
fn a_key_verifies_then_signs_then_goes() {
    let mut world = world();
    assert!(settle(&mut world));
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    serve(&mut world);
    world.spare_key = Some(spare(1));
    world.now = start() + days(30) - SignedDuration::from_secs(1);
    assert!(!settle(&mut world));
    assert_eq!(ids(&world), (Phase::Steady, vec!["k0".into()]));
    world.now = start() + days(30);
    assert!(settle(&mut world));
    assert_eq!(ids(&world), (Phase::Introduced, vec!["k0".into(), "k1".into()]));
    // Whatever the time, until the last server has it.
    world.now += days(5);
    world.observed.served.insert(servers()[0].clone(), generations(&world)[0]);
    assert!(!settle(&mut world));
    serve(&mut world);
    assert!(settle(&mut world));
    assert_eq!(ids(&world), (Phase::Signing, vec!["k1".into(), "k0".into()]));
    world.now += days(5);
    assert!(!settle(&mut world), "a router may still sign with the key before");
    serve(&mut world);
    assert!(settle(&mut world));
    assert_eq!(ids(&world), (Phase::Retiring, vec!["k1".into(), "k0".into()]));
    world.now += SignedDuration::from_secs(299);
    assert!(!settle(&mut world));
    world.now += SignedDuration::from_secs(1);
    assert!(settle(&mut world));
    assert_eq!(ids(&world), (Phase::Steady, vec!["k1".into()]));
    serve(&mut world);
    world.now += SignedDuration::from_secs(1);
    assert!(!settle(&mut world));
}

#[test]
fn a_clock_that_goes_back_begins_the_wait_anew() {
    let mut world = world();
    settle(&mut world);
    serve(&mut world);
    world.now = start() - SignedDuration::from_hours(24 * 265);
    assert!(settle(&mut world), "what lies in the future is now");
    assert_eq!(world.observed.token_keys.as_ref().unwrap().since, world.now);
    assert_eq!(ids(&world), (Phase::Steady, vec!["k0".into()]));
    assert!(!settle(&mut world));
}

#[test]
fn keys_that_cannot_be_read_are_not_replaced_and_every_server_is_told() {
    let mut world = world();
    settle(&mut world);
    let before = world.observed.clone();
    world.observed.token_keys = None;
    world.token_trouble = Some("there is no token key".into());
    let plan = reconcile(&world);
    let told: Vec<String> = plan
        .problems
        .iter()
        .map(|problem| format!("{} {}", problem.code, problem.object.as_ref().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            "UM1025 TokenKeysUnusable UMCallRouter default/main",
            "UM1025 TokenKeysUnusable UMService default/main"
        ]
    );
    assert!(!settle(&mut world));
    assert_eq!((&world.observed.routers, &world.observed.services), (&before.routers, &before.services));
    // Everybody else's news go on to be written for the keys that the servers have.
    let plan = serde_json::from_value(json!({ "numberOfDigitsInExtension": 3 })).unwrap();
    world.dial_plans.insert(Key::new("default", "contoso"), Object { generation: 1, spec: plan });
    settle(&mut world);
    let key = Key::new("default", "main");
    let after = &world.observed.routers[&key];
    assert_eq!(after.generation, before.routers[&key].generation + 1);
    assert_eq!(after.parts[TOKEN_KEYS_FILE], before.routers[&key].parts[TOKEN_KEYS_FILE]);
}

#[test]
fn broken_configurations_leave_the_keys_as_they_are() {
    let mut world = world();
    settle(&mut world);
    world.observed.routers.clear();
    world.observed.services.clear();
    world.observed.parts.clear();
    world.observed.sites.clear();
    world.spare_key = Some(spare(1));
    assert!(!settle(&mut world));
    assert_eq!(ids(&world).1, ["k0"]);
    let text = token_keys_to_yaml(&[spare(0)]).unwrap();
    let named = &world.observed.routers[&Key::new("default", "main")].parts[TOKEN_KEYS_FILE];
    assert_eq!(*named, digest(text.as_bytes()));
}

/// Two servers that hear of news late, each in its own time, for 65 days: at every instant each key that
/// the router signs with, or signed with within the life of a token, is one that the mailbox server has.
#[test]
fn every_token_is_verified_by_a_server_that_hears_of_news_late() {
    for (router_late, mailbox_late) in [(1, 7), (7, 1), (3, 3), (0, 11), (11, 0)] {
        let mut world = world();
        settle(&mut world);
        let keys = |world: &World| world.observed.token_keys.as_ref().unwrap().keys.clone();
        // What was written, step by step, and since when; servers take it up so many steps later.
        let mut written = vec![(generations(&world), keys(&world))];
        let mut signed: Vec<(Timestamp, String)> = Vec::new();
        let mut rotations = 0;
        for step in 0..65_u16 * 24 {
            // An hour a step, and a minute while keys change.
            let hurry = ids(&world).0 != Phase::Steady;
            world.now += SignedDuration::from_mins(if hurry { 1 } else { 60 });
            world.spare_key = Some(spare(u8::try_from(step % 20).unwrap() + 1));
            if world
                .observed
                .token_keys
                .as_ref()
                .unwrap()
                .keys
                .iter()
                .any(|key| Some(&key.id) == world.spare_key.as_ref().map(|key| &key.id))
            {
                world.spare_key = Some(spare(22));
            }
            rotations += usize::from(settle(&mut world));
            written.push((generations(&world), keys(&world)));
            let at = |late: usize| &written[written.len().saturating_sub(1 + late)];
            let (router, mailbox) = (at(router_late), at(mailbox_late));
            world.observed.served.insert(servers()[0].clone(), router.0[0]);
            world.observed.served.insert(servers()[1].clone(), mailbox.0[1]);
            signed.push((world.now, router.1[0].id.clone()));
            signed.retain(|(at, _)| world.now.duration_since(*at) <= TOKEN_LIFE);
            for (_, id) in &signed {
                assert!(
                    mailbox.1.iter().any(|key| key.id == *id),
                    "{id} at step {step}, {router_late} {mailbox_late}"
                );
            }
        }
        assert!(rotations >= 4 * 2, "{rotations} in 65 days");
    }
}
