//! A site on the cluster whose servers are exposed in one way, and calls from an office beside it.
//!
//! Decides where callers must be sent, and that media comes from there. Refuses to know which ways there
//! are.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::Namespace;
use crate::house::office;
use crate::mail::{AIOSMTPD, Mail, MailServer};
use crate::office::{OFFICE, Office};
use crate::operator::{Audit, BRIDGE, Operator, Run};
use crate::phone::{Phone, Transport};
use crate::volume::Volume;
use crate::wire::{Invite, Wire};
use crate::{Cluster, audio, has, image, wait_until};

/// The only node whose Services the cluster's one proxy counts as local.
const NODE: &str = "node1";
/// Its address.
pub const NODE_ADDRESS: &str = NODES[0];
/// The addresses of both nodes.
pub const NODES: [&str; 2] = ["198.51.100.1", "198.51.100.2"];

/// The claim of a store that several mailbox servers share.
const CLAIM: &str = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: messages}\nspec:\n  \
                     accessModes: [ReadWriteMany]\n  storageClassName: ''\n  resources: {requests: {storage: 1Gi}}\n";

/// What PBXs write into an INVITE besides. Peers that are no gateway are told no more by UDP than they sent,
/// so one without it would get a bare answer.
const OF_A_PBX: &str = "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, REFER, NOTIFY, MESSAGE, PRACK\r\n\
                        Supported: replaces, timer, path, 100rel, norefersub\r\nSession-Expires: 1800\r\n\
                        Min-SE: 90\r\nUser-Agent: Contoso PBX 20.5.0\r\nP-Asserted-Identity: <sip:200@contoso.example>\r\n\
                        Allow-Events: presence, message-summary, refer, talk, hold\r\n\
                        Accept: application/sdp, multipart/mixed, message/sipfrag\r\n";

/// Where callers by one transport are to find the servers.
#[derive(Clone, Copy, Debug)]
pub struct Reached {
    /// Where the router is.
    pub router: SocketAddr,
    /// Where the mailbox server must say that it is for SIP.
    pub mailbox: SocketAddr,
    /// And for media.
    pub media: [SocketAddr; 2],
}

impl Reached {
    /// Router and mailbox server at these addresses, with the ports that they listen on.
    ///
    /// # Panics
    /// If these are no addresses.
    #[must_use]
    pub fn at(router: &str, mailbox: &str) -> Reached {
        let at = |address: &str, port| SocketAddr::new(address.parse().expect("an address"), port);
        let media = [at(mailbox, 5070), at(mailbox, 5071)];
        Reached { router: at(router, 5060), mailbox: at(mailbox, 5062), media }
    }

    /// The same by every transport.
    #[must_use]
    pub fn by_both(self) -> [(Transport, Reached); 2] {
        [(Transport::Udp, self), (Transport::Tcp, self)]
    }
}

/// A namespace with an operator of its own, whose servers have one `exposure`.
#[derive(Debug)]
pub struct Exposed<'c> {
    /// Where all that is.
    pub cluster: &'c Cluster,
    /// Its namespace.
    pub namespace: Namespace<'c>,
    operator: Operator<'c>,
    /// What takes its mail.
    pub mail: MailServer,
    _inbox: TempDir,
    _volumes: Vec<Volume<'c>>,
}

