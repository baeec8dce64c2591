//! baresip, which follows redirects itself, and speaks a WAV file from the moment when the call is answered.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{ANSWERED, Dialled, end_of};
use crate::audio::{self, Law};
use crate::site::Site;
use crate::wait_until;

/// A call by baresip.
#[derive(Clone, Copy, Debug)]
pub struct Baresip<'a> {
    /// Whom it calls.
    pub dialled: Dialled<'a>,
    /// The codec that is offered and spoken.
    pub law: Law,
    /// Whether it offers encrypted audio, and no other.
    pub encrypts: bool,
}

impl<'a> Baresip<'a> {
    /// A call with µ-law in the clear.
    #[must_use]
    pub const fn of(dialled: Dialled<'a>) -> Baresip<'a> {
        Baresip { dialled, law: Law::Mu, encrypts: false }
    }

    /// Calls, and hangs up so long after the answer. Gives what baresip has said once the call is over, which says
    /// whether it was answered.
    ///
    /// # Panics
    /// If it cannot be started, or neither answer nor refusal comes.
    #[must_use]
    pub fn call(&self, site: &dyn Site, sound: &[u8], hang_up_after: Duration) -> String {
        let folder = tempfile::Builder::new().prefix("baresip-").tempdir_in(site.scratch());
        let folder = folder.expect("a folder for baresip");
        self.write_files(folder.path(), sound);
        let said = folder.path().join("said");
        let log = File::create(&said).expect("a file for what it says");
        let mut child = Command::new("stdbuf")
            // It is waited for what it says, so it has to say it at once.
            .args(["-oL", "baresip", "-f"])
            .arg(folder.path())
            .args(["-e", &format!("/dial sip:{}@{}", self.dialled.called, self.dialled.to)])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("baresip starts");
        let said = || String::from_utf8_lossy(&std::fs::read(&said).unwrap_or_default()).into_owned();
        let answered = wait_until("baresip's call is answered or refused", ANSWERED, || {
            let text = said();
            let over = ["session closed", "terminated"].iter().any(|word| text.contains(word));
            let over = over || child.try_wait().ok().flatten().is_some();
            (over || text.contains("Call established")).then_some(!over)
        });
        if answered {
            // This waits for nothing: it is the call.
            std::thread::sleep(hang_up_after);
        }
        // It hangs up, and then ends.
        let id = i32::try_from(child.id()).expect("an id");
        kill(Pid::from_raw(id), Signal::SIGTERM).ok();
        end_of(&mut child);
        said()
    }

    fn write_files(&self, folder: &Path, sound: &[u8]) {
        let wav = folder.join("sound.wav");
        std::fs::write(&wav, audio::pcm_wav(self.law, sound)).expect("the sound");
        std::fs::write(folder.join("config"), self.config(&wav)).expect("the configuration");
        let codec = match self.law {
            Law::Mu => "pcmu",
            Law::A => "pcma",
        };
        let (Dialled { transport, caller, .. }, host) = (self.dialled, self.dialled.host());
        let encryption = if self.encrypts { ";mediaenc=srtp-mand" } else { "" };
        let account = format!(
            "<sip:{caller}@{host};transport={transport}>;regint=0;audio_codecs={codec}/8000/1{encryption}\n"
        );
        std::fs::write(folder.join("accounts"), account).expect("the account");
        std::fs::write(folder.join("contacts"), "").expect("the contacts");
    }

    fn config(&self, sound: &Path) -> String {
        let (from, host) = (self.dialled.from, self.dialled.host());
        let family = if from.is_ipv6() { "ipv6" } else { "ipv4" };
        format!(
            "module_path /usr/lib/baresip/modules\nmodule g711.so\nmodule aufile.so\nmodule srtp.so\n\
             module_tmp account.so\nmodule_app menu.so\n\
             sip_listen {host}:0\nnet_interface {from}\nnet_af {family}\naudio_source aufile,{}\n\
             audio_player aufile,{}\naudio_alert aufile,/dev/null\n\
             ausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\n",
            sound.display(),
            sound.with_file_name("heard.wav").display()
        )
    }
}
