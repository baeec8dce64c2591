//! Messages that cross, vanish, come twice or out of order.

use super::*;

#[test]
fn a_lost_100_is_sent_again_when_the_invite_comes_again() {
    let mut line = Line::new();
    line.receive(&invite());
    line.wait_until(500);
    line.receive(&invite());
    assert_eq!(line.sent(), ["0 SIP/2.0 100 Trying", "500 SIP/2.0 100 Trying"]);
    assert_eq!(line.events().len(), 1, "one call");
    assert_eq!(line.endpoint.counters().retransmissions, 1);
}

#[test]
fn a_lost_200_is_repeated_and_the_copy_of_the_invite_is_absorbed() {
    let mut line = Line::new();
    line.receive(&invite());
    let call = line.new_call();
    line.answer(call);
    line.sent.clear();
    line.wait_until(400);
    line.receive(&invite());
    assert_eq!(line.sent(), [] as [&str; 0], "RFC 6026: the copy is absorbed");
    line.wait_until(500);
    assert_eq!(line.sent(), ["500 SIP/2.0 200 OK"]);
    assert_eq!(line.events(), []);
}

#[test]
fn a_copy_of_the_invite_after_the_call_is_over_begins_no_second_call() {
    let mut line = Line::new();
    let (call, tag) = line.established();
    line.receive(&in_dialog("BYE", 2, &tag));
    line.sent.clear();
    assert_eq!(line.events(), [Event::Hangup { call }]);
    line.wait_until(10_000);
    line.receive(&invite());
    assert_eq!((line.sent().len(), line.events()), (0, Vec::new()));
}

#[test]
fn a_cancel_that_crosses_the_200_changes_nothing() {
    let mut line = Line::new();
    line.receive(&invite());
    let call = line.new_call();
    line.answer(call);
    let tag = tag_of(&text(&line.sent[1].1));
    line.sent.clear();
    line.receive(&same_branch("CANCEL", 1, ""));
    assert_eq!(tag_of(&text(&line.sent[0].1)), tag);
    assert_eq!(line.sent(), ["0 SIP/2.0 200 OK"]);
    assert_eq!(line.events(), []);
    line.receive(&in_dialog("ACK", 1, &tag));
    line.receive(&in_dialog("BYE", 2, &tag));
    assert_eq!(
        line.events(),
        [Event::Acknowledged { call, body: Vec::new() }, Event::Hangup { call }],
        "the caller who wanted to cancel hangs up"
    );
}

#[test]
fn a_cancel_that_comes_before_its_invite_is_answered_481() {
    let mut line = Line::new();
    line.receive(&same_branch("CANCEL", 1, ""));
    assert_eq!(line.sent(), ["0 SIP/2.0 481 Call/Transaction Does Not Exist"]);
}

#[test]
fn a_cancelled_reinvite_is_answered_487_and_the_call_goes_on() {
    let mut line = Line::new();
    let (call, tag) = line.established();
    line.receive(&reinvite(2, &tag));
    line.events();
    line.sent.clear();
    line.receive(&same_branch("CANCEL", 2, &tag));
    assert_eq!(line.sent(), ["0 SIP/2.0 200 OK", "0 SIP/2.0 487 Request Terminated"]);
    assert_eq!(line.events(), []);
    assert_eq!(line.endpoint.answer_reinvite(call, SDP, line.now), Err(WrongState));
    assert_eq!(line.endpoint.calls(), 1);
}

#[test]
fn a_bye_of_ours_that_crosses_a_reinvite_leaves_it_481() {
    let mut line = Line::new();
    let (call, tag) = line.established();
    line.bye(call);
    let bye = line.message();
    line.receive(&reinvite(2, &tag));
    line.receive(&response_to(&bye, "200 OK"));
    assert_eq!(line.sent(), ["0 SIP/2.0 481 Call/Transaction Does Not Exist"]);
    assert_eq!(line.events(), [Event::Ended { call, cause: Ended::Answered }]);
}

#[test]
fn a_bye_of_theirs_that_overtakes_the_answer_to_a_reinvite_terminates_it() {
    let mut line = Line::new();
    let (call, tag) = line.established();
    line.receive(&reinvite(2, &tag));
    line.sent.clear();
    line.events();
    line.receive(&in_dialog("BYE", 3, &tag));
    assert_eq!(line.sent(), ["0 SIP/2.0 200 OK", "0 SIP/2.0 487 Request Terminated"]);
    assert_eq!(line.events(), [Event::Hangup { call }]);
    assert_eq!(line.endpoint.answer_reinvite(call, SDP, line.now), Err(WrongState));
}

