//! Several mailbox servers with one message store, on a real cluster: a claim, and a bucket of a real
//! S3 server.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use umbriel_tests::cluster::Namespace;
use umbriel_tests::operator::{BRIDGE, Operator, Run};
use umbriel_tests::phone::Phone;
use umbriel_tests::s3::{ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY};
use umbriel_tests::volume::Volume;
use umbriel_tests::{Cluster, S3Server, house, image, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
const MAILBOX_PODS: &str = "--selector=app.kubernetes.io/component=mailbox";

/// Whether a file at or below `path` has `text` in it.
fn holds(path: &Path, text: &str) -> bool {
    if path.is_dir() {
        let mut entries = fs::read_dir(path).into_iter().flatten().flatten();
        return entries.any(|entry| holds(&entry.path(), text));
    }
    let bytes = fs::read(path).unwrap_or_default();
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// An office with two mailbox servers that store where `store` says, and the volumes of their own.
fn open_office<'c>(cluster: &'c Cluster, namespace: &Namespace<'_>, store: &str) -> [Volume<'c>; 2] {
    cluster.load(image::archive());
    let own = ["state-mailbox-mailbox-0", "state-mailbox-mailbox-1"]
        .map(|claim| Volume::offer_to(cluster, namespace, claim, "ReadWriteOnce"));
    for (file, yaml) in house::office(BRIDGE, None) {
        let is_service = file == "mailbox-server.yaml";
        let more = if is_service { format!("  replicas: 2\n  store: {store}\n") } else { String::new() };
        namespace.apply(&(yaml + &more));
    }
    own
}

/// Waits until the UMService says something.
fn wait_for_word(namespace: &Namespace<'_>, text: &str) {
    wait_until(&format!("the service says {text:?}"), LIMIT, || {
        namespace.kubectl(&["get", "umsvc/mailbox", "--output=json"]).contains(text).then_some(())
    });
}

/// Waits until everything is served; gives the addresses of the two mailbox servers.
fn servers(namespace: &Namespace<'_>) -> [IpAddr; 2] {
    let _ready = namespace.kubectl(&["wait", "--for=condition=Ready", "umsvc/mailbox", "--timeout=60s"]);
    let _served = namespace.kubectl(&["wait", "--for=condition=Served", "um", "--all", "--timeout=90s"]);
    let path = "--output=jsonpath={.items[*].status.podIP}";
    let addresses = namespace.kubectl(&["get", "pods", MAILBOX_PODS, path]);
    let addresses: Vec<IpAddr> = addresses.split_whitespace().map(|text| text.parse().unwrap()).collect();
    addresses.try_into().unwrap()
}

/// Leaves a message for alice at each of these servers at once; gives the Call-IDs.
fn leave_messages(cluster: &Cluster, servers: &[IpAddr], seed: u64) -> Vec<String> {
    thread::scope(|scope| {
        let calls = servers.iter().zip(seed..).map(|(server, seed)| {
            let server = SocketAddr::new(*server, 5062);
            scope.spawn(move || {
                let mut phone = cluster.within(|| Phone::dial_directly(BRIDGE, server, "101", seed));
                assert_eq!(phone.target(), server);
                phone.speak_through_the_greeting();
                phone.speak(Duration::from_secs(2));
                phone.hang_up();
                phone.call_id.clone()
            })
        });
        let calls: Vec<_> = calls.collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

/// Waits until the messages of these calls are in the store that is shared, as `holds` says, and
/// looks whether they are stored anywhere else.
fn expect_stored(calls: &[String], own: &[Volume<'_>], holds_call: impl Fn(&str) -> bool) {
    for call_id in calls {
        wait_until("the message is in the store", LIMIT, || holds_call(call_id).then_some(()));
        // It is delivered into a Maildir beside the recordings, and stored nowhere else.
        let mut messages = own.iter().map(|volume| volume.folder().join("messages"));
        assert!(messages.all(|folder| !holds(&folder, call_id)), "{call_id}");
    }
}

#[test]
fn a_message_left_at_either_of_two_mailbox_servers_is_in_the_store_that_they_share() {
    let test = "a_message_left_at_either_of_two_mailbox_servers_is_in_the_store_that_they_share";
    let Some(cluster) = Cluster::shared(test) else { return };
    let namespace = cluster.namespace();
    let shared = Volume::offer_to(cluster, &namespace, "messages", "ReadWriteMany");
    let _operator = Operator::start(cluster, &namespace, Run::default());
    let own = open_office(cluster, &namespace, "{claimName: messages}");
    wait_for_word(&namespace, "add the PersistentVolumeClaim messages");
    namespace.apply(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: messages}\nspec:\n  \
         accessModes: [ReadWriteMany]\n  storageClassName: ''\n  resources: {requests: {storage: 1Gi}}\n",
    );
    let calls = leave_messages(cluster, &servers(&namespace), 1);
    expect_stored(&calls, &own, |call_id| holds(shared.folder(), call_id));
}

/// Gives the Secret with the keys of the bucket this key, or none.
fn write_keys(namespace: &Namespace<'_>, secret: Option<&str>) {
    let secret = secret.map_or(String::new(), |secret| format!("\n  AWS_SECRET_ACCESS_KEY: {secret}"));
    namespace.apply(&format!(
        "apiVersion: v1\nkind: Secret\ntype: umbriel.dev/s3\nmetadata: {{name: bucket}}\nstringData:\n  \
         AWS_ACCESS_KEY_ID: {ACCESS_KEY_ID}{secret}\n"
    ));
}

/// Waits until each of these servers says whether it can use its store.
fn wait_until_usable(cluster: &Cluster, servers: &[IpAddr], is_usable: bool) {
    let line = format!("um_store_ready {}", u8::from(is_usable));
    for server in servers {
        wait_until(&format!("{server} says {line}"), LIMIT, || {
            let mut stream = cluster.within(|| TcpStream::connect((*server, 9060)).ok())?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            answer.lines().any(|found| found == line).then_some(())
        });
    }
}

/// The identities of the mailbox pods, and how often they were restarted.
fn lives(namespace: &Namespace<'_>) -> String {
    let each = "--output=jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].restartCount} {end}";
    namespace.kubectl(&["get", "pods", MAILBOX_PODS, each])
}

#[test]
fn two_mailbox_servers_share_a_bucket_whose_keys_change_while_they_run() {
    let test = "two_mailbox_servers_share_a_bucket_whose_keys_change_while_they_run";
    let Some(cluster) = Cluster::shared(test) else { return };
    let namespace = cluster.namespace();
    let Some(mut bucket) = cluster.within(|| S3Server::start_with(test, BRIDGE, None)) else { return };
    let operator = Operator::start(cluster, &namespace, Run::default());
    let store =
        format!("{{s3: {{bucket: {BUCKET}, endpoint: '{}', secretName: bucket}}}}", bucket.endpoint());
    let own = open_office(cluster, &namespace, &store);
    wait_for_word(
        &namespace,
        "UM1010: field spec.store.s3.secretName; value bucket; rule the name of a Secret of type",
    );
    write_keys(&namespace, None);
    wait_for_word(
        &namespace,
        "UM1030: field spec.store.s3.secretName; value bucket; rule a Secret with the name",
    );
    write_keys(&namespace, Some(SECRET_ACCESS_KEY));
    let servers = servers(&namespace);
    let in_bucket =
        |bucket: &S3Server, call_id: &str| bucket.objects("").iter().any(|object| holds(object, call_id));
    let calls = leave_messages(cluster, &servers, 1);
    expect_stored(&calls, &own, |call_id| in_bucket(&bucket, call_id));

    // The bucket wants another key, and hears of it before the servers do.
    let before = lives(&namespace);
    cluster.within(|| bucket.change_key("another-key-of-nobody"));
    let calls = leave_messages(cluster, &servers, 3);
    wait_until_usable(cluster, &servers, false);
    assert!(calls.iter().all(|call_id| !in_bucket(&bucket, call_id)), "they wait");
    write_keys(&namespace, Some("another-key-of-nobody"));
    wait_until_usable(cluster, &servers, true);
    expect_stored(&calls, &own, |call_id| in_bucket(&bucket, call_id));

    // Keys that are gone are told of, and those that were there go on.
    let _gone = namespace.kubectl(&["delete", "secret", "bucket"]);
    wait_for_word(
        &namespace,
        "UM1010: field spec.store.s3.secretName; value bucket; rule the name of a Secret of type",
    );
    let calls = leave_messages(cluster, &servers, 5);
    expect_stored(&calls, &own, |call_id| in_bucket(&bucket, call_id));
    assert_eq!(lives(&namespace), before, "nobody was started anew");
    let written = namespace.kubectl(&["get", "configmaps,secrets,statefulsets,umsvc", "--output=yaml"]);
    for [key, encoded] in [
        [SECRET_ACCESS_KEY, "bm90LWEtc2VjcmV0LW9mLWFueWJvZHk="],
        ["another-key-of-nobody", "YW5vdGhlci1rZXktb2Ytbm9ib2R5"],
    ] {
        assert!(!operator.log().contains(key), "the operator has logged a key");
        assert!(!written.contains(key) && !written.contains(encoded), "a key was copied");
    }
}
