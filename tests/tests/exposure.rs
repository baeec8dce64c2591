//! Callers outside of the cluster: they have a route to nodes and load balancers, not to pods, and
//! leave messages by whatever the servers' `exposure` says that they are reached at.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use umbriel_tests::exposed::{Exposed, NODE_ADDRESS, NODES, Reached};
use umbriel_tests::office::{OFFICE, Office};
use umbriel_tests::operator::BRIDGE;
use umbriel_tests::phone::Transport;
use umbriel_tests::wire::{Invite, Wire};
use umbriel_tests::{Cluster, wait_until};

#[test]
fn an_office_has_a_route_to_nodes_and_none_to_pods_and_services() {
    let Some(cluster) = Cluster::shared("an_office_has_a_route_to_nodes_and_none_to_pods_and_services")
    else {
        return;
    };
    let connect = |address: &str| {
        let address: SocketAddr = address.parse().expect("an address");
        let connect = move || TcpStream::connect_timeout(&address, Duration::from_secs(5));
        Office::beside(cluster).within(connect).map(|_| ()).map_err(|error| error.kind())
    };
    // The kubelets of both nodes, a pod, and the Service before the API server.
    assert_eq!(connect("198.51.100.1:10251"), Ok(()));
    assert_eq!(connect("198.51.100.2:10252"), Ok(()));
    assert_eq!(connect("10.244.0.2:5060"), Err(ErrorKind::NetworkUnreachable));
    assert_eq!(connect("10.96.0.1:443"), Err(ErrorKind::NetworkUnreachable));
}

#[test]
fn callers_who_reach_pods_leave_messages_at_their_addresses() {
    let test = "callers_who_reach_pods_leave_messages_at_their_addresses";
    let Some(site) = Exposed::start(test, "Pod", BRIDGE, 9_101) else { return };
    site.wait_until_ready();
    let (router, mailbox) = (site.pod_address("router"), site.pod_address("mailbox"));
    site.leave_messages(BRIDGE, Reached::at(&router.to_string(), &mailbox.to_string()).by_both());
    assert_eq!(site.get("service/mailbox-mailbox-0"), None, "no Service is needed");
}

#[test]
fn callers_in_an_office_leave_messages_behind_load_balancers_once_those_have_addresses() {
    let test = "callers_in_an_office_leave_messages_behind_load_balancers_once_those_have_addresses";
    let Some(site) = Exposed::start(test, "LoadBalancer", OFFICE, 9_102) else { return };
    for (object, server) in [("umsvc/mailbox", "mailbox-mailbox-0"), ("umcr/router", "router-router")] {
        let message = wait_until("it says what it waits for", Duration::from_secs(60), || {
            let [status, reason, message] = site.ready(object)?;
            (status == "False" && reason == "AddressAwaited" && message.contains("load balancer"))
                .then_some(message)
        });
        assert!(message.contains(&format!("{server} waits for a load balancer")), "{message}");
    }
    // Nothing happens by itself: the pod runs, and is not ready.
    let pod = site.get("pod/mailbox-mailbox-0").expect("the pod");
    let conditions = pod["status"]["conditions"].as_array().expect("conditions");
    assert!(
        conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "False"),
        "{conditions:?}"
    );

    site.balance("router-router", "203.0.113.20");
    site.balance("mailbox-mailbox-0", "203.0.113.21");
    site.wait_until_ready();
    site.leave_messages(OFFICE, Reached::at("203.0.113.20", "203.0.113.21").by_both());

    // Another mode needs no Service for each pod, and the one that was made goes.
    let patch = r#"--patch={"spec":{"exposure":"Pod"}}"#;
    let _patched = site.namespace.kubectl(&["patch", "umsvc/mailbox", "umcr/router", "--type=merge", patch]);
    wait_until("the Service is gone", Duration::from_secs(30), || {
        site.get("service/mailbox-mailbox-0").is_none().then_some(())
    });
    assert!(site.get("service/mailbox-mailbox").is_some(), "the Service that names pods stays");
    wait_until("no load balancer is asked for any more", Duration::from_secs(30), || {
        (site.get("service/router-router")?["spec"]["type"] == "ClusterIP").then_some(())
    });
    site.wait_until_ready();
}

