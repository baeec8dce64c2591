//! A Kubernetes cluster of two nodes, which the tests share.
//!
//! Decides when it starts and whom it outlives. Refuses to know how it is made: that is
//! `tests/cluster/cluster`, which a person uses as well.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

use crate::{has, is_root, wait_until};

/// What the machine must have, beside root.
const PROGRAMS: &[&str] = &[
    "go",
    "containerd",
    "runc",
    "nsenter",
    "openssl",
    "/usr/lib/cni/bridge",
    "/usr/sbin/iptables",
    "/usr/sbin/conntrack",
];

/// A running cluster. Its programs, `kubectl` and `helm` among them, run in its network.
#[derive(Debug)]
pub struct Cluster {
    script: PathBuf,
    /// Where the script is copied to, if the cluster is one test's own.
    own: Option<TempDir>,
}

impl Cluster {
    /// The cluster of this checkout, started if it is not up: that takes seconds, and minutes once
    /// to build its programs. It ends with `make test`, or with this process where there is none,
    /// unless a person has started it. Where the machine cannot run one, says that `test` is
    /// skipped.
    ///
    /// # Panics
    /// If it does not start.
    pub fn shared(test: &str) -> Option<&'static Cluster> {
        static CLUSTER: OnceLock<Cluster> = OnceLock::new();
        is_able(test).then(|| {
            CLUSTER.get_or_init(|| {
                let owner = std::env::var("UMBRIEL_CLUSTER_OWNER");
                let owner = owner.unwrap_or_else(|_| std::process::id().to_string());
                let cluster = Cluster { script: root().join("tests/cluster/cluster"), own: None };
                let started = cluster.script().args(["up", "--owner", &owner]).output();
                text("cluster up", started.expect("cluster up"));
                cluster.install_definitions();
                cluster
            })
        })
    }

    /// A cluster of the test's own with nothing in it, for tests that speak of the whole of it. It
    /// goes with the value.
    ///
    /// # Panics
    /// If it does not start.
    pub fn own(test: &str) -> Option<Cluster> {
        Cluster::own_with_grace(test, 50)
    }

    /// The same, which gives a node up that was not heard of for `grace_s` seconds.
    ///
    /// # Panics
    /// If it does not start.
    pub fn own_with_grace(test: &str, grace_s: u32) -> Option<Cluster> {
        is_able(test).then(|| {
            // A copy of the cluster's files is another cluster: it is named after their folder.
            let room = tempfile::Builder::new().prefix("umbriel-cluster-").tempdir().expect("a folder");
            let copied =
                Command::new("cp").arg("-r").arg(root().join("tests/cluster/.")).arg(room.path()).status();
            assert!(copied.expect("cp runs").success(), "the cluster's files are copied");
            let cluster = Cluster { script: room.path().join("cluster"), own: Some(room) };
            let owner = std::process::id().to_string();
            let mut up = cluster.script();
            up.args(["up", "--owner", &owner]).env("NODE_GRACE_S", grace_s.to_string());
            text("cluster up", up.output().expect("cluster up"));
            cluster
        })
    }

    fn script(&self) -> Command {
        Command::new(&self.script)
    }

    /// The folder of its files, its logs and the API server's audit log.
    ///
    /// # Panics
    /// If it is not known.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        PathBuf::from(
            text("cluster where", self.script().arg("where").output().expect("cluster where")).trim(),
        )
    }

    /// Does something in the cluster's network: sockets that are opened meanwhile, and programs that
    /// are started, belong to it for as long as they live.
    ///
    /// # Panics
    /// If the network cannot be entered, or `act` panics.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let first = std::fs::read_to_string(self.folder().join("first.pid")).expect("the cluster is up");
        let network = File::open(format!("/proc/{}/ns/net", first.trim())).expect("its network");
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(network, CloneFlags::CLONE_NEWNET).expect("the network is entered");
                act()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A command in the cluster's network, where pods, nodes and Services have their addresses.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.script();
        command.args(["run", program]);
        command
    }

    /// What `kubectl` prints.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn kubectl(&self, args: &[&str]) -> String {
        let output = self.command("kubectl").args(args).output().expect("kubectl");
        text(&format!("kubectl {}", args.join(" ")), output)
    }

    /// Does to the API server what `tests/cluster/cluster api` says: `stop`, `start`, `freeze` or
    /// `thaw`. For clusters of the test's own.
    ///
    /// # Panics
    /// If it cannot be done.
    pub fn api_server(&self, what: &str) {
        text("cluster api", self.script().args(["api", what]).output().expect("cluster api"));
        if matches!(what, "start" | "thaw") {
            wait_until("the API server answers", Duration::from_secs(30), || {
                let answered = self.command("kubectl").args(["get", "--raw", "/readyz"]).output();
                answered.is_ok_and(|output| output.status.success()).then_some(())
            });
        }
    }

    /// Does to the kubelet of a node what `tests/cluster/cluster kubelet` says: `freeze` or `thaw`.
    /// For clusters of the test's own.
    ///
    /// # Panics
    /// If it cannot be done.
    pub fn kubelet(&self, node: u32, what: &str) {
        let done = self.script().args(["kubelet", &node.to_string(), what]).output();
        text("cluster kubelet", done.expect("cluster kubelet"));
    }

    /// Puts an image archive (OCI or docker) into both nodes. Pods use it by its name in the
    /// archive, with `imagePullPolicy: IfNotPresent` or `Never`.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn load(&self, archive: &Path) {
        text("cluster load", self.script().arg("load").arg(archive).output().expect("cluster load"));
    }

    /// A namespace of its own, which goes with the value.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn namespace(&self) -> Namespace<'_> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{number}", std::process::id());
        let _created = self.kubectl(&["create", "namespace", &name]);
        let namespace = Namespace { cluster: self, name, goes: true };
        wait_until("the namespace has its service account", Duration::from_secs(30), || {
            let account = namespace.command(&["get", "serviceaccount", "default"]).output();
            account.is_ok_and(|output| output.status.success()).then_some(())
        });
        namespace
    }

    /// A namespace that somebody else has made, and that stays.
    #[must_use]
    pub fn visit(&self, name: &str) -> Namespace<'_> {
        Namespace { cluster: self, name: name.to_owned(), goes: false }
    }

    /// Installs the definitions of our kinds; the shared cluster has them.
    ///
    /// # Panics
    /// If they are refused.
    pub fn install_definitions(&self) {
        let folder = root().join("crds");
        let mut definitions = Vec::new();
        for entry in std::fs::read_dir(&folder).expect("crds") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                definitions.push(format!("--filename={}", path.display()));
            }
        }
        let definitions: Vec<_> = definitions.iter().map(String::as_str).collect();
        let _applied = self.kubectl(&[&["apply", "--server-side"], &definitions[..]].concat());
        let wait = ["wait", "--for=condition=Established", "--timeout=60s"];
        let _established = self.kubectl(&[&wait[..], &definitions[..]].concat());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.own.is_some() {
            // It has an owner whose end ends it too.
            let _down = self.script().arg("down").output();
        }
    }
}

