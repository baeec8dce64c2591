//! What becomes of an INVITE.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use config::token::{CallKind, DivertReason};
use config::{Call, Code, Decision, OfferedAudio, RouterConfig, Table, explain};
use proptest::prelude::*;
use sip::Transport;

use crate::fixture::{COMPANY, NOW_UNIX_S, bench, claims, header, invite, peer, status, udp};

#[test]
fn an_invite_is_redirected_to_the_server_that_hosts_the_mailbox() {
    let mut bench = bench(COMPANY);
    let answer = bench.ask(invite("101", "").as_bytes(), udp()).unwrap();
    assert_eq!(
        answer,
        "SIP/2.0 302 Moved Temporarily\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-1\r\n\
         From: <sip:5550100@192.0.2.1>;tag=a1\r\n\
         To: <sip:101@127.0.0.1>;tag=90d92f7e90b11323\r\n\
         Call-ID: 8b1f@192.0.2.1\r\n\
         CSeq: 1 INVITE\r\n\
         Contact: <sip:101@192.0.2.11:5062;transport=udp;um=k1.AgEAAAAAcT-z3gdjb250b3NvA3BieAVhbGljZQMxMDE\
         .GS-yyW2rY5SZhU5cJz9kng>;expires=120\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let said = claims(&answer).remove(0);
    assert_eq!((said.mailbox.as_ref(), said.dial_plan.as_ref()), ("alice", "contoso"));
    assert_eq!((said.gateway.as_ref(), said.extension.as_ref()), ("pbx", "101"));
    assert_eq!((bench.counters.received(), bench.counters.redirected()), (1, 1));
}

#[test]
fn the_same_request_gets_the_same_302_from_any_worker_of_any_router() {
    let first = bench(COMPANY).ask(invite("101", "").as_bytes(), udp()).unwrap();
    let mut other = bench(COMPANY);
    // Timer B of a client ends its repetitions after 32 s (RFC 3261 section 17.1.1.2).
    for later_s in [0, 1, 4, 32] {
        let mut outbox = runtime::Outbox::new();
        other.router.answer(invite("101", "").as_bytes(), udp().into(), NOW_UNIX_S + later_s, &mut outbox);
        let again = outbox.sip_messages().map(|(_, bytes)| bytes.to_vec()).next().unwrap();
        assert_eq!(String::from_utf8(again).unwrap(), first, "{later_s} s later");
    }
}

#[test]
fn another_request_gets_another_tag() {
    let mut bench = bench(COMPANY);
    let mut tags: Vec<_> = ["101", "102", "999"]
        .iter()
        .map(|user| bench.ask(invite(user, "").as_bytes(), udp()).unwrap())
        .map(|answer| header(&answer, "To")[0].split(";tag=").nth(1).unwrap().to_owned())
        .collect();
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 3);
}

#[test]
fn the_contact_has_the_callers_transport_where_the_server_has_it() {
    let mut bench = bench(COMPANY);
    let mut contact = |user: &str, transport| {
        let answer = bench.ask(invite(user, "").as_bytes(), peer(1, transport)).unwrap();
        header(&answer, "Contact")[0].split(";um=").next().unwrap().to_owned()
    };
    assert_eq!(contact("101", Transport::Udp), "<sip:101@192.0.2.11:5062;transport=udp");
    assert_eq!(contact("101", Transport::Tcp), "<sip:101@192.0.2.11:5062;transport=tcp");
    assert_eq!(contact("101", Transport::Tls), "<sip:101@192.0.2.11:5063;transport=tls");
    // Its host is out of service, so the other server takes the call.
    assert_eq!(contact("102", Transport::Udp), "<sip:102@192.0.2.11:5062;transport=udp");
}