impl Exposed<'_> {
    /// Applies the objects of the quickstart's office, whose gateway calls from `gateway`.
    ///
    /// # Panics
    /// If anything of that is refused.
    #[must_use]
    pub fn start(
        test: &str,
        exposure: &'static str,
        gateway: IpAddr,
        smtp_port: u16,
    ) -> Option<Exposed<'static>> {
        Exposed::start_several(test, exposure, gateway, smtp_port, 1)
    }

    /// The same with so many mailbox servers, which share a store.
    ///
    /// # Panics
    /// If anything of that is refused.
    #[must_use]
    pub fn start_several(
        test: &str,
        exposure: &'static str,
        gateway: IpAddr,
        smtp_port: u16,
        servers: usize,
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
        let own = |server| format!("state-mailbox-mailbox-{server}");
        let offer = |server| Volume::offer_to(cluster, &namespace, &own(server), "ReadWriteOnce");
        let mut volumes: Vec<_> = (0..servers).map(offer).collect();
        volumes.push(Volume::offer_to(cluster, &namespace, "messages", "ReadWriteMany"));
        let mail = cluster.within(|| MailServer::start(smtp, &inbox.path().join("mail")));
        let operator = Operator::start(cluster, &namespace, Run::default());
        for (file, yaml) in office(gateway, Some(smtp)) {
            let exposed = ["router.yaml", "mailbox-server.yaml"].contains(&file);
            let mut more = if exposed { format!("  exposure: {exposure}\n") } else { String::new() };
            if servers > 1 && file == "mailbox-server.yaml" {
                more += &format!("  replicas: {servers}\n  store: {{claimName: messages}}\n");
                namespace.apply(CLAIM);
            }
            namespace.apply(&(yaml + &more));
        }
        Some(Exposed { cluster, namespace, operator, mail, _inbox: inbox, _volumes: volumes })
    }

    /// What the API server has of an object.
    ///
    /// # Panics
    /// If `kubectl` cannot be run.
    #[must_use]
    pub fn get(&self, object: &str) -> Option<Value> {
        let output = self.namespace.command(&["get", object, "--output=json"]).output().expect("kubectl");
        serde_json::from_slice(&output.stdout).ok()
    }

    /// The condition `Ready` of an object: its status, reason and message.
    ///
    /// # Panics
    /// If `kubectl` cannot be run.
    #[must_use]
    pub fn ready(&self, object: &str) -> Option<[String; 3]> {
        let object = self.get(object)?;
        let mut conditions = object["status"]["conditions"].as_array()?.iter();
        let ready = conditions.find(|condition| condition["type"] == "Ready")?.clone();
        Some(["status", "reason", "message"].map(|field| ready[field].as_str().unwrap_or_default().into()))
    }

    /// Waits until the servers run, and know where they are.
    ///
    /// # Panics
    /// If that takes more than a minute and a half.
    pub fn wait_until_ready(&self) {
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
    ///
    /// # Panics
    /// If that takes more than a minute.
    pub fn wait_until_called(&self, from: IpAddr, router: SocketAddr) {
        let mut asked = 0;
        wait_until("a router redirects calls", Duration::from_secs(60), || {
            asked += 1;
            let answer = self.ask(from, router, "101", &format!("asked-{asked}"))?;
            answer.starts_with("SIP/2.0 302 ").then_some(())
        });
        // One of them knows it, so it was written, and now it is told who knows it.
        self.wait("--for=condition=Served", "um");
    }

    /// What is answered to an INVITE over UDP. Its answer comes back to the port that the server saw,
    /// which need not be the caller's (RFC 3581).
    ///
    /// # Panics
    /// If it cannot be sent.
    #[must_use]
    pub fn ask(&self, from: IpAddr, router: SocketAddr, called: &str, call_id: &str) -> Option<String> {
        let invite = Invite { called, diverting: None, call_id };
        let wire = self.from(from, || Wire::new(from, router));
        let text = wire.text(&invite).replace(";branch=", ";rport;branch=");
        wire.send(text.replacen("Content-Type:", &format!("{OF_A_PBX}Content-Type:"), 1).as_bytes());
        wire.receive()
    }

    /// Does something in the network that has this address.
    ///
    /// # Panics
    /// If the network cannot be entered, or `act` panics.
    pub fn from<T: Send>(&self, address: IpAddr, act: impl FnOnce() -> T + Send) -> T {
        if address == OFFICE { Office::beside(self.cluster).within(act) } else { self.cluster.within(act) }
    }

    /// The node ports of a Service by their names.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn node_port(&self, service: &str, name: &str) -> u16 {
        let service = self.get(&format!("service/{service}")).expect("the Service");
        let ports = service["spec"]["ports"].as_array().expect("ports");
        let port = ports.iter().find(|port| port["name"] == name).expect("a port of this name");
        port["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a node port")
    }

    /// The address of the first pod of a component.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn pod_address(&self, component: &str) -> IpAddr {
        let selector = format!("--selector=app.kubernetes.io/component={component}");
        let path = "--output=jsonpath={.items[0].status.podIP}";
        self.namespace.kubectl(&["get", "pods", &selector, path]).parse().expect("an address")
    }

    /// Does what the controller of a load balancer does: writes an address into the status of a
    /// Service, and sees to it that the node gets what is sent there.
    ///
    /// # Panics
    /// If that is refused.
    pub fn balance(&self, service: &str, address: &str) {
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
    ///
    /// # Panics
    /// If that is not so.
    pub fn leave_messages(&self, from: IpAddr, reached: [(Transport, Reached); 2]) {
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
