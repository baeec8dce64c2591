//! A switchboard on virtual time, and a caller who speaks bytes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::MailboxConfig;
use runtime::{Core, Now, Outbox, WorkerPlace};
use sip::sdp::MAX_KEY_BYTES;
use sip::{Endpoint, EndpointSettings, Peer, Transport};

use crate::message::{EndedBy, MessageId, RecordingFacts, SpoolCommand};
use crate::metrics::CallMetrics;
use crate::prompt::{Prompt, Sentence, Utterance};
use crate::refusal::endpoint_reason;
use crate::rtp::Packet;
use crate::served::Served;
use crate::speech::Spoken;
use crate::spool_writer::{SpoolBusy, SpoolHealth};
use crate::surroundings::Surroundings;
use crate::switchboard::{Note, Switchboard};

/// Where the gateway signals from.
pub(super) const GATEWAY: &str = "192.0.2.7:5060";
/// Where the caller's media comes from unless a test says otherwise.
pub(super) const CALLER: &str = "192.0.2.7:4000";
/// Milliseconds since 1970 at which every test begins.
pub(super) const EPOCH_MS: u64 = 1_790_000_000_000;
/// From the ACK to the end of the beep: three packets of greeting, then twenty of beep. The last is
/// sent 22 × 20 ms after the first.
pub(super) const UNTIL_RECORDING_MS: u64 = 440;

pub(super) const CONFIG: &str = r#"
schemaVersion: 1
generation: 7
server:
  name: mailbox
  status: Enabled
  startupMode: TCP
  listeners: {udp: 5062, tcp: 5062}
maxCallsAllowed: 100
tokenKeys:
  - {id: k1, secret: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}
directory:
  gateways: [{name: pbx, addresses: [192.0.2.7], status: Enabled}]
  huntGroups: [{name: all, gateway: pbx, dialPlan: contoso}]
  dialPlans: [{name: contoso, numberOfDigitsInExtension: 3, voipSecurity: Unsecured}]
  mailboxes:
    - {name: ada, dialPlan: contoso, extensions: ["101"]}
    - {name: bob, dialPlan: contoso, extensions: ["102"]}
  mailboxServers: [{name: mailbox, address: 192.0.2.20, listeners: {udp: 5062, tcp: 5062}, mediaPorts: [20000], inService: true}]
  hosts: []
calls:
  contoso: {language: en-US, maxCallDurationS: 60, maxRecordingDurationS: 20, recordingIdleTimeoutS: 5}
owners:
  ada: {displayName: Ada Lovelace, primarySmtpAddress: ada@contoso.example, mailboxPolicy: staff}
  bob: {primarySmtpAddress: bob@contoso.example, mailboxPolicy: staff}
delivery: {}
"#;

/// Writes the folder that says `text`, whose index lies at `index`: parts first.
pub(super) fn write_folder(index: &Path, text: &str) {
    let mut files = serde_yaml::from_str::<MailboxConfig>(text).unwrap().to_files().unwrap();
    let last = files.remove_entry("mailbox.yaml").unwrap();
    for (name, bytes) in files.into_iter().chain([last]) {
        let next = index.with_file_name("next");
        std::fs::write(&next, bytes).unwrap();
        std::fs::rename(next, index.with_file_name(name)).unwrap();
    }
}

/// What stands around the switchboard, for a test to look at and to change.
pub(super) struct Props {
    pub(super) served: RefCell<Arc<Served>>,
    pub(super) draining: Cell<bool>,
    pub(super) storage: Cell<SpoolHealth>,
    pub(super) spool_takes: Cell<bool>,
    /// Whether there are random numbers. A key is one byte many times, and none is made twice.
    pub(super) has_chance: Cell<bool>,
    secrets: Cell<u8>,
    pub(super) commands: RefCell<Vec<SpoolCommand>>,
    pub(super) prompts: RefCell<HashMap<Sentence, Spoken>>,
}

/// The one way in which the switchboard sees them.
pub(super) struct Desk(Rc<Props>);

impl Surroundings for Desk {
    fn name(&self) -> String {
        self.0.served.borrow().config.server.name.clone()
    }

    fn served(&self) -> Arc<Served> {
        Arc::clone(&self.0.served.borrow())
    }

    fn is_draining(&self) -> bool {
        self.0.draining.get()
    }

    fn storage(&self) -> SpoolHealth {
        self.0.storage.get()
    }

    fn spool(&self, command: SpoolCommand) -> Result<(), SpoolBusy> {
        if !self.0.spool_takes.get() {
            return Err(SpoolBusy);
        }
        self.0.commands.borrow_mut().push(command);
        Ok(())
    }

    fn secret(&self) -> Option<[u8; MAX_KEY_BYTES]> {
        self.0.secrets.set(self.0.secrets.get() + 1);
        self.0.has_chance.get().then_some([self.0.secrets.get(); MAX_KEY_BYTES])
    }

