//! Several mailbox servers with one message store, on a real cluster.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use umbriel_tests::operator::{BRIDGE, Operator, Run};
use umbriel_tests::phone::Phone;
use umbriel_tests::volume::Volume;
use umbriel_tests::{Cluster, house, image, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

/// Whether a file below `folder` has `text` in it.
fn holds(folder: &Path, text: &str) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        if path.is_dir() {
            return holds(&path, text);
        }
        let bytes = fs::read(&path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn a_message_left_at_either_of_two_mailbox_servers_is_in_the_store_that_they_share() {
    let test = "a_message_left_at_either_of_two_mailbox_servers_is_in_the_store_that_they_share";
    let Some(cluster) = Cluster::shared(test) else { return };
    cluster.load(image::archive());
    let namespace = cluster.namespace();
    let offer = |claim: &str, mode: &str| Volume::offer_to(cluster, &namespace, claim, mode);
    let own =
        ["state-mailbox-mailbox-0", "state-mailbox-mailbox-1"].map(|claim| offer(claim, "ReadWriteOnce"));
    let shared = offer("messages", "ReadWriteMany");
    let _operator = Operator::start(cluster, &namespace, Run::default());
    for (file, yaml) in house::office(BRIDGE, None) {
        let more = if file == "mailbox-server.yaml" {
            "  replicas: 2\n  store: {claimName: messages}\n"
        } else {
            ""
        };
        namespace.apply(&(yaml + more));
    }
    wait_until("the service says that the claim is missing", LIMIT, || {
        let said = namespace.kubectl(&["get", "umsvc/mailbox", "--output=json"]);
        said.contains("add the PersistentVolumeClaim messages").then_some(())
    });
    namespace.apply(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: messages}\nspec:\n  \
         accessModes: [ReadWriteMany]\n  storageClassName: ''\n  resources: {requests: {storage: 1Gi}}\n",
    );
    let _ready = namespace.kubectl(&["wait", "--for=condition=Ready", "umsvc/mailbox", "--timeout=60s"]);
    let _served = namespace.kubectl(&["wait", "--for=condition=Served", "um", "--all", "--timeout=90s"]);

    let selector = "--selector=app.kubernetes.io/component=mailbox";
    let servers = namespace.kubectl(&["get", "pods", selector, "--output=jsonpath={.items[*].status.podIP}"]);
    let servers: Vec<SocketAddr> =
        servers.split_whitespace().map(|address| SocketAddr::new(address.parse().unwrap(), 5062)).collect();
    assert_eq!(servers.len(), 2);
    let calls: Vec<String> = thread::scope(|scope| {
        let calls = servers.iter().zip(1..).map(|(server, seed)| {
            scope.spawn(move || {
                let mut phone = cluster.within(|| Phone::dial_directly(BRIDGE, *server, "101", seed));
                assert_eq!(phone.target().ip(), server.ip());
                phone.speak_through_the_greeting();
                phone.speak(Duration::from_secs(2));
                phone.hang_up();
                phone.call_id.clone()
            })
        });
        let calls: Vec<_> = calls.collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    for call_id in &calls {
        wait_until("the message is in the store", LIMIT, || holds(shared.folder(), call_id).then_some(()));
        // It is delivered into a Maildir beside the recordings, and stored nowhere else.
        let messages = own.iter().map(|volume| volume.folder().join("messages"));
        assert!(messages.into_iter().all(|folder| !holds(&folder, call_id)), "{call_id}");
    }
}