#[test]
fn callers_in_an_office_leave_messages_at_node_ports_and_a_translated_one_is_told() {
    let test = "callers_in_an_office_leave_messages_at_node_ports_and_a_translated_one_is_told";
    let Some(site) = Exposed::start(test, "NodePort", OFFICE, 9_103) else { return };
    site.wait_until_ready();
    let at = |service: &str, name: &str| -> SocketAddr {
        SocketAddr::new(NODE_ADDRESS.parse().expect("an address"), site.node_port(service, name))
    };
    let media = [at("mailbox-mailbox-0", "rtp-0"), at("mailbox-mailbox-0", "rtp-1")];
    let reached = |name: &str| Reached {
        router: at("router-router", name),
        mailbox: at("mailbox-mailbox-0", name),
        media,
    };
    site.leave_messages(OFFICE, [(Transport::Udp, reached("sip-udp")), (Transport::Tcp, reached("sip-tcp"))]);

    // A Service as people make it: its policy puts the bridge's address in the place of the caller's.
    let selector = "app.kubernetes.io/component: router";
    site.namespace.apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: translating}}\nspec:\n  type: NodePort\n  \
         selector: {{{selector}}}\n  ports: [{{name: sip, port: 5060, protocol: UDP}}]\n"
    ));
    let translating = at("translating", "sip");
    let answer = wait_until("the Service leads to routers", Duration::from_secs(20), || {
        site.ask(OFFICE, translating, "101", "translated")
    });
    assert!(answer.starts_with("SIP/2.0 403 "), "{answer}");
    let said = "UM1125 TranslatedPeer: 10.244.0.1 belongs to the cluster itself";
    assert!(answer.contains(said), "{answer}");
}

#[test]
fn callers_in_an_office_leave_messages_at_ports_of_hosts() {
    let test = "callers_in_an_office_leave_messages_at_ports_of_hosts";
    let Some(site) = Exposed::start(test, "Host", OFFICE, 9_104) else { return };
    for object in ["umsvc/mailbox", "umcr/router"] {
        wait_until("it says what keeps pods from being made", Duration::from_secs(60), || {
            let [status, reason, message] = site.ready(object)?;
            let said = message.contains("let Pod Security allow host ports");
            (status == "False" && reason == "AddressAwaited" && said).then_some(())
        });
    }
    assert_eq!(site.namespace.kubectl(&["get", "pods", "--output=name"]), "");
    let privileged = "pod-security.kubernetes.io/enforce=privileged";
    let label = ["label", "--overwrite", "namespace", &site.namespace.name, privileged];
    let _labelled = site.cluster.kubectl(&label);
    site.wait_until_ready();
    let pod = site.get("pod/mailbox-mailbox-0").expect("the pod");
    let mailbox = pod["status"]["hostIP"].as_str().expect("the address of its node");
    site.leave_messages(OFFICE, Reached::at(NODE_ADDRESS, mailbox).by_both());
    let (asked, longest) = calls_while_routers_are_replaced(&site);
    eprintln!("{asked} calls were redirected while routers were replaced, the slowest after {longest:?}");
    assert!(asked > 20, "{asked} calls");
}

/// A node has a port once, so a router goes before the next one comes; the other one redirects every call.
/// Gives how many there were meanwhile, and the longest time that one took.
fn calls_while_routers_are_replaced(site: &Exposed<'_>) -> (usize, Duration) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let (mut asked, mut longest) = (0, Duration::ZERO);
            while !over.load(Ordering::SeqCst) {
                let router = SocketAddr::new(NODES[asked % 2].parse().expect("an address"), 5060);
                let call_id = format!("replaced-{asked}");
                let begun = Instant::now();
                let answer = site.from(OFFICE, || Wire::new(OFFICE, router)).insist(&Invite {
                    called: "101",
                    diverting: None,
                    call_id: &call_id,
                });
                assert!(answer.starts_with("SIP/2.0 302 "), "{answer}");
                (asked, longest) = (asked + 1, longest.max(begun.elapsed()));
                thread::sleep(Duration::from_millis(50));
            }
            (asked, longest)
        });
        let uids = || {
            let routers = ["get", "pods", "--selector=app.kubernetes.io/component=router"];
            let uids = [&routers[..], &["--output=jsonpath={.items[*].metadata.uid}"]].concat();
            site.namespace.kubectl(&uids).split(' ').map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let before = uids();
        let _restarted = site.namespace.kubectl(&["rollout", "restart", "deployment/router-router"]);
        let replaced = ["rollout", "status", "deployment/router-router", "--timeout=90s"];
        let _replaced = site.namespace.kubectl(&replaced);
        wait_until("the routers that were before are gone", Duration::from_secs(60), || {
            let now = uids();
            (now.len() == 2 && now.is_disjoint(&before)).then_some(())
        });
        over.store(true, Ordering::SeqCst);
        asked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
