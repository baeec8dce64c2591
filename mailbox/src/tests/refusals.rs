//! Calls that are not taken, each with its code; and those that a token lets in.

use super::caller::{Caller, offer_at};
use super::stage::{CALLER, EPOCH_MS, Stage};
use crate::spool_writer::SpoolHealth;
use crate::switchboard::Note;
use config::Code;
use config::token::{CallKind, Claims, DivertReason, sign};
use sip::Transport;

/// Calls, and gives the refusal.
fn refused(stage: &mut Stage, caller: &mut Caller) -> String {
    caller.invite(stage);
    let (_, answer) = stage.sip.last().unwrap();
    assert_eq!(stage.metrics.slots().taken(), 0);
    answer.clone()
}

#[test]
fn a_peer_that_is_no_gateway_is_refused() {
    let (mut stage, caller) = (Stage::new(), Caller::new());
    let request = caller.request("INVITE", 1, &offer_at(CALLER, "0", "sendrecv"));
    stage.hears_from("192.0.2.99:5060", &request);
    let answer = stage.last("SIP/2.0 403 Forbidden\r\n");
    assert!(answer.contains(
        "Reason: SIP;cause=403;text=\"UM1102 UnknownPeer: 192.0.2.99 is not the address of any UMIPGateway; "
    ));
    assert_eq!(stage.metrics.rejected_with(Code::UnknownPeer), 1);
}

#[test]
fn a_server_that_nobody_was_told_of_takes_no_calls() {
    let (mut stage, mut caller) = (Stage::but("[{name: mailbox,", "[{name: other,"), Caller::new());
    let answer = refused(&mut stage, &mut caller);
    assert!(answer.starts_with("SIP/2.0 503 Service Unavailable\r\n"), "{answer}");
    let reason = answer.lines().find(|line| line.starts_with("Reason: ")).unwrap();
    assert!(
        reason.contains("text=\"UM1105 ServerNotInService: server mailbox is not in its own directory, "),
        "{answer}"
    );
    assert!(include_str!("../../../docs/codes/UM1105.md").contains(reason), "the page of the code shows it");
    stage.hears(&Caller::numbered(1).request("OPTIONS", 9, ""));
    assert!(stage.sip.last().unwrap().1.starts_with("SIP/2.0 503 "), "{:?}", stage.sip.last());
}

#[test]
fn a_full_disk_and_a_full_outbox_refuse_new_calls() {
    for health in [SpoolHealth::Full, SpoolHealth::OutboxFull, SpoolHealth::Unwritable] {
        let (mut stage, mut caller) = (Stage::new(), Caller::new());
        stage.props.storage.set(health);
        let answer = refused(&mut stage, &mut caller);
        assert!(answer.starts_with("SIP/2.0 503 Service Unavailable\r\n"), "{answer}");
        assert!(answer.contains("text=\"UM1122 StorageUnavailable: "));
        assert!(answer.contains("\r\nRetry-After: 30\r\n"));
    }
}

#[test]
fn one_call_more_than_allowed_is_refused_and_the_next_is_taken() {
    let mut stage = Stage::but("maxCallsAllowed: 100", "maxCallsAllowed: 2");
    let mut callers: Vec<Caller> = (0..4).map(Caller::numbered).collect();
    for caller in &mut callers[..3] {
        caller.invite(&mut stage);
    }
    let answer = stage.last("SIP/2.0 503").to_owned();
    assert!(answer.contains("call-2@") && answer.contains("text=\"UM1112 CallLimit: "), "{answer}");
    assert!(answer.contains("\r\nRetry-After: 30\r\n"));
    callers[0].ack(&mut stage);
    callers[0].bye(&mut stage);
    callers[3].invite(&mut stage);
    assert_eq!(stage.count("SIP/2.0 503"), 1);
    assert_eq!(stage.metrics.slots().taken(), 2);
}

#[test]
fn two_calls_cannot_share_a_media_address() {
    let (mut stage, mut first, mut second) = (Stage::new(), Caller::new(), Caller::numbered(1));
    first.invite(&mut stage);
    second.media.clone_from(&first.media);
    second.invite(&mut stage);
    assert!(stage.last("SIP/2.0 488 Not Acceptable Here").contains("another call uses this media address"));
    assert_eq!(stage.metrics.slots().taken(), 1);
}

