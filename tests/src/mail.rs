//! A real mail server for the tests, and the messages that arrived at it.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mail_parser::{MessageParser, MimeHeaders as _};

use crate::audio::Wav;
use crate::wait_until;

/// A message as a mail program would show it.
#[derive(Debug)]
pub struct Mail {
    /// The file that it lies in.
    pub path: PathBuf,
    /// The whole message.
    pub raw: Vec<u8>,
    /// `To`.
    pub to: String,
    /// `Subject`.
    pub subject: String,
    /// `X-CallID`.
    pub call_id: String,
    /// `X-CallingTelephoneNumber`.
    pub caller: String,
    /// The attached audio.
    pub audio: Wav,
}

impl Mail {
    /// Reads one mail file.
    ///
    /// # Panics
    /// If it is no voice message: a test that looks for one has failed then.
    #[must_use]
    pub fn read(path: &Path) -> Mail {
        let raw = std::fs::read(path).expect("a mail file");
        let message = MessageParser::default().parse(&raw).expect("a message");
        let header = |name: &str| {
            message.header(name).and_then(|value| value.as_text()).unwrap_or_default().to_owned()
        };
        let attachment = message.attachment(0).expect("an attachment");
        assert!(
            attachment.content_type().is_some_and(|kind| kind.ctype() == "audio"),
            "the attachment is audio"
        );
        Mail {
            path: path.to_path_buf(),
            to: message.to().and_then(|to| to.first()?.address().map(str::to_owned)).unwrap_or_default(),
            subject: message.subject().unwrap_or_default().to_owned(),
            call_id: header("X-CallID"),
            caller: header("X-CallingTelephoneNumber"),
            audio: Wav::read(attachment.contents()).expect("a WAV file"),
            raw: raw.clone(),
        }
    }
}

/// Every message of a Maildir (`new` and `cur`).
#[must_use]
pub fn maildir(folder: &Path) -> Vec<Mail> {
    let mut mails = Vec::new();
    for sub in ["new", "cur"] {
        let Ok(entries) = std::fs::read_dir(folder.join(sub)) else { continue };
        mails.extend(entries.flatten().map(|entry| Mail::read(&entry.path())));
    }
    mails
}

/// Debian's aiosmtpd, which files what it takes into a Maildir.
#[derive(Debug)]
pub struct MailServer {
    /// Where it listens.
    pub address: SocketAddr,
    folder: PathBuf,
    child: Child,
}

/// The program; Debian's, whatever other Python a machine has.
pub const AIOSMTPD: &str = "/usr/bin/aiosmtpd";

impl MailServer {
    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(address: SocketAddr, folder: &Path) -> MailServer {
        let child = Command::new("/usr/bin/python3")
            .args([AIOSMTPD, "-n", "-l", &address.to_string(), "-c", "aiosmtpd.handlers.Mailbox"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("aiosmtpd starts");
        wait_until("the mail server answers", Duration::from_secs(20), || TcpStream::connect(address).ok());
        MailServer { address, folder: folder.to_path_buf(), child }
    }

    /// What has arrived.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        maildir(&self.folder)
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        // Already gone is as good as ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