#[test]
fn a_server_without_the_callers_transport_is_called_by_another_and_the_sibling_comes_second() {
    let both = COMPANY.replace("inService: false", "inService: true");
    let answer = bench(&both).ask(invite("102", "").as_bytes(), udp()).unwrap();
    let contacts = header(&answer, "Contact");
    assert!(contacts[0].starts_with("<sip:102@[2001:db8::12]:5064;transport=tcp;um="), "{answer}");
    assert!(contacts[0].ends_with(">;q=1.0;expires=120"), "{answer}");
    assert!(contacts[1].starts_with("<sip:102@192.0.2.11:5062;transport=udp;um="), "{answer}");
    assert!(contacts[1].ends_with(">;q=0.5;expires=120"), "{answer}");
    assert!(claims(&answer).iter().all(|said| said.mailbox == "bob"));
}

#[test]
fn a_diverted_call_goes_to_the_mailbox_of_who_diverted_it_and_keeps_its_number() {
    let mut bench = bench(COMPANY);
    let diversion =
        "Diversion: <sip:101@192.0.2.1>;reason=no-answer, <sip:102@192.0.2.1>;reason=no-answer\r\n";
    let history = "History-Info: <sip:101@192.0.2.1?Reason=SIP%3Bcause%3D486>;index=1, \
                   <sip:9000@192.0.2.1>;index=1.1\r\n";
    for (more, from) in [(diversion, 1), (history, 1), (diversion, 4), (history, 4)] {
        let answer = bench.ask(invite("9000", more).as_bytes(), peer(from, Transport::Udp)).unwrap();
        assert_eq!(status(&answer), "SIP/2.0 302 Moved Temporarily");
        assert!(header(&answer, "Contact")[0].starts_with("<sip:9000@192.0.2.11:5062;"), "{answer}");
        assert_eq!(claims(&answer)[0].mailbox, "alice");
    }
}

#[test]
fn the_token_says_why_the_owner_of_the_mailbox_diverted_the_call() {
    let mut bench = bench(COMPANY);
    for (user, more, diverted) in [
        ("9000", "Diversion: <sip:101@192.0.2.1>;reason=user-busy\r\n", Some(DivertReason::Busy)),
        (
            "9000",
            "Diversion: \"A. Lee\" <tel:1-01> (out);reason=\"unconditional\"\r\n",
            Some(DivertReason::Unconditional),
        ),
        (
            "9000",
            "History-Info: <tel:101>;index=1,<sip:9000@a;cause=408>;index=1.1\r\n",
            Some(DivertReason::NoAnswer),
        ),
        ("9000", "Diversion: <sip:101@192.0.2.1>\r\n", Some(DivertReason::Other)),
        // Nobody is 999: the mailbox is that of the called user, who diverted nothing.
        ("101", "Diversion: <sip:999@192.0.2.1>;reason=user-busy\r\n", None),
        ("101", "", None),
    ] {
        let answer = bench.ask(invite(user, more).as_bytes(), udp()).unwrap();
        assert_eq!(
            (claims(&answer)[0].mailbox.as_ref(), claims(&answer)[0].diverted),
            ("alice", diverted),
            "{more}"
        );
    }
}

#[test]
fn a_user_keeps_its_spelling_and_what_a_sip_uri_cannot_hold_is_escaped() {
    let mut bench = bench(COMPANY);
    for (uri, user) in [
        ("sip:%31%30%31@127.0.0.1", "%31%30%31"),
        ("sip:101;phone-context=x@127.0.0.1", "101;phone-context=x"),
        ("tel:1-0-1;phone-context=example.com", "1-0-1"),
    ] {
        let asked = invite("101", "").replacen("sip:101@127.0.0.1", uri, 1);
        let answer = bench.ask(asked.as_bytes(), udp()).unwrap();
        let contact = header(&answer, "Contact")[0];
        assert!(contact.starts_with(&format!("<sip:{user}@192.0.2.11:5062;")), "{contact}");
    }
}

#[test]
fn without_a_user_in_the_request_uri_the_one_in_to_is_called() {
    let asked = invite("101", "").replacen("sip:101@127.0.0.1", "sip:127.0.0.1", 1);
    let answer = bench(COMPANY).ask(asked.as_bytes(), udp()).unwrap();
    assert!(header(&answer, "Contact")[0].starts_with("<sip:101@192.0.2.11:5062;"), "{answer}");
}

