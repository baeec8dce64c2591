//! Test calls against a scripted far end on loopback: `rsip` on both sides, real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a script that cannot go on fails its test"
)]

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use rsip::prelude::{HeadersExt, UntypedHeader};
use rsip::{Header, Method, Request, SipMessage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use umbriel_cli::call::audio::Audio;
use umbriel_cli::call::{CallPlan, CallReport, Codec, EndedBy, Ending, Outcome, Speak, StepKind, place};

/// One packet of a tone at the beep's pitch, as µ-law: 160 samples hold 20 whole periods.
fn beep_frame() -> Vec<u8> {
    let sine = [0_i16, 5_657, 8_000, 5_657, 0, -5_657, -8_000, -5_657];
    sine.iter().cycle().take(160).map(|&sample| Codec::Pcmu.encode(sample)).collect()
}

fn rtp(sequence: u16, payload_type: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, payload_type];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend((u32::from(sequence) * 160).to_be_bytes());
    bytes.extend([0, 0, 0, 7]);
    bytes.extend(payload);
    bytes
}

/// A response to `request` with the lines of `more`, and a body if there is one.
fn reply(request: &Request, status: &str, more: &str, body: &str) -> Vec<u8> {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for header in request.headers.iter() {
        match header {
            Header::Via(_) | Header::From(_) | Header::CallId(_) | Header::CSeq(_) => {
                text += &format!("{header}\r\n");
            }
            Header::To(to) if to.value().contains("tag=") => text += &format!("{header}\r\n"),
            Header::To(_) => text += &format!("{header};tag=far\r\n"),
            _ => {}
        }
    }
    text += more;
    text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    text.into_bytes()
}

fn answer_sdp(port: u16, formats: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {formats}\r\na=rtpmap:101 telephone-event/8000\r\n"
    )
}

fn request(bytes: &[u8]) -> Request {
    match SipMessage::try_from(bytes).unwrap() {
        SipMessage::Request(request) => request,
        SipMessage::Response(response) => panic!("a response: {response}"),
    }
}

/// A far end on UDP that answers by hand.
struct Script {
    socket: UdpSocket,
    caller: Option<SocketAddr>,
}

impl Script {
    async fn bind() -> Self {
        Self { socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(), caller: None }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    async fn expect(&mut self, method: Method) -> Request {
        let mut buffer = vec![0; 65_535];
        let (length, from) = loop {
            let (length, from) = self.socket.recv_from(&mut buffer).await.unwrap();
            // A caller that hears nothing asks by a keep-alive whether anybody is there.
            if &buffer[..length] != b"\r\n\r\n" {
                break (length, from);
            }
        };
        self.caller = Some(from);
        let request = request(&buffer[..length]);
        assert_eq!(request.method, method, "{request}");
        request
    }

    async fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.caller.unwrap()).await.unwrap();
    }
}

/// The media of the far end: an answering machine with a beep.
struct Machine {
    rtp: UdpSocket,
}

impl Machine {
    async fn bind() -> Self {
        Self { rtp: UdpSocket::bind("127.0.0.1:0").await.unwrap() }
    }

    fn port(&self) -> u16 {
        self.rtp.local_addr().unwrap().port()
    }

    /// Beeps for 400 ms, then returns every payload that is not silence, until the caller is silent again.
    async fn beep_and_listen(&self, offer: &Request) -> Vec<(u8, Vec<u8>)> {
        let body = String::from_utf8(offer.body.clone()).unwrap();
        let port = body.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        let caller = SocketAddr::new([127, 0, 0, 1].into(), port);
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for sequence in 0..20 {
            pace.tick().await;
            self.rtp.send_to(&rtp(sequence, 0, &beep_frame()), caller).await.unwrap();
        }
        let (mut spoken, mut buffer) = (Vec::new(), [0; 400]);
        loop {
            let (length, _) = self.rtp.recv_from(&mut buffer).await.unwrap();
            let (kind, payload) = (buffer[1] & 0x7F, buffer[12..length].to_vec());
            let silent = kind != 101 && payload.iter().all(|&byte| byte == 0xFF || byte == 0xD5);
            if !silent {
                let ends = kind == 101 && payload[1] & 0x80 != 0;
                spoken.push((kind, payload));
                if ends {
                    return spoken;
                }
            } else if !spoken.is_empty() {
                return spoken;
            }
        }
    }
}

