//! Calls on which nothing crosses: each step, and each timer.

use super::*;

#[test]
fn a_call_is_answered_100_180_and_200_and_ends_by_the_far_ends_bye() {
    let mut line = Line::new();
    line.receive(&invite());
    assert_eq!(line.sent(), ["0 SIP/2.0 100 Trying"]);
    let call = line.new_call();
    line.wait_until(1_000);
    line.endpoint.ring(call, line.now);
    line.drain();
    line.wait_until(2_000);
    line.answer(call);
    assert_eq!(line.sent(), ["1000 SIP/2.0 180 Ringing", "2000 SIP/2.0 200 OK"]);
    let tag = line.endpoint.identity.tag(call);
    line.receive(&in_dialog("ACK", 1, &tag));
    assert_eq!(line.events(), [Event::Acknowledged { call, body: Vec::new() }]);
    line.wait_until(9_000);
    line.receive(&in_dialog("BYE", 2, &tag));
    assert_eq!(line.sent(), ["9000 SIP/2.0 200 OK"]);
    assert_eq!(line.events(), [Event::Hangup { call }]);
    assert_eq!(line.endpoint.calls(), 0);
    assert!(!line.endpoint.is_idle(), "copies may still come");
    line.wait_until(60_000);
    assert!(line.endpoint.is_idle());
    assert_eq!(line.endpoint.deadline(), None);
}

#[test]
fn rfc_3261_section_12_1_1_the_200_carries_contact_tag_and_record_route() {
    let mut line = Line::new();
    line.receive(&invite().replace("Max-Forwards", "Record-Route: <sip:192.0.2.5;lr>\r\nMax-Forwards"));
    let call = line.new_call();
    line.sent.clear();
    line.answer(call);
    let text = line.message();
    let tag = tag_of(&text);
    let expected = format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKi1\r\n\
         From: \"Alice\" <sip:alice@192.0.2.1>;tag=far\r\nTo: <sip:101@192.0.2.9>;tag={tag}\r\n\
         Call-ID: c1@192.0.2.1\r\nCSeq: 1 INVITE\r\nRecord-Route: <sip:192.0.2.5;lr>\r\n\
         Contact: <sip:192.0.2.9:5062>\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\nServer: Umbriel\r\n\
         Content-Type: application/sdp\r\nContent-Length: 88\r\n\r\n{SDP}"
    );
    assert_eq!(text, expected);
    assert!(tag.starts_with("w0-") && tag.len() == 19, "{tag}");
}

#[test]
fn rfc_3261_section_8_2_6_the_trying_copies_the_timestamp_and_has_no_tag() {
    let mut line = Line::new();
    line.receive(&invite().replace("Max-Forwards", "Timestamp: 54\r\nMax-Forwards"));
    let text = line.message();
    assert_eq!(header(&text, "Timestamp"), Some("54"));
    assert_eq!(header(&text, "To"), Some("<sip:101@192.0.2.9>"));
}

#[test]
fn a_lost_ack_repeats_the_200() {
    let mut line = Line::new();
    line.receive(&invite());
    let call = line.new_call();
    line.answer(call);
    let tag = tag_of(&text(&line.sent[1].1));
    let first = line.sent[1].1.clone();
    line.sent.clear();
    line.wait_until(8_000);
    assert!(line.sent.iter().all(|(_, transmit)| *transmit == first), "the copies are equal");
    assert_eq!(
        line.sent(),
        ["500 SIP/2.0 200 OK", "1500 SIP/2.0 200 OK", "3500 SIP/2.0 200 OK", "7500 SIP/2.0 200 OK"]
    );
    line.receive(&in_dialog("ACK", 1, &tag));
    line.receive(&in_dialog("ACK", 1, &tag));
    line.wait_until(40_000);
    assert_eq!(line.sent(), [] as [&str; 0]);
    assert_eq!(line.events(), [Event::Acknowledged { call, body: Vec::new() }]);
    assert_eq!(line.endpoint.counters().resent, 4);
}

