//! Scripts of bytes and instants: the far end is written by hand, and time is a number.

mod calls;
mod chance;
mod dialogs;
mod loss;
mod races;
mod refusals;

use std::time::{Duration, Instant};

use super::*;
use crate::{ConnectionId, Transport};

const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";

/// An endpoint at 192.0.2.9 and the far end at 192.0.2.1 that talks to it.
struct Line {
    endpoint: Endpoint,
    start: Instant,
    now: Instant,
    peer: Peer,
    sent: Vec<(u128, Transmit)>,
    seen: Vec<Event>,
}

fn settings() -> EndpointSettings {
    EndpointSettings {
        user_agent: "Umbriel".to_owned(),
        contact_host: "192.0.2.9".parse().unwrap(),
        udp_port: Some(5062),
        tcp_port: Some(5062),
        tls_port: Some(5063),
        tag_prefix: "w0-".to_owned(),
        max_transactions: 100,
        max_calls: 10,
        seed: 42,
        reason: no_reason,
    }
}

fn udp() -> Peer {
    Peer { transport: Transport::Udp, address: "192.0.2.1:5060".parse().unwrap(), connection: None }
}

fn tcp() -> Peer {
    let connection = Some(ConnectionId(7));
    Peer { transport: Transport::Tcp, address: "192.0.2.1:33000".parse().unwrap(), connection }
}

impl Line {
    fn new() -> Line {
        Line::with(settings(), udp())
    }

    fn with(settings: EndpointSettings, peer: Peer) -> Line {
        let start = Instant::now();
        Line {
            endpoint: Endpoint::new(settings),
            start,
            now: start,
            peer,
            sent: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// The far end sends `text` now.
    fn receive(&mut self, text: &str) {
        self.endpoint.handle(text.as_bytes(), self.peer, self.now);
        self.drain();
    }

    /// Time passes until `ms` after the start.
    fn wait_until(&mut self, ms: u64) {
        let end = self.start + Duration::from_millis(ms);
        while let Some(at) = self.endpoint.deadline().filter(|at| *at <= end) {
            assert!(at >= self.now, "a deadline lies in the past");
            self.now = at;
            self.endpoint.handle_timeout(at);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        let ms = (self.now - self.start).as_millis();
        while let Some(transmit) = self.endpoint.poll_transmit() {
            self.sent.push((ms, transmit));
        }
        while let Some(event) = self.endpoint.poll_event() {
            self.seen.push(event);
        }
    }

    /// What was sent since the last look: milliseconds and first line.
    fn sent(&mut self) -> Vec<String> {
        let sent = std::mem::take(&mut self.sent);
        sent.iter().map(|(ms, transmit)| format!("{ms} {}", first_line(&text(transmit)))).collect()
    }

    /// The whole text of the one message that was sent since the last look.
    fn message(&mut self) -> String {
        let sent = std::mem::take(&mut self.sent);
        assert_eq!(sent.len(), 1, "{sent:?}");
        text(&sent[0].1)
    }

    fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.seen)
    }

    /// The key of the call that just began.
    fn new_call(&mut self) -> CallKey {
        match self.events().as_slice() {
            [Event::Invite { call, .. }] => *call,
            other => panic!("no new call: {other:?}"),
        }
    }

    fn answer(&mut self, call: CallKey) {
        self.endpoint.answer(call, SDP, self.now).unwrap();
        self.drain();
    }

    fn bye(&mut self, call: CallKey) {
        self.endpoint.bye(call, None, self.now).unwrap();
        self.drain();
    }

    /// A call that is answered and acknowledged at 0 ms; its key and our tag.
    fn established(&mut self) -> (CallKey, String) {
        self.receive(&invite());
        let call = self.new_call();
        self.answer(call);
        let tag = tag_of(&text(&self.sent.last().unwrap().1));
        self.receive(&in_dialog("ACK", 1, &tag));
        assert_eq!(self.events(), [Event::Acknowledged { call, body: Vec::new() }]);
        self.sent.clear();
        (call, tag)
    }
}

fn text(transmit: &Transmit) -> String {
    String::from_utf8(transmit.bytes.clone()).unwrap()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap()
}

/// The value of header `name` in a message of ours.
fn header<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Our tag in a response.
fn tag_of(text: &str) -> String {
    header(text, "To").unwrap().split_once(";tag=").unwrap().1.to_owned()
}

/// A request as the far end writes it. Lines end in LF here and in CRLF on the wire.
fn request(method: &str, branch: &str, cseq: u32, to_tag: &str, more: &str) -> String {
    let to_tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    let cseq_method = method;
    format!(
        "{method} sip:101@192.0.2.9 SIP/2.0\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{branch}\n\
         Max-Forwards: 70\n\
         From: \"Alice\" <sip:alice@192.0.2.1>;tag=far\n\
         To: <sip:101@192.0.2.9>{to_tag}\n\
         Call-ID: c1@192.0.2.1\n\
         CSeq: {cseq} {cseq_method}\n\
         {more}"
    )
    .replace('\n', "\r\n")
}

const OFFER: &str =
    "Contact: <sip:alice@192.0.2.1:5070>\nContent-Type: application/sdp\nContent-Length: 5\n\nv=0\n";

fn invite() -> String {
    request("INVITE", "i1", 1, "", OFFER)
}

fn reinvite(cseq: u32, tag: &str) -> String {
    request("INVITE", &format!("i{cseq}"), cseq, tag, OFFER)
}

/// A request without body within the dialog.
fn in_dialog(method: &str, cseq: u32, tag: &str) -> String {
    request(method, &format!("{method}{cseq}"), cseq, tag, "Content-Length: 0\n\n")
}

/// CANCEL or the ACK of a refusal: in the transaction of INVITE `cseq`.
fn same_branch(method: &str, cseq: u32, tag: &str) -> String {
    request(method, &format!("i{cseq}"), cseq, tag, "Content-Length: 0\n\n")
}

/// A response to our request `text`.
fn response_to(text: &str, status: &str) -> String {
    let copied = ["Via", "From", "To", "Call-ID", "CSeq"]
        .map(|name| format!("{name}: {}", header(text, name).unwrap()));
    format!("SIP/2.0 {status}\r\n{}\r\nContent-Length: 0\r\n\r\n", copied.join("\r\n"))
}
