//! Writing responses and requests into a buffer that the caller owns.
//!
//! Decides the order of headers and what a response copies from its request (RFC 3261 section
//! 8.2.6.2). Refuses to know why the answer is what it is. Nothing is allocated here: what grows is the
//! caller's buffer, and only if it is too small.

use std::fmt::{self, Write};

use memchr::memchr2;

use crate::message::Message;
use crate::name::Name;
use crate::peer::Peer;
use crate::received::push_top_via;

/// A response being written. Content-Length is always there, and always last.
#[derive(Debug)]
#[must_use = "a response is whole only when it is finished"]
pub struct Response<'m, 'a, 'o> {
    request: &'m Message<'a>,
    out: &'o mut Vec<u8>,
    /// Where a tag goes: the end of the To line, before its CRLF. `None` if To has one or is missing.
    tag_at: Option<usize>,
    body: &'o [u8],
}

impl<'m, 'a, 'o> Response<'m, 'a, 'o> {
    /// Begins the response to `request`, which came from `peer`, behind what `out` already holds:
    /// status line, every Via, From, To, Call-ID and CSeq, their values byte for byte as they came.
    ///
    /// Only the topmost Via changes: it gains `received` if the address that it names is not the
    /// peer's or if it asks for `rport`, which is then filled in; a `received` that it came with is
    /// not the sender's to say, and goes.
    pub fn to(
        request: &'m Message<'a>,
        peer: &Peer,
        status: u16,
        reason: &str,
        out: &'o mut Vec<u8>,
    ) -> Response<'m, 'a, 'o> {
        out.extend_from_slice(b"SIP/2.0 ");
        push_decimal(out, status);
        out.push(b' ');
        push_text(out, reason);
        out.extend_from_slice(b"\r\n");
        for (index, value) in request.raw_values(Name::Via).enumerate() {
            out.extend_from_slice(b"Via: ");
            match request.first(Name::Via) {
                Ok(value) if index == 0 => push_top_via(out, value, request.top_via().ok(), peer),
                Ok(_) | Err(_) => out.extend_from_slice(value),
            }
            out.extend_from_slice(b"\r\n");
        }
        push_copies(out, request, Name::From);
        push_copies(out, request, Name::To);
        let untagged = request.to().is_ok_and(|to| to.tag().is_none());
        let tag_at = untagged.then(|| out.len() - 2);
        push_copies(out, request, Name::CallId);
        push_copies(out, request, Name::CSeq);
        // RFC 3261 section 8.2.6.1: a 100 brings the request's timestamp back.
        if status == 100
            && let Some(timestamp) = request.header_named("Timestamp")
        {
            push_header(out, "Timestamp", timestamp);
        }
        Response { request, out, tag_at, body: b"" }
    }

    /// Gives To this tag, unless it has one (RFC 3261 section 8.2.6.2).
    pub fn to_tag(mut self, tag: &str) -> Self {
        if let Some(at) = self.tag_at.take() {
            let end = self.out.len();
            self.out.extend_from_slice(b";tag=");
            push_text(self.out, tag);
            let added = self.out.len() - end;
            self.out[at..].rotate_right(added);
        }
        self
    }

    /// Copies the request's Record-Route, which a response that makes a dialog carries (RFC 3261
    /// section 12.1.1).
    pub fn record_route(self) -> Self {
        push_copies(self.out, self.request, Name::RecordRoute);
        self
    }

    /// Adds a header. Line ends within `value` are written as spaces.
    pub fn header(self, name: &str, value: &str) -> Self {
        push_header(self.out, name, value);
        self
    }

    /// Adds a header whose value is formatted in place.
    pub fn header_args(self, name: &str, value: fmt::Arguments<'_>) -> Self {
        push_header_args(self.out, name, value);
        self
    }

    /// Sets the body and its Content-Type.
    pub fn body(mut self, content_type: &str, body: &'o [u8]) -> Self {
        push_header(self.out, Name::ContentType.as_str(), content_type);
        self.body = body;
        self
    }

    /// Writes Content-Length and the body.
    pub fn finish(self) {
        push_body(self.out, self.body);
    }
}

/// A request being written. Content-Length is always there, and always last.
#[derive(Debug)]
#[must_use = "a request is whole only when it is finished"]
pub struct Request<'o> {
    out: &'o mut Vec<u8>,
    body: &'o [u8],
}

impl<'o> Request<'o> {
    /// Begins a request behind what `out` already holds. The caller adds every header that a request
    /// has to have (RFC 3261 section 8.1.1).
    pub fn new(method: &str, uri: &str, out: &'o mut Vec<u8>) -> Request<'o> {
        push_text(out, method);
        out.push(b' ');
        push_text(out, uri);
        out.extend_from_slice(b" SIP/2.0\r\n");
        Request { out, body: b"" }
    }

    /// Adds a header. Line ends within `value` are written as spaces.
    pub fn header(self, name: &str, value: &str) -> Self {
        push_header(self.out, name, value);
        self
    }

    /// Adds a header whose value is formatted in place.
    pub fn header_args(self, name: &str, value: fmt::Arguments<'_>) -> Self {
        push_header_args(self.out, name, value);
        self
    }

    /// Sets the body and its Content-Type.
    pub fn body(mut self, content_type: &str, body: &'o [u8]) -> Self {
        push_header(self.out, Name::ContentType.as_str(), content_type);
        self.body = body;
        self
    }

    /// Writes Content-Length and the body.
    pub fn finish(self) {
        push_body(self.out, self.body);
    }
}

/// Formats into bytes, line ends as spaces.
struct Sink<'o>(&'o mut Vec<u8>);

impl Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_text(self.0, text);
        Ok(())
    }
}