#[test]
fn rfc_3261_section_13_3_1_4_a_200_that_is_never_acknowledged_ends_in_a_bye_after_32_s() {
    for peer in [udp(), tcp()] {
        let mut line = Line::with(settings(), peer);
        line.receive(&invite());
        let call = line.new_call();
        line.answer(call);
        line.sent.clear();
        line.wait_until(31_999);
        assert_eq!(line.sent().len(), 10, "copies at 0.5, 1.5, 3.5, 7.5, 11.5, … 31.5 s");
        assert_eq!(line.events(), []);
        line.wait_until(32_000);
        assert_eq!(line.events(), [Event::Ended { call, cause: Ended::NeverAcknowledged }]);
        assert_eq!(line.endpoint.calls(), 0);
        let bye = line.message();
        assert!(bye.starts_with("BYE sip:alice@192.0.2.1:5070 SIP/2.0\r\n"), "{bye}");
        line.receive(&response_to(&bye, "481 Gone"));
        line.wait_until(80_000);
        assert_eq!(line.events(), [], "the end is told once");
        assert!(line.endpoint.is_idle());
    }
}

#[test]
fn our_bye_is_sent_again_until_it_is_answered() {
    let mut line = Line::new();
    let (call, tag) = line.established();
    line.endpoint.bye(call, Some("Q.850;cause=16"), line.now).unwrap();
    line.drain();
    let bye = text(&line.sent[0].1);
    let expected = format!(
        "BYE sip:alice@192.0.2.1:5070 SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\n\
         From: <sip:101@192.0.2.9>;tag={tag}\r\nTo: \"Alice\" <sip:alice@192.0.2.1>;tag=far\r\n\
         Call-ID: c1@192.0.2.1\r\nCSeq: 1 BYE\r\nReason: Q.850;cause=16\r\nUser-Agent: Umbriel\r\n\
         Content-Length: 0\r\n\r\n",
        header(&bye, "Via").unwrap()
    );
    assert_eq!(bye, expected);
    line.wait_until(2_000);
    assert_eq!(line.sent().len(), 3, "at 0, 0.5 and 1.5 s");
    assert_eq!(line.endpoint.calls(), 1);
    line.receive(&response_to(&bye, "200 OK"));
    assert_eq!(line.events(), [Event::Ended { call, cause: Ended::Answered }]);
    assert_eq!(line.endpoint.calls(), 0);
    line.receive(&response_to(&bye, "200 OK"));
    line.wait_until(60_000);
    assert_eq!((line.events(), line.sent().len()), (Vec::new(), 0));
    assert_eq!(line.endpoint.counters().stray_responses, 0);
    assert!(line.endpoint.is_idle());
}

#[test]
fn our_bye_is_given_up_after_32_s() {
    let mut line = Line::new();
    let (call, _) = line.established();
    line.bye(call);
    let bye = text(&line.sent[0].1);
    line.wait_until(32_000);
    assert_eq!(line.events(), [Event::Ended { call, cause: Ended::TimedOut }]);
    assert_eq!(line.endpoint.calls(), 0);
    line.receive(&response_to(&bye, "200 OK"));
    assert_eq!(line.endpoint.counters().stray_responses, 1);
}

#[test]
fn a_provisional_answer_does_not_end_a_bye() {
    let mut line = Line::new();
    let (call, _) = line.established();
    line.bye(call);
    let bye = line.message();
    line.receive(&response_to(&bye, "100 Trying"));
    assert_eq!(line.events(), []);
    line.wait_until(4_000);
    assert_eq!(line.sent(), ["4000 BYE sip:alice@192.0.2.1:5070 SIP/2.0"]);
    line.receive(&response_to(&bye, "481 Gone"));
    assert_eq!(line.events(), [Event::Ended { call, cause: Ended::Answered }]);
}

#[test]
fn rfc_3261_section_15_a_bye_waits_for_the_ack() {
    let mut line = Line::new();
    line.receive(&invite());
    let call = line.new_call();
    line.answer(call);
    let tag = tag_of(&text(&line.sent[1].1));
    line.bye(call);
    assert_eq!(line.endpoint.bye(call, None, line.now), Err(WrongState), "once is enough");
    assert_eq!(line.sent(), ["0 SIP/2.0 100 Trying", "0 SIP/2.0 200 OK"]);
    line.wait_until(100);
    line.receive(&in_dialog("ACK", 1, &tag));
    assert_eq!(line.sent(), ["100 BYE sip:alice@192.0.2.1:5070 SIP/2.0"]);
    assert_eq!(line.events(), []);
}

