//! Calls at a steady rate: sipp asks a router where each of them goes.
//!
//! Decides that a call which is not redirected is one too many.

use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::wait_until;

/// Calls that are under way.
#[derive(Debug)]
pub struct Load {
    child: Child,
    room: TempDir,
}

impl Load {
    /// Begins to call `called` through `router`, `rate` times a second, `calls` times in all. To be
    /// called in the network that the calls come from.
    ///
    /// # Panics
    /// If sipp cannot be started.
    #[must_use]
    pub fn start(from: IpAddr, router: SocketAddr, called: &str, rate: u32, calls: u32) -> Load {
        let room = tempfile::Builder::new().prefix("umbriel-load-").tempdir().expect("a folder");
        std::fs::write(room.path().join("scenario.xml"), include_str!("redirected.xml"))
            .expect("the scenario");
        let child = Command::new("sipp")
            .current_dir(room.path())
            .args([&router.to_string(), "-sf", "scenario.xml", "-s", called, "-i", &from.to_string()])
            .args(["-r", &rate.to_string(), "-m", &calls.to_string(), "-l", "10000", "-nostdin"])
            .args(["-t", "u1", "-trace_err", "-error_file", "errors.log"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sipp starts");
        Load { child, room }
    }

    /// Waits until the last call is over.
    ///
    /// # Panics
    /// With what sipp says, if a call was not redirected.
    pub fn finish(mut self, limit: Duration) {
        let status = wait_until("sipp is done", limit, || self.child.try_wait().expect("sipp is ours"));
        let errors = std::fs::read_to_string(self.room.path().join("errors.log")).unwrap_or_default();
        assert!(status.success(), "sipp ended with {status}\n{errors}");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
