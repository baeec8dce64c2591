//! Every reason for which a router refuses: none that nothing provokes, none without its counter.

use std::collections::BTreeSet;
use std::path::Path;

use config::{Area, Certificate, Code};
use runtime::Source;
use sip::Transport;

use crate::calls::REFUSALS;
use crate::fixture::{COMPANY, NOW_UNIX_S, bench, bench_with, header, invite, peer, request, status, udp};
use crate::requests::cases;

/// What only a mailbox server can find wrong with a call.
const OF_MAILBOX_SERVERS: [Code; 8] = [
    Code::CallLimit,
    Code::MediaNotAcceptable,
    Code::UnsupportedMediaType,
    Code::StorageUnavailable,
    Code::EncryptionUnavailable,
    Code::AccessUnavailable,
    Code::AttendantUnavailable,
    Code::AnonymousCaller,
];

fn code_of(answer: &str) -> Code {
    let reason = header(answer, "Reason")[0];
    let id = reason.split_once("text=\"").unwrap().1.split(' ').next().unwrap();
    *Code::ALL.iter().find(|code| code.id() == id).unwrap()
}

#[test]
fn a_call_that_was_redirected_already_is_told_that_it_goes_round() {
    let mut bench = bench(COMPANY);
    let redirected = bench.ask(invite("101", "").as_bytes(), udp()).unwrap();
    let contact = header(&redirected, "Contact")[0];
    let target = contact.split(['<', '>']).nth(1).unwrap();
    let again = invite("101", "").replacen("sip:101@127.0.0.1", target, 1);
    let answer = bench.ask(again.as_bytes(), udp()).unwrap();
    assert_eq!(status(&answer), "SIP/2.0 482 Loop Detected");
    assert_eq!(
        header(&answer, "Reason"),
        [
            "SIP;cause=482;text=\"UM1151 LoopDetected: the call was redirected already; send it to the address in \
          Contact, not to a router\""
        ]
    );
    assert_eq!(bench.counters.rejected(Code::LoopDetected), 1);
    let by_another_way = again.replace("branch=z9hG4bK-1", "branch=z9hG4bK-2");
    let answer = bench.ask(by_another_way.as_bytes(), udp()).unwrap();
    assert_eq!(status(&answer), "SIP/2.0 482 Loop Detected", "the Call-ID stays, whoever follows a redirect");
    // Whatever nobody here signed for this call is a parameter like any other.
    let forged = again.replace(";um=k1.", ";um=k1.x");
    let of_another_call = again.replace("Call-ID: 8b1f", "Call-ID: 8b20");
    for call in [forged, of_another_call] {
        let answer = bench.ask(call.as_bytes(), udp()).unwrap();
        assert_eq!(status(&answer), "SIP/2.0 302 Moved Temporarily");
    }
}

#[test]
fn a_call_that_may_go_no_further_is_refused_and_a_probe_that_ends_here_is_not() {
    let mut bench = bench(COMPANY);
    let last_hop = |asked: String| asked.replace("Max-Forwards: 70", "Max-Forwards: 0");
    let answer = bench.ask(last_hop(invite("101", "")).as_bytes(), udp()).unwrap();
    assert_eq!(status(&answer), "SIP/2.0 483 Too Many Hops");
    let answer = bench.ask(last_hop(request("OPTIONS", "")).as_bytes(), udp()).unwrap();
    assert_eq!(status(&answer), "SIP/2.0 200 OK");
    let answer = bench.ask(last_hop(invite("999", "")).as_bytes(), udp()).unwrap();
    assert_eq!(status(&answer), "SIP/2.0 404 Not Found", "nobody has this number, however far it may go");
    let one_more = invite("101", "").replace("Max-Forwards: 70", "Max-Forwards: 1");
    let answer = bench.ask(one_more.as_bytes(), udp()).unwrap();
    assert_eq!(status(&answer), "SIP/2.0 302 Moved Temporarily");
}

#[test]
fn one_header_more_than_are_read_is_refused() {
    let lines = |count: usize| invite("101", &"X: y\r\n".repeat(count));
    // Seven of the INVITE are its own.
    let answer = bench(COMPANY).ask(lines(96 - 7).as_bytes(), udp()).unwrap();
    assert_eq!(status(&answer), "SIP/2.0 302 Moved Temporarily");
    let answer = bench(COMPANY).ask(lines(96 - 6).as_bytes(), udp()).unwrap();
    assert_eq!(status(&answer), "SIP/2.0 513 Message Too Large");
    assert_eq!(
        header(&answer, "Reason"),
        ["SIP;cause=513;text=\"UM1152 MessageTooLarge: there are more than 96 header lines\""]
    );
}

#[test]
fn a_caller_whose_address_was_translated_is_told_so() {
    let company = COMPANY.replace("directory:\n", "directory:\n  cluster: [192.0.2.9]\n");
    let answer = bench(&company).ask(invite("101", "").as_bytes(), peer(9, Transport::Tcp)).unwrap();
    assert_eq!(status(&answer), "SIP/2.0 403 Forbidden");
    assert_eq!(code_of(&answer), Code::TranslatedPeer);
}

