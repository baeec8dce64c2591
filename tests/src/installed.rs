//! Umbriel on a cluster, installed by the commands of README, and sites in namespaces of it.
//!
//! Decides how a namespace becomes a [`Site`]: volumes, because there is no provisioner, a mail
//! server in the cluster's network, and callers at the address of its bridge.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

use crate::cluster::{Cluster, Namespace, root};
use crate::house::office;
use crate::mail::{Mail, MailServer};
use crate::site::Site;

/// Calls from the cluster's network come from its bridge, and mail goes there.
pub const BRIDGE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 1));

/// An address that no gateway has. The addresses of pods are given out from the beginning of the
/// network, and this one lies at its end.
const STRANGER: &str = "10.244.255.99";

/// The user of our pods.
const USER_ID: u32 = 65_532;

/// The lines of a section of README that are to be typed into `helm` and `kubectl`.
///
/// # Panics
/// If README has no such section.
#[must_use]
pub fn commands_of_readme(section: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let text = readme.split(&format!("\n## {section}\n")).nth(1).expect("the section");
    let text = text.split("\n## ").next().unwrap_or(text);
    let lines = text.lines().filter_map(|line| line.strip_prefix("    "));
    let typed = |line: &&str| ["helm ", "kubectl "].iter().any(|program| line.starts_with(program));
    lines.filter(typed).map(str::to_owned).collect()
}

/// A copy of what README's commands name, with the examples adapted to the cluster's network.
///
/// # Panics
/// If it cannot be made, or an example does not say what it says today.
#[must_use]
pub fn checkout() -> TempDir {
    let folder = tempfile::Builder::new().prefix("umbriel-checkout-").tempdir().expect("a folder");
    std::os::unix::fs::symlink(root().join("charts"), folder.path().join("charts")).expect("the charts");
    let examples = folder.path().join("examples/quickstart");
    std::fs::create_dir_all(&examples).expect("a folder for the examples");
    for entry in std::fs::read_dir(root().join("examples/quickstart")).expect("the examples") {
        let entry = entry.expect("an entry");
        let mut text = std::fs::read_to_string(entry.path()).expect("an example");
        for (file, before, after) in [
            ("gateway.yaml", "  address: 127.0.0.1", "  address: 10.244.0.1"),
            ("service.yaml", "  # smtp:", "  smtp:"),
            ("service.yaml", "  #   host: mail.contoso.example", "    host: 10.244.0.1"),
            ("service.yaml", "  #   from: voicemail@contoso.example", "    from: voicemail@contoso.example"),
            ("service.yaml", "  #   security: None", "    security: None"),
        ] {
            if entry.file_name() == file {
                assert!(text.contains(before), "{file} has no line {before:?}");
                text = text.replacen(before, after, 1);
            }
        }
        std::fs::write(examples.join(entry.file_name()), text).expect("a copy");
    }
    folder
}

/// Lets the cluster's network have the address that no gateway has.
///
/// # Panics
/// If it cannot be added.
pub fn let_strangers_in(cluster: &Cluster) {
    let address = format!("{STRANGER}/32");
    let added = cluster.command("ip").args(["address", "add", &address, "dev", "pods"]).status();
    assert!(added.expect("ip runs").success(), "an address for strangers");
}

/// A volume for one claim, and no other.
#[derive(Debug)]
pub struct Volume<'c> {
    cluster: &'c Cluster,
    name: String,
    _folder: TempDir,
}

impl Volume<'_> {
    /// Offers a volume to the first mailbox server of a UMService.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn offer<'c>(cluster: &'c Cluster, namespace: &str, service: &str) -> Volume<'c> {
        let folder = tempfile::Builder::new().prefix("umbriel-volume-").tempdir().expect("a folder");
        // A volume of this kind is not given to a pod's group.
        chown(folder.path(), Some(USER_ID), Some(USER_ID)).expect("the folder is given away");
        let name = format!("{namespace}-{service}");
        let manifest = format!(
            "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {name}}}\nspec:\n  \
             accessModes: [ReadWriteOnce]\n  capacity: {{storage: 10Gi}}\n  hostPath: {{path: {}}}\n  \
             claimRef: {{namespace: {namespace}, name: state-{service}-mailbox-0}}\n",
            folder.path().display()
        );
        let file = folder.path().join("volume.yaml");
        std::fs::write(&file, manifest).expect("a manifest");
        let _applied = cluster.kubectl(&["apply", "--filename", file.to_str().expect("a path")]);
        std::fs::remove_file(&file).expect("the volume is empty");
        Volume { cluster, name, _folder: folder }
    }
}

impl Drop for Volume<'_> {
    fn drop(&mut self) {
        // It goes at the latest with the cluster.
        let mut delete = self.cluster.command("kubectl");
        let _deleted = delete.args(["delete", "persistentvolume", "--wait=false", &self.name]).output();
    }
}

/// A namespace whose objects the operator of the cluster serves.
#[derive(Debug)]
pub struct Tenant<'c> {
    namespace: Namespace<'c>,
    room: TempDir,
    mail: MailServer,
    /// What `kubectl` had to say about files.
    said: Mutex<String>,
    router: SocketAddr,
    mailbox_server: SocketAddr,
    _volume: Volume<'c>,
}

