//! A real name server, dnsmasq, on a port of its own.
//!
//! Decides nothing about names: a test writes them, and changes them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::wait_until;

/// The program.
pub const DNSMASQ: &str = "dnsmasq";

/// A running name server.
#[derive(Debug)]
pub struct NameServer {
    /// Where it is asked.
    pub address: SocketAddr,
    room: TempDir,
    child: Option<Child>,
}

impl NameServer {
    /// One at `address` with these names below `.example`: each line is an address and a name, as in /etc/hosts.
    /// An answer holds for one second.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(address: SocketAddr, hosts: &str) -> NameServer {
        let room = tempfile::Builder::new().prefix("umbriel-names-").tempdir().expect("a temporary folder");
        let mut server = NameServer { address, room, child: None };
        std::fs::write(server.hosts(), hosts).expect("the names are written");
        server.up();
        server
    }

    fn hosts(&self) -> PathBuf {
        self.room.path().join("hosts")
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Panics
    /// If it does not.
    pub fn up(&mut self) {
        let (ip, port) = (self.address.ip(), self.address.port());
        let child = Command::new(DNSMASQ)
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--user=root",
            ])
            .args([
                "--bind-interfaces",
                "--except-interface=none",
                "--local=/example/",
                "--local-ttl=1",
                "--pid-file=",
            ])
            .args([format!("--port={port}"), format!("--listen-address={ip}")])
            .arg(format!("--addn-hosts={}", self.hosts().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("dnsmasq starts");
        self.child = Some(child);
        wait_until("the name server answers", Duration::from_secs(10), || self.answers().then_some(()));
    }

    /// Whether it answers a question, whatever it says: for the type NS of the root.
    fn answers(&self) -> bool {
        let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01";
        let socket = std::net::UdpSocket::bind((self.address.ip(), 0)).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let mut answer = [0; 512];
        socket.send_to(question, self.address).is_ok() && socket.recv(&mut answer).is_ok()
    }

    /// From now on it has these names.
    ///
    /// # Panics
    /// If it cannot be told.
    pub fn rename(&self, hosts: &str) {
        std::fs::write(self.hosts(), hosts).expect("the names are written");
        let pid = self.child.as_ref().expect("the name server runs").id();
        kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), Signal::SIGHUP).expect("told");
    }

    /// Ends it: nobody answers any more.
    pub fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already gone is as good as ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.down();
    }
}