#[test]
fn a_large_body_is_no_obstacle() {
    let body = "a=x\r\n".repeat(10_000);
    let asked = invite("101", "Content-Type: application/sdp\r\n")
        .replace("Content-Length: 0\r\n\r\n", &format!("Content-Length: 50000\r\n\r\n{body}"));
    let answer = bench(COMPANY).ask(asked.as_bytes(), udp()).unwrap();
    assert_eq!(status(&answer), "SIP/2.0 302 Moved Temporarily");
}

/// An INVITE that offers audio by these profiles.
fn offering(user: &str, profiles: &[&str]) -> String {
    let lines: String = profiles.iter().map(|profile| format!("m=audio 4000 {profile} 0\r\n")).collect();
    let body = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{lines}");
    let length = format!("Content-Length: {}\r\n\r\n{body}", body.len());
    invite(user, "Content-Type: application/sdp\r\n").replace("Content-Length: 0\r\n\r\n", &length)
}

#[test]
fn a_call_is_redirected_if_it_offers_the_audio_that_its_plan_asks_for() {
    let secured = COMPANY.replace("voipSecurity: SIPSecured", "voipSecurity: Secured");
    let taken = "SIP/2.0 302 Moved Temporarily";
    let refused = "SIP/2.0 488 Not Acceptable Here";
    for (last, user, profiles, outcome) in [
        (1, "101", &["RTP/AVP"][..], taken),
        (1, "101", &["RTP/SAVP"], refused),
        (1, "101", &["RTP/SAVP", "RTP/AVP"], taken),
        (5, "103", &["RTP/SAVP"], taken),
        (5, "103", &["UDP/TLS/RTP/SAVPF"], taken),
        (5, "103", &["RTP/AVP"], refused),
        (5, "103", &["RTP/AVP", "RTP/SAVP"], taken),
        (5, "103", &[], taken),
    ] {
        let asked = offering(user, profiles);
        let answer = bench(&secured).ask(asked.as_bytes(), peer(last, Transport::Tls)).unwrap();
        assert_eq!(status(&answer), outcome, "{user} {profiles:?}");
        if outcome == taken && user == "103" {
            let contact = header(&answer, "Contact")[0];
            assert!(contact.starts_with("<sip:103@192.0.2.11:5063;transport=tls;um="), "{contact}");
        }
    }
}

#[test]
fn a_call_for_an_access_number_goes_to_a_server_by_its_call_id() {
    let company = COMPANY
        .replace("inService: false", "inService: true")
        .replace("voipSecurity: Unsecured", "voipSecurity: Unsecured, accessNumbers: ['+14255550500']");
    let mut bench = bench(&company);
    let mut servers = std::collections::BTreeSet::new();
    for number in 0..20 {
        let asked = invite("14255550500", "").replace("8b1f@", &format!("{number}@"));
        let answer = bench.ask(asked.as_bytes(), peer(1, Transport::Tcp)).unwrap();
        assert_eq!(bench.ask(asked.as_bytes(), peer(1, Transport::Tcp)).unwrap(), answer);
        let contacts = header(&answer, "Contact");
        assert_eq!(contacts.len(), 2, "{answer}");
        let said = claims(&answer).remove(0);
        assert_eq!((said.kind, said.mailbox.as_ref()), (CallKind::SubscriberAccess, ""));
        assert_eq!((said.dial_plan.as_ref(), said.extension.as_ref()), ("contoso", "14255550500"));
        servers.insert(contacts[0].split(['@', ';']).nth(1).unwrap().to_owned());
    }
    assert_eq!(servers.len(), 2, "{servers:?}");
    let diverted = invite("14255550500", "Diversion: <sip:101@192.0.2.1>\r\n");
    assert_eq!(claims(&bench.ask(diverted.as_bytes(), udp()).unwrap())[0].mailbox, "alice");
}

