//! Whole calls on virtual time, without sockets: what a lost or late message leads to.

use std::time::{Duration, Instant};

use rsip::Uri;

use super::super::message::{Hop, Identity};
use super::super::plan::{Codec, Transport};
use super::super::report::{EndedBy, Outcome};
use super::{Agent, Command};

const SDP: &str = "v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 9 RTP/AVP 0\r\n";

/// A caller, the time, and what was sent: start line and milliseconds since the beginning.
struct Line {
    agent: Agent,
    start: Instant,
    now: Instant,
    hop: Hop,
    sent: Vec<(u128, String)>,
    talks: bool,
}

impl Line {
    /// A call of which the INVITE has just gone out.
    fn dialled(transport: Transport) -> Self {
        let now = Instant::now();
        let identity = Identity {
            call_id: "c".into(),
            from_tag: "t".into(),
            from_user: "200".into(),
            diversion: None,
            branch_seed: "s".into(),
        };
        let target = Uri::try_from("sip:101@127.0.0.1").unwrap();
        let agent = Agent::new(identity, target, vec![Codec::Pcmu], "v=0\r\n".into(), now);
        let hop = Hop {
            transport,
            remote: "127.0.0.1:5060".parse().unwrap(),
            local: "127.0.0.1:4000".parse().unwrap(),
        };
        let mut line = Self { agent, start: now, now, hop, sent: Vec::new(), talks: false };
        line.carry_out();
        line
    }

    fn carry_out(&mut self) {
        while let Some(command) = self.agent.poll() {
            match command {
                Command::Dial(uri) => self.agent.dialled(uri, self.hop, self.now),
                Command::Send(_, bytes) => {
                    let text = String::from_utf8(bytes).unwrap();
                    let words: Vec<&str> = text.lines().next().unwrap().split(' ').collect();
                    let name = if words[0] == "SIP/2.0" { words[1] } else { words[0] };
                    self.sent.push(((self.now - self.start).as_millis(), name.to_owned()));
                }
                Command::Talk(_) => self.talks = true,
                Command::Over => {}
            }
        }
    }

    /// Lets every deadline pass that lies within this time.
    fn wait(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while let Some(deadline) = self.agent.deadline().filter(|deadline| *deadline <= until) {
            self.now = deadline;
            self.agent.handle_timeout(deadline);
            self.carry_out();
        }
        self.now = until;
    }

    fn hears(&mut self, status: &str, cseq: &str, body: &str) {
        let text = format!(
            "SIP/2.0 {status}\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:200@h>;tag=t\r\n\
             To: <sip:101@h>;tag=f\r\nCall-ID: c\r\nCSeq: {cseq}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.agent.handle(text.as_bytes(), &self.hop, self.now);
        self.carry_out();
    }

    fn names(&self) -> Vec<&str> {
        self.sent.iter().map(|(_, name)| name.as_str()).collect()
    }
}

#[test]
fn an_invite_over_udp_is_repeated_at_doubling_intervals_for_32_seconds() {
    let mut line = Line::dialled(Transport::Udp);
    line.wait(60);
    let times: Vec<u128> = line.sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    let Some(Outcome::Failed { step, error }) = line.agent.outcome() else { panic!("it goes on") };
    assert_eq!(step, "INVITE");
    assert!(error.starts_with("127.0.0.1:5060 did not answer within 32 s"), "{error}");
}

#[test]
fn an_invite_over_tcp_is_sent_once() {
    let mut line = Line::dialled(Transport::Tcp);
    line.wait(60);
    assert_eq!(line.names(), ["INVITE"]);
    assert!(matches!(line.agent.outcome(), Some(Outcome::Failed { .. })));
}

#[test]
fn a_call_that_rings_is_cancelled_when_the_caller_gives_up() {
    let mut line = Line::dialled(Transport::Udp);
    line.hears("180 Ringing", "1 INVITE", "");
    line.agent.hang_up(line.now);
    line.carry_out();
    line.hears("200 OK", "1 CANCEL", "");
    line.hears("487 Request Terminated", "1 INVITE", "");
    assert_eq!(line.names(), ["INVITE", "CANCEL", "ACK"]);
    assert!(matches!(line.agent.outcome(), Some(Outcome::Refused { status: 487, .. })));
}

#[test]
fn an_answer_that_crosses_the_cancel_is_acknowledged_and_hung_up() {
    let mut line = Line::dialled(Transport::Udp);
    line.hears("180 Ringing", "1 INVITE", "");
    line.agent.hang_up(line.now);
    line.carry_out();
    line.hears("200 OK", "1 INVITE", SDP);
    assert_eq!(line.names(), ["INVITE", "CANCEL", "ACK", "BYE"]);
    assert!(!line.talks);
}

#[test]
fn a_bye_is_repeated_until_it_is_answered() {
    let mut line = Line::dialled(Transport::Udp);
    line.hears("200 OK", "1 INVITE", SDP);
    assert!(line.talks);
    line.agent.hang_up(line.now);
    line.carry_out();
    line.wait(10);
    line.hears("200 OK", "2 BYE", "");
    let times: Vec<u128> = line.sent.iter().filter(|(_, name)| name == "BYE").map(|(at, _)| *at).collect();
    // Doubling up to T2, four seconds.
    assert_eq!(times, [0, 500, 1_500, 3_500, 7_500]);
    assert_eq!(line.agent.outcome(), Some(&Outcome::Completed { ended_by: EndedBy::Caller }));
}

#[test]
fn a_refusal_that_comes_again_is_acknowledged_again() {
    let mut line = Line::dialled(Transport::Udp);
    line.hears("404 Not Found", "1 INVITE", "");
    line.hears("404 Not Found", "1 INVITE", "");
    assert_eq!(line.names(), ["INVITE", "ACK", "ACK"]);
}

#[test]
fn an_answer_without_usable_audio_is_hung_up_and_says_why() {
    let mut line = Line::dialled(Transport::Udp);
    line.hears("200 OK", "1 INVITE", "v=0\r\n");
    line.hears("200 OK", "2 BYE", "");
    assert_eq!(line.names(), ["INVITE", "ACK", "BYE"]);
    let Some(Outcome::Failed { step, error }) = line.agent.outcome() else { panic!("no failure") };
    assert_eq!((step.as_str(), error.as_str()), ("SDP answer", "the answer has no audio in it"));
}

#[test]
fn a_ring_of_redirects_ends() {
    let mut line = Line::dialled(Transport::Udp);
    for cseq in 1..=6 {
        let text = format!(
            "SIP/2.0 302 Moved Temporarily\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:200@h>;tag=t\r\n\
             To: <sip:101@h>;tag=f\r\nCall-ID: c\r\nCSeq: {cseq} INVITE\r\nContact: <sip:101@127.0.0.1>\r\n\
             Content-Length: 0\r\n\r\n"
        );
        line.agent.handle(text.as_bytes(), &line.hop, line.now);
        line.carry_out();
    }
    assert_eq!(line.names().iter().filter(|name| **name == "INVITE").count(), 6);
    assert!(matches!(line.agent.outcome(), Some(Outcome::Failed { step, .. }) if step == "redirect"));
}