    fn speak(&self, utterance: &Utterance) -> Spoken {
        self.0.prompts.borrow().get(&utterance.sentence).cloned().unwrap_or(Spoken::Unavailable)
    }
}

/// A packet that was sent to a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) at_ms: u64,
    pub(super) to: SocketAddr,
    pub(super) marker: bool,
    pub(super) payload_type: u8,
    pub(super) timestamp: u32,
    pub(super) payload: Vec<u8>,
    /// All of it.
    pub(super) bytes: Vec<u8>,
}

/// Where the directory says that callers send media, and where it is bound if nobody translates.
const ADVERTISED_MEDIA: &str = "192.0.2.20:20000";

/// The stage of a scripted call.
pub(super) struct Stage {
    pub(super) board: Switchboard<Desk>,
    pub(super) props: Rc<Props>,
    pub(super) metrics: CallMetrics,
    pub(super) sip: Vec<(u64, String)>,
    pub(super) media: Vec<Sent>,
    /// By what messages of the gateway arrive.
    by: Transport,
    start: Instant,
    now_ms: u64,
}

impl Stage {
    /// A server in service with the prompts that most calls hear: greetings of three packets, and
    /// an apology of two.
    pub(super) fn new() -> Self {
        Self::with(CONFIG, ADVERTISED_MEDIA)
    }

    /// A server that does not have the address that callers are told.
    pub(super) fn behind_translation() -> Self {
        Self::with(CONFIG, "10.0.0.7:5070")
    }

    /// The same, with `from` replaced by `to` in its configuration.
    pub(super) fn but(from: &str, to: &str) -> Self {
        assert!(CONFIG.contains(from), "{from}");
        Self::with(&CONFIG.replace(from, to), ADVERTISED_MEDIA)
    }

    /// The same, with several replacements.
    pub(super) fn but_all(replacements: &[(&str, &str)]) -> Self {
        let mut config = CONFIG.to_owned();
        for (from, to) in replacements {
            assert!(config.contains(from), "{from}");
            config = config.replace(from, to);
        }
        Self::with(&config, ADVERTISED_MEDIA)
    }

    /// The server of a dial plan with this security, which the gateway calls over TLS.
    pub(super) fn protected(security: &str) -> Self {
        let stage = Self::but_all(&[
            ("voipSecurity: Unsecured", &format!("voipSecurity: {security}")),
            ("startupMode: TCP", "startupMode: Dual"),
            ("listeners: {udp: 5062, tcp: 5062}, mediaPorts", "listeners: {tls: 5063}, mediaPorts"),
        ]);
        Stage { by: Transport::Tls, ..stage }
    }

    fn with(config: &str, bound: &str) -> Self {
        let prompt = |packets: usize, level: i16| {
            Spoken::Ready(Arc::new(Prompt::from_samples(&vec![level; packets * 160])))
        };
        let prompts = HashMap::from([
            (Sentence::Greeting { name: "Ada Lovelace".to_owned() }, prompt(3, 1_000)),
            (Sentence::Greeting { name: "102".to_owned() }, prompt(3, 1_000)),
            (Sentence::GenericGreeting, prompt(3, 2_000)),
            (Sentence::StorageFailed, prompt(2, 3_000)),
        ]);
        let props = Rc::new(Props {
            served: RefCell::new(Arc::new(
                Served::compile(serde_yaml::from_str(config).unwrap(), None).unwrap(),
            )),
            draining: Cell::new(false),
            storage: Cell::new(SpoolHealth::Ready),
            spool_takes: Cell::new(true),
            has_chance: Cell::new(true),
            secrets: Cell::new(0),
            commands: RefCell::default(),
            prompts: RefCell::new(prompts),
        });
        let endpoint = Endpoint::new(EndpointSettings {
            user_agent: "Umbriel".to_owned(),
            contact_host: [0, 0, 0, 0].into(),
            udp_port: None,
            tcp_port: None,
            tls_port: None,
            tag_prefix: "w0-".to_owned(),
            max_transactions: 1_000,
            max_calls: 1_000,
            seed: 1,
            reason: endpoint_reason,
        });
        let metrics = CallMetrics::default();
        // What a worker is bound to need not be what peers are told.
        let place = WorkerPlace { index: 0, workers: 1, media: Some(bound.parse().unwrap()) };
        let board = Switchboard::new(endpoint, Desk(Rc::clone(&props)), metrics.clone(), place, 2);
        let start = Instant::now();
        Stage {
            board,
            props,
            metrics,
            sip: Vec::new(),
            media: Vec::new(),
            by: Transport::Udp,
            start,
            now_ms: 0,
        }
    }

