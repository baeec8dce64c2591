//! Debian's Kamailio before a router, as a proxy and as a gateway: it asks the router by OPTIONS whether it takes
//! calls, sends it the calls of telephones behind it, and follows the redirects itself.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::site::Site;
use crate::{tls, wait_until};

/// Its module for TLS, which is a package of its own.
pub const KAMAILIO_TLS: &str = "/usr/share/doc/kamailio-tls-modules";

const CONFIG: &str = include_str!("kamailio/kamailio.cfg");

/// What it is for the telephones behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It hands on their calls as they are.
    Proxy,
    /// It finds whom they call busy, and diverts their calls to the number of the mailboxes.
    Gateway,
}

/// One that runs.
#[derive(Debug)]
pub struct Kamailio {
    address: IpAddr,
    child: Child,
    log: PathBuf,
}

impl Kamailio {
    /// Starts one at this address, which sends every call to the router of `site`, whose TLS port this is.
    ///
    /// # Panics
    /// If it does not answer, or the router does not answer it by every transport.
    #[must_use]
    pub fn start(site: &dyn Site, tls_port: u16, address: IpAddr) -> Kamailio {
        let folder = site.scratch().join("kamailio");
        std::fs::create_dir(&folder).expect("a folder for kamailio");
        let log = folder.join("kamailio.log");
        write_files(&folder, address, site.router(), tls_port);
        let child = Command::new("kamailio")
            .args(["-DD", "-E", "-m", "32", "-M", "4", "-f"])
            .arg(folder.join("kamailio.cfg"))
            .arg("-Y")
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("its log"))
            .spawn()
            .expect("kamailio starts");
        let kamailio = Kamailio { address, child, log };
        kamailio.wait_until_it_takes_calls();
        kamailio
    }

    /// Where telephones call, for calls that go on by `transport`.
    #[must_use]
    pub fn before(&self, role: Role, transport: &str) -> SocketAddr {
        let role = match role {
            Role::Proxy => 6060,
            Role::Gateway => 6070,
        };
        let transport = match transport {
            "udp" => 0,
            "tcp" => 1,
            _ => 2,
        };
        SocketAddr::new(self.address, role + transport)
    }

    /// What it has said.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn wait_until_it_takes_calls(&self) {
        let socket = UdpSocket::bind((self.address, 0)).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a limit");
        let (own, to) = (socket.local_addr().expect("an address"), self.before(Role::Proxy, "udp"));
        let mut asked = 0;
        wait_until(&format!("kamailio takes calls\n{}", self.log()), Duration::from_secs(30), || {
            asked += 1;
            let ask = format!(
                "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK-up-{asked}\r\n\
                 From: <sip:a@{own}>;tag=1\r\nTo: <sip:{to}>\r\nCall-ID: up-{asked}@{own}\r\nCSeq: 1 OPTIONS\r\n\
                 Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            );
            socket.send_to(ask.as_bytes(), to).ok()?;
            let mut answer = [0; 2048];
            let length = socket.recv(&mut answer).ok()?;
            answer[..length].starts_with(b"SIP/2.0 200 ").then_some(())
        });
    }
}

/// What it reads: its configuration, its certificate, and where the router is by each transport.
fn write_files(folder: &Path, address: IpAddr, router: SocketAddr, tls_port: u16) {
    tls::make_certificate(folder);
    let by_tls = SocketAddr::new(router.ip(), tls_port);
    // Flags: it is in doubt (8) and takes no calls (1) until it has answered.
    let list = format!("0 sip:{router} 9\n1 sip:{router};transport=tcp 9\n2 sip:{by_tls};transport=tls 9\n");
    std::fs::write(folder.join("dispatcher.list"), list).expect("where the router is");
    let host = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let text = CONFIG.replace("@HOST@", &host).replace("@FOLDER@", &folder.display().to_string());
    std::fs::write(folder.join("kamailio.cfg"), text).expect("the configuration");
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // It ends its own processes when it is asked to.
        let id = i32::try_from(self.child.id()).expect("an id");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGTERM).ok();
        self.child.wait().ok();
    }
}
