//! What peers get that are no gateway.

use config::Code;
use proptest::prelude::*;
use router::Dropped;
use sip::Transport;

use crate::fixture::{COMPANY, NOW_UNIX_S, bench, header, invite, peer, request, status, udp};

const IGNORING: &str = "unknownPeers: Ignore\ntokenKeys:";

fn ignoring() -> String {
    COMPANY.replacen("tokenKeys:", IGNORING, 1)
}

/// An INVITE as long as most are, with a session description.
fn long_invite() -> String {
    let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
               m=audio 40000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n";
    let headers = "Contact: <sip:5550100@192.0.2.9>\r\nContent-Type: application/sdp\r\n";
    let length = format!("Content-Length: {}\r\n\r\n{sdp}", sdp.len());
    invite("101", headers).replace("Content-Length: 0\r\n\r\n", &length)
}

#[test]
fn a_stranger_is_told_why_once_in_a_second() {
    let mut bench = bench(COMPANY);
    let asked = long_invite();
    let stranger = peer(9, Transport::Udp);
    let answer = bench.ask(asked.as_bytes(), stranger).unwrap();
    assert_eq!(status(&answer), "SIP/2.0 403 Forbidden");
    assert!(header(&answer, "Reason")[0].contains("UM1102 UnknownPeer: "), "{answer}");
    assert!(answer.len() <= asked.len());
    for again in [asked.as_str(), &request("OPTIONS", ""), &request("REGISTER", "")] {
        assert_eq!(bench.ask(again.as_bytes(), stranger), None, "{again}");
    }
    assert_eq!(bench.counters.dropped(Dropped::UnknownPeer), 3);
    assert_eq!(bench.counters.rejected(Code::UnknownPeer), 1);
    // Neither another stranger nor a gateway has to wait for it.
    assert!(bench.ask(asked.as_bytes(), peer(8, Transport::Udp)).is_some());
    assert_eq!(status(&bench.ask(asked.as_bytes(), udp()).unwrap()), "SIP/2.0 302 Moved Temporarily");
    assert!(bench.ask_at(asked.as_bytes(), stranger, NOW_UNIX_S + 1).is_some());
}

#[test]
fn a_server_of_ours_is_no_stranger_and_no_gateway_either() {
    let mut bench = bench(COMPANY);
    let server = peer(11, Transport::Udp);
    for _ in 0..3 {
        assert_eq!(status(&bench.ask(request("OPTIONS", "").as_bytes(), server).unwrap()), "SIP/2.0 200 OK");
    }
    assert_eq!(status(&bench.ask(invite("101", "").as_bytes(), server).unwrap()), "SIP/2.0 403 Forbidden");
    assert_eq!(bench.counters.rejected(Code::UnknownPeer), 1);
}

#[test]
fn what_needs_no_answer_takes_none() {
    let mut bench = bench(COMPANY);
    let stranger = peer(9, Transport::Udp);
    for nothing in ["\r\n\r\n", "noise", &request("ACK", ""), "SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"] {
        assert_eq!(bench.ask(nothing.as_bytes(), stranger), None);
    }
    assert_eq!(status(&bench.ask(long_invite().as_bytes(), stranger).unwrap()), "SIP/2.0 403 Forbidden");
}

#[test]
fn an_answer_that_would_be_longer_than_a_strangers_datagram_says_less_or_is_not_sent() {
    let mut bench = bench(COMPANY);
    let asked = invite("101", "User-Agent: a probe that calls whom it finds\r\n");
    let answer = bench.ask(asked.as_bytes(), peer(9, Transport::Udp)).unwrap();
    assert_eq!(status(&answer), "SIP/2.0 403 Forbidden");
    assert_eq!(header(&answer, "Reason"), [""; 0]);
    assert!(answer.len() <= asked.len());
    let shortest = "INVITE sip:1@a SIP/2.0\r\nv:SIP/2.0/UDP a;branch=z9hG4bK1\r\nf:<sip:a>;tag=a\r\n\
                    t:<sip:a>\r\ni:1\r\nCSeq:1 INVITE\r\n\r\n";
    assert_eq!(bench.ask(shortest.as_bytes(), peer(8, Transport::Udp)), None);
    assert_eq!(bench.counters.dropped(Dropped::TooShort), 1);
    // A connection has shown whose address it is.
    let answer = bench.ask(shortest.as_bytes(), peer(7, Transport::Tcp)).unwrap();
    assert!(header(&answer, "Reason")[0].contains("UM1102"), "{answer}");
}

#[test]
fn ignored_strangers_get_nothing_by_any_transport_and_gateways_do() {
    let mut bench = bench(&ignoring());
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        for asked in [invite("101", ""), request("OPTIONS", ""), request("REGISTER", "")] {
            assert_eq!(bench.ask(asked.as_bytes(), peer(9, transport)), None);
        }
    }
    assert_eq!(bench.counters.dropped(Dropped::UnknownPeer), 9);
    assert_eq!(
        status(&bench.ask(invite("101", "").as_bytes(), udp()).unwrap()),
        "SIP/2.0 302 Moved Temporarily"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_datagram_of_a_stranger_brings_more_bytes_than_it_has(
        method in prop::sample::select(vec!["INVITE", "OPTIONS", "REGISTER", "BYE", "CANCEL", "JUGGLE"]),
        more in prop::sample::select(vec!["", "Require: a\r\n", "To: x\r\n", "Via: y\r\n", "X: yyyyyyyyyyyyyyyyyyy\r\n"]),
        removed in 0_usize..8,
    ) {
        let asked: String = request(method, more)
            .split_inclusive("\r\n").enumerate().filter(|(line, _)| removed == 0 || *line != removed)
            .map(|(_, line)| line).collect();
        if let Some(answer) = bench(COMPANY).ask_bytes(asked.as_bytes(), peer(9, Transport::Udp)) {
            prop_assert!(answer.len() <= asked.len(), "{} for {asked}", String::from_utf8_lossy(&answer));
        }
    }
}