/// A namespace of one test.
#[derive(Debug)]
pub struct Namespace<'a> {
    cluster: &'a Cluster,
    /// As the API server knows it.
    pub name: String,
    goes: bool,
}

impl Namespace<'_> {
    /// `kubectl` in this namespace.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.cluster.command("kubectl");
        command.args(["--namespace", &self.name]).args(args);
        command
    }

    /// What `kubectl` prints in this namespace.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn kubectl(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("kubectl");
        text(&format!("kubectl {}", args.join(" ")), output)
    }

    /// Applies YAML documents.
    ///
    /// # Panics
    /// If they are refused.
    pub fn apply(&self, yaml: &str) {
        let mut command = self.command(&["apply", "--filename=-"]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl");
        child.stdin.take().expect("its input").write_all(yaml.as_bytes()).expect("its input");
        text("kubectl apply", child.wait_with_output().expect("kubectl"));
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        if self.goes {
            let mut delete = self.cluster.command("kubectl");
            // The cluster goes soon after, and a test that failed has said so already.
            let _deleted = delete.args(["delete", "namespace", "--wait=false", &self.name]).output();
        }
    }
}

/// The root of the checkout.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// The folders of the examples.
///
/// # Panics
/// If they cannot be listed.
#[must_use]
pub fn examples() -> Vec<PathBuf> {
    let folders = std::fs::read_dir(root().join("examples")).expect("the examples");
    let folders = folders.map(|entry| entry.expect("an entry").path());
    let mut folders: Vec<_> = folders.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Whether this machine can run a cluster. Where it cannot, says that `test` is skipped.
fn is_able(test: &str) -> bool {
    is_root(test) && PROGRAMS.iter().all(|program| has(program, test))
}

fn text(what: &str, output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}