#[test]
fn a_refusal_is_repeated_until_its_ack_and_the_ack_is_absorbed() {
    let mut line = Line::new();
    line.receive(&invite());
    let call = line.new_call();
    line.sent.clear();
    let headers = [("Reason", "SIP;cause=404;text=\"UM1109\"")];
    line.endpoint
        .refuse(call, Refusal { status: 404, reason: "Not Found", headers: &headers }, line.now)
        .unwrap();
    line.drain();
    assert_eq!(line.endpoint.calls(), 0);
    let text = text(&line.sent[0].1);
    assert_eq!(header(&text, "Reason"), Some("SIP;cause=404;text=\"UM1109\""));
    line.wait_until(1_000);
    line.receive(&invite());
    assert_eq!(
        line.sent(),
        ["0 SIP/2.0 404 Not Found", "500 SIP/2.0 404 Not Found", "1000 SIP/2.0 404 Not Found"]
    );
    line.receive(&same_branch("ACK", 1, &tag_of(&text)));
    line.wait_until(60_000);
    assert_eq!((line.sent().len(), line.events()), (0, Vec::new()));
    assert_eq!(line.endpoint.counters().stray_acks, 0);
    assert_eq!(line.endpoint.counters().given_up, 0);
    assert!(line.endpoint.is_idle());
}

#[test]
fn rfc_3261_section_9_2_a_cancelled_invite_is_answered_487_and_its_cancel_200() {
    let mut line = Line::new();
    line.receive(&invite());
    let call = line.new_call();
    line.endpoint.ring(call, line.now);
    line.drain();
    line.sent.clear();
    line.receive(&same_branch("CANCEL", 1, ""));
    assert_eq!(tag_of(&text(&line.sent[0].1)), tag_of(&text(&line.sent[1].1)), "both have one tag");
    assert_eq!(line.sent(), ["0 SIP/2.0 200 OK", "0 SIP/2.0 487 Request Terminated"]);
    assert_eq!(line.events(), [Event::Cancelled { call }]);
    assert_eq!(line.endpoint.answer(call, SDP, line.now), Err(WrongState));
    line.wait_until(100);
    line.receive(&same_branch("CANCEL", 1, ""));
    assert_eq!(line.sent(), ["100 SIP/2.0 200 OK"], "a copy of the CANCEL gets a copy of its answer");
    assert_eq!(line.events(), []);
}

#[test]
fn rfc_3261_section_13_3_1_an_invite_that_expires_is_answered_487() {
    let mut line = Line::new();
    line.receive(&invite().replace("Max-Forwards", "Expires: 20\r\nMax-Forwards"));
    let call = line.new_call();
    line.sent.clear();
    line.wait_until(20_000);
    assert_eq!(line.sent(), ["20000 SIP/2.0 487 Request Terminated"]);
    assert_eq!(line.events(), [Event::Cancelled { call }]);
}

#[test]
fn rfc_3261_section_16_6_a_call_that_nobody_answers_ends_after_three_minutes() {
    let mut line = Line::new();
    line.receive(&invite());
    let call = line.new_call();
    line.sent.clear();
    line.wait_until(180_000);
    assert_eq!(line.events(), [Event::Cancelled { call }]);
    assert_eq!(line.sent(), ["180000 SIP/2.0 487 Request Terminated"]);
}

#[test]
fn an_invite_without_an_offer_gets_one_and_the_ack_brings_the_answer() {
    let mut line = Line::new();
    line.receive(&request("INVITE", "i1", 1, "", "Contact: <sip:a@192.0.2.1>\nContent-Length: 0\n\n"));
    let call = line.new_call();
    line.answer(call);
    let tag = tag_of(&text(&line.sent[1].1));
    line.receive(&request("ACK", "a1", 1, &tag, "Content-Type: application/sdp\nContent-Length: 5\n\nv=0\n"));
    assert_eq!(line.events(), [Event::Acknowledged { call, body: b"v=0\r\n".to_vec() }]);
}

