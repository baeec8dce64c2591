//! One company, and a router in memory that knows it.

use std::path::Path;
use std::sync::Arc;

use config::token::{Claims, verify};
use config::{Certificate, Keyring, RouterConfig, TokenKey};
use router::{Counters, Router, Snapshot, State};
use runtime::{Outbox, Source};
use sip::{ConnectionId, Peer, Transport};

/// 2030-03-17T17:46:40Z.
pub(crate) const NOW_UNIX_S: u64 = 1_900_000_000;

pub(crate) const COMPANY: &str = r"
schemaVersion: 1
generation: 7
server:
  name: router
  status: Enabled
  startupMode: Dual
  listeners: {udp: 0, tcp: 0, tls: 0}
tokenKeys:
- {id: k1, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}
directory:
  gateways:
  - {name: pbx, addresses: [192.0.2.1], status: Enabled}
  - {name: off, addresses: [192.0.2.2], status: Disabled}
  - {name: closing, addresses: [192.0.2.3], status: NoNewCalls}
  - {name: pilots, addresses: [192.0.2.4], status: Enabled}
  - {name: careful, addresses: [192.0.2.5], status: Enabled}
  - {name: local, addresses: [127.0.0.1], status: Enabled}
  huntGroups:
  - {name: all, gateway: pbx, dialPlan: contoso}
  - {name: voicemail, gateway: pilots, pilot: '9000', dialPlan: contoso}
  - {name: careful, gateway: careful, dialPlan: secured}
  - {name: local, gateway: local, dialPlan: contoso}
  dialPlans:
  - {name: contoso, numberOfDigitsInExtension: 3, voipSecurity: Unsecured}
  - {name: secured, numberOfDigitsInExtension: 3, voipSecurity: SIPSecured}
  mailboxes:
  - {name: alice, dialPlan: contoso, extensions: ['101']}
  - {name: bob, dialPlan: contoso, extensions: ['102']}
  - {name: carol, dialPlan: secured, extensions: ['103']}
  - {name: dave, dialPlan: secured, extensions: ['104']}
  mailboxServers:
  - {name: mail-1, address: 192.0.2.11, listeners: {udp: 5062, tcp: 5062, tls: 5063}, inService: true}
  - {name: mail-2, address: '2001:db8::12', listeners: {tcp: 5064}, inService: false}
  # alice is in database 1, carol in 2, bob in 10 and dave in 27.
  hosts: [
    mail-1, mail-1, mail-1, mail-1, mail-1, mail-1, mail-1, mail-1, mail-1, mail-1,
    mail-2, mail-2, mail-2, mail-2, mail-2, mail-2, mail-2, mail-2, mail-2, mail-2, mail-2,
    mail-2, mail-2, mail-2, mail-2, mail-2, mail-2, mail-2, mail-2, mail-2, mail-2, mail-2,
  ]
";

/// Writes the folder of the company as it stands in `text`, whose index lies at `index`: parts first.
/// A text that is no company becomes the index as it is.
pub(crate) fn write_folder(index: &Path, text: &str, certificate: Option<Certificate>) {
    let mut files = match serde_yaml::from_str::<RouterConfig>(text) {
        Ok(mut config) => {
            config.server.certificate = certificate;
            config.to_files().unwrap()
        }
        Err(_) => [("router.yaml".to_owned(), text.as_bytes().to_vec())].into(),
    };
    let last = files.remove_entry("router.yaml").unwrap();
    for (name, bytes) in files.into_iter().chain([last]) {
        let next = index.with_file_name("next");
        std::fs::write(&next, bytes).unwrap();
        std::fs::rename(next, index.with_file_name(name)).unwrap();
    }
}

pub(crate) struct Bench {
    pub(crate) router: Router,
    pub(crate) state: Arc<State>,
    pub(crate) counters: Counters,
}

/// A router of the company as it stands in `text`.
pub(crate) fn bench(text: &str) -> Bench {
    bench_with(text, None)
}

/// The same with this certificate.
pub(crate) fn bench_with(text: &str, certificate: Option<Certificate>) -> Bench {
    let mut config: RouterConfig = serde_yaml::from_str(text).unwrap();
    config.server.certificate = certificate;
    let snapshot = Snapshot::compile(&config).unwrap();
    let state = Arc::new(State::new(Arc::new(snapshot)));
    let counters = Counters::default();
    Bench { router: Router::new(Arc::clone(&state), counters.clone()), state, counters }
}

impl Bench {
    /// The only answer to these bytes, if there is one. It goes back where they came from.
    pub(crate) fn ask(&mut self, bytes: &[u8], peer: Peer) -> Option<String> {
        self.ask_bytes(bytes, peer).map(|answer| String::from_utf8(answer).unwrap())
    }

    /// The same, where what is echoed may be no text.
    pub(crate) fn ask_bytes(&mut self, bytes: &[u8], peer: Peer) -> Option<Vec<u8>> {
        self.ask_at(bytes, peer, NOW_UNIX_S)
    }

    /// The same at another time.
    pub(crate) fn ask_at(&mut self, bytes: &[u8], peer: Peer, now_unix_s: u64) -> Option<Vec<u8>> {
        self.ask_of(bytes, peer.into(), now_unix_s)
    }

    /// The same of somebody who has proved their names.
    pub(crate) fn ask_of(&mut self, bytes: &[u8], from: Source<'_>, now_unix_s: u64) -> Option<Vec<u8>> {
        let (mut outbox, peer) = (Outbox::new(), from.peer);
        self.router.answer(bytes, from, now_unix_s, &mut outbox);
        let mut answers = outbox.sip_messages();
        let (to, answer) = answers.next()?;
        assert_eq!((to.address.ip(), to.connection), (peer.address.ip(), peer.connection));
        assert!(answers.next().is_none(), "one request, one answer");
        Some(answer.to_vec())
    }
}

/// The peer at `192.0.2.LAST`.
pub(crate) fn peer(last: u8, transport: Transport) -> Peer {
    let connection = transport.is_reliable().then_some(ConnectionId(77));
    Peer { transport, address: ([192, 0, 2, last], 5060).into(), connection }
}

pub(crate) fn udp() -> Peer {
    peer(1, Transport::Udp)
}

/// An INVITE of the gateway for `user`, with more header lines, each ended by CRLF.
pub(crate) fn invite(user: &str, more: &str) -> String {
    format!(
        "INVITE sip:{user}@127.0.0.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-1\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:5550100@192.0.2.1>;tag=a1\r\n\
         To: <sip:{user}@127.0.0.1>\r\n\
         Call-ID: 8b1f@192.0.2.1\r\n\
         CSeq: 1 INVITE\r\n\
         {more}Content-Length: 0\r\n\r\n"
    )
}

/// A request of another method in the place of the INVITE.
pub(crate) fn request(method: &str, more: &str) -> String {
    invite("101", more).replace("INVITE", method)
}

/// The status line.
pub(crate) fn status(answer: &str) -> &str {
    answer.split("\r\n").next().unwrap()
}

/// The values of a header, as they stand.
pub(crate) fn header<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
    answer.split("\r\n").filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
}

/// What the tokens of an answer say.
pub(crate) fn claims(answer: &str) -> Vec<Claims<'static>> {
    let key = TokenKey { id: "k1".into(), secret: "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".into() };
    let keys = Keyring::new(&[key]).unwrap();
    header(answer, "Contact")
        .iter()
        .map(|contact| {
            let token = contact.split(";um=").nth(1).unwrap().split('>').next().unwrap();
            verify(&keys, token, header(answer, "Call-ID")[0], NOW_UNIX_S).unwrap()
        })
        .collect()
}
