//! An operator as a process of the test, which can be stopped, killed and cut off, and what the API
//! server says that it did.
//!
//! Decides how it reaches the API server: as a user of its own, so that the audit log tells its
//! requests from everybody else's, and past a proxy if the test wants one.

use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clock::Clock;
use crate::cluster::{Cluster, Namespace};
use crate::proxy::API_SERVER;
use crate::volume::Volume;
use crate::wire::{Invite, Wire};
use crate::{house, image, wait_until};

/// The image that the operator gives to servers; [`load_image`] puts it on the nodes.
pub const IMAGE: &str = "localhost/umbriel:dev";

/// How an operator is run.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The name that it takes the Lease by.
    pub identity: &'a str,
    /// `--resync-interval`
    pub resync_interval: &'a str,
    /// Where it thinks that the API server is.
    pub api_server: SocketAddr,
    /// What it speaks to it, `https` or `http`.
    pub scheme: &'a str,
    /// The clock that it goes by, if not the machine's.
    pub clock: Option<&'a Clock>,
    /// Whom it asks for names, if not whom the machine does.
    pub name_server: Option<SocketAddr>,
    /// Whether it gives servers NetworkPolicies.
    pub network_policies: bool,
    /// The namespace whose pods collect metrics, if there is one.
    pub metrics_from: Option<&'a str>,
}

impl Default for Run<'_> {
    fn default() -> Self {
        let (identity, resync_interval, scheme) = ("first", "10m", "https");
        let (api_server, network_policies) = (API_SERVER, true);
        Run {
            identity,
            resync_interval,
            api_server,
            scheme,
            clock: None,
            name_server: None,
            network_policies,
            metrics_from: None,
        }
    }
}

/// A running operator of one namespace, with a Lease there.
#[derive(Debug)]
pub struct Operator<'c> {
    cluster: &'c Cluster,
    child: Child,
    room: TempDir,
    admin: SocketAddr,
    /// Who it is to the API server.
    pub user: String,
}

impl<'c> Operator<'c> {
    /// Starts an operator that serves `namespace` alone.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(cluster: &'c Cluster, namespace: &Namespace<'_>, run: Run<'_>) -> Operator<'c> {
        static PORT: AtomicU16 = AtomicU16::new(19_060);
        let user = format!("{}-{}", namespace.name, run.identity);
        let binding = ["create", "clusterrolebinding", &user, "--clusterrole=cluster-admin"];
        let user_flag = format!("--user={user}");
        // It may be there from an operator of the same name before this one.
        let _bound = cluster.command("kubectl").args(binding).arg(&user_flag).output();
        let room = tempfile::Builder::new().prefix("umbriel-operator-").tempdir().expect("a folder");
        let keys = cluster.folder().join("keys");
        let file = |name: &str| keys.join(name).to_str().expect("a path").to_owned();
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "tests",
            "clusters": [{ "name": "tests", "cluster": {
                "server": format!("{}://{}", run.scheme, run.api_server), "certificate-authority": file("ca.crt") } }],
            "users": [{ "name": "tests", "user": {
                "client-certificate": file("admin.crt"), "client-key": file("admin.key"), "as": user } }],
            "contexts": [{ "name": "tests", "context": { "cluster": "tests", "user": "tests" } }],
        });
        std::fs::write(room.path().join("kubeconfig"), kubeconfig.to_string()).expect("a kubeconfig");
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT.fetch_add(1, Ordering::Relaxed)));
        let mut command = Command::new(house::umbriel());
        command
            .args(["operator", "--image", IMAGE, "--resync-interval", run.resync_interval])
            .args(["--namespace", &namespace.name, "--lease-namespace", &namespace.name])
            .args(["--identity", run.identity, "--admin", &admin.to_string()])
            .args(run.name_server.map(|server| format!("--name-server={server}")))
            .args(run.network_policies.then_some("--network-policies"))
            .args(run.metrics_from.iter().flat_map(|namespace| ["--metrics-from", namespace]))
            .env("KUBECONFIG", room.path().join("kubeconfig"))
            .envs(run.clock.map(Clock::environment).unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(File::create(room.path().join("stdout")).expect("a file"))
            .stderr(File::create(room.path().join("log")).expect("a file"));
        let child = cluster.within(|| command.spawn().expect("the operator starts"));
        Operator { cluster, child, room, admin, user }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said until now.
    #[must_use]
    pub fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.room.path().join(name)).unwrap_or_default();
        read("stdout") + &read("log")
    }

    /// Waits until it says something.
    ///
    /// # Panics
    /// If it does not within `limit`.
    pub fn wait_for_log(&self, text: &str, limit: Duration) {
        let mut said = String::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(&format!("the operator says {text:?}"), limit, || {
                said = self.log();
                said.contains(text).then_some(())
            });
        }));
        assert!(found.is_ok(), "the operator does not say {text:?} within {limit:?}, but\n{said}");
    }

    /// What `/readyz` answers: the status, and the text.
    #[must_use]
    pub fn readyz(&self) -> Option<(u16, String)> {
        self.cluster.within(|| house::get(self.admin, "/readyz"))
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// If it is not within half a minute.
    pub fn wait_until_ready(&self) {
        wait_until("the operator is ready", Duration::from_secs(30), || {
            self.readyz().filter(|(status, _)| *status == 200)
        });
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a process");
        kill(Pid::from_raw(pid), signal).expect("the operator lives");
    }

    /// Its exit status, once it has ended by itself.
    ///
    /// # Panics
    /// If it goes on for longer than `limit`.
    #[must_use]
    pub fn wait_for_end(&mut self, limit: Duration) -> Option<i32> {
        let ended = || self.child.try_wait().expect("the operator is ours");
        wait_until("the operator ends", limit, ended).code()
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// Never, as long as it is ours.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("the operator is ours").is_none()
    }
}