#[test]
fn a_gateway_is_known_by_its_certificate_wherever_it_calls_from() {
    let company = COMPANY.replace("{name: pbx, addresses", "{name: pbx, fqdn: pbx.example.com, addresses");
    let ask = |last: u8, name: &str| {
        let from = Source { peer: peer(last, Transport::Tls), names: &[name.to_owned()] };
        let answer = bench(&company).ask_of(invite("101", "").as_bytes(), from, NOW_UNIX_S).unwrap();
        String::from_utf8(answer).unwrap()
    };
    assert_eq!(status(&ask(77, "pbx.example.com")), "SIP/2.0 302 Moved Temporarily");
    assert_eq!(status(&ask(1, "pbx.example.com")), "SIP/2.0 302 Moved Temporarily");
    let another = ask(1, "sbc.example.com");
    assert_eq!(status(&another), "SIP/2.0 403 Forbidden");
    assert_eq!(
        header(&another, "Reason"),
        ["SIP;cause=403;text=\"UM1169 CertificateNameMismatch: the peer's certificate does not prove \
          pbx.example.com, the name of gateway pbx; give the peer a certificate with pbx.example.com in its \
          subjectAltName\""]
    );
    assert_eq!(code_of(&ask(77, "sbc.example.com")), Code::UnknownPeer);
}

#[test]
fn a_protected_dial_plan_asks_who_shows_no_certificate_for_one() {
    let certificate =
        Certificate { chain: String::new(), key: String::new(), authorities: Some(String::new()) };
    let mut bench = bench_with(COMPANY, Some(certificate));
    let from = peer(5, Transport::Tls);
    let answer = bench.ask(invite("103", "").as_bytes(), from).unwrap();
    assert_eq!(status(&answer), "SIP/2.0 403 Forbidden");
    assert_eq!(code_of(&answer), Code::CertificateMissing);
    assert_eq!(bench.counters.rejected(Code::CertificateMissing), 1);
    let proved = Source { peer: from, names: &["sbc.example.com".to_owned()] };
    let answer = bench.ask_of(invite("103", "").as_bytes(), proved, NOW_UNIX_S).unwrap();
    assert!(answer.starts_with(b"SIP/2.0 302 "));
}

#[test]
fn a_redirect_that_cannot_be_signed_is_an_error_of_ours() {
    let company = COMPANY.replace("name: alice", &format!("name: {}", "a".repeat(256)));
    let answer = bench(&company.replace("{name: mail-2,", "{name: mail-1b,").replace("mail-2", "mail-1"))
        .ask(invite("101", "").as_bytes(), udp())
        .unwrap();
    assert_eq!(status(&answer), "SIP/2.0 500 Server Internal Error");
    assert_eq!(code_of(&answer), Code::InternalError);
}

/// The tests that provoke a code each say so here or in the two tables; whoever adds one adds both.
#[test]
fn every_reason_is_provoked_and_counted_by_its_code() {
    let mut provoked = BTreeSet::from([
        Code::LoopDetected,
        Code::TooManyHops,
        Code::MessageTooLarge,
        Code::TranslatedPeer,
        Code::CertificateMissing,
        Code::CertificateNameMismatch,
        Code::InternalError,
    ]);
    provoked.extend(REFUSALS.iter().map(|case| case.4));
    for (asked, _, _) in cases() {
        let mut bench = bench(COMPANY);
        let code = code_of(&bench.ask(asked.as_bytes(), udp()).unwrap());
        let counted = if asked.starts_with("INVITE") {
            bench.counters.rejected(code)
        } else {
            bench.counters.refused(code)
        };
        assert_eq!(counted, 1, "{code}");
        provoked.insert(code);
    }
    let known: BTreeSet<_> = Code::ALL
        .iter()
        .copied()
        .filter(|code| code.area() == Area::Call && !OF_MAILBOX_SERVERS.contains(code))
        .collect();
    assert_eq!(provoked, known);
}

#[test]
fn the_page_of_each_code_shows_the_status_line_that_is_sent() {
    for code in Code::ALL.iter().filter(|code| code.area() == Area::Call) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/codes/{}.md", code.id()));
        let page = std::fs::read_to_string(path).unwrap();
        let line = format!("    SIP/2.0 {} {}\n", code.sip_status(), sip::reason_phrase(code.sip_status()));
        assert!(page.contains(&line), "{code}: {line}");
    }
}

#[test]
fn every_method_that_is_none_of_a_router_is_refused_with_what_is_allowed() {
    let methods =
        ["REGISTER", "SUBSCRIBE", "MESSAGE", "NOTIFY", "PUBLISH", "REFER", "INFO", "UPDATE", "PRACK"];
    for method in methods {
        for asked in [peer(1, Transport::Udp), peer(1, Transport::Tcp), peer(1, Transport::Tls)] {
            let mut bench = bench(COMPANY);
            let answer = bench.ask(request(method, "").as_bytes(), asked).unwrap();
            assert_eq!(status(&answer), "SIP/2.0 405 Method Not Allowed", "{method}");
            assert_eq!(header(&answer, "Allow"), ["INVITE, ACK, CANCEL, OPTIONS"], "{method}");
            assert_eq!(bench.counters.refused(Code::MethodNotAllowed), 1, "{method}");
        }
    }
}
