//! What the endpoint refuses by itself, and what it drops.

use super::*;

fn reason(status: u16) -> Option<&'static str> {
    (status == 405).then_some("SIP;cause=405;text=\"UM1113\"")
}

fn with_reasons() -> Line {
    Line::with(EndpointSettings { reason, ..settings() }, udp())
}

#[test]
fn rfc_3261_section_8_2_1_a_method_that_is_known_but_not_served_gets_405_and_allow() {
    let mut line = with_reasons();
    for method in
        ["REGISTER", "PRACK", "UPDATE", "INFO", "SUBSCRIBE", "NOTIFY", "REFER", "MESSAGE", "PUBLISH"]
    {
        line.receive(&in_dialog(method, 1, ""));
        let text = line.message();
        assert_eq!(first_line(&text), "SIP/2.0 405 Method Not Allowed", "{method}");
        assert_eq!(header(&text, "Allow"), Some("INVITE, ACK, CANCEL, BYE, OPTIONS"));
        assert_eq!(header(&text, "Reason"), Some("SIP;cause=405;text=\"UM1113\""));
        assert!(tag_of(&text).starts_with("w0-"));
    }
    assert_eq!(line.endpoint.counters().unsupported, 9);
    assert!(line.endpoint.is_idle());
}

#[test]
fn a_method_that_nobody_knows_gets_501() {
    let mut line = with_reasons();
    line.receive(&in_dialog("DANCE", 1, ""));
    let text = line.message();
    assert_eq!(first_line(&text), "SIP/2.0 501 Not Implemented");
    assert_eq!(header(&text, "Reason"), None, "the settings supply none for it");
}

#[test]
fn rfc_3261_section_8_2_2_3_required_extensions_get_420_and_are_named() {
    let mut line = Line::new();
    line.receive(&invite().replace("Max-Forwards", "Require: 100rel, timer\r\nRequire: foo\r\nMax-Forwards"));
    let text = line.message();
    assert_eq!(first_line(&text), "SIP/2.0 420 Bad Extension");
    assert_eq!(header(&text, "Unsupported"), Some("100rel, timer, foo"));
    assert_eq!(line.events(), []);
    line.receive(&same_branch("ACK", 1, &tag_of(&text)));
    line.wait_until(60_000);
    assert_eq!(line.sent(), [] as [&str; 0], "the ACK ends its copies");
    let options = request("OPTIONS", "o1", 1, "", "Require: foo\nContent-Length: 0\n\n");
    line.receive(&options);
    assert_eq!(line.sent(), ["60000 SIP/2.0 420 Bad Extension"]);
}

#[test]
fn a_cancel_is_served_whatever_it_requires() {
    let mut line = Line::new();
    line.receive(&invite());
    let call = line.new_call();
    line.receive(&request("CANCEL", "i1", 1, "", "Require: foo\nContent-Length: 0\n\n"));
    assert_eq!(line.events(), [Event::Cancelled { call }]);
}

#[test]
fn rfc_3261_section_12_2_2_requests_in_a_dialog_that_is_not_known_get_481() {
    let mut line = Line::new();
    let (_, tag) = line.established();
    for (method, tag) in
        [("BYE", "elsewhere"), ("BYE", "w0-0123456789abcdef"), ("BYE", "w0-zz"), ("OPTIONS", "x")]
    {
        line.receive(&in_dialog(method, 7, tag));
        assert_eq!(line.sent(), ["0 SIP/2.0 481 Call/Transaction Does Not Exist"], "{method} {tag}");
    }
    line.receive(&reinvite(8, "elsewhere"));
    line.receive(&in_dialog("BYE", 9, &tag).replace("tag=far", "tag=near"));
    line.receive(&in_dialog("BYE", 10, &tag).replace("c1@", "c2@"));
    line.receive(&in_dialog("BYE", 11, ""));
    assert_eq!(line.sent().len(), 4, "one tag that does not fit is enough");
    assert_eq!(line.endpoint.counters().unknown_dialog, 8);
    assert_eq!(line.endpoint.calls(), 1);
}

#[test]
fn a_request_that_breaks_the_protocol_gets_400_where_it_can_be_answered() {
    let mut line = Line::new();
    line.receive(&in_dialog("OPTIONS", 1, "").replace("CSeq: 1 OPTIONS", "CSeq: 1 BYE"));
    assert_eq!(line.sent(), ["0 SIP/2.0 400 Bad Request"]);
    line.receive(&in_dialog("OPTIONS", 1, "").replace("Content-Length: 0", "Content-Length: -1"));
    assert_eq!(line.sent(), ["0 SIP/2.0 400 Bad Request"]);
    line.receive(&in_dialog("OPTIONS", 1, "").replace("sip:101@192.0.2.9 SIP", "urn:x SIP"));
    assert_eq!(line.sent(), ["0 SIP/2.0 416 Unsupported URI Scheme"]);
    line.receive(&in_dialog("OPTIONS", 1, "").replacen("SIP/2.0\r\n", "SIP/7.0\r\n", 1));
    assert_eq!(line.sent(), ["0 SIP/2.0 505 Version Not Supported"]);
    assert_eq!(line.endpoint.counters().malformed, 4);
}

