//! sipp, which does word for word what `leave.xml` says.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::signalling_port;
use crate::audio::Law;
use crate::site::Site;
use crate::wait_until;

/// One run of sipp: a call through the router that leaves a message and hangs up.
#[derive(Debug)]
pub struct Sipp {
    /// The extension that is called.
    pub called: &'static str,
    /// The caller's number; sipp's own, so that messages can be told apart.
    pub caller: String,
    /// `udp` or `tcp`.
    pub transport: &'static str,
    /// The codec that is offered and spoken.
    pub law: Law,
    /// The code words that are sent, from the moment when the call is answered.
    pub sound: Vec<u8>,
    /// How long the call lasts after it was answered.
    pub hang_up_after: Duration,
}

impl Sipp {
    /// Starts the call.
    ///
    /// # Panics
    /// If sipp cannot be started.
    #[must_use]
    pub fn start(&self, site: &dyn Site) -> Running {
        let folder = site.scratch().join(format!("sipp-{}", self.caller));
        let from = site.caller().to_string();
        std::fs::create_dir(&folder).expect("a folder for sipp");
        std::fs::write(folder.join("sound.raw"), &self.sound).expect("the sound");
        std::fs::write(folder.join("leave.xml"), self.scenario()).expect("the scenario");
        let child = Command::new("sipp")
            .current_dir(&folder)
            .args([&site.router().to_string(), "-sf", "leave.xml", "-s", self.called, "-m", "1", "-nostdin"])
            .args(["-i", &from, "-mi", &from])
            .args(["-t", if self.transport == "udp" { "u1" } else { "tn" }, "-max_socket", "64"])
            .args(["-mp", &media_port(&self.caller).to_string(), "-p", &signalling_port().to_string()])
            .args(["-timeout", "60"])
            .args(["-trace_err", "-error_file", "errors.log", "-trace_msg", "-message_file", "messages.log"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sipp starts");
        Running { child, folder }
    }

    fn scenario(&self) -> String {
        let (payload_type, name) = match self.law {
            Law::Mu => (0, "PCMU"),
            Law::A => (8, "PCMA"),
        };
        include_str!("leave.xml")
            .replace("@CALLER@", &self.caller)
            .replace("@PT@", &payload_type.to_string())
            .replace("@CODEC@", name)
            .replace("@PAUSE_MS@", &self.hang_up_after.as_millis().to_string())
    }
}

/// Media ports that no two callers of one test share; sipp takes one in four for itself.
fn media_port(caller: &str) -> u16 {
    let number: u16 = caller.parse().expect("callers are numbers");
    20_000 + (number % 1000) * 8
}

/// A caller that is under way.
#[derive(Debug)]
pub struct Running {
    child: Child,
    folder: PathBuf,
}

impl Running {
    /// Waits until the call is over.
    ///
    /// # Panics
    /// With what sipp reported, if the call did not go as the scenario says.
    pub fn finish(mut self) {
        let status = wait_until("the caller is done", Duration::from_secs(70), || {
            self.child.try_wait().ok().flatten()
        });
        let report = |name: &str| std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        assert!(
            status.success(),
            "sipp ended with {status}\n{}\n{}",
            report("errors.log"),
            report("messages.log")
        );
    }
}