#[test]
fn media_cannot_be_sent_to_ourselves() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.media = "192.0.2.20:20000".to_owned();
    assert!(refused(&mut stage, &mut caller).starts_with("SIP/2.0 488"));
}

#[test]
fn media_of_another_ip_version_is_refused_and_not_answered_with_silence() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    let body =
        offer_at("[2001:db8::7]:4000", "0", "sendrecv").replace("IP4 [2001:db8::7]", "IP6 2001:db8::7");
    caller.invite_with(&mut stage, &body);
    let answer = stage.last("SIP/2.0 488");
    assert!(answer.contains("text=\"UM1116 MediaNotAcceptable: the media address is of another IP version"));
    assert_eq!(stage.metrics.slots().taken(), 0);
}

#[test]
fn what_cannot_be_recorded_is_not_acceptable() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.invite_with(&mut stage, &offer_at(CALLER, "9 18 101", "sendrecv"));
    assert!(stage.last("SIP/2.0 488").contains("text=\"UM1116 MediaNotAcceptable: neither PCMU nor PCMA"));
}

#[test]
fn a_body_that_is_no_session_description_is_refused() {
    let (mut stage, caller) = (Stage::new(), Caller::new());
    let request = caller.request("INVITE", 1, "hello").replace("application/sdp", "text/plain");
    stage.hears(&request);
    let answer = stage.last("SIP/2.0 415 Unsupported Media Type");
    assert!(
        answer.contains("text=\"UM1121 ") && answer.contains("\r\nAccept: application/sdp\r\n"),
        "{answer}"
    );
    let mut other = Caller::numbered(1);
    other.invite_with(&mut stage, "v=\"nonsense\\");
    assert!(stage.last("SIP/2.0 400 Bad Request").contains("text=\"UM1101 MalformedRequest: "));
}

#[test]
fn nobody_at_this_number_is_not_found() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.number = "199";
    let answer = refused(&mut stage, &mut caller);
    assert!(
        answer.starts_with("SIP/2.0 404 Not Found\r\n") && answer.contains("UM1110 NoSuchUser: "),
        "{answer}"
    );
    let mut caller = Caller::numbered(1);
    caller.number = "12345";
    let answer = refused(&mut stage, &mut caller);
    assert!(
        answer.starts_with("SIP/2.0 484 Address Incomplete\r\n") && answer.contains("UM1109 "),
        "{answer}"
    );
}

#[test]
fn a_server_that_drains_takes_no_new_calls_and_finishes_those_that_it_has() {
    let (mut stage, mut first, mut second) = (Stage::new(), Caller::new(), Caller::numbered(1));
    first.reach_the_beep(&mut stage);
    stage.props.draining.set(true);
    stage.told(Note::ServiceChanged);
    second.invite(&mut stage);
    let answer = stage.last("SIP/2.0 503");
    assert!(answer.contains("UM1105 ServerNotInService: ") && answer.contains("Retry-After: 30"), "{answer}");
    first.says(&mut stage, 0x10, 5);
    first.bye(&mut stage);
    assert_eq!(stage.metrics.ended_with("recorded"), 1);
    let options = Caller::numbered(2).request("OPTIONS", 1, "");
    stage.hears(&options);
    assert_eq!(stage.count("SIP/2.0 503"), 2);
}

#[test]
fn a_server_that_is_disabled_takes_no_calls() {
    let mut stage = Stage::but("status: Enabled\n  startupMode", "status: Disabled\n  startupMode");
    let answer = refused(&mut stage, &mut Caller::new());
    assert!(answer.contains("UM1105 ServerNotInService: server mailbox is disabled"), "{answer}");
}

/// A token that names bob for a call that is addressed to a number of nobody.
fn token(stage: &Stage, gateway: &str, at_ms: u64) -> String {
    signed(stage, gateway, at_ms, None)
}

fn signed(stage: &Stage, gateway: &str, at_ms: u64, diverted: Option<DivertReason>) -> String {
    let claims = Claims {
        kind: CallKind::CallAnswering,
        dial_plan: "contoso".into(),
        gateway: gateway.into(),
        mailbox: "bob".into(),
        extension: "102".into(),
        diverted,
    };
    let mut token = String::new();
    sign(&stage.props.served.borrow().keys, &claims, "call-0@192.0.2.7", at_ms / 1_000, &mut token).unwrap();
    token
}

