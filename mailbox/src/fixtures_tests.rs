//! What the tests of storage and delivery share: recordings, mail as it arrived, mail servers, and
//! waiting for what can be observed.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use config::{Delivery, Directory, Listeners, MailboxConfig, Owner, ServerIdentity, Smtp, SmtpSecurity};
use mail_parser::{MessageParser, MimeHeaders};

use crate::delivery::{CurrentConfig, Deliverer, Settings};
use crate::message::{Codec, EndedBy, MessageId, RecordingFacts, SpoolCommand};
use crate::spool_writer::SpoolHandle;

/// One packet of 20 ms.
pub(crate) const PACKET: usize = 160;

pub(crate) fn id(last: u8) -> MessageId {
    MessageId::new(1_790_000_000_000, [0, 0, 0, 0, 0, 0, 0, 0, 0, last])
}

pub(crate) fn facts(id: MessageId) -> RecordingFacts {
    RecordingFacts {
        id,
        mailbox: "alice".into(),
        caller: Some("102".into()),
        caller_name: None,
        caller_address: None,
        called: "101".into(),
        diverted: None,
        call_id: format!("{id}@pc33.example.com"),
        gateway: "loopback".into(),
        codec: Codec::Pcmu,
        started_unix_ms: 1_790_000_000_000,
    }
}

/// The audio of a recording: no two recordings, and no two packets of one, are alike.
pub(crate) fn audio(id: MessageId, packets: usize) -> Vec<u8> {
    let seed = u32::from(id.to_bytes()[15]).wrapping_mul(0x9E37_79B9) | 1;
    (0..packets * PACKET)
        .scan(seed, |state, _| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some(state.to_be_bytes()[0])
        })
        .collect()
}

/// Sends the packets `range` of a recording's audio.
pub(crate) fn speak(spool: &SpoolHandle, id: MessageId, range: std::ops::Range<usize>) {
    let audio = audio(id, range.end);
    for packet in range {
        let at = packet * PACKET;
        let payload = Bytes::copy_from_slice(&audio[at..at + PACKET]);
        spool.try_send(SpoolCommand::Append { id, at_ticks: u32::try_from(at).unwrap(), payload }).unwrap();
    }
}

/// A whole recording.
pub(crate) fn record(spool: &SpoolHandle, id: MessageId, packets: usize) {
    spool.try_send(SpoolCommand::Begin(facts(id))).unwrap();
    speak(spool, id, 0..packets);
    spool.try_send(SpoolCommand::Finish { id, ended_by: EndedBy::Hangup }).unwrap();
}

pub(crate) fn config(smtp: Option<Smtp>) -> MailboxConfig {
    let owner = Owner {
        display_name: Some("Alice Smith".into()),
        primary_smtp_address: "alice@contoso.example".into(),
        mailbox_policy: "staff".into(),
        refuses_anonymous_callers: false,
    };
    MailboxConfig {
        schema_version: config::SCHEMA_VERSION,
        generation: 1,
        server: ServerIdentity {
            name: "mailbox".into(),
            status: config::ServerStatus::Enabled,
            startup_mode: config::StartupMode::TCP,
            listeners: Listeners { udp: None, tcp: None, tls: None },
            certificate: None,
        },
        first_media_port: None,
        max_calls_allowed: 100,
        token_keys: Vec::new(),
        directory: Directory::default(),
        calls: [].into(),
        policies: [].into(),
        owners: [("alice".to_owned(), owner)].into(),
        delivery: Delivery { smtp },
        store: config::Store::Own,
    }
}

pub(crate) fn smtp(address: SocketAddr, security: SmtpSecurity) -> Option<Smtp> {
    Some(Smtp {
        host: address.ip().to_string(),
        port: address.port(),
        from: "voicemail@contoso.example".into(),
        security,
    })
}

/// A configuration that a test can change.
pub(crate) fn changeable(config: MailboxConfig) -> (Arc<ArcSwap<MailboxConfig>>, CurrentConfig) {
    let swap = Arc::new(ArcSwap::from_pointee(config));
    let current = Arc::clone(&swap);
    (swap, Arc::new(move || current.load_full()))
}

/// The address by which the tests' servers greet mail servers.
pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(crate) const SETTINGS: Settings =
    Settings { address: LOOPBACK, retry_first: Duration::from_millis(50), after_step: |_, _| {} };

pub(crate) fn start(state: &Path, config: MailboxConfig) -> Deliverer {
    Deliverer::start_with(state, changeable(config).1, SETTINGS).unwrap()
}

