//! linphone, as the daemon that takes commands: it offers all codecs that it has, follows redirects itself (with
//! another Call-ID), and plays a WAV file into the call.

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{ANSWERED, Dialled, end_of, signalling_port};
use crate::audio::{self, Law};
use crate::site::Site;
use crate::wait_until;

/// The program.
pub const LINPHONE: &str = "linphone-daemon";

/// A call by linphone.
#[derive(Clone, Copy, Debug)]
pub struct Linphone<'a> {
    /// Whom it calls.
    pub dialled: Dialled<'a>,
}

impl Linphone<'_> {
    /// Calls, says µ-law code words from the answer on, and hangs up so long after it. Gives what linphone has said
    /// once the call is over, which says whether it was answered.
    ///
    /// # Panics
    /// If it cannot be started, or neither answer nor refusal comes.
    #[must_use]
    pub fn call(&self, site: &dyn Site, sound: &[u8], hang_up_after: Duration) -> String {
        let folder = tempfile::Builder::new().prefix("linphone-").tempdir_in(site.scratch());
        let folder = folder.expect("a folder for linphone");
        let (wav, config) = (folder.path().join("sound.wav"), folder.path().join("linphonerc"));
        std::fs::write(&wav, audio::pcm_wav(Law::Mu, sound)).expect("the sound");
        std::fs::write(&config, self.config()).expect("the configuration");
        // It keeps a database there, does not make the folder, and listens nowhere without it.
        std::fs::create_dir_all(folder.path().join(".local/share/linphone"))
            .expect("a folder for its database");
        let said = folder.path().join("said");
        let log = File::create(&said).expect("a file for what it says");
        let mut child = Command::new("stdbuf")
            .args(["-oL", LINPHONE, "--config"])
            .arg(&config)
            .env("HOME", folder.path())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("linphone starts");
        let mut input = child.stdin.take().expect("its input");
        let mut tell = |command: &str| writeln!(input, "{command}").expect("linphone listens");
        let said = || String::from_utf8_lossy(&std::fs::read(&said).unwrap_or_default()).into_owned();
        let Dialled { to, called, transport, .. } = self.dialled;
        tell(&format!("call sip:{called}@{to};transport={transport}"));
        let answered = wait_until("linphone's call is answered or refused", ANSWERED, || {
            let text = said();
            let over = text.contains("LinphoneCallReleased");
            (over || text.contains("LinphoneCallStreamsRunning")).then_some(!over)
        });
        if answered {
            tell(&format!("incall-player-start {}", wav.display()));
            // This waits for nothing: it is the call.
            std::thread::sleep(hang_up_after);
            tell("terminate");
            wait_until("linphone's call is over", ANSWERED, || {
                said().contains("LinphoneCallReleased").then_some(())
            });
        }
        tell("quit");
        end_of(&mut child);
        said()
    }

    fn config(&self) -> String {
        let Dialled { caller, from, .. } = self.dialled;
        let [udp, tcp, tls] = [signalling_port(), signalling_port(), signalling_port()];
        let ipv6 = u8::from(from.is_ipv6());
        format!(
            "[sip]\nsip_port={udp}\nsip_tcp_port={tcp}\nsip_tls_port={tls}\nbind_address={from}\n\
             use_ipv6={ipv6}\nverify_server_certs=0\nverify_server_cn=0\nmedia_encryption=none\n\
             guess_hostname=0\ncontact=sip:{caller}@{}\n\
             [rtp]\nbind_address={from}\naudio_rtp_port=-1\n[net]\nfirewall_policy=0\n\
             [video]\nenabled=0\ncapture=0\ndisplay=0\nautomatically_initiate=0\nautomatically_accept=0\n\
             [sound]\nechocancellation=0\n",
            self.dialled.host()
        )
    }
}