fn call_with(stage: &mut Stage, token: &str) {
    call_as(Caller::new(), stage, token);
}

fn call_as(mut caller: Caller, stage: &mut Stage, token: &str) {
    let uri = format!("sip:199@192.0.2.20:5062;transport=udp;um={token}");
    let request = caller.request_to(&uri, "INVITE", 1, &offer_at(CALLER, "0 101", "sendrecv"));
    stage.hears(&request);
    caller.learn_tag(stage);
    caller.ack(stage);
    stage.advance(440);
}

#[test]
fn what_a_router_decided_is_believed() {
    let mut stage = Stage::new();
    let token = token(&stage, "pbx", EPOCH_MS);
    call_with(&mut stage, &token);
    assert_eq!((stage.facts().mailbox.as_str(), stage.facts().called.as_str()), ("bob", "102"));
}

#[test]
fn a_token_or_a_header_says_why_a_call_was_diverted() {
    let mut stage = Stage::new();
    let token = signed(&stage, "pbx", EPOCH_MS, Some(DivertReason::Busy));
    call_with(&mut stage, &token);
    assert_eq!(stage.facts().diverted, Some(DivertReason::Busy));

    for (called, header, diverted) in [
        ("199", "Diversion: <sip:102@pbx>;reason=no-answer", Some(DivertReason::NoAnswer)),
        ("102", "Diversion: <sip:199@pbx>;reason=no-answer", None),
        ("102", "Subject: nothing", None),
    ] {
        let (mut stage, mut caller) = (Stage::new(), Caller::new());
        caller.number = called;
        let request = caller.request("INVITE", 1, &offer_at(CALLER, "0 101", "sendrecv"));
        stage.hears(&request.replacen("Contact:", &format!("{header}\r\nContact:"), 1));
        caller.learn_tag(&stage);
        caller.ack(&mut stage);
        stage.advance(440);
        let facts = stage.facts();
        assert_eq!((facts.mailbox.as_str(), facts.diverted), ("bob", diverted), "{called} {header}");
    }
}

#[test]
fn a_token_does_not_let_a_call_of_a_protected_plan_come_in_the_clear() {
    let mut stage = Stage::but("voipSecurity: Unsecured", "voipSecurity: SIPSecured");
    let token = token(&stage, "pbx", EPOCH_MS);
    let uri = format!("sip:199@192.0.2.20:5062;transport=udp;um={token}");
    let caller = Caller::new();
    stage.hears(&caller.request_to(&uri, "INVITE", 1, &offer_at(CALLER, "0 101", "sendrecv")));
    assert!(stage.last("SIP/2.0 403").contains("text=\"UM1108 SecurityMismatch: "));
}

#[test]
fn a_token_that_is_old_forged_or_of_another_gateway_decides_nothing() {
    let good = token(&Stage::new(), "pbx", EPOCH_MS);
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    let old = token(&Stage::new(), "pbx", EPOCH_MS - 600_000);
    let stolen = token(&Stage::new(), "another", EPOCH_MS);
    for token in [forged.as_str(), &old, &stolen, "", "x.y.z"] {
        let mut stage = Stage::new();
        call_with(&mut stage, token);
        assert!(stage.last("SIP/2.0 404").contains("UM1110 NoSuchUser"), "{token}");
    }
}

#[test]
fn a_token_is_worth_nothing_to_another_call_of_the_same_gateway() {
    let mut stage = Stage::new();
    let token = token(&stage, "pbx", EPOCH_MS);
    call_with(&mut stage, &token);
    assert_eq!(stage.facts().mailbox, "bob");
    call_as(Caller::numbered(1), &mut stage, &token);
    let answer = stage.last("SIP/2.0 404");
    assert!(answer.contains("call-1@") && answer.contains("UM1110 NoSuchUser"), "{answer}");
}

/// A proxy that follows the redirect itself puts a branch of its own before that of the caller
/// (RFC 3261 section 16.6); and what is lost on the way is sent again.
#[test]
fn a_token_comes_back_by_a_proxy_and_more_than_once() {
    let mut stage = Stage::new();
    let uri = format!("sip:199@192.0.2.20:5062;transport=udp;um={}", token(&stage, "pbx", EPOCH_MS));
    let mut caller = Caller::new();
    let request = caller.request_to(&uri, "INVITE", 1, &offer_at(CALLER, "0 101", "sendrecv"));
    let by_proxy = "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK-proxy-2\r\nVia: ";
    let request = request.replacen("Via: ", by_proxy, 1);
    stage.hears(&request);
    stage.hears(&request);
    assert_eq!(stage.metrics.slots().taken(), 1);
    caller.learn_tag(&stage);
    caller.ack(&mut stage);
    stage.advance(440);
    assert_eq!((stage.facts().mailbox.as_str(), stage.facts().called.as_str()), ("bob", "102"));
}

