//! One running Umbriel with a folder, a state folder and an address of its own.
//!
//! Every house has its own loopback address, so the documented ports are always free and tests run
//! side by side.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::clock::Clock;
use crate::mail::{self, Mail, MailServer};
use crate::site::Site;
use crate::wait_until;

/// The address that gateway `pbx` calls from.
pub const PBX: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// An address that no gateway has.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 99));

/// Where mail servers of tests listen, if nobody says otherwise.
const SMTP_PORT: u16 = 2525;

/// How a house is set up.
#[derive(Debug, Default)]
pub struct HouseBuilder {
    smtp: bool,
    state: Option<PathBuf>,
    extra: Vec<(String, String)>,
    environment: Vec<(&'static str, OsString)>,
    name_server: Option<SocketAddr>,
    address: Option<IpAddr>,
}

impl HouseBuilder {
    /// It listens on this address, and gateway `pbx` calls from it too. Of IPv6 loopback addresses there is one only.
    #[must_use]
    pub fn address(mut self, address: IpAddr) -> HouseBuilder {
        self.address = Some(address);
        self
    }

    /// Names of gateways are asked for there.
    #[must_use]
    pub fn name_server(mut self, address: SocketAddr) -> HouseBuilder {
        self.name_server = Some(address);
        self
    }

    /// Mail goes to a real mail server instead of a Maildir.
    #[must_use]
    pub fn smtp(mut self) -> HouseBuilder {
        self.smtp = true;
        self
    }

    /// State is kept in this folder, which outlives the house.
    #[must_use]
    pub fn state(mut self, folder: &Path) -> HouseBuilder {
        self.state = Some(folder.to_path_buf());
        self
    }

    /// It goes by this clock.
    #[must_use]
    pub fn clock(mut self, clock: &Clock) -> HouseBuilder {
        self.environment = clock.environment();
        self
    }

    /// One more file in the folder, or another text for one of its own.
    #[must_use]
    pub fn file(mut self, name: &str, yaml: &str) -> HouseBuilder {
        self.extra.push((name.to_owned(), yaml.to_owned()));
        self
    }

    /// Writes the folder, starts the mail server and Umbriel, and waits until it serves.
    ///
    /// # Panics
    /// If anything of that fails.
    #[must_use]
    pub fn start(self) -> House {
        let room = tempfile::Builder::new().prefix("umbriel-").tempdir().expect("a temporary folder");
        let (address, pbx) = self.address.map_or_else(|| (own_address(), PBX), |address| (address, address));
        let folder = room.path().join("site");
        std::fs::create_dir(&folder).expect("the folder");
        let mail = self
            .smtp
            .then(|| MailServer::start(SocketAddr::new(address, SMTP_PORT), &room.path().join("inbox")));
        let state = self.state.unwrap_or_else(|| room.path().join("run"));
        let environment = self.environment;
        let name_server = self.name_server;
        let mut house =
            House { room, folder, state, address, pbx, mail, environment, name_server, child: None };
        for (name, yaml) in office(pbx, house.mail.as_ref().map(|mail| mail.address)) {
            house.write(name, &yaml);
        }
        for (name, yaml) in &self.extra {
            house.write(name, yaml);
        }
        house.up();
        house
    }
}

/// A running Umbriel.
#[derive(Debug)]
pub struct House {
    room: TempDir,
    folder: PathBuf,
    state: PathBuf,
    /// The address that it listens on.
    pub address: IpAddr,
    pbx: IpAddr,
    /// Its mail server, if it has one.
    pub mail: Option<MailServer>,
    environment: Vec<(&'static str, OsString)>,
    name_server: Option<SocketAddr>,
    child: Option<Child>,
}

impl House {
    /// A house as `examples/quickstart` describes it.
    #[must_use]
    pub fn builder() -> HouseBuilder {
        HouseBuilder::default()
    }

    /// The folder that it reads.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder that it keeps its state in.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Writes a file of the folder as editors do: beside it, then renamed over it.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, yaml: &str) {
        let beside = self.folder.join(format!(".{name}.new"));
        std::fs::write(&beside, yaml).expect("the file is written");
        std::fs::rename(beside, self.folder.join(name)).expect("the file is renamed");
    }

    /// Starts the program and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn up(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log");
        let child = Command::new(umbriel())
            .arg("up")
            .arg(&self.folder)
            .args(["--address", &self.address.to_string(), "--admin", &self.admin().to_string()])
            .args(["--log-format", "json", "--show-numbers"])
            .arg("--state")
            .arg(&self.state)
            .args(self.name_server.iter().map(|server| format!("--name-server={server}")))
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("umbriel starts");
        self.child = Some(child);
        wait_until("umbriel is ready", Duration::from_secs(30), || {
            let over = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(over.is_none(), "umbriel ended: {over:?}\n{}", self.logged());
            (self.get("/readyz")?.0 == 200).then_some(())
        });
    }

