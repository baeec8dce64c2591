//! A real S3 server with one bucket, which keeps its objects as files.
//!
//! Decides how it is started, stopped and looked into. Refuses to know what is stored.

use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{cluster, has, wait_until};

/// The bucket that it has.
pub const BUCKET: &str = "messages";
/// The access key that it knows.
pub const ACCESS_KEY_ID: &str = "umbriel-test";
/// What goes with it.
pub const SECRET_ACCESS_KEY: &str = "not-a-secret-of-anybody";

/// A running S3 server; dropping it ends it.
#[derive(Debug)]
pub struct S3Server {
    room: TempDir,
    address: SocketAddr,
    certificate: Option<(PathBuf, PathBuf)>,
    secret: String,
    child: Option<Child>,
}

impl S3Server {
    /// Starts one on a free port of this machine. Where the machine cannot build it, says that
    /// `test` is skipped.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(test: &str) -> Option<S3Server> {
        S3Server::start_with(test, Ipv4Addr::LOCALHOST.into(), None)
    }

    /// The same at another address, and perhaps behind TLS, with a certificate chain and its key as PEM
    /// text.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_with(test: &str, address: IpAddr, certificate: Option<(&str, &str)>) -> Option<S3Server> {
        if !has("go", test) {
            return None;
        }
        let room = tempfile::Builder::new().prefix("umbriel-s3-").tempdir().expect("a temporary folder");
        std::fs::create_dir_all(room.path().join("data").join(BUCKET)).expect("the bucket");
        let certificate = certificate.map(|(chain, key)| {
            let paths = (room.path().join("tls.crt"), room.path().join("tls.key"));
            std::fs::write(&paths.0, chain).expect("the certificate");
            std::fs::write(&paths.1, key).expect("its key");
            paths
        });
        let free = TcpListener::bind((address, 0)).expect("a free port").local_addr().expect("its address");
        let secret = SECRET_ACCESS_KEY.to_owned();
        let mut server = S3Server { room, address: free, certificate, secret, child: None };
        server.start_again();
        Some(server)
    }

    /// Starts it after [`S3Server::stop`], at the same address with the same objects.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_again(&mut self) {
        let log = File::options().create(true).append(true).open(self.log()).expect("a log");
        let mut command = Command::new(program());
        command.args(["--quiet", "--port", &self.address.to_string()]);
        if let Some((chain, key)) = &self.certificate {
            command.arg("--cert").arg(chain).arg("--key").arg(key);
        }
        command.arg("posix").arg(self.room.path().join("data"));
        let command = command.env("ROOT_ACCESS_KEY", ACCESS_KEY_ID).env("ROOT_SECRET_KEY", &self.secret);
        let command = command.stdin(Stdio::null()).stdout(log.try_clone().expect("a handle")).stderr(log);
        self.child = Some(command.spawn().expect("the S3 server starts"));
        wait_until("the S3 server listens", Duration::from_secs(30), || {
            TcpStream::connect(self.address).ok().map(drop)
        });
    }

    /// Ends it without a word, as a crash does.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Gone already is as good as ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// From now on it knows another key to [`ACCESS_KEY_ID`], and not the one before.
    ///
    /// # Panics
    /// If it does not start again.
    pub fn change_key(&mut self, secret: &str) {
        self.stop();
        self.secret = secret.to_owned();
        self.start_again();
    }

    /// What `endpoint` says.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Every object whose name ends so, as files.
    #[must_use]
    pub fn objects(&self, end: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.room.path().join("data").join(BUCKET)];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("entry").path())
            {
                if path.is_dir() {
                    folders.push(path);
                } else if path.to_string_lossy().ends_with(end) {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    fn log(&self) -> PathBuf {
        self.room.path().join("log")
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            std::io::stderr().write_all(format!("the log of the S3 server:\n{log}\n").as_bytes()).ok();
        }
    }
}

/// The program, built at the first use.
///
/// # Panics
/// If it cannot be built.
#[must_use]
pub fn program() -> PathBuf {
    let output = Command::new(cluster::root().join("tests/s3/server")).output().expect("tests/s3/server");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tests/s3/server: {errors}");
    Path::new(String::from_utf8(output.stdout).expect("a path").trim()).to_path_buf()
}