#[test]
fn a_token_holds_until_it_expires_and_its_key_is_gone() {
    let signed_at = |at_ms| token(&Stage::new(), "pbx", at_ms);
    let k1 = "  - {id: k1, secret: \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"}";
    let k2 = "  - {id: k2, secret: \"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\"}";
    let overlap = format!("{k2}\n{k1}");
    let with_keys = |keys: &str| Stage::but(k1, keys);
    // Every token lives for 120 s, and none for 240 s.
    for (keys, signed_ms, holds) in [
        (k1, EPOCH_MS, true),
        (&overlap, EPOCH_MS, true),
        (k2, EPOCH_MS, false),
        (k1, EPOCH_MS - 120_000, true),
        (k1, EPOCH_MS - 240_000, false),
    ] {
        let mut stage = with_keys(keys);
        call_with(&mut stage, &signed_at(signed_ms));
        assert_eq!(stage.count("SIP/2.0 200 OK"), usize::from(holds), "{keys} {signed_ms}");
        assert_eq!(stage.count("SIP/2.0 404 Not Found"), usize::from(!holds), "{keys} {signed_ms}");
    }
}

#[test]
fn a_token_for_a_mailbox_that_moved_to_another_plan_decides_nothing() {
    let token = token(&Stage::new(), "pbx", EPOCH_MS);
    let mut stage = Stage::but("name: bob, dialPlan: contoso", "name: bob, dialPlan: fabrikam");
    call_with(&mut stage, &token);
    assert!(stage.last("SIP/2.0 404").contains("UM1110 NoSuchUser"));
}

#[test]
fn all_messages_of_a_call_go_to_one_worker() {
    use runtime::Core as _;
    type Board = crate::switchboard::Switchboard<super::stage::Desk>;
    let caller = Caller::new();
    let invite = Board::steer(caller.request("INVITE", 1, "").as_bytes(), 8);
    assert!(invite.is_some_and(|worker| worker < 8));
    assert_eq!(Board::steer(caller.request("BYE", 2, "").as_bytes(), 8), invite);
    assert_eq!(Board::steer(b"noise", 8), None);
    let workers: std::collections::BTreeSet<Option<usize>> = (0..64)
        .map(|index| Board::steer(Caller::numbered(index).request("INVITE", 1, "").as_bytes(), 8))
        .collect();
    assert_eq!(workers.len(), 8, "calls spread over all workers");
}

/// The refusal of an INVITE over TLS, or over UDP, that offers audio by `profile`.
fn offering(stage: &mut Stage, number: &'static str, profile: &str) -> String {
    let mut caller = Caller::new();
    caller.number = number;
    let body = offer_at(CALLER, "0 101", "sendrecv").replace("RTP/AVP", profile);
    stage.hears_by(Transport::Tls, &caller.request("INVITE", 1, &body));
    assert_eq!(stage.metrics.slots().taken(), 0);
    stage.sip.last().unwrap().1.clone()
}

#[test]
fn a_plan_takes_audio_as_it_says_and_in_no_other_way() {
    for (security, profile) in [("Secured", "RTP/AVP"), ("SIPSecured", "RTP/SAVP")] {
        let answer = offering(&mut Stage::protected(security), "101", profile);
        assert!(answer.starts_with("SIP/2.0 488 ") && answer.contains("UM1130 AudioMismatch"), "{answer}");
    }
}