#[test]
fn rfc_3261_section_21_5_7_a_request_with_more_headers_than_the_cap_gets_513() {
    let mut line = Line::new();
    line.receive(&in_dialog("OPTIONS", 1, "").replace("Max-Forwards: 70", &vec!["X: y"; 100].join("\r\n")));
    assert_eq!(line.sent(), ["0 SIP/2.0 513 Message Too Large"]);
}

#[test]
fn rfc_3261_section_8_1_1_8_an_invite_without_a_usable_contact_gets_400() {
    let mut line = Line::new();
    for contact in ["X: y", "Contact: <tel:+15551000>", "Contact: *"] {
        let text = invite().replace("Contact: <sip:alice@192.0.2.1:5070>", contact);
        line.receive(&text.replace("z9hG4bKi1", &format!("z9hG4bK{}", contact.len())));
        let refused = line.message();
        assert_eq!(first_line(&refused), "SIP/2.0 400 Bad Request", "{contact}");
        assert!(header(&refused, "Warning").unwrap().starts_with("399 umbriel \"Contact"));
    }
    assert_eq!((line.events(), line.endpoint.calls()), (Vec::new(), 0));
}

#[test]
fn noise_is_dropped_and_counted() {
    let mut line = Line::new();
    for noise in
        ["hello", "\u{0}\u{1}\u{2}", "INVITE", "GET / HTTP/1.1\r\n\r\n", "OPTIONS sip:a@b SIP/2.0\r\n\r\n"]
    {
        line.receive(noise);
    }
    line.receive(&in_dialog("OPTIONS", 1, "").replace("Via", "X").replace("Content-Length: 0", "l: -1"));
    line.receive(&in_dialog("ACK", 1, "").replace("CSeq: 1 ACK", "CSeq: one"));
    line.receive("SIP/2.0 200 OK\r\n\r\n");
    assert_eq!(line.sent(), [] as [&str; 0]);
    assert_eq!(line.endpoint.counters().noise, 8);
    assert!(line.endpoint.is_idle());
}

#[test]
fn rfc_5626_section_3_5_1_a_keep_alive_is_no_noise() {
    let mut line = Line::new();
    line.receive("\r\n\r\n");
    line.receive("");
    assert_eq!(line.endpoint.counters(), Counters::default());
}

#[test]
fn rfc_3261_section_17_1_3_a_response_to_nothing_is_dropped_and_counted() {
    let mut line = Line::new();
    let (call, _) = line.established();
    line.bye(call);
    let bye = line.message();
    line.receive(&response_to(&bye, "200 OK").replace("CSeq: 1 BYE", "CSeq: 1 INVITE"));
    let branch = header(&bye, "Via").unwrap().split_once("branch=z9hG4bK").unwrap().1;
    line.receive(&response_to(&bye, "200 OK").replace(&branch[..16], "0123456789abcdef"));
    assert_eq!(line.endpoint.counters().stray_responses, 2);
    assert_eq!(line.events(), []);
}

#[test]
fn a_call_beyond_the_cap_gets_503_and_retry_after_until_its_ack() {
    let mut line = Line::with(EndpointSettings { max_calls: 1, ..settings() }, udp());
    line.receive(&invite());
    let call = line.new_call();
    line.sent.clear();
    line.receive(&reinvite(2, ""));
    let text = line.message();
    assert_eq!(first_line(&text), "SIP/2.0 503 Service Unavailable");
    assert_eq!(header(&text, "Retry-After"), Some("5"));
    assert_eq!(line.endpoint.counters().calls_full, 1);
    line.receive(&same_branch("CANCEL", 1, ""));
    assert_eq!(line.events(), [Event::Cancelled { call }]);
    line.sent.clear();
    line.receive(&reinvite(2, ""));
    assert_eq!(
        line.sent(),
        ["0 SIP/2.0 503 Service Unavailable"],
        "its copy gets the same, though there is room"
    );
    line.receive(&reinvite(3, ""));
    line.new_call();
}

#[test]
fn rfc_3261_section_8_2_7_an_invite_beyond_the_transactions_gets_503_and_leaves_nothing_behind() {
    let mut line = Line::with(EndpointSettings { max_transactions: 1, ..settings() }, udp());
    let (call, tag) = line.established();
    line.receive(&reinvite(2, ""));
    let first = line.message();
    assert_eq!(first_line(&first), "SIP/2.0 503 Service Unavailable");
    line.receive(&reinvite(2, ""));
    assert_eq!(line.message(), first, "the same answer, tag included");
    line.receive(&reinvite(2, &tag));
    assert_eq!(line.sent(), ["0 SIP/2.0 503 Service Unavailable"]);
    line.receive(&in_dialog("BYE", 3, &tag));
    assert_eq!(line.sent(), ["0 SIP/2.0 200 OK"], "who wants to go may go");
    assert_eq!(line.events(), [Event::Hangup { call }]);
    assert_eq!(line.endpoint.counters().transactions_full, 4);
}
