//! From a change to its answer on the wire: a router in a process of its own reads what the operator
//! writes, and is called.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use config::parts::{ROUTER_FILE, TOKEN_KEYS_FILE, token_keys_to_yaml};
use tempfile::TempDir;
use umbriel_operator::Write;

/// A call that is not answered yet is placed again after this.
const REPEAT_AFTER: Duration = Duration::from_millis(10);

/// A router that has not answered within this never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folder that a router reads.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    /// Puts in what a router reads of this. The index comes last, as in every plan.
    pub(crate) fn put(&self, write: &Write) {
        match write {
            Write::TokenKeys(_, keys) => {
                self.file(TOKEN_KEYS_FILE, token_keys_to_yaml(&keys.keys).unwrap().as_bytes());
            }
            Write::Part(named, write) => self.file(&named.name.file(), &write.part.bytes),
            Write::Router(_, index) => self.file(ROUTER_FILE, index.to_yaml().unwrap().as_bytes()),
            Write::Mailbox(..) | Write::Workload(_) | Write::Remove(_) => {}
            Write::Status(..) | Write::Forget(_) | Write::Default(_) => {}
        }
    }

    /// Nobody reads a file that is half there.
    fn file(&self, name: &str, bytes: &[u8]) {
        let next = self.0.path().join("next");
        fs::write(&next, bytes).unwrap();
        fs::rename(next, self.0.path().join(name)).unwrap();
    }
}

/// A port of this machine that nobody has now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A router, and a gateway that calls it.
pub(crate) struct Caller {
    router: Child,
    socket: UdpSocket,
    calls: u32,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.router.kill().unwrap();
        self.router.wait().unwrap();
    }
}

impl Caller {
    /// Starts the program `umbriel` as a router that reads `folder` and listens on `port`.
    pub(crate) fn start(umbriel: &Path, folder: &Folder, port: u16) -> Caller {
        let mut command = Command::new(umbriel);
        command.arg("router").arg("--config").arg(folder.0.path()).args(["--address", "127.0.0.1"]);
        command.args(["--admin-port", &free_port().to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let router = command.spawn().unwrap();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        socket.set_read_timeout(Some(REPEAT_AFTER)).unwrap();
        Caller { router, socket, calls: 0 }
    }

    /// Places calls to `called` until one of them is answered with `status`, and gives the time of that.
    pub(crate) fn answered(&mut self, called: &str, status: &str) -> Instant {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.call(called) {
                Ok(answer) if answer == status => return Instant::now(),
                // A router that is about to start has no port yet.
                Ok(_) | Err(_) => std::thread::sleep(REPEAT_AFTER),
            }
        }
        panic!("no call to {called} was answered with {status}");
    }

    /// The status that answers a call.
    fn call(&mut self, called: &str) -> io::Result<String> {
        self.calls += 1;
        let (us, server, id) = (self.socket.local_addr()?, self.socket.peer_addr()?, self.calls);
        let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                   m=audio 40000 RTP/AVP 0\r\n";
        let invite = format!(
            "INVITE sip:{called}@{server} SIP/2.0\r\nVia: SIP/2.0/UDP {us};branch=z9hG4bK{id}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:200@{us}>;tag={id}\r\nTo: <sip:{called}@{server}>\r\n\
             Call-ID: {id}\r\nCSeq: 1 INVITE\r\nContact: <sip:200@{us}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{sdp}",
            length = sdp.len()
        );
        self.socket.send(invite.as_bytes())?;
        let mut buffer = [0; 4_096];
        let ours = format!("Call-ID: {id}\r\n");
        loop {
            let length = self.socket.recv(&mut buffer)?;
            let answer = String::from_utf8_lossy(&buffer[..length]);
            if answer.contains(&ours) {
                return Ok(answer.split(' ').nth(1).unwrap_or_default().to_owned());
            }
        }
    }
}
