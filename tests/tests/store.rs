//! Messages in a bucket of a real S3 server: they arrive, once, whatever happens to the server.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use config::{
    Delivery, Directory, Listeners, MailboxConfig, Owner, S3, S3Keys, SCHEMA_VERSION, ServerIdentity, Store,
};
use mailbox::{Codec, Deliverer, EndedBy, MessageId, RecordingFacts, SpoolCommand, SpoolHandle};
use umbriel_tests::phone::Phone;
use umbriel_tests::s3::{ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY};
use umbriel_tests::{House, S3Server, Site as _, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

fn s3(server: &S3Server) -> S3 {
    S3 {
        bucket: BUCKET.into(),
        endpoint: Some(server.endpoint()),
        region: "us-east-1".into(),
        keys: S3Keys {
            access_key_id: ACCESS_KEY_ID.into(),
            secret_access_key: SECRET_ACCESS_KEY.into(),
            authorities: None,
        },
    }
}

fn deliverer(state: &Path, store: S3) -> Deliverer {
    let owner = Owner {
        display_name: None,
        primary_smtp_address: "alice@contoso.example".into(),
        mailbox_policy: "staff".into(),
        refuses_anonymous_callers: false,
    };
    let config = Arc::new(MailboxConfig {
        schema_version: SCHEMA_VERSION,
        generation: 1,
        server: ServerIdentity {
            name: "mailbox".into(),
            status: config::ServerStatus::Enabled,
            startup_mode: config::StartupMode::TCP,
            listeners: Listeners { udp: None, tcp: None, tls: None },
            certificate: None,
        },
        first_media_port: None,
        max_calls_allowed: 100,
        token_keys: Vec::new(),
        directory: Directory::default(),
        calls: [].into(),
        policies: [].into(),
        owners: [("alice".to_owned(), owner)].into(),
        delivery: Delivery { smtp: None },
        store: Store::S3(store),
    });
    Deliverer::start(state, Arc::new(move || Arc::clone(&config)), IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap()
}

/// Records a second of one sound.
fn record(spool: &SpoolHandle, number: u8, sound: u8) {
    let id = MessageId::new(1_790_000_000_000, [0, 0, 0, 0, 0, 0, 0, 0, 0, number]);
    let facts = RecordingFacts {
        id,
        mailbox: "alice".into(),
        caller: Some("102".into()),
        caller_name: None,
        caller_address: None,
        called: "101".into(),
        diverted: None,
        call_id: format!("{id}@pc33.example.com"),
        gateway: "pbx".into(),
        codec: Codec::Pcmu,
        started_unix_ms: 1_790_000_000_000,
    };
    spool.try_send(SpoolCommand::Begin(facts)).unwrap();
    for packet in 0..50 {
        let payload = vec![sound; 160].into();
        spool.try_send(SpoolCommand::Append { id, at_ticks: packet * 160, payload }).unwrap();
    }
    spool.try_send(SpoolCommand::Finish { id, ended_by: EndedBy::Hangup }).unwrap();
}

fn mails(state: &Path) -> usize {
    fs::read_dir(state.join("mail/alice/new")).map_or(0, Iterator::count)
}

fn wait_for_trouble(deliverer: &Deliverer, part: &str) -> String {
    wait_until(part, LIMIT, || deliverer.status().store_trouble.filter(|trouble| trouble.contains(part)))
}

#[test]
fn a_recorded_message_lies_in_the_bucket_and_the_first_of_two_is_kept() {
    let Some(server) = S3Server::start("a_recorded_message_lies_in_the_bucket") else { return };
    let states = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let first = deliverer(states[0].path(), s3(&server));
    record(&first.spool(), 1, 0x10);
    wait_until("it is delivered", LIMIT, || (first.status().delivered == 1).then_some(()));
    assert_eq!(mails(states[0].path()), 1);
    assert_eq!(server.objects("/facts.json").len(), 1);
    assert_eq!(server.objects("/events/delivered.json").len(), 1);
    let audio = fs::read(&server.objects("/audio.wav")[0]).unwrap();
    assert!(audio.ends_with(&[0x10; 8000]));
    assert!(!states[0].path().join("store/alice").exists(), "nothing lies in the server's own store");

    // Another server that holds the same message finds it delivered, and writes nothing over it.
    let second = deliverer(states[1].path(), s3(&server));
    record(&second.spool(), 1, 0x20);
    record(&second.spool(), 2, 0x30);
    wait_until("the other is delivered", LIMIT, || (second.status().delivered == 1).then_some(()));
    wait_until("nothing waits", LIMIT, || (second.status().outbox_len == 0).then_some(()));
    assert_eq!(mails(states[1].path()), 1);
    let audio: Vec<_> = server.objects("/audio.wav").iter().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(audio.len(), 2);
    assert!(audio[0].ends_with(&[0x10; 8000]) && audio[1].ends_with(&[0x30; 8000]));
    assert_eq!((first.status().store_trouble, second.status().store_trouble), (None, None));
}

#[test]
fn a_store_that_ends_and_comes_back_in_the_middle_loses_nothing() {
    let Some(mut server) = S3Server::start("a_store_that_ends_and_comes_back") else { return };
    let state = tempfile::tempdir().unwrap();
    let deliverer = deliverer(state.path(), s3(&server));
    // It ends while messages are on their way: which of them got through is chance.
    for number in 0..20 {
        record(&deliverer.spool(), number, number);
    }
    wait_until("some are stored", LIMIT, || (!server.objects("/audio.wav").is_empty()).then_some(()));
    server.stop();
    let before = server.objects("/audio.wav").len();
    for number in 20..30 {
        record(&deliverer.spool(), number, number);
    }
    let trouble = wait_for_trouble(&deliverer, "Connection refused");
    assert_eq!(
        trouble,
        "the message store s3://messages cannot be reached: Connection refused (os error 111)"
    );
    assert_eq!(deliverer.spool().health(), mailbox::SpoolHealth::Ready, "calls are taken meanwhile");
    assert!(deliverer.status().outbox_len >= 10);
    server.start_again();
    wait_until("all are delivered", LIMIT, || (deliverer.status().outbox_len == 0).then_some(()));
    let status = deliverer.status();
    assert_eq!((status.delivered, status.store_trouble), (30, None));
    assert!(status.store_failures > 0 && before < 30);
    assert_eq!(mails(state.path()), 30);
    for (number, path) in (0_u8..).zip(server.objects("/audio.wav")) {
        assert!(fs::read(path).unwrap().ends_with(&[number; 8000]), "message {number} is whole");
    }
    assert_eq!(server.objects("/events/delivered.json").len(), 30);
}

#[test]
fn wrong_keys_and_a_missing_bucket_are_named_and_no_message_is_lost() {
    let Some(server) = S3Server::start("wrong_keys_and_a_missing_bucket") else { return };
    let mut wrong = s3(&server);
    wrong.keys.secret_access_key = "another".into();
    let state = tempfile::tempdir().unwrap();
    let refused = deliverer(state.path(), wrong);
    record(&refused.spool(), 1, 0x10);
    let trouble = wait_for_trouble(&refused, "refuses");
    assert_eq!(
        trouble,
        "the message store s3://messages refuses the access key (SignatureDoesNotMatch): check the key and what \
         it may do in the bucket"
    );
    refused.stop();
    drop(refused);
    let missing = deliverer(state.path(), S3 { bucket: "messagse".into(), ..s3(&server) });
    let trouble = wait_for_trouble(&missing, "NoSuchBucket");
    assert_eq!(
        trouble,
        "the message store s3://messagse does not exist (NoSuchBucket): make the bucket, or correct its name"
    );
    assert_eq!((missing.status().outbox_len, mails(state.path())), (1, 0));
    missing.stop();
    drop(missing);
    let right = deliverer(state.path(), s3(&server));
    wait_until("it is delivered", LIMIT, || (right.status().delivered == 1).then_some(()));
}

#[test]
fn a_server_behind_tls_is_trusted_by_the_authority_that_the_keys_bring() {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let (chain, key) = runtime::tls::self_signed("s3", address).unwrap();
    let Some(server) = S3Server::start_with("a_server_behind_tls", address, Some((&chain, &key))) else {
        return;
    };
    let state = tempfile::tempdir().unwrap();
    let mut store = s3(&server);
    store.keys.authorities = Some(chain);
    let deliverer = deliverer(state.path(), store);
    record(&deliverer.spool(), 1, 0x10);
    wait_until("it is delivered", LIMIT, || (deliverer.status().delivered == 1).then_some(()));
    assert_eq!(server.objects("/audio.wav").len(), 1);
}

/// The mailbox server of a house with a bucket, and the Secret with its keys.
fn bucket_of(server: &S3Server, secret: &str) -> (String, String) {
    let service = format!(
        "apiVersion: umbriel.dev/v1alpha1\nkind: UMService\nmetadata:\n  name: mailbox\nspec:\n  store:\n    s3:\n      \
         bucket: {BUCKET}\n      endpoint: {}\n      secretName: bucket\n",
        server.endpoint()
    );
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: bucket\nstringData:\n  AWS_ACCESS_KEY_ID: {ACCESS_KEY_ID}\n  \
         AWS_SECRET_ACCESS_KEY: {secret}\n"
    );
    (service, secret)
}

#[test]
fn a_standalone_server_stores_in_a_bucket_once_its_keys_are_right() {
    let Some(server) = S3Server::start("a_standalone_server_stores_in_a_bucket") else { return };
    let (service, secret) = bucket_of(&server, "a-key-of-yesterday");
    let house = House::builder().file("mailbox-server.yaml", &service).file("bucket.yaml", &secret).start();
    let readyz = || house.get("/readyz");
    let trouble = "UM1209 StoreUnavailable: the message store s3://messages refuses the access key";
    wait_until("the keys are refused", LIMIT, || readyz()?.1.contains(trouble).then_some(()));
    assert_eq!(readyz().unwrap().0, 200, "calls are taken all the same");
    let mut phone = Phone::call(&house, "101", 1);
    phone.speak_through_the_greeting();
    phone.speak(Duration::from_secs(1));
    phone.hang_up();
    house.write("bucket.yaml", &bucket_of(&server, SECRET_ACCESS_KEY).1);
    assert_eq!(house.wait_for_mails(1).len(), 1);
    assert_eq!(server.objects("/audio.wav").len(), 1);
    assert!(!house.state().join("messages/alice").exists(), "nothing lies beside the bucket");
    wait_until("nothing is remarked on", LIMIT, || (!readyz()?.1.contains("UM1209")).then_some(()));
    for key in ["a-key-of-yesterday", SECRET_ACCESS_KEY] {
        assert!(!house.logged().contains(key), "a key is in the log");
    }
}
