//! The servers that are measured, each a process of its own on one processor.
//!
//! Decides how they are started and what they are told, and how their time and memory are read.
//! Refuses to know what is measured.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use config::{
    Certificate, DATABASES, DialPlan, Directory, Gateway, GatewayStatus, HuntGroup, Listeners, Mailbox,
    MailboxServer, RouterConfig, SCHEMA_VERSION, ServerIdentity, ServerStatus, StartupMode, TokenKey,
    UnknownPeers, UriType, VoIPSecurity,
};

use crate::call::{DIGITS, FIRST_EXTENSION, Transport};
use crate::echo::Lengths;

/// The processor of the server; the generator has the next one.
pub(crate) const SERVER_CORE: &str = "0";

/// A server must take connections within this.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// What calls are redirected to.
const MAILBOX_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// How large the organisation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) mailboxes: u32,
    pub(crate) hunt_groups: u32,
    pub(crate) gateways: u32,
}

/// A server that runs; dropping it ends it.
pub(crate) struct Server {
    pub(crate) udp: SocketAddr,
    tcp: SocketAddr,
    tls: SocketAddr,
    log: PathBuf,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // The children of Kamailio end with it, if it is asked rather than killed.
        if let Ok(id) = i32::try_from(self.child.id()) {
            let _asked = nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::SIGTERM);
        }
        let until = Instant::now() + Duration::from_secs(8);
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// A folder for the run, and what all servers show to who connects.
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) umbriel: PathBuf,
    pub(crate) certificate: Certificate,
}

/// A port that nobody has just now, on UDP and TCP.
fn free_port() -> io::Result<u16> {
    loop {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The directory of an organisation whose gateway is this machine.
fn directory(size: Size) -> Directory {
    let plan = "contoso".to_owned();
    let gateway = |number: u32| {
        let octets = [[127, 0, 0, 1], [10, 0, (number >> 8) as u8, (number & 255) as u8]];
        Gateway {
            name: format!("gateway-{number}"),
            addresses: vec![IpAddr::from(octets[usize::from(number > 0)]).into()],
            fqdn: None,
            status: GatewayStatus::Enabled,
        }
    };
    let hunt_group = |number: u32| HuntGroup {
        name: format!("group-{number}"),
        gateway: format!("gateway-{}", number % size.gateways),
        // The first one takes what no pilot takes.
        pilot: (number > 0).then(|| format!("{}", 900_000 + number)),
        dial_plan: plan.clone(),
    };
    Directory {
        gateways: (0..size.gateways).map(gateway).collect(),
        hunt_groups: (0..size.hunt_groups).map(hunt_group).collect(),
        auto_attendants: Vec::new(),
        dial_plans: vec![DialPlan {
            name: plan.clone(),
            number_of_digits_in_extension: DIGITS as u8,
            uri_type: UriType::TelExtn,
            access_numbers: Vec::new(),
            voip_security: VoIPSecurity::Unsecured,
        }],
        mailboxes: (0..size.mailboxes)
            .map(|number| Mailbox {
                name: format!("user-{number:06}"),
                dial_plan: plan.clone(),
                extensions: vec![(FIRST_EXTENSION + number).to_string()],
                addresses: Vec::new(),
            })
            .collect(),
        mailbox_servers: vec![MailboxServer {
            name: "mailbox-0".to_owned(),
            address: MAILBOX_SERVER.into(),
            listeners: Listeners { udp: Some(5062), tcp: Some(5062), tls: Some(5063) },
            media_ports: Vec::new(),
            in_service: true,
        }],
        hosts: vec!["mailbox-0".to_owned(); DATABASES],
        ..Directory::default()
    }
}

/// What a router of this organisation reads, without listeners.
pub(crate) fn config(size: Size) -> RouterConfig {
    RouterConfig {
        schema_version: SCHEMA_VERSION,
        generation: 1,
        server: ServerIdentity {
            name: "router".to_owned(),
            status: ServerStatus::Enabled,
            startup_mode: StartupMode::Dual,
            listeners: Listeners { udp: None, tcp: None, tls: None },
            certificate: None,
        },
        unknown_peers: UnknownPeers::Refuse,
        // 32 bytes in base64.
        token_keys: vec![TokenKey { id: "k1".to_owned(), secret: format!("{}=", "A".repeat(43)) }],
        directory: directory(size),
    }
}

/// What an Umbriel router reads, kept so that it can be changed while it runs.
pub(crate) struct Configuration {
    folder: PathBuf,
    config: RouterConfig,
}

impl Configuration {
    fn write(&self) -> io::Result<()> {
        let files = self.config.to_files().map_err(io::Error::other)?;
        // The index comes last: it names the others.
        for (name, bytes) in files.iter().filter(|(name, _)| *name != config::parts::ROUTER_FILE) {
            replace(&self.folder.join(name), bytes)?;
        }
        replace(&self.folder.join(config::parts::ROUTER_FILE), &files[config::parts::ROUTER_FILE])
    }

    /// Gives one mailbox another number beside its own, which makes a table of the next generation.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn change(&mut self) -> io::Result<()> {
        self.config.generation += 1;
        let generation = self.config.generation;
        if let Some(mailbox) = self.config.directory.mailboxes.first_mut() {
            mailbox.extensions.truncate(1);
            mailbox.extensions.push((800_000 + generation).to_string());
        }
        self.write()
    }
}

/// Writes beside and renames, so that no reader sees half of it.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes)?;
    fs::rename(beside, path)
}