/// Runs a far end beside a call.
fn against<F, T>(plan: impl FnOnce(SocketAddr) -> CallPlan, far_end: F) -> (CallReport, T)
where
    F: AsyncFnOnce(Script) -> T + Send + 'static,
    T: Send + 'static,
{
    let (address, bound) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let script = Script::bind().await;
            address.send(script.address()).unwrap();
            far_end(script).await
        })
    });
    let report = place(&plan(bound.recv().unwrap())).unwrap();
    (report, thread.join().unwrap())
}

fn texts(report: &CallReport) -> Vec<&str> {
    report.steps.iter().map(|step| step.text.as_str()).collect()
}

#[test]
fn a_redirected_call_keeps_the_token_speaks_after_the_beep_and_hangs_up() {
    let audio: Vec<u8> = (0..=255_u8).cycle().take(1_000).collect();
    let said = audio.clone();
    let plan = |router: SocketAddr| CallPlan {
        audio: Some(Audio::Encoded(Codec::Pcmu, said)),
        diversion: Some("101".into()),
        ..CallPlan::new(format!("sip:200@{router}"))
    };
    let (report, heard) = against(plan, async |mut router: Script| {
        let mut mailbox = Script::bind().await;
        let machine = Machine::bind().await;
        let invite = router.expect(Method::Invite).await;
        let contact = format!(
            "Contact: <sip:101@{};transport=udp;um=k1.aGk_-.bWFj>, <sip:x@127.0.0.1:1>;q=0.5\r\n",
            mailbox.address()
        );
        router.send(&reply(&invite, "302 Moved Temporarily", &contact, "")).await;
        let ack = router.expect(Method::Ack).await;
        assert_eq!(ack.via_header().unwrap(), invite.via_header().unwrap());
        assert!(ack.to_header().unwrap().value().contains("tag=far"));

        let second = mailbox.expect(Method::Invite).await;
        assert!(second.uri.to_string().ends_with(";um=k1.aGk_-.bWFj"), "{}", second.uri);
        assert_eq!(second.call_id_header().unwrap(), invite.call_id_header().unwrap());
        assert_eq!(second.cseq_header().unwrap().value(), "2 INVITE");
        assert!(!second.to_header().unwrap().value().contains("tag="));
        assert_ne!(second.via_header().unwrap(), invite.via_header().unwrap());
        mailbox.send(&reply(&second, "100 Trying", "", "")).await;
        mailbox.send(&reply(&second, "180 Ringing", "", "")).await;
        let contact = format!("Contact: <sip:{}>\r\nContent-Type: application/sdp\r\n", mailbox.address());
        let ok = reply(&second, "200 OK", &contact, &answer_sdp(machine.port(), "0 101"));
        mailbox.send(&ok).await;
        assert_eq!(mailbox.expect(Method::Ack).await.cseq_header().unwrap().value(), "2 ACK");
        // The ACK is said to be lost: the 200 comes again and is acknowledged again.
        mailbox.send(&ok).await;
        mailbox.expect(Method::Ack).await;
        let heard = machine.beep_and_listen(&second).await;
        let bye = mailbox.expect(Method::Bye).await;
        assert_eq!(bye.cseq_header().unwrap().value(), "3 BYE");
        mailbox.send(&reply(&bye, "200 OK", "", "")).await;
        heard
    });
    assert_eq!(report.outcome, Outcome::Completed { ended_by: EndedBy::Caller });
    let heard: Vec<u8> = heard.into_iter().flat_map(|(_, payload)| payload).collect();
    assert_eq!(heard[..1_000], audio);
    assert_eq!(report.spoken, audio);
    assert_eq!(report.codec, Some(Codec::Pcmu));
    let names: Vec<&str> = report.parties.iter().map(|party| party.name.as_str()).collect();
    assert_eq!(names, ["caller", "router", "mailbox"]);
    let texts = texts(&report);
    assert!(texts[0].starts_with("INVITE sip:200@127.0.0.1:"), "{texts:?}");
    assert!(texts[3].ends_with("with token"), "{texts:?}");
    assert_eq!(
        [&texts[1..3], &texts[4..8]].concat(),
        ["302 Moved Temporarily", "ACK", "100 Trying", "180 Ringing", "200 OK (PCMU)", "ACK"]
    );
    assert_eq!(
        texts[8..],
        [
            "200 OK again",
            "RTP PCMU: 0.40 s of greeting and beep",
            "RTP PCMU: 0.12 s of speech",
            "BYE",
            "200 OK"
        ]
    );
    assert_eq!(report.media.received_packets, 20);
    assert_eq!(report.heard.len(), 3_200);
}

