//! Callers outside of the cluster: they have a route to nodes and load balancers, not to pods, and
//! leave messages by whatever the servers' `exposure` says that they are reached at.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use umbriel_tests::cluster::Namespace;
use umbriel_tests::house::office;
use umbriel_tests::mail::{AIOSMTPD, Mail, MailServer};
use umbriel_tests::office::{OFFICE, Office};
use umbriel_tests::operator::{Audit, BRIDGE, Operator, Run};
use umbriel_tests::phone::{Phone, Transport};
use umbriel_tests::volume::Volume;
use umbriel_tests::wire::{Invite, Wire};
use umbriel_tests::{Cluster, audio, has, image, wait_until};

/// The only node whose Services the cluster's one proxy counts as local.
const NODE: &str = "node1";
/// Its address.
const NODE_ADDRESS: &str = "198.51.100.1";

/// Where callers by one transport are to find the servers.
#[derive(Clone, Copy, Debug)]
struct Reached {
    router: SocketAddr,
    mailbox: SocketAddr,
    media: [SocketAddr; 2],
}

impl Reached {
    /// Router and mailbox server at these addresses, with the ports that they listen on.
    fn at(router: &str, mailbox: &str) -> Reached {
        let at = |address: &str, port| SocketAddr::new(address.parse().expect("an address"), port);
        let media = [at(mailbox, 5070), at(mailbox, 5071)];
        Reached { router: at(router, 5060), mailbox: at(mailbox, 5062), media }
    }

    fn by_both(self) -> [(Transport, Reached); 2] {
        [(Transport::Udp, self), (Transport::Tcp, self)]
    }
}

/// A namespace with an operator of its own, whose servers have one `exposure`.
struct Exposed<'c> {
    cluster: &'c Cluster,
    namespace: Namespace<'c>,
    operator: Operator<'c>,
    mail: MailServer,
    _inbox: TempDir,
    _volume: Volume<'c>,
}