/// Umbriel's router, one worker.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn umbriel(place: &Place, name: &str, size: Size) -> io::Result<(Server, Configuration)> {
    let (clear, tls, admin) = (free_port()?, free_port()?, free_port()?);
    let folder = place.folder.join(name);
    fs::create_dir(&folder)?;
    let mut config = config(size);
    config.server.listeners = Listeners { udp: Some(clear), tcp: Some(clear), tls: Some(tls) };
    config.server.certificate = Some(place.certificate.clone());
    let configuration = Configuration { folder: folder.clone(), config };
    configuration.write()?;
    let mut command = pinned(&place.umbriel);
    command.args(["router", "--address", "127.0.0.1", "--linger", "0", "--admin-port", &admin.to_string()]);
    command.arg("--config").arg(&folder);
    Ok((start(command, &place.folder.join(name), clear, tls)?, configuration))
}

/// Kamailio from Debian, with its fast allocator; `None` if it is not installed.
///
/// # Errors
/// When it is there and cannot be started.
pub(crate) fn kamailio(place: &Place, users: u32) -> io::Result<Option<Server>> {
    let there = Command::new("kamailio").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let (clear, tls) = (free_port()?, free_port()?);
    let folder = &place.folder;
    let (chain, key, settings) =
        (folder.join("tls.crt"), folder.join("tls.key"), folder.join("kamailio.tls"));
    fs::write(&chain, &place.certificate.chain)?;
    fs::write(&key, &place.certificate.key)?;
    let tls_settings = format!(
        "[server:default]\nmethod = TLSv1.2+\nverify_certificate = no\nrequire_certificate = no\n\
         certificate = {}\nprivate_key = {}\n",
        chain.display(),
        key.display()
    );
    fs::write(&settings, tls_settings)?;
    let text = include_str!("../kamailio.cfg")
        .replace("@PORT@", &clear.to_string())
        .replace("@TLS_PORT@", &tls.to_string())
        .replace("@TLS_SETTINGS@", &settings.display().to_string())
        .replace("@FIRST@", &FIRST_EXTENSION.to_string())
        .replace("@BEHIND@", &(FIRST_EXTENSION + users).to_string())
        .replace("@MAILBOX_SERVER@", &format!("{MAILBOX_SERVER}:5062"));
    let file = folder.join("kamailio.cfg");
    fs::write(&file, text)?;
    let mut command = pinned(Path::new("kamailio"));
    command.args(["-DD", "-E", "-x", "fm", "-X", "fm", "-m", "64", "-M", "8", "-f"]).arg(&file);
    command.arg("-P").arg(folder.join("kamailio.pid"));
    start(command, &folder.join("kamailio"), clear, tls).map(Some)
}

/// The bare echo, by this very program.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn echo(place: &Place, way: &str, lengths: Lengths) -> io::Result<Server> {
    let port = free_port()?;
    let mut command = pinned(&std::env::current_exe()?);
    let Lengths { reply, invite, ack } = lengths;
    command
        .arg("echo")
        .arg(way)
        .args([usize::from(port), reply, invite, ack].map(|number| number.to_string()));
    start(command, &place.folder.join(format!("echo-{way}")), port, port)
}

fn pinned(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", SERVER_CORE]).arg(program);
    command
}

/// Starts it and waits until its TCP port is open. Its output goes to a file.
fn start(mut command: Command, log: &Path, clear: u16, tls: u16) -> io::Result<Server> {
    let log = log.with_extension("log");
    let output = fs::File::create(&log)?;
    let child = command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn()?;
    let mut server =
        Server { udp: local(clear), tcp: local(clear), tls: local(tls), log: log.clone(), child };
    let patience = Instant::now() + START_PATIENCE;
    while TcpStream::connect(server.tcp).is_err() {
        if Instant::now() > patience || server.child.try_wait()?.is_some() {
            let said = fs::read_to_string(&log).unwrap_or_default();
            return Err(io::Error::other(format!("{command:?} does not serve:\n{said}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(server)
}

impl Server {
    /// Where it is called.
    pub(crate) fn address(&self, transport: Transport) -> SocketAddr {
        match transport {
            Transport::Udp => self.udp,
            Transport::Tcp => self.tcp,
            Transport::Tls => self.tls,
        }
    }

    /// The process and all that came of it.
    fn processes(&self) -> Vec<u32> {
        let mut found = vec![self.child.id()];
        let mut at = 0;
        while let Some(process) = found.get(at).copied() {
            let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
            let children = children.unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            at += 1;
        }
        found
    }

    /// Processor time of all its threads so far.
    pub(crate) fn processor_time(&self) -> Duration {
        let mut nanoseconds = 0_u64;
        for process in self.processes() {
            for thread in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
                let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
                let ran = text.split_whitespace().next().and_then(|ran| ran.parse::<u64>().ok());
                nanoseconds += ran.unwrap_or(0);
            }
        }
        Duration::from_nanos(nanoseconds)
    }

    /// Lines of its log so far.
    pub(crate) fn lines(&self) -> usize {
        fs::read(&self.log).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count()
    }

    /// Memory of all its processes, what they share counted once, KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let of = |process: u32| {
            let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        self.processes().into_iter().map(of).sum()
    }
}