#[test]
fn a_call_for_an_auto_attendant_goes_to_a_server_by_its_call_id() {
    let attendant =
        "autoAttendants: [{name: reception, dialPlan: contoso, pilots: ['600'], status: Enabled}]";
    let company = COMPANY
        .replace("inService: false", "inService: true")
        .replace("directory:\n", &format!("directory:\n  {attendant}\n"));
    let mut bench = bench(&company);
    let mut servers = std::collections::BTreeSet::new();
    for number in 0..20 {
        let asked =
            invite("600", "Diversion: <sip:101@192.0.2.1>\r\n").replace("8b1f@", &format!("{number}@"));
        let answer = bench.ask(asked.as_bytes(), peer(1, Transport::Tcp)).unwrap();
        assert_eq!(bench.ask(asked.as_bytes(), peer(1, Transport::Tcp)).unwrap(), answer);
        let said = claims(&answer).remove(0);
        assert_eq!((said.kind, said.mailbox.as_ref(), said.diverted), (CallKind::AutoAttendant, "", None));
        assert_eq!((said.dial_plan.as_ref(), said.extension.as_ref()), ("contoso", "600"));
        servers.insert(header(&answer, "Contact")[0].split(['@', ';']).nth(1).unwrap().to_owned());
    }
    assert_eq!(servers.len(), 2, "{servers:?}");
}

#[test]
fn users_are_found_by_sip_address_and_by_e164_number() {
    let company = COMPANY
        .replace(
            "numberOfDigitsInExtension: 3, voipSecurity: Unsecured",
            "numberOfDigitsInExtension: 3, uriType: SipName, voipSecurity: Unsecured",
        )
        .replace(
            "extensions: ['101']}",
            "extensions: ['101'], addresses: [{dialPlan: contoso, address: alice@contoso.example}]}",
        );
    let mut bench = bench(&company);
    for (uri, more) in [
        ("sip:Alice@Contoso.example", ""),
        ("sip:um@pbx.example", "Diversion: \"A\" <sip:ALICE@contoso.example;user=ip>;reason=user-busy\r\n"),
        (
            "sip:um@pbx.example",
            "History-Info: <sip:alice@contoso.example>;index=1,<sip:um@pbx.example>;index=1.1\r\n",
        ),
        ("sip:101@192.0.2.20", ""),
    ] {
        let asked = invite("900", more).replacen("sip:900@127.0.0.1", uri, 1);
        let answer = bench.ask(asked.as_bytes(), udp()).unwrap();
        assert_eq!(status(&answer), "SIP/2.0 302 Moved Temporarily", "{uri} {more}");
        assert_eq!(claims(&answer)[0].mailbox, "alice", "{uri} {more}");
    }
}

