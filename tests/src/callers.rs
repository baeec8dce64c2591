//! Callers that are not ours: Debian's sipp and baresip.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crate::audio::{self, Law};
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

/// A signalling port that no other caller of this process has: left to itself, sipp binds to the first
/// port that it can, and of two callers that begin at once one then cannot listen on it.
fn signalling_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    28_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 4_000
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

/// A call by baresip, which speaks a WAV file from the moment when the call is answered.
///
/// # Panics
/// If it cannot be started.
#[must_use]
pub fn baresip(
    site: &dyn Site,
    called: &str,
    transport: &str,
    law: Law,
    sound: &[u8],
    hang_up_after: Duration,
) -> Output {
    let folder = site.scratch().join(format!("baresip-{called}-{transport}"));
    std::fs::create_dir(&folder).expect("a folder for baresip");
    let wav = folder.join("sound.wav");
    std::fs::write(&wav, audio::pcm_wav(law, sound)).expect("the sound");
    std::fs::write(folder.join("config"), baresip_config(site.caller(), &wav)).expect("the configuration");
    let codec = match law {
        Law::Mu => "pcmu",
        Law::A => "pcma",
    };
    let from = site.caller();
    let account = format!("<sip:200@{from};transport={transport}>;regint=0;audio_codecs={codec}/8000/1\n");
    std::fs::write(folder.join("accounts"), account).expect("the account");
    std::fs::write(folder.join("contacts"), "").expect("the contacts");
    Command::new("baresip")
        .arg("-f")
        .arg(&folder)
        .args(["-t", &hang_up_after.as_secs().to_string()])
        .args(["-e", &format!("/dial sip:{called}@{}", site.router())])
        .stdin(Stdio::null())
        .output()
        .expect("baresip runs")
}

fn baresip_config(from: IpAddr, sound: &Path) -> String {
    let heard = sound.with_file_name("heard.wav");
    format!(
        "module_path /usr/lib/baresip/modules\nmodule g711.so\nmodule aufile.so\n\
         module_tmp account.so\nmodule_app menu.so\n\
         sip_listen {from}:0\nnet_interface {from}\naudio_source aufile,{}\naudio_player aufile,{}\n\
         audio_alert aufile,/dev/null\nausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\n",
        sound.display(),
        heard.display()
    )
}