impl Tenant<'_> {
    /// Makes a namespace that holds its pods to what Pod Security calls restricted, applies the
    /// objects of the office, and waits until they are served. To be called in the cluster's network.
    ///
    /// # Panics
    /// If they are not.
    #[must_use]
    pub fn start(cluster: &Cluster) -> Tenant<'_> {
        static PORT: AtomicU16 = AtomicU16::new(2525);
        let namespace = cluster.namespace();
        let restricted = "pod-security.kubernetes.io/enforce=restricted";
        let _labelled = cluster.kubectl(&["label", "namespace", &namespace.name, restricted]);
        let volume = Volume::offer(cluster, &namespace.name, "mailbox");
        let smtp = SocketAddr::new(BRIDGE, PORT.fetch_add(1, Ordering::Relaxed));
        let mut tenant = Tenant::prepare(namespace, volume, smtp);
        let files = office(BRIDGE, Some(smtp));
        let files: Vec<PathBuf> = files.iter().map(|(name, yaml)| tenant.write(name, yaml)).collect();
        let output = tenant.kubectl_apply(&files);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let served = ["wait", "--for=condition=Served", "um", "--all", "--timeout=90s"];
        let waited = tenant.namespace.command(&served).output().expect("kubectl");
        assert!(waited.status.success(), "not served after 90 s: {}", tenant.told());
        tenant.find();
        tenant
    }

    /// A namespace to which somebody else applies objects whose calls come from [`BRIDGE`], and
    /// whose mail goes to port 25 of it: a mail server and a volume for it.
    ///
    /// # Panics
    /// If they cannot be had.
    #[must_use]
    pub fn expect<'c>(cluster: &'c Cluster, name: &str) -> Tenant<'c> {
        let volume = Volume::offer(cluster, name, "mailbox");
        Tenant::prepare(cluster.visit(name), volume, SocketAddr::new(BRIDGE, 25))
    }

    fn prepare<'c>(namespace: Namespace<'c>, volume: Volume<'c>, smtp: SocketAddr) -> Tenant<'c> {
        let room = tempfile::Builder::new().prefix("umbriel-").tempdir().expect("a folder");
        let mail = MailServer::start(smtp, &room.path().join("inbox"));
        let (said, nowhere) = (Mutex::default(), SocketAddr::new(BRIDGE, 0));
        Tenant { namespace, room, mail, said, router: nowhere, mailbox_server: nowhere, _volume: volume }
    }

    /// Looks where its servers are.
    ///
    /// # Panics
    /// If there are none.
    pub fn find(&mut self) {
        let ask = |kind: &str, component: &str, path: &str| {
            let selector = format!("app.kubernetes.io/component={component}");
            let path = format!("--output=jsonpath={{.items[0].{path}}}");
            self.namespace.kubectl(&["get", kind, "--selector", &selector, &path])
        };
        let router = ask("services", "router", "spec.clusterIP").parse().expect("an address");
        let mailbox_server = ask("pods", "mailbox", "status.podIP").parse().expect("an address");
        self.router = SocketAddr::new(router, 5060);
        self.mailbox_server = SocketAddr::new(mailbox_server, 5062);
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace<'_> {
        &self.namespace
    }

    fn write(&self, name: &str, yaml: &str) -> PathBuf {
        let file = self.room.path().join(name);
        std::fs::write(&file, yaml).expect("a file");
        file
    }

    /// What `kubectl` prints, whether or not it is all that was asked for.
    fn look(&self, args: &[&str]) -> String {
        let output = self.namespace.command(args).output().expect("kubectl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn kubectl_apply(&self, files: &[PathBuf]) -> Output {
        let mut command = self.namespace.command(&["apply"]);
        for file in files {
            command.arg("--filename").arg(file);
        }
        command.output().expect("kubectl")
    }
}

impl Drop for Tenant<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (name, told, logged) = (&self.namespace.name, self.told(), self.logged());
            let text = format!("namespace {name}:\n{told}\n{logged}\n");
            std::io::stderr().write_all(text.as_bytes()).ok();
        }
    }
}

impl Site for Tenant<'_> {
    fn caller(&self) -> IpAddr {
        BRIDGE
    }

    fn stranger(&self) -> IpAddr {
        STRANGER.parse().expect("an address")
    }

    fn router(&self) -> SocketAddr {
        self.router
    }

    fn mailbox_server(&self) -> SocketAddr {
        self.mailbox_server
    }

    fn scratch(&self) -> &Path {
        self.room.path()
    }

    fn apply(&self, file: &str, yaml: &str) {
        let output = self.kubectl_apply(&[self.write(file, yaml)]);
        let mut said = self.said.lock().expect("nobody has panicked");
        said.push_str(&String::from_utf8_lossy(&output.stderr));
    }

    fn told(&self) -> String {
        let said = self.said.lock().expect("nobody has panicked").clone();
        said + &self.look(&["get", "um", "--output=yaml"])
    }

    fn logged(&self) -> String {
        let part_of = "app.kubernetes.io/managed-by=umbriel-operator";
        self.look(&["logs", "--selector", part_of, "--tail=-1"])
    }

    fn mails(&self) -> Vec<Mail> {
        self.mail.mails()
    }
}

/// Types a command of README in a checkout, in the cluster's network; gives what it printed.
///
/// # Panics
/// If it fails.
#[must_use]
pub fn type_in(cluster: &Cluster, checkout: &Path, line: &str) -> String {
    let mut shell = cluster.command("sh");
    let output = shell.args(["-euc", line]).current_dir(checkout).stdin(Stdio::null()).output();
    let output = output.expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{line}\n{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// `helm` in the cluster's network.
#[must_use]
pub fn helm(cluster: &Cluster, arguments: &[&str]) -> Command {
    let mut command = cluster.command("helm");
    command.args(arguments);
    command
}