    /// Ends the program without a word, as a crash does.
    ///
    /// # Panics
    /// If it is not running.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("umbriel runs");
        child.kill().expect("killed");
        child.wait().expect("gone");
    }

    /// Asks the program to end and gives its exit status.
    ///
    /// # Panics
    /// If it is not running or does not end.
    pub fn stop(&mut self) -> Option<i32> {
        self.ask_to_end();
        self.wait_for_end()
    }

    /// Waits until the program has ended and gives its exit status.
    ///
    /// # Panics
    /// If it is not running or does not end.
    pub fn wait_for_end(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("umbriel runs");
        wait_until("umbriel ends", Duration::from_secs(30), || child.try_wait().ok().flatten()).code()
    }

    /// Asks the program to end, and does not wait for it.
    ///
    /// # Panics
    /// If it is not running.
    pub fn ask_to_end(&self) {
        let pid = self.pid().expect("umbriel runs");
        kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), Signal::SIGTERM).expect("signalled");
    }

    /// The process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// One HTTP request to the admin port: status and body.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        get(self.admin(), path)
    }

    fn admin(&self) -> SocketAddr {
        SocketAddr::new(self.address, 9060)
    }

    fn log_path(&self) -> PathBuf {
        self.room.path().join("log")
    }
}

impl Site for House {
    fn caller(&self) -> IpAddr {
        self.pbx
    }

    fn stranger(&self) -> IpAddr {
        STRANGER
    }

    fn router(&self) -> SocketAddr {
        SocketAddr::new(self.address, 5060)
    }

    fn mailbox_server(&self) -> SocketAddr {
        SocketAddr::new(self.address, 5062)
    }

    fn scratch(&self) -> &Path {
        self.room.path()
    }

    fn apply(&self, file: &str, yaml: &str) {
        self.write(file, yaml);
    }

    fn told(&self) -> String {
        self.logged()
    }

    fn logged(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn mails(&self) -> Vec<Mail> {
        if let Some(mail) = &self.mail {
            return mail.mails();
        }
        let Ok(boxes) = std::fs::read_dir(self.state.join("mail")) else { return Vec::new() };
        boxes.flatten().flat_map(|entry| mail::maildir(&entry.path())).collect()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Already gone is as good as ended.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            std::io::stderr()
                .write_all(format!("the log of this house:\n{}\n", self.logged()).as_bytes())
                .ok();
        }
    }
}

/// One HTTP request to an admin port: status and body.
#[must_use]
pub fn get(admin: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&admin, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: umbriel\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The program under test, built once per test run by the cargo that runs the tests.
///
/// # Panics
/// If it cannot be built.
pub fn umbriel() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--bin", "umbriel"])
            .current_dir(workspace)
            .status()
            .expect("cargo runs");
        assert!(built.success(), "umbriel does not build");
        // …/target/debug/deps/this-test: the program lies two levels up.
        let test = std::env::current_exe().expect("this test");
        test.ancestors().nth(2).expect("the target folder").join("umbriel")
    })
}

/// A loopback address that no other house has: 127, then this process, then a count.
fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [low, high, ..] = std::process::id().to_le_bytes();
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    // 127.0.x.y is left to callers.
    IpAddr::V4(Ipv4Addr::new(127, low.max(1), high, count))
}

/// The objects of a small office whose calls come from `pbx`, each with its file.
#[must_use]
pub fn office(pbx: IpAddr, smtp: Option<SocketAddr>) -> Vec<(&'static str, String)> {
    let smtp = smtp.map_or(String::new(), |server| {
        format!(
            "  smtp:\n    host: {}\n    port: {}\n    from: voicemail@contoso.example\n    security: None\n",
            server.ip(),
            server.port()
        )
    });
    let object = |kind: &str, name: &str, spec: &str| {
        format!("apiVersion: umbriel.dev/v1alpha1\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n{spec}")
    };
    let mailbox = |name: &str, extension: u16, display: &str| {
        let spec = format!(
            "  umMailboxPolicy: staff\n  extensions: [\"{extension}\"]\n  displayName: {display}\n  \
             primarySmtpAddress: {name}@contoso.example\n"
        );
        object("UMMailbox", name, &spec)
    };
    vec![
        ("dialplan.yaml", object("UMDialPlan", "contoso", "  numberOfDigitsInExtension: 3\n")),
        ("gateway.yaml", object("UMIPGateway", "pbx", &format!("  address: {pbx}\n"))),
        (
            "huntgroup.yaml",
            object("UMHuntGroup", "pbx-default", "  umIPGateway: pbx\n  umDialPlan: contoso\n"),
        ),
        ("policy.yaml", object("UMMailboxPolicy", "staff", "  umDialPlan: contoso\n")),
        ("alice.yaml", mailbox("alice", 101, "Alice")),
        ("bob.yaml", mailbox("bob", 102, "Bob")),
        ("router.yaml", object("UMCallRouter", "router", "  umStartupMode: TCP\n")),
        ("mailbox-server.yaml", object("UMService", "mailbox", &format!("  maxCallsAllowed: 100\n{smtp}"))),
    ]
}