pub(crate) fn push(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // The sink never fails; a value whose Display does is cut where it failed.
    let _ = Sink(out).write_fmt(text);
}

/// Appends a number.
pub(crate) fn push_decimal(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends text in which a line end cannot begin a header of its own.
fn push_text(out: &mut Vec<u8>, text: &str) {
    let start = out.len();
    out.extend_from_slice(text.as_bytes());
    if memchr2(b'\r', b'\n', text.as_bytes()).is_some() {
        for byte in out[start..].iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')) {
            *byte = b' ';
        }
    }
}

fn push_header(out: &mut Vec<u8>, name: &str, value: &str) {
    push_text(out, name);
    out.extend_from_slice(b": ");
    push_text(out, value);
    out.extend_from_slice(b"\r\n");
}

fn push_header_args(out: &mut Vec<u8>, name: &str, value: fmt::Arguments<'_>) {
    push_text(out, name);
    out.extend_from_slice(b": ");
    push(out, value);
    out.extend_from_slice(b"\r\n");
}

fn push_copies(out: &mut Vec<u8>, request: &Message<'_>, name: Name) {
    for (line, value) in request.lines(name) {
        // Most are written as we write them.
        if let Some(line) = line {
            out.extend_from_slice(line);
            continue;
        }
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
}

fn push_body(out: &mut Vec<u8>, body: &[u8]) {
    out.extend_from_slice(b"Content-Length: ");
    push_decimal(out, body.len());
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Transport;
    use crate::scan::{scan, scan_head};

    fn peer(address: &str) -> Peer {
        Peer { transport: Transport::Udp, address: address.parse().unwrap(), connection: None }
    }

    const INVITE: &[u8] = b"INVITE sip:101@u SIP/2.0\r\n\
        Record-Route: <sip:p;lr>, <sip:q;lr>\r\n\
        v: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
        VIA:SIP/2.0/TCP  c ;branch=z9hG4bK0\r\n\
        f: \"A \xff\" <sip:a@b>;tag=1\r\n\
        t:   <sip:101@u>\r\n\
        \x20 ;x=y  \r\n\
        Timestamp: 54.2\r\n\
        i: 7@b\r\n\
        CSeq:  0009   INVITE\r\n\
        Content-Length: 0\r\n\r\n";

    #[test]
    fn a_response_copies_what_it_must_byte_for_byte_and_in_order() {
        let mut out = b"kept".to_vec();
        Response::to(&scan(INVITE).unwrap(), &peer("192.0.2.1:5060"), 200, "OK", &mut out)
            .record_route()
            .header("Contact", "<sip:u>")
            .to_tag("t7")
            .header_args("Expires", format_args!("{}", 300))
            .body("application/sdp", b"v=0\r\n")
            .finish();
        let wanted: &[u8] = b"keptSIP/2.0 200 OK\r\n\
            Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
            Via: SIP/2.0/TCP  c ;branch=z9hG4bK0\r\n\
            From: \"A \xff\" <sip:a@b>;tag=1\r\n\
            To: <sip:101@u>\r\n\
            \x20 ;x=y;tag=t7\r\n\
            Call-ID: 7@b\r\n\
            CSeq: 0009   INVITE\r\n\
            Record-Route: <sip:p;lr>, <sip:q;lr>\r\n\
            Contact: <sip:u>\r\n\
            Expires: 300\r\n\
            Content-Type: application/sdp\r\n\
            Content-Length: 5\r\n\r\nv=0\r\n";
        assert_eq!(out.escape_ascii().to_string(), wanted.escape_ascii().to_string());
    }

    #[test]
    fn rfc_3261_section_8_2_6_1_a_100_brings_the_timestamp_back() {
        let mut out = Vec::new();
        Response::to(&scan(INVITE).unwrap(), &peer("192.0.2.1:5060"), 100, "Trying", &mut out).finish();
        assert_eq!(scan(&out).unwrap().header_named("Timestamp"), Some("54.2"));
    }

    #[test]
    fn a_to_that_has_a_tag_keeps_it() {
        let text = b"BYE sip:a SIP/2.0\r\nTo: <sip:b>;tag=old\r\n\r\n";
        let mut out = Vec::new();
        Response::to(&scan(text).unwrap(), &peer("192.0.2.1:9"), 481, "Gone", &mut out)
            .to_tag("new")
            .finish();
        assert_eq!(out, b"SIP/2.0 481 Gone\r\nTo: <sip:b>;tag=old\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn a_request_without_its_headers_can_be_answered() {
        let text = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 5\r\n\r\n";
        let mut out = Vec::new();
        Response::to(&scan_head(text).unwrap(), &peer("192.0.2.1:9"), 400, "Bad Request", &mut out)
            .to_tag("t")
            .finish();
        assert_eq!(out, b"SIP/2.0 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn no_value_can_begin_a_header_of_its_own() {
        let mut out = Vec::new();
        Request::new("BYE", "sip:a\r\nX: y", &mut out)
            .header("Reason", "SIP;text=\"a\r\nX: y\"")
            .header_args("Contact\r\nX", format_args!("<{}>", "sip:b\nX: y"))
            .finish();
        let wanted = "BYE sip:a  X: y SIP/2.0\r\nReason: SIP;text=\"a  X: y\"\r\nContact  X: <sip:b X: y>\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }

    #[test]
    fn what_grows_is_the_callers_buffer_and_only_if_it_is_too_small() {
        let mut out = Vec::with_capacity(1024);
        let (place, room) = (out.as_ptr(), out.capacity());
        Response::to(&scan(INVITE).unwrap(), &peer("10.0.0.1:5060"), 180, "Ringing", &mut out)
            .to_tag("t")
            .finish();
        assert_eq!((out.as_ptr(), out.capacity()), (place, room));
    }
}