#[test]
fn a_bye_of_ours_while_a_reinvite_waits_terminates_it_first() {
    let mut line = Line::new();
    let (call, tag) = line.established();
    line.receive(&reinvite(2, &tag));
    line.sent.clear();
    line.bye(call);
    assert_eq!(line.sent(), ["0 SIP/2.0 487 Request Terminated", "0 BYE sip:alice@192.0.2.1:5070 SIP/2.0"]);
}

#[test]
fn two_byes_that_cross_end_the_call_once() {
    let mut line = Line::new();
    let (call, tag) = line.established();
    line.bye(call);
    let bye = line.message();
    line.receive(&in_dialog("BYE", 2, &tag));
    assert_eq!(line.sent(), ["0 SIP/2.0 200 OK"]);
    assert_eq!(line.events(), [Event::Hangup { call }]);
    line.receive(&response_to(&bye, "481 Gone"));
    line.wait_until(60_000);
    assert_eq!((line.sent().len(), line.events()), (0, Vec::new()));
}

#[test]
fn a_bye_that_comes_again_gets_the_same_200_and_not_481() {
    let mut line = Line::new();
    let (_, tag) = line.established();
    line.receive(&in_dialog("BYE", 2, &tag));
    let first = line.message();
    line.wait_until(20_000);
    line.receive(&in_dialog("BYE", 2, &tag));
    assert_eq!(line.message(), first);
    line.wait_until(60_000);
    line.receive(&in_dialog("BYE", 2, &tag));
    assert_eq!(line.sent(), ["60000 SIP/2.0 481 Call/Transaction Does Not Exist"]);
}

#[test]
fn a_bye_before_the_ack_ends_the_call_and_the_copies_of_the_200() {
    let mut line = Line::new();
    line.receive(&invite());
    let call = line.new_call();
    line.answer(call);
    let tag = tag_of(&text(&line.sent[1].1));
    line.sent.clear();
    line.receive(&in_dialog("BYE", 2, &tag));
    line.wait_until(60_000);
    assert_eq!(line.sent(), ["0 SIP/2.0 200 OK"]);
    assert_eq!(line.events(), [Event::Hangup { call }]);
}

#[test]
fn rfc_3261_section_15_1_2_a_bye_while_it_rings_terminates_the_invite() {
    let mut line = Line::new();
    line.receive(&invite());
    let call = line.new_call();
    line.endpoint.ring(call, line.now);
    line.drain();
    let tag = tag_of(&text(&line.sent[1].1));
    line.sent.clear();
    line.receive(&in_dialog("BYE", 2, &tag));
    assert_eq!(line.sent(), ["0 SIP/2.0 200 OK", "0 SIP/2.0 487 Request Terminated"]);
    assert_eq!(line.events(), [Event::Hangup { call }]);
}

#[test]
fn rfc_5407_section_3_1_4_a_reinvite_that_overtakes_a_lost_ack_shows_that_the_200_arrived() {
    let mut line = Line::new();
    line.receive(&invite());
    let call = line.new_call();
    line.answer(call);
    let tag = tag_of(&text(&line.sent[1].1));
    line.sent.clear();
    let again = reinvite(2, &tag);
    line.receive(&again);
    assert_eq!(
        line.events(),
        [
            Event::Acknowledged { call, body: Vec::new() },
            Event::Reinvite { call, peer: udp(), request: again.into_bytes() }
        ]
    );
    line.receive(&in_dialog("ACK", 1, &tag));
    line.wait_until(60_000);
    assert_eq!(line.sent(), ["0 SIP/2.0 100 Trying"], "the 200 is not repeated");
    assert_eq!(line.events(), [], "the late ACK is absorbed");
}

#[test]
fn rfc_5407_section_3_1_5_a_reinvite_that_overtakes_the_answer_to_our_offer_is_told_to_wait() {
    let mut line = Line::new();
    line.receive(&request("INVITE", "i1", 1, "", "Contact: <sip:a@192.0.2.1>\nContent-Length: 0\n\n"));
    let call = line.new_call();
    line.answer(call);
    let tag = tag_of(&text(&line.sent[1].1));
    line.sent.clear();
    line.receive(&reinvite(2, &tag));
    assert_eq!(line.sent(), ["0 SIP/2.0 491 Request Pending"]);
    assert_eq!(line.events(), []);
}

#[test]
fn rfc_3261_section_14_2_a_second_invite_before_the_first_is_answered_gets_500_and_retry_after() {
    let mut line = Line::new();
    let (call, tag) = line.established();
    line.receive(&reinvite(2, &tag));
    line.events();
    line.sent.clear();
    line.receive(&reinvite(3, &tag));
    let refused = line.message();
    assert_eq!(first_line(&refused), "SIP/2.0 500 Server Internal Error");
    assert!(header(&refused, "Retry-After").unwrap().parse::<u32>().unwrap() <= 10);
    assert_eq!(line.events(), []);
    assert_eq!(line.endpoint.answer_reinvite(call, SDP, line.now), Ok(()));
}

