//! Whatever arrives, reading it ends, does not panic and agrees with itself.
//!
//! Decides which inputs are tried: bytes of any kind, and the torture messages with small harms done to
//! them. What each message means is tested elsewhere.

mod messages;

use messages::{Outcome, RFC4475, RFC5118};
use proptest::prelude::*;
use umbriel_sip::{
    Frame, Framer, Message, Name, NameAddr, Peer, Request, Response, Transport, Uri, Via, called, caller,
    diverter, scan, scan_head, unfold,
};

fn peer() -> Peer {
    Peer {
        transport: Transport::Udp,
        address: "192.0.2.1:5060".parse().expect("an address"),
        connection: None,
    }
}

/// Reads everything that can be read of a message, and answers it.
fn exhaust(message: &Message<'_>) {
    let _ = (message.check_request(), message.check_response());
    let _ = (message.top_via(), message.from(), message.to(), message.call_id(), message.cseq());
    let _ = (called(message), caller(message), diverter(message));
    let _ = message.uri().map(Uri::parse);
    for (name, raw_name, _) in message.all() {
        let _ = message.header_named(raw_name);
        for value in message.values(name) {
            let _ = (Via::parse(value), unfold(value));
            if let Ok(value) = NameAddr::parse(value) {
                let _ = (value.display_name(), value.tag(), value.uri.number(), value.uri.user_decoded());
                let _ =
                    (value.uri.params().count(), value.uri.headers().count(), value.params.iter().count());
            }
        }
    }
    let mut out = Vec::new();
    Response::to(message, &peer(), 400, "Bad Request", &mut out).to_tag("t").record_route().finish();
    let answer = scan(&out);
    // An answer has as many headers as the request and its own three, so that it may have too many.
    if message.all().count() < 90 {
        assert_eq!(answer.expect("an answer that can be read").status(), Some(400));
    }
}

fn read(bytes: &[u8]) {
    let head = scan_head(bytes);
    if let Ok(message) = scan(bytes) {
        let whole = head.as_ref().expect("what can be scanned has a head");
        assert_eq!(whole.all().count(), message.all().count());
        assert!(message.bytes().ends_with(message.body()));
        exhaust(&message);
    }
    if let Ok(message) = head {
        exhaust(&message);
    }
}

/// What a framer makes of a stream that comes in pieces of `size` bytes.
fn framed(bytes: &[u8], size: usize) -> Vec<Option<Vec<u8>>> {
    let mut framer = Framer::new();
    let mut found = Vec::new();
    for piece in bytes.chunks(size) {
        framer.push(piece);
        loop {
            match framer.next() {
                Ok(Some(Frame::Message(bytes))) => {
                    let message = scan(bytes).expect("what was framed can be scanned");
                    assert_eq!(message.bytes(), bytes);
                    found.push(Some(bytes.to_vec()));
                }
                Ok(Some(Frame::Ping)) => found.push(None),
                Ok(None) => break,
                Err(_) => return found,
            }
        }
    }
    found
}

fn harmed() -> impl Strategy<Value = Vec<u8>> {
    let all: Vec<Vec<u8>> = RFC4475.iter().chain(&RFC5118).map(messages::Case::wire).collect();
    let harm = (any::<prop::sample::Index>(), 0..8_usize, prop::collection::vec(any::<u8>(), 0..6));
    (prop::sample::select(all), prop::collection::vec(harm, 0..6)).prop_map(|(mut bytes, harms)| {
        for (at, removed, added) in harms {
            let at = at.index(bytes.len() + 1);
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, added);
        }
        bytes
    })
}

/// Bytes that look like SIP more often than chance would have it.
fn sip_like() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "INVITE",
        " ",
        "sip:",
        "a@b",
        " SIP/2.0",
        "SIP/2.0 200 OK",
        "\r\n",
        "\r\n\r\n",
        "Via",
        ": ",
        "l:",
        "0",
        "9",
        "To:",
        "<",
        ">",
        "\"",
        "\\",
        ";",
        "=",
        ",",
        "tag",
        "[",
        "]",
        "::",
        "%",
        "%41",
        "\t",
        "\r",
        "\n",
        "Diversion:",
        "?",
        "é",
    ]);
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_of_any_kind_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&bytes);
    }

    #[test]
    fn what_looks_like_sip_is_read_or_refused(bytes in sip_like()) {
        read(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = (Uri::parse(&text), NameAddr::parse(&text), Via::parse(&text));
    }

    #[test]
    fn harmed_messages_are_read_or_refused(bytes in harmed()) {
        read(&bytes);
    }

    #[test]
    fn the_size_of_the_pieces_of_a_stream_changes_nothing(
        stream in prop::collection::vec(harmed(), 1..4),
        size in 1..200_usize,
    ) {
        let stream = stream.concat();
        prop_assert_eq!(framed(&stream, size), framed(&stream, 60_000));
    }

    #[test]
    fn what_is_written_is_read_as_it_was_meant(
        user in "[a-z0-9]{1,12}",
        tag in "[a-zA-Z0-9.]{1,12}",
        call_id in "[!-~]{1,40}",
        number in 0..=umbriel_sip::MAX_CSEQ,
        subject in "[ -~é]{0,60}",
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let uri = format!("sip:{user}@umbriel.example");
        let mut out = Vec::new();
        Request::new("INVITE", &uri, &mut out)
            .header("Via", "SIP/2.0/UDP pbx.example.com;rport;branch=z9hG4bK1")
            .header_args("From", format_args!("<{uri}>;tag={tag}"))
            .header_args("To", format_args!("<{uri}>"))
            .header("Call-ID", &call_id)
            .header_args("CSeq", format_args!("{number} INVITE"))
            .header("Subject", &subject)
            .body("application/sdp", &body)
            .finish();
        let request = scan(&out).unwrap();
        prop_assert_eq!(request.check_request(), Ok(()));
        prop_assert_eq!(request.uri(), Some(&uri[..]));
        prop_assert_eq!(request.header(Name::Subject), Some(subject.trim_matches(' ')));
        prop_assert_eq!(request.body(), &body[..]);

        let mut answer = Vec::new();
        Response::to(&request, &peer(), 200, "OK", &mut answer).to_tag("ours").body("a/b", &body).finish();
        let response = scan(&answer).unwrap();
        prop_assert_eq!(response.check_response(), Ok(()));
        prop_assert_eq!(response.call_id(), Ok(&call_id[..]));
        prop_assert_eq!(response.cseq().unwrap().number, number);
        prop_assert_eq!(response.from().unwrap().tag(), Some(&tag[..]));
        prop_assert_eq!(response.to().unwrap().tag(), Some("ours"));
        prop_assert_eq!(response.top_via().unwrap().params.as_str(), ";rport=5060;branch=z9hG4bK1;received=192.0.2.1");
        prop_assert_eq!(response.body(), &body[..]);
        let last_header = response.all().last().map(|(name, _, _)| name);
        prop_assert_eq!(last_header, Some(Name::ContentLength));
    }
}

#[test]
fn every_torture_message_is_answered_or_dropped_without_harm() {
    for case in RFC4475.iter().chain(&RFC5118) {
        read(&case.wire());
        let known = matches!(case.outcome, Outcome::Accepted | Outcome::Answered(_) | Outcome::Dropped);
        assert!(known, "{} ({}): {}", case.name, case.section, case.because);
    }
}
