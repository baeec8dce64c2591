//! What becomes of everything that is not a fresh, well-formed INVITE.

use config::Code;
use router::Dropped;

use crate::fixture::{COMPANY, bench, header, invite, peer, request, status, udp};

/// What is asked, the status line, and the code with its words.
pub(crate) type Case = (String, &'static str, &'static str);

pub(crate) fn cases() -> Vec<Case> {
    let plain = || invite("101", "");
    vec![
        (
            plain().replace("Call-ID: 8b1f@192.0.2.1\r\n", ""),
            "400 Bad Request",
            "400;text=\"UM1101 MalformedRequest: Call-ID is missing\"",
        ),
        (
            plain().replace("CSeq: 1 INVITE", "CSeq: 1 OPTIONS"),
            "400 Bad Request",
            "400;text=\"UM1101 MalformedRequest: the method in CSeq is not the request's\"",
        ),
        (
            plain().replace("Content-Length: 0", "Content-Length: 9"),
            "400 Bad Request",
            "400;text=\"UM1101 MalformedRequest: Content-Length says 9 bytes, and 0 are there\"",
        ),
        (
            plain().replacen("sip:101@127.0.0.1", "mailto:101@127.0.0.1", 1),
            "416 Unsupported URI Scheme",
            "416;text=\"UM1123 UnsupportedScheme: the Request-URI's scheme is not served\"",
        ),
        (
            plain().replacen("127.0.0.1 SIP/2.0", "127.0.0.1 SIP/3.0", 1),
            "505 Version Not Supported",
            "505;text=\"UM1124 VersionNotSupported: the version is not SIP/2.0\"",
        ),
        (
            invite("101", "Require: 100rel, timer\r\n"),
            "420 Bad Extension",
            "420;text=\"UM1115 BadExtension: no extension can be required here; leave out Require\"",
        ),
        (
            plain().replace("To: <sip:101@127.0.0.1>", "To: <sip:101@127.0.0.1>;tag=b2"),
            "481 Call/Transaction Does Not Exist",
            "481;text=\"UM1119 NoSuchDialog: a router has no dialogs; send requests of a dialog to its Contact\"",
        ),
        (
            request("BYE", ""),
            "481 Call/Transaction Does Not Exist",
            "481;text=\"UM1119 NoSuchDialog: a router has no dialogs; send BYE to the Contact\"",
        ),
        (
            request("REGISTER", ""),
            "405 Method Not Allowed",
            "405;text=\"UM1113 MethodNotAllowed: a router redirects calls and does no more\"",
        ),
        (
            request("JUGGLE", ""),
            "501 Not Implemented",
            "501;text=\"UM1114 MethodUnknown: the method is not known\"",
        ),
    ]
}

#[test]
fn each_request_that_cannot_be_served_is_told_why() {
    for (asked, line, reason) in cases() {
        let answer = bench(COMPANY).ask(asked.as_bytes(), udp()).unwrap();
        assert_eq!(status(&answer), format!("SIP/2.0 {line}"), "{asked}");
        assert_eq!(header(&answer, "Reason"), [format!("SIP;cause={reason}")]);
    }
}

#[test]
fn a_405_says_what_is_allowed_and_a_420_what_is_not_supported() {
    let mut bench = bench(COMPANY);
    let answer = bench.ask(request("SUBSCRIBE", "").as_bytes(), udp()).unwrap();
    assert_eq!(header(&answer, "Allow"), ["INVITE, ACK, CANCEL, OPTIONS"]);
    let answer = bench.ask(invite("101", "Require: 100rel, timer\r\n").as_bytes(), udp()).unwrap();
    assert_eq!(header(&answer, "Unsupported"), ["100rel, timer"]);
    assert_eq!(bench.counters.rejected(Code::BadExtension), 1);
}

