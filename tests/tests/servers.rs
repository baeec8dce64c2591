//! Several mailbox servers on a real cluster: each call goes to the one that hosts its mailbox, and
//! when one goes, the others take over.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use umbriel_tests::cluster::Namespace;
use umbriel_tests::operator::{Operator, Run};
use umbriel_tests::phone::{Phone, Transport};
use umbriel_tests::{Cluster, house, image, wait_until};

/// Where pods and callers meet: the address of the nodes' bridge.
const BRIDGE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 1));

/// Mailbox servers of the test.
const SERVERS: usize = 2;

/// Offers a volume to each pod of the mailbox service.
fn offer_volumes(cluster: &Cluster, namespace: &Namespace<'_>, folder: &std::path::Path) {
    for number in 0..SERVERS {
        let path = folder.join(number.to_string());
        std::fs::create_dir(&path).unwrap();
        // A volume of this kind is not given to a pod's group.
        std::os::unix::fs::chown(&path, Some(65_532), Some(65_532)).unwrap();
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": { "name": format!("{}-{number}", namespace.name) },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": { "storage": "10Gi" },
                "hostPath": { "path": path },
                "claimRef": { "namespace": namespace.name, "name": format!("state-mailbox-mailbox-{number}") },
            },
        });
        let file = folder.join(format!("{number}.json"));
        std::fs::write(&file, volume.to_string()).unwrap();
        let _applied = cluster.kubectl(&["apply", "--filename", file.to_str().unwrap()]);
    }
}

/// Mailboxes beside those of the office: among so many there are some of two hosts.
const MAILBOXES: u16 = 12;

/// The extension of the first of them.
const FIRST_EXTENSION: u16 = 200;

/// The objects of the office, with two mailbox servers and more mailboxes.
fn apply_office(namespace: &Namespace<'_>) {
    let files = house::office(BRIDGE, None).into_iter().map(|(name, yaml)| match name {
        "mailbox-server.yaml" => yaml + &format!("  replicas: {SERVERS}\n"),
        _ => yaml,
    });
    let mailboxes = (FIRST_EXTENSION..FIRST_EXTENSION + MAILBOXES).map(|extension| {
        format!(
            "apiVersion: umbriel.dev/v1alpha1\nkind: UMMailbox\nmetadata: {{name: user-{extension}}}\nspec:\n  \
             umMailboxPolicy: staff\n  extensions: [\"{extension}\"]\n  primarySmtpAddress: a@contoso.example\n"
        )
    });
    namespace.apply(&files.chain(mailboxes).collect::<Vec<_>>().join("---\n"));
}

/// Two extensions whose calls meet two hosts, and those.
fn two_hosts(cluster: &Cluster, router: SocketAddr) -> [(u16, SocketAddr); 2] {
    let first = (FIRST_EXTENSION, call(cluster, router, FIRST_EXTENSION));
    let mut others = (FIRST_EXTENSION + 1..FIRST_EXTENSION + MAILBOXES)
        .map(|extension| (extension, call(cluster, router, extension)));
    [first, others.find(|(_, host)| *host != first.1).expect("a mailbox of another host")]
}

/// A port of the pods that are ready, by their labels.
fn addresses(namespace: &Namespace<'_>, component: &str, port: u16) -> Vec<SocketAddr> {
    let selector = format!("--selector=app.kubernetes.io/component={component}");
    let pods: Value =
        serde_json::from_str(&namespace.kubectl(&["get", "pods", &selector, "-o", "json"])).unwrap();
    let ready = |pod: &&Value| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
        ready.any(|condition| condition["status"] == "True") && pod["metadata"]["deletionTimestamp"].is_null()
    };
    let pods = pods["items"].as_array().unwrap().iter().filter(ready);
    pods.map(|pod| SocketAddr::new(pod["status"]["podIP"].as_str().unwrap().parse().unwrap(), port)).collect()
}

/// Calls an extension, and gives the mailbox server that answered.
fn call(cluster: &Cluster, router: SocketAddr, extension: u16) -> SocketAddr {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let seed = CALLS.fetch_add(1, Ordering::Relaxed);
    cluster.within(|| {
        let mut phone = Phone::dial(BRIDGE, router, Transport::Udp, &extension.to_string(), seed);
        phone.hang_up();
        phone.target()
    })
}

fn wait_until_served(namespace: &Namespace<'_>) {
    let served = ["wait", "--for=condition=Served", "um", "--all", "--timeout=90s"];
    let output = namespace.command(&served).output().unwrap();
    assert!(output.status.success(), "{}", namespace.kubectl(&["get", "um,pods", "-o", "wide"]));
}

#[test]
fn each_call_goes_to_the_host_of_its_mailbox_and_to_another_one_when_that_is_gone() {
    let test = "each_call_goes_to_the_host_of_its_mailbox_and_to_another_one_when_that_is_gone";
    let Some(cluster) = Cluster::shared(test) else { return };
    cluster.load(image::archive());
    let namespace = cluster.namespace();
    let volumes = tempfile::Builder::new().prefix("umbriel-volumes-").tempdir().unwrap();
    offer_volumes(cluster, &namespace, volumes.path());
    let operator = Operator::start(cluster, &namespace, Run::default());
    apply_office(&namespace);
    wait_until(&format!("{SERVERS} mailbox servers are ready"), Duration::from_secs(60), || {
        (addresses(&namespace, "mailbox", 5062).len() == SERVERS).then_some(())
    });
    wait_until_served(&namespace);
    let router = addresses(&namespace, "router", 5060)[0];
    let servers: BTreeSet<SocketAddr> = addresses(&namespace, "mailbox", 5062).into_iter().collect();

    // Every call for one mailbox meets the same host.
    let [(one, host), (other, other_host)] = two_hosts(cluster, router);
    assert_eq!(servers, BTreeSet::from([host, other_host]));
    assert_eq!([call(cluster, router, one), call(cluster, router, other)], [host, other_host]);

    let of_host = format!("--field-selector=status.podIP={}", host.ip());
    let _deleted = namespace.kubectl(&["delete", "pod", "--wait=false", &of_host]);
    // `call` holds each of these calls to be answered, by whichever of them.
    wait_until("its calls meet the other one", Duration::from_secs(20), || {
        (call(cluster, router, one) == other_host).then_some(())
    });
    assert_eq!(call(cluster, router, other), other_host, "what that one hosts stays");
    wait_until("there are two again", Duration::from_secs(60), || {
        let known = addresses(&namespace, "mailbox", 5062).len() == SERVERS;
        (known && call(cluster, router, one) != call(cluster, router, other)).then_some(())
    });
    drop(operator);
}