#[test]
fn an_access_number_is_refused_with_its_own_code_by_token_and_by_table() {
    let but = || Stage::but("voipSecurity: Unsecured", "voipSecurity: Unsecured, accessNumbers: ['500']");
    let (mut stage, mut caller) = (but(), Caller::new());
    caller.number = "500";
    let answer = refused(&mut stage, &mut caller);
    let reason = answer.lines().find(|line| line.starts_with("Reason: ")).unwrap();
    assert!(answer.starts_with("SIP/2.0 480 Temporarily Unavailable\r\n"), "{answer}");
    assert!(include_str!("../../../docs/codes/UM1132.md").contains(reason), "the page of the code shows it");
    assert_eq!(stage.metrics.rejected_with(Code::AccessUnavailable), 1);

    let mut stage = but();
    let claims = Claims {
        kind: CallKind::SubscriberAccess,
        dial_plan: "contoso".into(),
        gateway: "pbx".into(),
        mailbox: "".into(),
        extension: "500".into(),
        diverted: None,
    };
    let mut token = String::new();
    sign(&stage.props.served.borrow().keys, &claims, "call-0@192.0.2.7", EPOCH_MS / 1_000, &mut token)
        .unwrap();
    call_with(&mut stage, &token);
    assert!(stage.last("SIP/2.0 480").contains("UM1132 AccessUnavailable"));
    assert_eq!(stage.metrics.slots().taken(), 0);
}

#[test]
fn an_auto_attendant_is_refused_with_its_own_code_by_token_and_by_table() {
    let attendants = |status: &str| {
        let more = format!(
            "  autoAttendants: [{{name: reception, dialPlan: contoso, pilots: ['600'], status: {status}}}]\n  mailboxes:\n"
        );
        Stage::but("  mailboxes:\n", &more)
    };
    let (mut stage, mut caller) = (attendants("Enabled"), Caller::new());
    caller.number = "600";
    let answer = refused(&mut stage, &mut caller);
    let reason = answer.lines().find(|line| line.starts_with("Reason: ")).unwrap();
    assert!(answer.starts_with("SIP/2.0 480 Temporarily Unavailable\r\n"), "{answer}");
    assert!(include_str!("../../../docs/codes/UM1135.md").contains(reason), "the page of the code shows it");
    assert_eq!(stage.metrics.rejected_with(Code::AttendantUnavailable), 1);

    let (mut stage, mut caller) = (attendants("Disabled"), Caller::new());
    caller.number = "600";
    let answer = refused(&mut stage, &mut caller);
    let reason = answer.lines().find(|line| line.starts_with("Reason: ")).unwrap();
    assert!(include_str!("../../../docs/codes/UM1134.md").contains(reason), "the page of the code shows it");

    let mut stage = attendants("Enabled");
    let claims = Claims {
        kind: CallKind::AutoAttendant,
        dial_plan: "contoso".into(),
        gateway: "pbx".into(),
        mailbox: "".into(),
        extension: "600".into(),
        diverted: None,
    };
    let mut token = String::new();
    sign(&stage.props.served.borrow().keys, &claims, "call-0@192.0.2.7", EPOCH_MS / 1_000, &mut token)
        .unwrap();
    call_with(&mut stage, &token);
    assert!(stage.last("SIP/2.0 480").contains("UM1135 AttendantUnavailable"));
    assert_eq!(stage.metrics.slots().taken(), 0);
}

#[test]
fn a_caller_who_shows_no_number_is_refused_where_the_owner_asks_for_one() {
    let but = || Stage::but("ada: {displayName:", "ada: {refusesAnonymousCallers: true, displayName:");
    for from in [
        "\"Anonymous\" <sip:anonymous@anonymous.invalid>",
        "<sip:Anonymous@192.0.2.7>",
        "<sip:192.0.2.7>",
        "\"Carol\" <sip:555@Anonymous.invalid>",
    ] {
        let (mut stage, caller) = (but(), Caller::new());
        let request = caller.request("INVITE", 1, &offer_at(CALLER, "0", "sendrecv"));
        stage.hears(&request.replacen("\"Carol\" <sip:555@192.0.2.7>", from, 1));
        let answer = &stage.sip.last().unwrap().1;
        let reason = answer.lines().find(|line| line.starts_with("Reason: ")).unwrap();
        assert!(answer.starts_with("SIP/2.0 433 Anonymity Disallowed\r\n"), "{from}: {answer}");
        assert!(
            include_str!("../../../docs/codes/UM1133.md").contains(&reason.replace("ada", "alice")),
            "{reason}"
        );
        assert_eq!(stage.metrics.slots().taken(), 0);
    }
    let (mut stage, mut caller) = (but(), Caller::new());
    caller.reach_the_beep(&mut stage);
    assert_eq!(stage.facts().caller.as_deref(), Some("555"));
}