impl Drop for Operator<'_> {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            for line in tail.iter().rev() {
                std::io::stderr().write_all(format!("{}: {line}\n", self.user).as_bytes()).ok();
            }
        }
    }
}

/// Calls from the cluster's network come from its bridge.
pub const BRIDGE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 1));

/// The objects of an office in a namespace, and a volume for its mailbox server.
#[derive(Debug)]
pub struct Applied<'c> {
    cluster: &'c Cluster,
    _volume: Volume<'c>,
}

impl<'c> Applied<'c> {
    /// Loads the image into the cluster, and applies everything.
    ///
    /// # Panics
    /// If anything of that is refused.
    #[must_use]
    pub fn office(cluster: &'c Cluster, namespace: &Namespace<'_>) -> Applied<'c> {
        Applied::office_with(cluster, namespace, |_, yaml| yaml)
    }

    /// The same, where `edit` may write another text for a file of the office.
    ///
    /// # Panics
    /// The same.
    #[must_use]
    pub fn office_with(
        cluster: &'c Cluster,
        namespace: &Namespace<'_>,
        edit: impl Fn(&str, String) -> String,
    ) -> Applied<'c> {
        cluster.load(image::archive());
        let volume = Volume::offer(cluster, namespace);
        let files = house::office(BRIDGE, None).into_iter().map(|(name, yaml)| edit(name, yaml));
        namespace.apply(&files.collect::<Vec<_>>().join("---\n"));
        Applied { cluster, _volume: volume }
    }

    /// Waits until every object is served as it is written now.
    ///
    /// # Panics
    /// If that takes more than a minute and a half.
    pub fn wait_until_served(&self, namespace: &Namespace<'_>) {
        let served = ["wait", "--for=condition=Served", "um", "--all", "--timeout=90s"];
        let waited = namespace.command(&served).output().expect("kubectl");
        assert!(waited.status.success(), "{}", namespace.kubectl(&["get", "um,pods", "--output=wide"]));
    }

    /// Waits until every router redirects calls for alice. To be called in the cluster's network.
    ///
    /// # Panics
    /// If that takes more than a minute and a half.
    pub fn wait_until_called(&self, namespace: &Namespace<'_>) {
        let routers = self.pods(namespace, "router");
        let mut asked = 0;
        wait_until("every router redirects calls", Duration::from_secs(90), || {
            asked += 1;
            let redirected = |(number, router): (usize, &IpAddr)| {
                let wire = Wire::new(BRIDGE, SocketAddr::new(*router, 5060));
                let call_id = format!("ready-{number}-{asked}");
                let invite = Invite { called: "101", diverting: None, call_id: &call_id };
                wire.invite(&invite).starts_with("SIP/2.0 302 ")
            };
            routers.iter().enumerate().all(redirected).then_some(())
        });
    }

    /// Waits until every router redirects calls for the mailboxes that
    /// [`Api::make_mailbox`](crate::api::Api::make_mailbox) made by these numbers.
    ///
    /// # Panics
    /// If one of them is not there within a minute and a half: kubelets take their time after an
    /// outage.
    pub fn wait_until_extended(&self, namespace: &Namespace<'_>, numbers: Range<usize>) {
        for router in self.pods(namespace, "router") {
            self.wait_until_extended_at(router, numbers.clone());
        }
    }

    /// The same of one router.
    ///
    /// # Panics
    /// The same.
    pub fn wait_until_extended_at(&self, router: IpAddr, numbers: Range<usize>) {
        self.cluster.within(|| {
            for number in numbers {
                let wire = Wire::new(BRIDGE, SocketAddr::new(router, 5060));
                let called = (300 + number).to_string();
                let mut asked = 0;
                wait_until(
                    &format!("{router} redirects calls for {called}"),
                    Duration::from_secs(90),
                    || {
                        asked += 1;
                        let call_id = format!("extended-{number}-{asked}");
                        let invite = Invite { called: &called, diverting: None, call_id: &call_id };
                        wire.invite(&invite).starts_with("SIP/2.0 302 ").then_some(())
                    },
                );
            }
        });
    }

    /// The addresses of the pods of a component, `router` or `mailbox`.
    ///
    /// # Panics
    /// If one has none.
    #[must_use]
    pub fn pods(&self, namespace: &Namespace<'_>, component: &str) -> Vec<IpAddr> {
        let selector = format!("--selector=app.kubernetes.io/component={component}");
        let addresses = "--output=jsonpath={.items[*].status.podIP}";
        let addresses = namespace.kubectl(&["get", "pods", &selector, addresses]);
        addresses.split_whitespace().map(|address| address.parse().expect("an address")).collect()
    }
}