#[test]
fn rfc_3261_section_14_2_a_reinvite_is_answered_and_acknowledged_like_an_invite() {
    let mut line = Line::new();
    let (call, tag) = line.established();
    line.wait_until(5_000);
    let again = reinvite(2, &tag);
    line.receive(&again);
    assert_eq!(line.events(), [Event::Reinvite { call, peer: udp(), request: again.into_bytes() }]);
    line.endpoint.answer_reinvite(call, SDP, line.now).unwrap();
    line.drain();
    line.wait_until(5_500);
    assert_eq!(line.sent(), ["5000 SIP/2.0 100 Trying", "5000 SIP/2.0 200 OK", "5500 SIP/2.0 200 OK"]);
    line.receive(&in_dialog("ACK", 2, &tag));
    assert_eq!(line.events(), [Event::Acknowledged { call, body: Vec::new() }]);
    line.bye(call);
    assert_eq!(line.sent().len(), 1);
}

#[test]
fn a_refused_reinvite_leaves_the_call_as_it_was() {
    let mut line = Line::new();
    let (call, tag) = line.established();
    line.receive(&reinvite(2, &tag));
    let refusal = Refusal { status: 488, reason: "Not Acceptable Here", headers: &[] };
    line.endpoint.refuse_reinvite(call, refusal, line.now).unwrap();
    assert_eq!(line.endpoint.refuse_reinvite(call, refusal, line.now), Err(WrongState));
    line.drain();
    assert_eq!(line.sent(), ["0 SIP/2.0 100 Trying", "0 SIP/2.0 488 Not Acceptable Here"]);
    line.receive(&same_branch("ACK", 2, &tag));
    line.events();
    line.receive(&in_dialog("BYE", 3, &tag));
    assert_eq!(line.events(), [Event::Hangup { call }]);
}

#[test]
fn rfc_3261_section_11_2_options_is_answered_by_what_the_server_does() {
    let mut line = Line::new();
    line.receive(&request("OPTIONS", "o1", 1, "", "Content-Length: 0\n\n"));
    let text = line.message();
    assert_eq!(first_line(&text), "SIP/2.0 200 OK");
    assert_eq!(header(&text, "Allow"), Some("INVITE, ACK, CANCEL, BYE, OPTIONS"));
    assert_eq!(header(&text, "Accept"), Some("application/sdp"));
    line.endpoint.set_service(Service::Unavailable { retry_after_s: 30 });
    line.receive(&request("OPTIONS", "o2", 2, "", "Content-Length: 0\n\n"));
    let text = line.message();
    assert_eq!(first_line(&text), "SIP/2.0 503 Service Unavailable");
    assert_eq!(header(&text, "Retry-After"), Some("30"));
    assert!(line.endpoint.is_idle(), "OPTIONS leaves nothing behind");
}

#[test]
fn options_within_a_call_is_answered_and_outside_of_a_known_one_481() {
    let mut line = Line::new();
    let (_, tag) = line.established();
    line.receive(&in_dialog("OPTIONS", 2, &tag));
    line.receive(&in_dialog("OPTIONS", 3, "w0-0123456789abcdef"));
    assert_eq!(line.sent(), ["0 SIP/2.0 200 OK", "0 SIP/2.0 481 Call/Transaction Does Not Exist"]);
}

#[test]
fn what_the_user_may_not_do_is_refused_and_sends_nothing() {
    let mut line = Line::new();
    let refusal = Refusal { status: 486, reason: "Busy Here", headers: &[] };
    line.receive(&invite());
    let call = line.new_call();
    assert_eq!(line.endpoint.bye(call, None, line.now), Err(WrongState), "a ringing call is refused");
    assert_eq!(line.endpoint.answer_reinvite(call, SDP, line.now), Err(WrongState));
    line.answer(call);
    line.sent.clear();
    line.endpoint.ring(call, line.now);
    assert_eq!(line.endpoint.answer(call, SDP, line.now), Err(WrongState));
    assert_eq!(line.endpoint.refuse(call, refusal, line.now), Err(WrongState));
    assert_eq!(line.endpoint.refuse_reinvite(call, refusal, line.now), Err(WrongState));
    assert_eq!(line.endpoint.bye(CallKey(1), None, line.now), Err(WrongState));
    line.drain();
    assert_eq!((line.sent().len(), line.events()), (0, Vec::new()));
}