    pub(super) fn now(&self) -> Now {
        Now { instant: self.start + Duration::from_millis(self.now_ms), unix_ms: EPOCH_MS + self.now_ms }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn act(&mut self, act: impl FnOnce(&mut Switchboard<Desk>, Now, &mut Outbox)) {
        let mut out = Outbox::new();
        let now = self.now();
        act(&mut self.board, now, &mut out);
        for (_, bytes) in out.sip_messages() {
            self.sip.push((self.now_ms, String::from_utf8(bytes.to_vec()).unwrap()));
        }
        for (to, bytes) in out.media_packets() {
            let packet = Packet::parse(bytes).unwrap();
            self.media.push(Sent {
                at_ms: self.now_ms,
                to,
                marker: packet.marker,
                payload_type: packet.payload_type,
                timestamp: packet.timestamp,
                payload: packet.payload.to_vec(),
                bytes: bytes.to_vec(),
            });
        }
    }

    /// A SIP message arrives from the gateway, by UDP unless its dial plan is protected.
    pub(super) fn hears(&mut self, message: &str) {
        match self.by {
            Transport::Udp => self.hears_from(GATEWAY, message),
            transport @ (Transport::Tcp | Transport::Tls) => self.hears_by(transport, message),
        }
    }

    /// A SIP message arrives from somewhere by UDP.
    pub(super) fn hears_from(&mut self, from: &str, message: &str) {
        let peer = Peer { transport: Transport::Udp, address: from.parse().unwrap(), connection: None };
        self.act(|board, now, out| board.handle(message.as_bytes(), peer.into(), now, out));
    }

    /// A SIP message arrives from the gateway by another transport.
    pub(super) fn hears_by(&mut self, transport: Transport, message: &str) {
        let connection = Some(sip::ConnectionId(1));
        let peer = Peer { transport, address: GATEWAY.parse().unwrap(), connection };
        self.act(|board, now, out| board.handle(message.as_bytes(), peer.into(), now, out));
    }

    /// A datagram arrives at the media port.
    pub(super) fn hears_media(&mut self, from: &str, bytes: &[u8]) {
        let from = from.parse().unwrap();
        self.act(|board, now, out| board.handle_media(bytes, from, now, out));
    }

    /// Another thread tells something.
    pub(super) fn told(&mut self, note: Note) {
        self.act(|board, now, out| board.handle_note(note, now, out));
    }

    /// Time passes, and whatever is due happens when it is due.
    pub(super) fn advance(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        for turn in 0.. {
            assert!(turn < 100_000, "the switchboard does not come to rest");
            let Some(deadline) = self.board.deadline() else { break };
            let due_us = deadline.saturating_duration_since(self.start).as_micros();
            let due_ms = u64::try_from(due_us.div_ceil(1_000)).unwrap().max(self.now_ms);
            if due_ms > until {
                break;
            }
            self.now_ms = due_ms;
            self.act(|board, now, out| board.handle_timeout(now, out));
        }
        self.now_ms = until;
    }

    /// The newest SIP message that was sent and begins so.
    pub(super) fn last(&self, begins: &str) -> &str {
        let found = self.sip.iter().rev().find(|(_, message)| message.starts_with(begins));
        &found.unwrap_or_else(|| panic!("no {begins:?} was sent: {:#?}", self.starts())).1
    }

    /// How many SIP messages were sent that begin so.
    pub(super) fn count(&self, begins: &str) -> usize {
        self.sip.iter().filter(|(_, message)| message.starts_with(begins)).count()
    }

    /// First lines of all SIP messages that were sent.
    pub(super) fn starts(&self) -> Vec<&str> {
        self.sip.iter().filter_map(|(_, message)| message.lines().next()).collect()
    }

    /// What the spool was told so far, in short.
    pub(super) fn spooled(&self) -> Vec<Spooled> {
        self.props.commands.borrow().iter().map(Spooled::from).collect()
    }

    /// The facts with which the only recording began.
    pub(super) fn facts(&self) -> RecordingFacts {
        let commands = self.props.commands.borrow();
        let Some(SpoolCommand::Begin(facts)) = commands.first() else { panic!("no recording began") };
        facts.clone()
    }
}

/// A spool command without its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spooled {
    Begin,
    Append(u32, Vec<u8>),
    Finish(EndedBy),
    Discard,
}

impl From<&SpoolCommand> for Spooled {
    fn from(command: &SpoolCommand) -> Self {
        match command {
            SpoolCommand::Begin(_) => Spooled::Begin,
            SpoolCommand::Append { at_ticks, payload, .. } => Spooled::Append(*at_ticks, payload.to_vec()),
            SpoolCommand::Finish { ended_by, .. } => Spooled::Finish(*ended_by),
            SpoolCommand::Discard { .. } => Spooled::Discard,
        }
    }
}

/// The identity that a command is about.
pub(super) fn id_of(command: &SpoolCommand) -> MessageId {
    match command {
        SpoolCommand::Begin(facts) => facts.id,
        SpoolCommand::Append { id, .. } | SpoolCommand::Finish { id, .. } | SpoolCommand::Discard { id } => {
            *id
        }
    }
}