/// A request that the API server answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// Such as `patch`.
    pub verb: String,
    /// Such as `ummailboxes/status`.
    pub resource: String,
    /// The name of the object.
    pub name: String,
    /// The status of the answer.
    pub status: u64,
}

impl Request {
    /// Whether it writes anything, except for the Lease.
    fn is_write(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb.as_str()) && self.resource != "leases"
    }
}

/// Where the requests of users are read.
#[derive(Clone, Debug)]
pub struct Audit(PathBuf);

impl Audit {
    /// The audit log of a cluster.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Audit {
        Audit(cluster.folder().join("audit.log"))
    }

    /// Every request of `user`, in the order of their answers.
    #[must_use]
    pub fn requests(&self, user: &str) -> Vec<Request> {
        let mut answered = self.answered(&format!("{user:?}"));
        answered.retain(|entry| entry["impersonatedUser"]["username"] == user);
        answered.iter().map(request).collect()
    }

    /// The entries of requests that were answered, with a text in them.
    fn answered(&self, text: &str) -> Vec<Value> {
        let log = std::fs::read(&self.0).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines = log.lines().filter(|line| line.contains(text));
        let entries = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        entries.filter(|entry| entry["stage"] == "ResponseComplete").collect()
    }

    /// Has an operator begin anew and compare everything so many `times`: there is nothing to write.
    ///
    /// # Panics
    /// With what it wrote.
    pub fn expect_nothing_to_write(&self, cluster: &Cluster, namespace: &Namespace<'_>, times: usize) {
        let run = Run { identity: "last", resync_interval: "1s", ..Run::default() };
        let last = Operator::start(cluster, namespace, run);
        self.wait_until_listed(&last.user, times + 1);
        let writes = self.writes(&last.user);
        assert!(writes.is_empty(), "{writes:?}");
    }

    /// Has `user`, who may still be at work, compare everything once, and then so many more `times`:
    /// there is nothing to write.
    ///
    /// # Panics
    /// With what it wrote.
    pub fn expect_no_write(&self, user: &str, times: usize) {
        self.wait_until_listed(user, 1);
        let before = self.writes(user).len();
        self.wait_until_listed(user, times);
        let writes = self.writes(user);
        assert!(writes.len() == before, "{:?}", &writes[before..]);
    }

    /// Waits until `user` has listed everything so many more times.
    fn wait_until_listed(&self, user: &str, times: usize) {
        let lists = || {
            let requests = self.requests(user);
            requests.iter().filter(|r| r.verb == "list" && r.resource == "ummailboxes").count()
        };
        let listed = lists();
        wait_until("everything was compared", Duration::from_secs(60), || {
            (lists() >= listed + times).then_some(())
        });
    }

    /// What `user` wrote, except for the Lease.
    #[must_use]
    pub fn writes(&self, user: &str) -> Vec<Request> {
        let mut requests = self.requests(user);
        requests.retain(Request::is_write);
        requests
    }

    /// What anybody wrote to objects of ours in a namespace.
    #[must_use]
    pub fn writes_to_ours(&self, namespace: &Namespace<'_>) -> Vec<Request> {
        let answered = self.answered(&format!("{:?}", namespace.name));
        let ours = answered.iter().filter(|entry| {
            let object = &entry["objectRef"];
            object["apiGroup"] == "umbriel.dev" && object["namespace"] == namespace.name.as_str()
        });
        ours.map(request).filter(Request::is_write).collect()
    }
}

fn request(entry: &Value) -> Request {
    let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (resource, part) = (text("/objectRef/resource"), text("/objectRef/subresource"));
    Request {
        verb: text("/verb"),
        resource: if part.is_empty() { resource } else { format!("{resource}/{part}") },
        name: text("/objectRef/name"),
        status: entry["responseStatus"]["code"].as_u64().unwrap_or_default(),
    }
}

/// Everything in a namespace that an operator owns: kind, name and what it says.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn owned(namespace: &Namespace<'_>, kinds: &str) -> Vec<Value> {
    let selector = "--selector=app.kubernetes.io/managed-by=umbriel-operator";
    let list: Value =
        serde_json::from_str(&namespace.kubectl(&["get", kinds, selector, "--output=json"])).expect("JSON");
    list["items"].as_array().expect("a list").clone()
}