/// Polls until `observe` gives something.
pub(crate) fn wait_until<T>(what: &str, mut observe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(seen) = observe() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until nothing is left to do of what an earlier process left behind.
pub(crate) fn wait_until_idle(state: &Path, deliverer: &Deliverer) {
    wait_until("spool and outbox are empty", || {
        let status = deliverer.status();
        let idle = status.outbox_len == 0 && status.recordings_open == 0;
        (idle && files(&state.join("spool")).is_empty() && files(&state.join("outbox")).is_empty())
            .then_some(())
    });
}

/// Waits until `count` messages were delivered, and nothing is left to do.
pub(crate) fn wait_until_delivered(count: u64, state: &Path, deliverer: &Deliverer) {
    wait_until("all is delivered", || (deliverer.status().delivered == count).then_some(()));
    wait_until_idle(state, deliverer);
}

/// The files in a folder, none if there is no such folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// A message as it arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) message_id: String,
    pub(crate) subject: String,
    /// What lies behind the 58 bytes of the WAV file's header.
    pub(crate) audio: Vec<u8>,
    pub(crate) raw: Vec<u8>,
}

pub(crate) fn arrived(maildir: &Path) -> Vec<Arrived> {
    let files = files(&maildir.join("new")).into_iter().chain(files(&maildir.join("cur")));
    files.map(|path| parse(fs::read(path).unwrap())).collect()
}

pub(crate) fn parse(raw: Vec<u8>) -> Arrived {
    let mail = MessageParser::default().parse(&raw).unwrap();
    let wav = mail.attachment(0).expect("an attachment").contents().to_vec();
    assert_eq!(mail.attachments().count(), 1);
    let samples = u32::from_le_bytes(wav[46..50].try_into().unwrap()) as usize;
    let subject = mail.subject().unwrap().to_owned();
    let message_id = mail.message_id().unwrap().to_owned();
    assert!(mail.attachment(0).unwrap().attachment_name().is_some());
    Arrived { message_id, subject, audio: wav[58..58 + samples].to_vec(), raw }
}

pub(crate) fn message_id(id: MessageId) -> String {
    format!("{id}@umbriel.invalid")
}

/// A port that nobody listens on.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Says that a test is skipped; with `CI=true` nothing may be.
pub(crate) fn skip(test: &str, reason: &str) {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{test}: {reason}; with CI=true nothing may be skipped"
    );
    if let Some(path) = std::env::var_os("UMBRIEL_SKIPPED") {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        writeln!(file, "{test}: {reason}").unwrap();
    }
    eprintln!("skipped {test}: {reason}");
}

/// Debian's aiosmtpd, which files what it takes into a Maildir.
pub(crate) struct MailServer {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl MailServer {
    /// Starts it; `None`, and `test` is skipped, where it is not installed.
    pub(crate) fn start(test: &str, address: SocketAddr, maildir: &Path, options: &[&str]) -> Option<Self> {
        let python = "/usr/bin/python3";
        let installed = Command::new(python).args(["-m", "aiosmtpd", "--version"]).output();
        if !installed.is_ok_and(|output| output.status.success()) {
            skip(test, "aiosmtpd is not installed");
            return None;
        }
        let child = Command::new(python)
            .args(["-m", "aiosmtpd", "-n", "-l", &address.to_string(), "-c", "aiosmtpd.handlers.Mailbox"])
            .args(options)
            .arg(maildir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the mail server answers", || TcpStream::connect(address).ok());
        Some(Self { address, child })
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A mail server that answers as a test tells it, and files what it takes.
pub(crate) struct ScriptedServer {
    pub(crate) address: SocketAddr,
    /// Connections so far.
    pub(crate) connections: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl ScriptedServer {
    /// `answer` gives the reply to a command (`greeting`, `EHLO`, `MAIL`, `RCPT`, `DATA`, `.` or
    /// `QUIT`); an empty reply closes the connection. A mail is filed before `.` is answered.
    pub(crate) fn start(
        maildir: &Path,
        answer: impl Fn(&str) -> &'static str + Send + Sync + 'static,
    ) -> Self {
        fs::create_dir_all(maildir.join("new")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let ended = Arc::new(AtomicBool::new(false));
        let (count, end, maildir) = (Arc::clone(&connections), Arc::clone(&ended), maildir.to_owned());
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (answer, maildir) = (Arc::clone(&answer), maildir.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &*answer, &maildir, number));
            }
        });
        Self { address, connections, ended }
    }

    /// One that takes everything.
    pub(crate) fn willing(maildir: &Path) -> Self {
        Self::start(maildir, |command| match command {
            "greeting" => "220 ready",
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            _ => "250 ok",
        })
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    stream: TcpStream,
    answer: &dyn Fn(&str) -> &'static str,
    maildir: &Path,
    number: usize,
) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    let mut say = |reply: &'static str| {
        let line = format!("{reply}\r\n");
        (!reply.is_empty()).then(|| stream.write_all(line.as_bytes()).ok()).flatten()
    };
    say(answer("greeting"))?;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let command = line.trim().split([' ', ':']).next().unwrap().to_ascii_uppercase();
        let reply = answer(&command);
        say(reply)?;
        if command == "DATA" && reply.starts_with('3') {
            let mut mail = Vec::new();
            loop {
                let mut line = Vec::new();
                lines.read_until(b'\n', &mut line).ok().filter(|length| *length > 0)?;
                if line == b".\r\n" {
                    break;
                }
                mail.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            }
            fs::write(maildir.join("new").join(format!("{number}")), mail).ok()?;
            say(answer("."))?;
        }
    }
}