#[test]
fn a_second_invite_while_the_call_still_rings_gets_500() {
    let mut line = Line::new();
    line.receive(&invite());
    let call = line.new_call();
    let tag = line.endpoint.identity.tag(call);
    line.sent.clear();
    line.receive(&reinvite(2, &tag));
    assert_eq!(line.sent(), ["0 SIP/2.0 500 Server Internal Error"]);
    line.answer(call);
    assert_eq!(line.endpoint.calls(), 1);
}

#[test]
fn rfc_3261_section_12_2_2_a_request_out_of_order_gets_500() {
    let mut line = Line::new();
    let (call, tag) = line.established();
    line.receive(&in_dialog("OPTIONS", 9, &tag));
    line.sent.clear();
    line.receive(&reinvite(8, &tag));
    line.receive(&in_dialog("BYE", 8, &tag));
    assert_eq!(line.sent(), ["0 SIP/2.0 500 Server Internal Error", "0 SIP/2.0 500 Server Internal Error"]);
    assert_eq!(line.endpoint.counters().out_of_order, 2);
    line.receive(&in_dialog("BYE", 10, &tag));
    assert_eq!(line.events(), [Event::Hangup { call }]);
}

#[test]
fn a_peer_that_never_counts_on_may_still_hang_up() {
    let mut line = Line::new();
    let (call, tag) = line.established();
    line.receive(&in_dialog("BYE", 1, &tag));
    assert_eq!(line.events(), [Event::Hangup { call }]);
}

#[test]
fn rfc_3261_section_8_2_2_2_a_forked_copy_of_the_invite_is_answered_482() {
    let mut line = Line::new();
    line.receive(&invite());
    line.new_call();
    line.sent.clear();
    let fork = invite().replace("z9hG4bKi1", "z9hG4bKfork");
    line.receive(&fork);
    assert_eq!(line.sent(), ["0 SIP/2.0 482 Loop Detected"]);
    line.receive(&fork);
    assert_eq!(line.sent(), ["0 SIP/2.0 482 Loop Detected"], "its copies get copies");
    assert_eq!(line.events(), []);
    assert_eq!(line.endpoint.counters().merged, 1);
}

#[test]
fn a_second_attempt_with_a_new_number_is_a_new_call() {
    let mut line = Line::new();
    line.receive(&invite());
    line.new_call();
    line.receive(&reinvite(2, ""));
    line.new_call();
    assert_eq!(line.endpoint.calls(), 2);
}

#[test]
fn an_ack_with_the_branch_of_the_invite_still_acknowledges_the_200() {
    let mut line = Line::new();
    line.receive(&invite());
    let call = line.new_call();
    line.answer(call);
    let tag = tag_of(&text(&line.sent[1].1));
    line.receive(&same_branch("ACK", 1, &tag));
    assert_eq!(line.events(), [Event::Acknowledged { call, body: Vec::new() }]);
}

#[test]
fn an_ack_of_a_dialog_that_is_not_known_is_dropped_and_counted() {
    let mut line = Line::new();
    line.receive(&in_dialog("ACK", 1, "w0-0123456789abcdef"));
    assert_eq!(line.sent(), [] as [&str; 0]);
    assert_eq!(line.endpoint.counters().stray_acks, 1);
}

#[test]
fn rfc_3261_section_17_2_3_invites_without_the_magic_cookie_are_told_apart_by_what_they_say() {
    let old =
        |text: String| text.replace("branch=z9hG4bKi1", "branch=1").replace("branch=z9hG4bKi2", "branch=1");
    let mut line = Line::new();
    line.receive(&old(invite()));
    line.receive(&old(invite()));
    line.new_call();
    line.receive(&old(reinvite(2, "")));
    let second = line.new_call();
    line.receive(&old(same_branch("CANCEL", 2, "")));
    assert_eq!(line.events(), [Event::Cancelled { call: second }]);
}

#[test]
fn a_reply_on_tcp_is_not_repeated_and_takes_the_connection_of_its_request() {
    let mut line = Line::with(settings(), tcp());
    line.receive(&invite());
    let call = line.new_call();
    line.endpoint.refuse(call, Refusal { status: 486, reason: "Busy Here", headers: &[] }, line.now).unwrap();
    line.drain();
    let back = Peer { address: "192.0.2.1:5060".parse().unwrap(), ..tcp() };
    assert!(line.sent.iter().all(|(_, transmit)| transmit.peer == back));
    line.wait_until(60_000);
    assert_eq!(line.sent(), ["0 SIP/2.0 100 Trying", "0 SIP/2.0 486 Busy Here"]);
    assert_eq!(line.endpoint.counters().given_up, 1, "no ACK came");
}
