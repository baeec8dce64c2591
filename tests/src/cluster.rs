//! A Kubernetes cluster of two nodes, which the tests share.
//!
//! Decides when it starts and whom it outlives. Refuses to know how it is made: that is
//! `tests/cluster/cluster`, which a person uses as well.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

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
    _running: (),
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
        if !is_root(test) || !PROGRAMS.iter().all(|program| has(program, test)) {
            return None;
        }
        Some(CLUSTER.get_or_init(|| {
            let owner = std::env::var("UMBRIEL_CLUSTER_OWNER");
            let owner = owner.unwrap_or_else(|_| std::process::id().to_string());
            text("cluster up", script().args(["up", "--owner", &owner]).output().expect("cluster up"));
            let cluster = Cluster { _running: () };
            cluster.install_definitions();
            cluster
        }))
    }

    /// A command in the cluster's network, where pods, nodes and Services have their addresses.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = script();
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

    /// Puts an image archive (OCI or docker) into both nodes. Pods use it by its name in the
    /// archive, with `imagePullPolicy: IfNotPresent` or `Never`.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn load(&self, archive: &Path) {
        text("cluster load", script().arg("load").arg(archive).output().expect("cluster load"));
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
        let namespace = Namespace { cluster: self, name };
        wait_until("the namespace has its service account", Duration::from_secs(30), || {
            let account = namespace.command(&["get", "serviceaccount", "default"]).output();
            account.is_ok_and(|output| output.status.success()).then_some(())
        });
        namespace
    }

    fn install_definitions(&self) {
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

/// A namespace of one test.
#[derive(Debug)]
pub struct Namespace<'a> {
    cluster: &'a Cluster,
    /// As the API server knows it.
    pub name: String,
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
        // The cluster goes soon after, and a test that failed has said so already.
        let _deleted = self
            .cluster
            .command("kubectl")
            .args(["delete", "namespace", "--wait=false", &self.name])
            .output();
    }
}

/// The root of the checkout.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

fn script() -> Command {
    Command::new(root().join("tests/cluster/cluster"))
}

fn text(what: &str, output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}