#[test]
fn a_lost_invite_is_sent_again_and_a_refusal_shows_its_reason() {
    let plan = |server| CallPlan::new(format!("sip:777@{server}"));
    let (report, ()) = against(plan, async |mut server: Script| {
        let first = server.expect(Method::Invite).await;
        let again = server.expect(Method::Invite).await;
        assert_eq!(first, again);
        let reason = "Reason: SIP;cause=404;text=\"UM1110 NoSuchUser: nobody has 777\"\r\n";
        server.send(&reply(&again, "404 Not Found", reason, "")).await;
        server.expect(Method::Ack).await;
    });
    assert_eq!(
        report.outcome,
        Outcome::Refused {
            status: 404,
            phrase: "Not Found".into(),
            code: Some("UM1110".into()),
            text: Some("UM1110 NoSuchUser: nobody has 777".into()),
        }
    );
    assert_eq!(report.steps.iter().filter(|step| step.kind == StepKind::Again).count(), 1);
}

#[test]
fn the_key_ends_the_message_and_the_far_end_hangs_up() {
    let plan = |server| CallPlan {
        audio: Some(Audio::Linear(vec![8_000; 320])),
        codecs: vec![Codec::Pcma],
        speak: Speak::After(Duration::ZERO),
        ending: Ending::Key,
        ..CallPlan::new(format!("sip:101@{server}"))
    };
    let (report, heard) = against(plan, async |mut server: Script| {
        let machine = Machine::bind().await;
        let invite = server.expect(Method::Invite).await;
        let sdp = answer_sdp(machine.port(), "8 101");
        server.send(&reply(&invite, "200 OK", "Content-Type: application/sdp\r\n", &sdp)).await;
        server.expect(Method::Ack).await;
        let mut buffer = [0; 400];
        let mut events = Vec::new();
        while events.len() < 7 {
            let (length, _) = machine.rtp.recv_from(&mut buffer).await.unwrap();
            if buffer[1] & 0x7F == 101 {
                events.push(buffer[12..length].to_vec());
            }
        }
        let bye = format!(
            "BYE sip:caller@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKbye\r\n\
             From: <sip:101@h>;tag=far\r\nTo: <sip:caller@h>\r\n{}\r\nCSeq: 1 BYE\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            server.address(),
            rsip::Header::from(invite.call_id_header().unwrap().clone()),
        );
        server.send(bye.as_bytes()).await;
        let mut buffer = vec![0; 2_000];
        let length = server.socket.recv(&mut buffer).await.unwrap();
        assert!(buffer[..length].starts_with(b"SIP/2.0 200 OK\r\n"));
        events
    });
    assert_eq!(report.outcome, Outcome::Completed { ended_by: EndedBy::FarEnd });
    assert_eq!(report.codec, Some(Codec::Pcma));
    assert_eq!(heard[0], [11, 10, 0, 160]);
    assert_eq!(heard[4..], [[11, 138, 3, 32], [11, 138, 3, 32], [11, 138, 3, 32]]);
}