impl Exposed<'_> {
    /// Applies the objects of the quickstart's office, whose gateway calls from `gateway`.
    fn start(
        test: &str,
        exposure: &'static str,
        gateway: IpAddr,
        smtp_port: u16,
    ) -> Option<Exposed<'static>> {
        let cluster = Cluster::shared(test)?;
        if !has(AIOSMTPD, test) {
            return None;
        }
        static LOADED: OnceLock<()> = OnceLock::new();
        LOADED.get_or_init(|| cluster.load(image::archive()));
        let namespace = cluster.namespace();
        let name = &namespace.name;
        let node = format!("scheduler.alpha.kubernetes.io/node-selector=kubernetes.io/hostname={NODE}");
        // Two pods cannot share the ports of one node.
        if exposure != "Host" {
            let _annotated = cluster.kubectl(&["annotate", "namespace", name, &node]);
        }
        let restricted = "pod-security.kubernetes.io/enforce=restricted";
        let _labelled = cluster.kubectl(&["label", "namespace", name, restricted]);
        let inbox = tempfile::Builder::new().prefix("umbriel-inbox-").tempdir().expect("a folder");
        let smtp = SocketAddr::new(BRIDGE, smtp_port);
        let volume = Volume::offer(cluster, &namespace);
        let mail = cluster.within(|| MailServer::start(smtp, &inbox.path().join("mail")));
        let operator = Operator::start(cluster, &namespace, Run::default());
        for (file, yaml) in office(gateway, Some(smtp)) {
            let exposed = ["router.yaml", "mailbox-server.yaml"].contains(&file);
            let exposure = if exposed { format!("  exposure: {exposure}\n") } else { String::new() };
            namespace.apply(&(yaml + &exposure));
        }
        Some(Exposed { cluster, namespace, operator, mail, _inbox: inbox, _volume: volume })
    }

    fn get(&self, object: &str) -> Option<Value> {
        let output = self.namespace.command(&["get", object, "--output=json"]).output().expect("kubectl");
        serde_json::from_slice(&output.stdout).ok()
    }

    /// The condition `Ready` of an object: its status, reason and message.
    fn ready(&self, object: &str) -> Option<[String; 3]> {
        let object = self.get(object)?;
        let mut conditions = object["status"]["conditions"].as_array()?.iter();
        let ready = conditions.find(|condition| condition["type"] == "Ready")?.clone();
        Some(["status", "reason", "message"].map(|field| ready[field].as_str().unwrap_or_default().into()))
    }

    /// Waits until the servers run, and know where they are.
    fn wait_until_ready(&self) {
        self.wait("--for=condition=Ready", "um");
        self.wait("--for=condition=Ready", "pods");
    }

    fn wait(&self, condition: &str, objects: &str) {
        let wait = ["wait", condition, objects, "--all", "--timeout=90s"];
        let waited = self.namespace.command(&wait).output().expect("kubectl");
        let seen = || self.namespace.kubectl(&["get", "um,pods,services", "--output=yaml"]);
        assert!(waited.status.success(), "{} in vain: {}", wait.join(" "), seen());
    }

    /// Waits until every router knows that the mailbox server takes calls.
    fn wait_until_called(&self, from: IpAddr, router: SocketAddr) {
        let mut asked = 0;
        wait_until("a router redirects calls", Duration::from_secs(60), || {
            asked += 1;
            let answer = self.ask(from, router, &format!("asked-{asked}"))?;
            answer.starts_with("SIP/2.0 302 ").then_some(())
        });
        // One of them knows it, so it was written, and now it is told who knows it.
        self.wait("--for=condition=Served", "um");
    }

    /// What is answered to an INVITE over UDP. Its answer comes back to the port that the server saw,
    /// which need not be the caller's (RFC 3581).
    fn ask(&self, from: IpAddr, router: SocketAddr, call_id: &str) -> Option<String> {
        let invite = Invite { called: "101", diverting: None, call_id };
        let wire = self.from(from, || Wire::new(from, router));
        wire.send(wire.text(&invite).replace(";branch=", ";rport;branch=").as_bytes());
        wire.receive()
    }

    /// Does something in the network that has this address.
    fn from<T: Send>(&self, address: IpAddr, act: impl FnOnce() -> T + Send) -> T {
        if address == OFFICE { Office::beside(self.cluster).within(act) } else { self.cluster.within(act) }
    }

    /// The node ports of a Service by their names.
    fn node_port(&self, service: &str, name: &str) -> u16 {
        let service = self.get(&format!("service/{service}")).expect("the Service");
        let ports = service["spec"]["ports"].as_array().expect("ports");
        let port = ports.iter().find(|port| port["name"] == name).expect("a port of this name");
        port["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a node port")
    }

    fn pod_address(&self, component: &str) -> IpAddr {
        let selector = format!("--selector=app.kubernetes.io/component={component}");
        let path = "--output=jsonpath={.items[0].status.podIP}";
        self.namespace.kubectl(&["get", "pods", &selector, path]).parse().expect("an address")
    }

    /// Does what the controller of a load balancer does: writes an address into the status of a
    /// Service, and sees to it that the node gets what is sent there.
    fn balance(&self, service: &str, address: &str) {
        let status = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": address }] } } });
        let patch = format!("--patch={status}");
        let args = ["patch", "service", service, "--subresource=status", "--type=merge", &patch];
        let _patched = self.namespace.kubectl(&args);
        let address = format!("{address}/32");
        let added =
            self.cluster.command("ip").args(["address", "replace", &address, "dev", "outside"]).status();
        assert!(added.expect("ip").success(), "the address is given to the node");
    }

    /// One caller for each transport leaves a message at once. `reached` says for each where the
    /// router is, and where the mailbox server must say that it is, for SIP and for media.
    fn leave_messages(&self, from: IpAddr, reached: [(Transport, Reached); 2]) {
        self.wait_until_called(from, reached[0].1.router);
        let written = self.writes_of_workloads();
        assert_ne!(written, 0, "the audit log has what was made");
        let calls: Vec<Phone> = thread::scope(|scope| {
            let calls = reached.map(|(transport, reached)| {
                scope.spawn(move || {
                    let seed = u64::from(reached.router.port()) * 2 + u64::from(transport == Transport::Udp);
                    let dial = || Phone::dial(from, reached.router, transport, "101", seed);
                    let mut phone = self.from(from, dial);
                    assert_eq!(phone.target(), reached.mailbox, "{transport:?}");
                    assert!(reached.media.contains(&phone.far_media()), "{:?}", phone.far_media());
                    // It ends when media from exactly that address has been heard.
                    phone.speak_through_the_greeting();
                    phone.speak(Duration::from_secs(3));
                    phone.hang_up();
                    phone
                })
            });
            calls.map(|call| call.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).into()
        });
        let mails: Vec<Mail> = wait_until("both messages arrive", Duration::from_secs(30), || {
            let mails = self.mail.mails();
            (mails.len() >= 2).then_some(mails)
        });
        assert_eq!(mails.len(), 2, "one message for each call");
        for phone in calls {
            let mail =
                mails.iter().find(|mail| mail.call_id == phone.call_id).expect("a message of each caller");
            assert!(mail.audio.data.len() >= 8000 * 5 / 2, "{} samples", mail.audio.data.len());
            assert!(audio::find(phone.said(), &mail.audio.data).is_some(), "the recording is what was said");
        }
        assert_eq!(self.writes_of_workloads(), written, "what Kubernetes adds to a Service is left alone");
    }

    /// How often the operator wrote or removed a Service or what runs the servers.
    fn writes_of_workloads(&self) -> usize {
        let mut writes = Audit::of(self.cluster).writes(&self.operator.user);
        writes.retain(|write| ["services", "deployments", "statefulsets"].contains(&write.resource.as_str()));
        writes.len()
    }
}

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
        site.ask(OFFICE, translating, "translated")
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
}