/// The peer's last byte, its transport, the user, an edit of the configuration, and the refusal.
pub(crate) type Case =
    (u8, Transport, &'static str, (&'static str, &'static str), Code, &'static str, &'static str);

const AS_IT_IS: (&str, &str) = ("", "");

#[rustfmt::skip]
pub(crate) const REFUSALS: &[Case] = &[
    (9, Transport::Tcp, "101", AS_IT_IS, Code::UnknownPeer, "403 Forbidden",
     "403;text=\"UM1102 UnknownPeer: "),
    (2, Transport::Udp, "101", AS_IT_IS, Code::GatewayDisabled, "503 Service Unavailable",
     "503;text=\"UM1103 GatewayDisabled: "),
    (3, Transport::Tcp, "101", AS_IT_IS, Code::GatewayNoNewCalls, "503 Service Unavailable",
     "503;text=\"UM1104 GatewayNoNewCalls: "),
    (1, Transport::Udp, "101", ("status: Enabled\n  startup", "status: Disabled\n  startup"), Code::ServerNotInService, "503 Service Unavailable",
     "503;text=\"UM1105 ServerNotInService: "),
    (1, Transport::Udp, "101", ("startupMode: Dual", "startupMode: TLS"), Code::TransportNotAllowed, "403 Forbidden",
     "403;text=\"UM1106 TransportNotAllowed: "),
    (4, Transport::Udp, "101", AS_IT_IS, Code::NoHuntGroup, "404 Not Found",
     "404;text=\"UM1107 NoHuntGroup: "),
    (5, Transport::Tcp, "103", AS_IT_IS, Code::SecurityMismatch, "403 Forbidden",
     "403;text=\"UM1108 SecurityMismatch: "),
    (5, Transport::Tls, "103", ("voipSecurity: SIPSecured", "voipSecurity: Secured"), Code::AudioMismatch, "488 Not Acceptable Here",
     "488;text=\"UM1130 AudioMismatch: "),
    (1, Transport::Udp, "600", ("directory:\n", "directory:\n  autoAttendants: [{name: night, dialPlan: contoso, pilots: ['600'], status: Disabled}]\n"), Code::AttendantDisabled, "480 Temporarily Unavailable",
     "480;text=\"UM1134 AttendantDisabled: "),
    (1, Transport::Udp, "4242", AS_IT_IS, Code::NotANumberOfThePlan, "484 Address Incomplete",
     "484;text=\"UM1109 NotANumberOfThePlan: "),
    (1, Transport::Udp, "operator", AS_IT_IS, Code::NotANumberOfThePlan, "484 Address Incomplete",
     "484;text=\"UM1109 NotANumberOfThePlan: "),
    (1, Transport::Udp, "999", AS_IT_IS, Code::NoSuchUser, "404 Not Found",
     "404;text=\"UM1110 NoSuchUser: "),
    (1, Transport::Udp, "101", ("inService: true", "inService: false"), Code::NoMailboxServer, "503 Service Unavailable",
     "503;text=\"UM1111 NoMailboxServer: "),
    (5, Transport::Tls, "103", (", tls: 5063", ""), Code::NoMailboxServer, "503 Service Unavailable",
     "503;text=\"UM1111 NoMailboxServer: "),
];

#[test]
fn each_refusal_has_its_status_its_code_and_its_words() {
    for (last, transport, user, (from, to), code, line, reason) in REFUSALS {
        let mut bench = bench(&COMPANY.replace(from, to));
        let asked = offering(user, &["RTP/AVP"]);
        let answer = bench.ask(asked.as_bytes(), peer(*last, *transport)).unwrap();
        assert_eq!(status(&answer), format!("SIP/2.0 {line}"));
        // The words after the code are those of `config`, which `umbriel explain` shows, too.
        let told = header(&answer, "Reason")[0];
        assert!(told.starts_with(&format!("SIP;cause={reason}")) && told.ends_with('"'), "{told}");
        let retry_after: &[&str] = if line.starts_with("503") { &["30"] } else { &[] };
        assert_eq!(header(&answer, "Retry-After"), retry_after, "{line}");
        assert_eq!(bench.counters.rejected(*code), 1);
        assert_eq!((bench.counters.received(), bench.counters.redirected()), (1, 0));
    }
}

/// The ports that a mailbox server may have.
const PORTS: [&str; 5] =
    ["{}", "{udp: 5062}", "{tcp: 5062}", "{tls: 5063}", "{udp: 5062, tcp: 5062, tls: 5063}"];

#[test]
fn explain_and_the_router_agree_whichever_ports_the_mailbox_servers_have() {
    let company = COMPANY.replace("inService: false", "inService: true");
    for (first, second) in PORTS.iter().flat_map(|first| PORTS.iter().map(move |second| (first, second))) {
        let company = company
            .replace("listeners: {udp: 5062, tcp: 5062, tls: 5063}", &format!("listeners: {first}"))
            .replace("listeners: {tcp: 5064}", &format!("listeners: {second}"));
        let config: RouterConfig = serde_yaml::from_str(&company).unwrap();
        let table = Table::compile(&config.directory, &config.server);
        let mut bench = bench(&company);
        for (last, user) in [(1, "101"), (1, "102"), (5, "103"), (5, "104")] {
            for (transport, way) in [
                (config::Transport::Udp, Transport::Udp),
                (config::Transport::Tcp, Transport::Tcp),
                (config::Transport::Tls, Transport::Tls),
            ] {
                let peer = peer(last, way);
                let call = Call {
                    peer: peer.address.ip(),
                    names: &[],
                    transport,
                    called: (*user).into(),
                    diverting: None,
                    audio: OfferedAudio::default(),
                    call_id: "8b1f@192.0.2.1",
                };
                let answer = bench.ask(invite(user, "").as_bytes(), peer).unwrap();
                let case = format!("{user} over {transport}, ports {first} and {second}: {answer}");
                match explain(&table, &call).1 {
                    Decision::Accept(route) => {
                        let servers = [Some(route.server), route.sibling].into_iter().flatten();
                        let hosts: Vec<_> =
                            servers.map(|server| SocketAddr::new(server.address, 0).to_string()).collect();
                        let contacts = header(&answer, "Contact");
                        assert_eq!(contacts.len(), hosts.len(), "{case}");
                        for (contact, host) in contacts.iter().zip(hosts) {
                            assert!(contact.contains(&format!("@{}", host.trim_end_matches('0'))), "{case}");
                        }
                    }
                    Decision::Refuse(refusal) => {
                        let said = format!("text=\"{}: {}\"", refusal.code, refusal.text());
                        assert!(header(&answer, "Reason")[0].ends_with(&said), "{case}");
                    }
                }
            }
        }
    }
}

/// Keeps the text of every event.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<String>>);

impl tracing::Subscriber for Captured {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = self.0.lock().unwrap();
        write!(text, "{}", event.metadata().target()).unwrap();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            write!(text, " {field}={value:?}").unwrap();
        });
        text.push('\n');
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn each_invite_is_one_line_of_the_log_and_numbers_are_redacted_in_it() {
    // For the whole process, because interest in a log line is remembered for all threads at once.
    let captured = Captured::default();
    tracing::subscriber::set_global_default(captured.clone()).unwrap();
    let mut bench = bench(COMPANY);
    for user in ["101", "4242"] {
        let asked = invite(user, "").replace("8b1f@", "logged@");
        bench.ask(asked.as_bytes(), udp()).unwrap();
    }
    let text = captured.0.lock().unwrap().clone();
    let logged = |line: &&str| line.contains("logged@192.0.2.1");
    let text = text.lines().filter(logged).collect::<Vec<_>>().join("\n");
    let (redirected, refused) = text.split_once('\n').unwrap();
    assert_eq!(
        redirected,
        "umbriel::call event=\"redirected\" call_id=\"logged@192.0.2.1\" gateway=pbx mailbox=alice server=mail-1 \
         from=*****00 to=*01"
    );
    assert!(refused.starts_with("umbriel::call message=the called number **42 "), "{refused}");
    assert!(
        refused.ends_with(
            " event=\"refused\" call_id=\"logged@192.0.2.1\" peer=192.0.2.1:5060 code=\"UM1109\" \
             from=*****00 to=**42"
        ),
        "{refused}"
    );
    assert!(!text.contains("4242") && !text.contains("k1."), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_gets_at_most_one_answer_and_the_same_one_again(
        at in 0_usize..330, bytes in proptest::collection::vec(any::<u8>(), 0..8), cut in 0_usize..330,
    ) {
        let mut broken = invite("101", "").into_bytes();
        let at = at.min(broken.len());
        let end = (at + bytes.len()).min(broken.len());
        broken.splice(at..end, bytes);
        broken.truncate(broken.len().saturating_sub(cut / 8));
        let mut bench = bench(COMPANY);
        let first = bench.ask_bytes(&broken, udp());
        prop_assert_eq!(bench.ask_bytes(&broken, udp()), first);
    }
}
