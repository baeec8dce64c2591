//! Where our requests go, and what they say.

use super::*;

/// The BYE that ends a call whose INVITE carries `headers` beside or instead of its own.
fn bye_after(peer: Peer, change: impl Fn(String) -> String) -> Transmit {
    let mut line = Line::with(settings(), peer);
    line.receive(&change(invite()));
    let call = line.new_call();
    line.answer(call);
    let tag = tag_of(&text(&line.sent[1].1));
    line.receive(&in_dialog("ACK", 1, &tag));
    line.sent.clear();
    line.bye(call);
    line.sent.remove(0).1
}

fn contact(uri: &'static str) -> impl Fn(String) -> String {
    move |text| text.replace("sip:alice@192.0.2.1:5070", uri)
}

fn routed(routes: &'static str) -> impl Fn(String) -> String {
    move |text| text.replace("Max-Forwards", &format!("Record-Route: {routes}\r\nMax-Forwards"))
}

#[test]
fn on_udp_a_bye_goes_to_the_contact_where_that_is_an_address() {
    let bye = bye_after(udp(), |text| text);
    assert_eq!(bye.peer, Peer { address: "192.0.2.1:5070".parse().unwrap(), ..udp() });
    let via = header(&text(&bye), "Via").unwrap().to_owned();
    assert!(via.starts_with("SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bK") && via.ends_with(";rport"), "{via}");
    let bye = bye_after(udp(), contact("sip:alice@192.0.2.77"));
    assert_eq!(bye.peer.address, "192.0.2.77:5060".parse().unwrap());
    let bye = bye_after(udp(), contact("sip:[2001:db8::7]:5080"));
    assert_eq!(bye.peer.address, "[2001:db8::7]:5080".parse().unwrap());
}

#[test]
fn on_udp_a_bye_goes_back_to_the_source_where_the_contact_is_a_name() {
    for uri in [
        "sip:alice@pbx.example.com",
        "sip:alice@0.0.0.0",
        "sip:alice@192.0.2.1:0",
        "sip:a@192.0.2.1;transport=sctp",
    ] {
        let bye = bye_after(udp(), contact(uri));
        assert_eq!(bye.peer, udp(), "{uri}");
        assert_eq!(first_line(&text(&bye)), format!("BYE {uri} SIP/2.0"));
    }
}

#[test]
fn a_contact_may_ask_for_tcp_or_tls() {
    let bye = bye_after(udp(), contact("sip:alice@192.0.2.1;transport=tcp"));
    let address = "192.0.2.1:5060".parse().unwrap();
    assert_eq!(bye.peer, Peer { transport: Transport::Tcp, address, connection: None });
    assert!(header(&text(&bye), "Via").unwrap().starts_with("SIP/2.0/TCP 192.0.2.9:5062;"));
    let bye = bye_after(udp(), contact("sips:alice@192.0.2.1"));
    let address = "192.0.2.1:5061".parse().unwrap();
    assert_eq!(bye.peer, Peer { transport: Transport::Tls, address, connection: None });
    assert!(header(&text(&bye), "Via").unwrap().starts_with("SIP/2.0/TLS 192.0.2.9:5063;"));
}

#[test]
fn on_tcp_a_bye_takes_the_connection_of_the_invite_and_is_sent_once() {
    let bye = bye_after(tcp(), |text| text);
    let target = "192.0.2.1:5070".parse().unwrap();
    assert_eq!(bye.peer, Peer { address: target, ..tcp() }, "the address is for a new connection");
    assert_eq!(bye_after(tcp(), contact("sip:alice@pbx.example.com")).peer, tcp());
    assert!(header(&text(&bye), "Via").unwrap().starts_with("SIP/2.0/TCP 192.0.2.9:5062;"));
    let mut line = Line::with(settings(), tcp());
    let (call, _) = line.established();
    line.bye(call);
    line.wait_until(60_000);
    assert_eq!(line.sent().len(), 1);
    assert_eq!(line.events(), [Event::Ended { call, cause: Ended::TimedOut }]);
}

#[test]
fn rfc_3261_section_12_2_1_1_a_bye_goes_through_loose_routers_to_the_contact() {
    let bye = bye_after(udp(), routed("<sip:192.0.2.5;lr>, <sip:192.0.2.6:5066;lr>"));
    assert_eq!(bye.peer.address, "192.0.2.5:5060".parse().unwrap());
    let text = text(&bye);
    assert_eq!(first_line(&text), "BYE sip:alice@192.0.2.1:5070 SIP/2.0");
    let routes: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("Route: ")).collect();
    assert_eq!(routes, ["<sip:192.0.2.5;lr>", "<sip:192.0.2.6:5066;lr>"]);
}

