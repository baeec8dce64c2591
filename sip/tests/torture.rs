//! Every message of RFC 4475 and RFC 5118 meets the outcome that its RFC asks for.
//!
//! Decides nothing itself: the table stands in `messages`. What a session refuses later (415, 406) is
//! an acceptance here, as the table says.

mod messages;

use messages::{Case, Outcome, RFC4475, RFC5118};
use umbriel_sip::{Name, NameAddr, Uri, scan, scan_head, unfold};

/// What a server without extensions does with `bytes` before it looks at what is asked for.
fn outcome(bytes: &[u8]) -> Outcome {
    let message = match scan(bytes) {
        Ok(message) => message,
        Err(error) => {
            let request = scan_head(bytes).is_ok_and(|head| head.is_request());
            return error.status().filter(|_| request).map_or(Outcome::Dropped, Outcome::Answered);
        }
    };
    if !message.is_request() {
        return if message.check_response().is_ok() { Outcome::Accepted } else { Outcome::Dropped };
    }
    if let Err(fault) = message.check_request() {
        return Outcome::Answered(fault.status());
    }
    match message.unsupported(&[]).next() {
        Some(_) => Outcome::Answered(420),
        None => Outcome::Accepted,
    }
}

fn hold(rfc: &str, cases: &[Case]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter(|case| outcome(&case.wire()) != case.outcome)
        .map(|case| {
            let (name, section, because) = (case.name, case.section, case.because);
            let fault =
                scan(&case.wire()).map(|message| message.check_request().map_err(|fault| fault.to_string()));
            format!("{rfc} {section} {name}: {:?} wanted, {because}; {fault:?}", case.outcome)
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn rfc_4475_is_met_message_by_message() {
    hold("RFC 4475", &RFC4475);
}

#[test]
fn rfc_5118_is_met_message_by_message() {
    hold("RFC 5118", &RFC5118);
}

fn wire(name: &str) -> Vec<u8> {
    RFC4475.iter().chain(&RFC5118).find(|case| case.name == name).expect("a message of that name").wire()
}

#[test]
fn a_message_whose_headers_never_end_is_dropped() {
    // `baddn` as it is archived, without the empty line.
    assert_eq!(outcome(include_bytes!("corpus/rfc4475/baddn.dat")), Outcome::Dropped);
}

#[test]
fn the_short_tortuous_invite_is_read_in_full() {
    let bytes = wire("wsinv");
    let message = scan(&bytes).unwrap();
    assert_eq!(message.uri(), Some("sip:vivekg@chair-dnrc.example.com;unknownparam"));
    assert_eq!(message.to().unwrap().tag(), Some("1918181833n"));
    let from = message.from().unwrap();
    assert_eq!(from.display_name().as_deref(), Some("J Rosenberg \\\""));
    assert_eq!((from.uri.user, from.tag()), (Some("jdrosen"), Some("98asjd8")));
    assert_eq!(message.call_id(), Ok("wsinv.ndaksdj@192.0.2.1"));
    assert_eq!(message.cseq().unwrap().number, 9);
    assert_eq!(message.header(Name::MaxForwards), Some("0068"));
    let via = message.top_via().unwrap();
    assert_eq!((via.transport, via.branch), ("UDP", Some("390skdjuw")));
    assert_eq!(message.values(Name::Via).count(), 3);
    let unknown = message.header_named("newfangledheader").map(unfold);
    assert_eq!(unknown.as_deref(), Some("newfangled value continued newfangled value"));
    assert_eq!(message.body().len(), 150);
}

#[test]
fn only_the_first_message_of_a_datagram_is_taken() {
    let bytes = wire("dblreq");
    let message = scan(&bytes).unwrap();
    assert_eq!(message.call_id(), Ok("dblreq.0ha0isndaksdj99sdfafnl3lk233412"));
    assert!(message.bytes().len() < bytes.len());
    assert!(message.body().is_empty());
}

#[test]
fn parameters_go_to_the_uri_or_to_the_header_as_the_brackets_say() {
    let (without, with) = (wire("cparam01"), wire("cparam02"));
    let contact = |bytes: &[u8]| {
        let message = scan(bytes).unwrap();
        let contact = NameAddr::parse(message.header(Name::Contact).unwrap()).unwrap();
        (contact.uri.param("unknownparam").is_some(), contact.params.get("unknownparam").is_some())
    };
    assert_eq!(contact(&without), (false, true));
    assert_eq!(contact(&with), (true, false));
}

#[test]
fn received_is_an_address_with_brackets_and_without() {
    for name in ["via-received-param-with-delim", "via-received-param-no-delim"] {
        let bytes = wire(name);
        let received = scan(&bytes).unwrap().top_via().unwrap().received;
        assert_eq!(received, Some("2001:db8::9:255".parse().unwrap()), "{name}");
    }
}

#[test]
fn an_ambiguous_port_belongs_to_the_address() {
    let (ambiguous, unambiguous) = (wire("port-ambiguous"), wire("port-unambiguous"));
    let uri = |bytes| Uri::parse(scan(bytes).unwrap().uri().unwrap()).unwrap().port;
    assert_eq!(uri(&ambiguous), None);
    assert_eq!(uri(&unambiguous), Some(5070));
}

#[test]
fn the_octets_of_an_escaped_user_are_decoded() {
    let (escaped, null) = (wire("esc01"), wire("escnull"));
    let user = |bytes| scan(bytes).unwrap().to().unwrap().uri.user_decoded().unwrap().into_owned();
    assert_eq!(user(&escaped), "user");
    assert_eq!(user(&null), "null-\0-null");
}