#[test]
fn options_is_answered_for_whoever_asks() {
    let answer = bench(COMPANY).ask(request("OPTIONS", "").as_bytes(), peer(9, sip::Transport::Tcp)).unwrap();
    assert_eq!(
        answer,
        "SIP/2.0 200 OK\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-1;received=192.0.2.9\r\n\
         From: <sip:5550100@192.0.2.1>;tag=a1\r\n\
         To: <sip:101@127.0.0.1>;tag=90d92f7e90b11323\r\n\
         Call-ID: 8b1f@192.0.2.1\r\n\
         CSeq: 1 OPTIONS\r\n\
         Allow: INVITE, ACK, CANCEL, OPTIONS\r\n\
         Accept: application/sdp\r\n\
         Content-Length: 0\r\n\r\n"
    );
}

#[test]
fn options_is_answered_by_503_while_the_server_takes_no_calls() {
    for status_now in ["Disabled", "NoNewCalls"] {
        let text = COMPANY.replace("status: Enabled\n  startup", &format!("status: {status_now}\n  startup"));
        let answer = bench(&text).ask(request("OPTIONS", "").as_bytes(), udp()).unwrap();
        assert_eq!(status(&answer), "SIP/2.0 503 Service Unavailable");
        assert_eq!(header(&answer, "Retry-After"), ["30"]);
        assert_eq!(
            header(&answer, "Reason"),
            [
                "SIP;cause=503;text=\"UM1105 ServerNotInService: this server takes no calls; call another server\""
            ]
        );
    }
}

#[test]
fn a_router_that_drains_refuses_calls_and_probes() {
    let mut bench = bench(COMPANY);
    bench.state.drain();
    for asked in [invite("101", ""), request("OPTIONS", "")] {
        let answer = bench.ask(asked.as_bytes(), udp()).unwrap();
        assert_eq!(
            header(&answer, "Reason"),
            [
                "SIP;cause=503;text=\"UM1105 ServerNotInService: this server is being shut down; call another server\""
            ]
        );
        assert_eq!(header(&answer, "Retry-After"), ["30"]);
    }
}

#[test]
fn a_cancel_is_answered_by_200_with_the_tag_of_the_302() {
    let mut bench = bench(COMPANY);
    let redirected = bench.ask(invite("101", "").as_bytes(), udp()).unwrap();
    let cancelled = bench.ask(request("CANCEL", "").as_bytes(), udp()).unwrap();
    assert_eq!(status(&cancelled), "SIP/2.0 200 OK");
    assert_eq!(header(&cancelled, "To"), header(&redirected, "To"));
}

#[test]
fn acks_answers_keep_alives_and_noise_get_no_answer_and_are_counted() {
    let mut bench = bench(COMPANY);
    let ack = request("ACK", "");
    let no_way_back = invite("101", "").replace("Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-1\r\n", "");
    let answer = "SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n";
    let all: &[(&[u8], Dropped)] = &[
        (ack.as_bytes(), Dropped::Ack),
        (answer.as_bytes(), Dropped::Response),
        (b"\r\n\r\n", Dropped::KeepAlive),
        (b"", Dropped::KeepAlive),
        (b"\x80\x00\x01\x02\x03", Dropped::Noise),
        (b"GET / HTTP/1.1\r\n\r\n", Dropped::Noise),
        (no_way_back.as_bytes(), Dropped::Noise),
    ];
    for (bytes, what) in all {
        let before = bench.counters.dropped(*what);
        assert_eq!(bench.ask(bytes, udp()), None);
        assert_eq!(bench.counters.dropped(*what), before + 1);
    }
    assert_eq!((bench.counters.received(), bench.counters.redirected()), (0, 0));
}

#[test]
fn a_via_that_cannot_be_read_does_not_keep_an_answer_back() {
    let broken =
        invite("101", "").replace("SIP/2.0/UDP 192.0.2.1:5060;branch", "SIP/7.0/UDP 192.0.2.1:5060;branch");
    let answer = bench(COMPANY).ask(broken.as_bytes(), udp()).unwrap();
    assert_eq!(status(&answer), "SIP/2.0 400 Bad Request");
    assert_eq!(header(&answer, "Via"), ["SIP/7.0/UDP 192.0.2.1:5060;branch=z9hG4bK-1"]);
}

#[test]
fn an_ack_that_cannot_be_read_is_not_answered_either() {
    let broken = request("ACK", "").replace("Content-Length: 0", "Content-Length: 9");
    assert_eq!(bench(COMPANY).ask(broken.as_bytes(), udp()), None);
}