#[test]
fn rfc_3261_section_12_2_1_1_a_strict_router_gets_the_contact_as_the_last_route() {
    let bye = bye_after(udp(), routed("<sip:192.0.2.5>, <sip:192.0.2.6:5066>"));
    assert_eq!(bye.peer.address, "192.0.2.5:5060".parse().unwrap());
    let text = text(&bye);
    assert_eq!(first_line(&text), "BYE sip:192.0.2.5 SIP/2.0");
    let routes: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("Route: ")).collect();
    assert_eq!(routes, ["<sip:192.0.2.6:5066>", "<sip:alice@192.0.2.1:5070>"]);
}

#[test]
fn rfc_3261_section_12_2_2_a_reinvite_moves_the_remote_target() {
    let mut line = Line::new();
    let (call, tag) = line.established();
    line.receive(&reinvite(2, &tag).replace("192.0.2.1:5070", "192.0.2.1:5090"));
    line.endpoint.answer_reinvite(call, SDP, line.now).unwrap();
    line.receive(&in_dialog("ACK", 2, &tag));
    line.sent.clear();
    line.bye(call);
    assert_eq!(first_line(&line.message()), "BYE sip:alice@192.0.2.1:5090 SIP/2.0");
}

#[test]
fn the_contact_names_the_transport_of_the_invite() {
    let contact_on = |peer: Peer, uri: &str| {
        let mut line = Line::with(settings(), peer);
        line.receive(&invite().replace("sip:101@192.0.2.9 SIP", &format!("{uri} SIP")));
        let call = line.new_call();
        line.answer(call);
        header(&text(&line.sent[1].1), "Contact").unwrap().to_owned()
    };
    let tls = Peer { transport: Transport::Tls, ..tcp() };
    assert_eq!(contact_on(udp(), "sip:101@192.0.2.9"), "<sip:192.0.2.9:5062>");
    assert_eq!(contact_on(tcp(), "sip:101@192.0.2.9"), "<sip:192.0.2.9:5062;transport=tcp>");
    assert_eq!(contact_on(tls, "sip:101@192.0.2.9"), "<sip:192.0.2.9:5063;transport=tls>");
    assert_eq!(contact_on(tls, "sips:101@192.0.2.9"), "<sips:192.0.2.9:5063>");
}

#[test]
fn an_ipv6_endpoint_writes_its_address_in_brackets() {
    let own = EndpointSettings { contact_host: "2001:db8::9".parse().unwrap(), udp_port: None, ..settings() };
    let mut line = Line::with(own, udp());
    line.receive(&invite());
    let call = line.new_call();
    line.answer(call);
    assert_eq!(header(&text(&line.sent[1].1), "Contact"), Some("<sip:[2001:db8::9]>"));
}

#[test]
fn responses_go_where_via_says() {
    let far = Peer { address: "192.0.2.1:1024".parse().unwrap(), ..udp() };
    let mut line = Line::with(settings(), far);
    line.receive(&invite());
    assert_eq!(line.sent.remove(0).1.peer.address, "192.0.2.1:5060".parse().unwrap());
    line.receive(&reinvite(2, "").replace(";branch", ";rport;branch"));
    assert_eq!(line.sent[0].1.peer.address, "192.0.2.1:1024".parse().unwrap());
    let text = text(&line.sent[0].1);
    assert_eq!(
        header(&text, "Via"),
        Some("SIP/2.0/UDP 192.0.2.1:5060;rport=1024;branch=z9hG4bKi2;received=192.0.2.1")
    );
}

#[test]
fn two_endpoints_of_unlike_seeds_have_unlike_tags() {
    let tag_with = |seed| {
        let mut line = Line::with(EndpointSettings { seed, ..settings() }, udp());
        line.established().1
    };
    assert_eq!(tag_with(1), tag_with(1));
    assert_ne!(tag_with(1), tag_with(2));
}

#[test]
fn a_far_end_of_rfc_2543_without_a_tag_can_call_and_hang_up() {
    let untagged = |text: String| text.replace(";tag=far", "");
    let mut line = Line::new();
    line.receive(&untagged(invite()));
    let call = line.new_call();
    line.answer(call);
    let tag = tag_of(&text(&line.sent[1].1));
    line.receive(&untagged(in_dialog("ACK", 1, &tag)));
    line.receive(&untagged(in_dialog("BYE", 2, &tag)));
    assert_eq!(line.events(), [Event::Acknowledged { call, body: Vec::new() }, Event::Hangup { call }]);
}