#[test]
fn a_sibling_is_asked_when_the_first_server_cannot() {
    let plan = |router| CallPlan::new(format!("sip:101@{router}"));
    let (report, ()) = against(plan, async |mut router: Script| {
        let (mut full, mut sibling) = (Script::bind().await, Script::bind().await);
        let invite = router.expect(Method::Invite).await;
        let contacts =
            format!("Contact: <sip:1@{}>;q=0.5, <sip:1@{}>\r\n", sibling.address(), full.address());
        router.send(&reply(&invite, "302 Moved Temporarily", &contacts, "")).await;
        router.expect(Method::Ack).await;
        let second = full.expect(Method::Invite).await;
        full.send(&reply(&second, "503 Service Unavailable", "Retry-After: 5\r\n", "")).await;
        full.expect(Method::Ack).await;
        let third = sibling.expect(Method::Invite).await;
        assert_eq!(third.cseq_header().unwrap().value(), "3 INVITE");
        sibling.send(&reply(&third, "486 Busy Here", "", "")).await;
        sibling.expect(Method::Ack).await;
    });
    assert!(matches!(report.outcome, Outcome::Refused { status: 486, .. }), "{:?}", report.outcome);
}

#[test]
fn nobody_at_the_port_is_told_at_once_and_not_after_32_seconds() {
    // A port that was free a moment ago; whoever took it meanwhile would answer, and the test fails loudly.
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let report = place(&CallPlan::new(format!("sip:101@127.0.0.1:{port}"))).unwrap();
    let Outcome::Failed { error, .. } = &report.outcome else { panic!("{:?}", report.outcome) };
    assert!(error.starts_with(&format!("nothing listens on UDP 127.0.0.1:{port}; ")), "{error}");
    assert!(report.timings.ended.unwrap() < Duration::from_secs(3));

    let report = place(&CallPlan::new(format!("sip:101@127.0.0.1:{port};transport=tcp"))).unwrap();
    let Outcome::Failed { step, error } = &report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!(step, "dialling");
    assert!(error.contains("cannot connect to 127.0.0.1:"), "{error}");
}

#[test]
fn a_call_that_never_beeps_is_given_up_with_what_to_do() {
    let plan = |server| CallPlan {
        patience: Duration::from_millis(700),
        ..CallPlan::new(format!("sip:101@{server}"))
    };
    let (report, ()) = against(plan, async |mut server: Script| {
        let machine = Machine::bind().await;
        let invite = server.expect(Method::Invite).await;
        let sdp = answer_sdp(machine.port(), "0");
        server.send(&reply(&invite, "200 OK", "Content-Type: application/sdp\r\n", &sdp)).await;
        server.expect(Method::Ack).await;
        let bye = server.expect(Method::Bye).await;
        server.send(&reply(&bye, "200 OK", "", "")).await;
    });
    let Outcome::Failed { error, .. } = &report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!(error, "no beep was heard; speak without one by --delay (0 s)");
}

#[test]
fn a_call_over_tcp_reads_messages_that_come_in_pieces() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let far_end = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let (mut stream, _) = TcpListener::from_std(listener).unwrap().accept().await.unwrap();
            let invite = read_request(&mut stream).await;
            assert!(invite.via_header().unwrap().value().starts_with("SIP/2.0/TCP 127.0.0.1:"));
            let reason = "Reason: SIP;cause=403;text=\"UM1102 UnknownPeer: x\"\r\n";
            let bytes = reply(&invite, "403 Forbidden", reason, "");
            let (head, tail) = bytes.split_at(40);
            stream.write_all(head).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream.write_all(tail).await.unwrap();
            assert_eq!(read_request(&mut stream).await.method, Method::Ack);
        });
    });
    let report = place(&CallPlan::new(format!("sip:101@{address};transport=tcp"))).unwrap();
    far_end.join().unwrap();
    assert!(matches!(report.outcome, Outcome::Refused { status: 403, .. }), "{:?}", report.outcome);
}

async fn read_request(stream: &mut TcpStream) -> Request {
    let mut bytes = Vec::new();
    loop {
        stream.read_buf(&mut bytes).await.unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("Content-Length: ").nth(1).unwrap().split("\r\n").next().unwrap();
            if body.len() >= length.parse().unwrap() {
                return request(&bytes);
            }
        }
    }
}
