//! What is read, and what must hold whatever comes: the readers of SIP, each as a function of bytes.
//!
//! Decides what a reader has to keep besides not panicking. Which bytes are tried is decided by
//! `robust`, by `fuzz`, and by the programs below `fuzz/`, which all run these.

use umbriel_sip::sdp::{Crypto, MAX_KEY_BYTES, Profile, SessionId, answer, parse_offer};
use umbriel_sip::{
    Frame, Framer, Message, Method, NameAddr, Peer, Response, Transport, Uri, Via, called, caller, diverter,
    scan, scan_head, unfold,
};

/// Reads bytes, and stops the test where something does not hold.
pub(crate) type Reader = fn(&[u8]);

/// Each reader by the name of its corpus.
pub(crate) const READERS: [(&str, Reader); 4] =
    [("scanner", scanner), ("sdp", sdp), ("uri", uri), ("diversion", diversion)];

/// One datagram, and the same bytes as a stream in pieces.
pub(crate) fn scanner(bytes: &[u8]) {
    read(bytes);
    let whole = framed(bytes, bytes.len().max(1));
    for size in [1, 7] {
        assert_eq!(framed(bytes, size), whole, "in pieces of {size}");
    }
}

/// A session description: what was understood can be answered, and the answer is understood.
pub(crate) fn sdp(bytes: &[u8]) {
    for profile in [Profile::Avp, Profile::Savp] {
        let Ok(offer) = parse_offer(bytes, profile) else { continue };
        assert!(offer.codecs.iter().all(|codec| codec.number < 128), "RFC 3551 section 6");
        assert_eq!(offer.cryptos.is_empty(), profile == Profile::Avp, "keys, if and only if it is encrypted");
        let codec = offer.preferred().expect("an offer that is taken has a codec");
        let ours =
            offer.cryptos.first().map(|theirs| Crypto::new(theirs.tag, theirs.suite, [7; MAX_KEY_BYTES]));
        let local = "192.0.2.9:4000".parse().expect("an address");
        let text = answer(&offer, codec, ours, local, SessionId { id: 1, version: 1 });
        let understood = parse_offer(text.as_bytes(), profile).expect("an answer of ours");
        assert_eq!((understood.address, understood.codecs), (local, vec![codec]));
        assert_eq!(understood.telephone_event, offer.telephone_event);
        assert_eq!(understood.cryptos, Vec::from_iter(ours));
    }
}

/// A URI, and the same within angle brackets.
pub(crate) fn uri(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = (NameAddr::parse(text), Via::parse(text));
    let Ok(uri) = Uri::parse(text) else { return };
    assert_eq!(uri.to_string(), text);
    exhaust_uri(&uri);
    let bracketed = format!("<{text}>;x");
    let value = NameAddr::parse(&bracketed).expect("a URI within angle brackets");
    assert_eq!(value.uri.text, uri.text);
    assert!(value.params.get("x").is_some(), "what stands behind the bracket is the header's");
}

/// Header lines that say who diverted a call: Diversion and History-Info in turn.
pub(crate) fn diversion(bytes: &[u8]) {
    let mut request = b"INVITE sip:9000@b SIP/2.0\r\n".to_vec();
    for (number, line) in bytes.split(|byte| matches!(byte, b'\r' | b'\n')).enumerate() {
        request.extend_from_slice(if number % 2 == 0 { b"Diversion: " } else { b"History-Info: " });
        request.extend_from_slice(line);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    let Ok(message) = scan(&request) else { return };
    assert_eq!(message.method(), Some(Method::Invite));
    let diverted = diverter(&message);
    assert!(diverted.is_none_or(|diverter| !diverter.party.user.is_empty()), "who diverts has a name");
}

pub(crate) fn peer() -> Peer {
    Peer {
        transport: Transport::Udp,
        address: "192.0.2.1:5060".parse().expect("an address"),
        connection: None,
    }
}

fn exhaust_uri(uri: &Uri<'_>) {
    let _ = (uri.number(), uri.user_decoded(), uri.params().count(), uri.headers().count());
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
                let _ = (value.display_name(), value.tag(), value.params.iter().count());
                exhaust_uri(&value.uri);
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

pub(crate) fn read(bytes: &[u8]) {
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
pub(crate) fn framed(bytes: &[u8], size: usize) -> Vec<Option<Vec<u8>>> {
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
