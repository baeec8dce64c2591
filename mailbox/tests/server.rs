//! The whole mailbox server over real sockets: a call, an edit of its configuration, a stop.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use config::MailboxConfig;
use mailbox::{Server, ServerPaths};
use runtime::admin::Component;
use runtime::metrics::{lock, registry, text};
use umbriel_mailbox as mailbox;

const LIMIT: Duration = Duration::from_secs(20);

/// A loopback address that no other process uses, so that the port can be the usual one.
fn own_address() -> IpAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    IpAddr::from([127, 62, high, low])
}

fn write_config(file: &Path, generation: u64, status: &str, port: u16) {
    let address = own_address();
    let text = format!(
        r#"
schemaVersion: 1
generation: {generation}
server: {{name: mailbox, status: {status}, startupMode: TCP, listeners: {{udp: {port}}}}}
maxCallsAllowed: 2
tokenKeys: [{{id: k1, secret: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}]
directory:
  gateways: [{{name: pbx, addresses: [127.0.0.1], status: Enabled}}]
  huntGroups: [{{name: all, gateway: pbx, dialPlan: contoso}}]
  dialPlans: [{{name: contoso, numberOfDigitsInExtension: 3, voipSecurity: Unsecured}}]
  mailboxes: [{{name: ada, dialPlan: contoso, extensions: ["101"]}}]
  mailboxServers: [{{name: mailbox, address: {address}, listeners: {{udp: {port}}}, inService: true}}]
  hosts: []
calls:
  contoso: {{language: en-GB, maxCallDurationS: 60, maxRecordingDurationS: 20, recordingIdleTimeoutS: 2}}
owners: {{ada: {{displayName: Ada, primarySmtpAddress: ada@contoso.example, mailboxPolicy: staff}}}}
delivery: {{}}
"#
    );
    let mut files = serde_yaml::from_str::<MailboxConfig>(&text).unwrap().to_files().unwrap();
    let index = files.remove_entry("mailbox.yaml").unwrap();
    for (name, bytes) in files.into_iter().chain([index]) {
        let new = file.with_file_name("new");
        fs::write(&new, bytes).unwrap();
        fs::rename(new, file.with_file_name(name)).unwrap();
    }
}

/// A caller with a socket for SIP and one for media.
struct Caller {
    sip: UdpSocket,
    port: u16,
    media: UdpSocket,
}

impl Caller {
    fn new() -> Self {
        let socket = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(LIMIT)).unwrap();
            socket
        };
        Caller { sip: socket(), port: 5062, media: socket() }
    }

    fn send(&self, method: &str, call_id: &str, cseq: u32, to_tag: &str, body: &str) {
        let own = self.sip.local_addr().unwrap();
        let server = own_address();
        let request = format!(
            "{method} sip:101@{server}:5062 SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK-{call_id}-{method}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:555@127.0.0.1>;tag=f\r\nTo: <sip:101@{server}>{to_tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:555@{own}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.sip.send_to(request.as_bytes(), (server, self.port)).unwrap();
    }

    fn invite(&self, call_id: &str) {
        let port = self.media.local_addr().unwrap().port();
        let body = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
        );
        self.send("INVITE", call_id, 1, "", &body);
    }

    /// The next final answer.
    fn answer(&self) -> String {
        let mut buffer = [0; 4_096];
        loop {
            let length = self.sip.recv(&mut buffer).unwrap();
            let answer = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if !answer.starts_with("SIP/2.0 1") {
                return answer;
            }
        }
    }
}

fn tag(answer: &str) -> String {
    let to = answer.lines().find(|line| line.starts_with("To:")).unwrap();
    format!(";tag={}", to.split_once(";tag=").unwrap().1)
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < end, "{what} does not come true");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_server_answers_follows_its_configuration_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ServerPaths {
        config: folder.path().join("mailbox.yaml"),
        state: folder.path().join("state"),
        address: own_address(),
        name: None,
    };
    write_config(&paths.config, 1, "Enabled", 5062);
    let registry = registry();
    let server = Server::start(&paths, 2, &mut lock(&registry)).unwrap();
    assert!(server.live());
    until("it is ready", || server.ready().is_ok());
    assert_eq!(server.generation(), 1);

    let caller = Caller::new();
    caller.invite("first");
    let answer = caller.answer();
    assert!(answer.starts_with("SIP/2.0 200 OK\r\n"), "{answer}");
    assert_eq!(server.active_calls(), 1);
    caller.send("ACK", "first", 1, &tag(&answer), "");
    let mut packet = [0; 2_000];
    let (length, _) = caller.media.recv_from(&mut packet).unwrap();
    assert_eq!((length, packet[0], packet[1]), (172, 0x80, 0x80), "the first packet of a talkspurt");
    caller.send("BYE", "first", 2, &tag(&answer), "");
    assert!(caller.answer().starts_with("SIP/2.0 200 OK\r\n"));
    until("the call is over", || server.active_calls() == 0);

    write_config(&paths.config, 2, "NoNewCalls", 5062);
    until("the new generation is served", || server.generation() == 2);
    assert_eq!(server.ready(), Err("status is NoNewCalls".to_owned()));
    caller.invite("second");
    assert!(caller.answer().contains("UM1105 ServerNotInService: "));

    // A document that makes no sense changes nothing.
    fs::write(&paths.config, "schemaVersion: 1\nnonsense: true\n").unwrap();
    write_config(&paths.config, 3, "Enabled", 5062);
    until("the next good one is served", || server.generation() == 3);
    caller.invite("third");
    let answer = caller.answer();
    caller.send("ACK", "third", 1, &tag(&answer), "");
    caller.media.recv_from(&mut packet).unwrap();

    // Another port: calls on the old one go on and end there, new ones come by the new one.
    write_config(&paths.config, 4, "Enabled", 5064);
    until("the other port is served", || server.generation() == 4);
    assert_eq!(server.addresses().udp, Some((own_address(), 5064).into()));
    let third = caller;
    let caller = Caller { port: 5064, ..Caller::new() };
    caller.invite("fourth");
    let of_fourth = caller.answer();
    caller.send("ACK", "fourth", 1, &tag(&of_fourth), "");
    caller.media.recv_from(&mut packet).unwrap();
    assert_eq!(server.active_calls(), 2);
    third.media.recv_from(&mut packet).unwrap();
    third.send("BYE", "third", 2, &tag(&answer), "");
    let (length, from) = third.sip.recv_from(&mut packet).unwrap();
    assert!(packet[..length].starts_with(b"SIP/2.0 200 OK\r\n"));
    assert_eq!(from, (own_address(), 5062).into(), "by the port that was asked");
    until("the third call is over", || server.active_calls() == 1);
    server.stop();
    assert!(caller.answer().starts_with("BYE "), "a stopping server hangs up");
    assert_eq!(server.ready(), Err("is stopped".to_owned()));

    let text = text(&registry).unwrap();
    for line in [
        "um_calls_active 0",
        "um_calls_total{result=\"empty\"} 3",
        "um_service_calls_rejected_total{code=\"UM1105\"} 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn a_server_without_a_readable_configuration_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ServerPaths {
        config: folder.path().join("mailbox.yaml"),
        state: folder.path().join("state"),
        address: own_address(),
        name: None,
    };
    let registry = registry();
    let error = Server::start(&paths, 1, &mut lock(&registry)).err().unwrap();
    assert!(error.to_string().starts_with("read the configuration: read "), "{error}");
}
