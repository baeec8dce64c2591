//! Writing responses and requests into a buffer that the caller owns.
//!
//! Decides the order of headers, what a response copies from its request (RFC 3261 section 8.2.6.2)
//! and what its top Via gains (section 18.2.1, RFC 3581). Refuses to know why the answer is what it
//! is. Nothing is allocated here: what grows is the caller's buffer, and only if it is too small.

use std::fmt::{self, Write};

use crate::lex::{find_open, trim};
use crate::message::Message;
use crate::name::Name;
use crate::peer::Peer;
use crate::via::{Rport, Via};

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
        push(out, format_args!("SIP/2.0 {status} {reason}"));
        out.extend_from_slice(b"\r\n");
        for (index, value) in request.raw_values(Name::Via).enumerate() {
            out.extend_from_slice(b"Via: ");
            match std::str::from_utf8(value) {
                Ok(value) if index == 0 => push_top_via(out, value, peer),
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
        if let Some(timestamp) = request.header_named("Timestamp").filter(|_| status == 100) {
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

fn push(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // The sink never fails; a value whose Display does is cut where it failed.
    let _ = Sink(out).write_fmt(text);
}

/// Appends text in which a line end cannot begin a header of its own.
fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
}

fn push_header(out: &mut Vec<u8>, name: &str, value: &str) {
    push_header_args(out, name, format_args!("{value}"));
}

fn push_header_args(out: &mut Vec<u8>, name: &str, value: fmt::Arguments<'_>) {
    push_text(out, name);
    out.extend_from_slice(b": ");
    push(out, value);
    out.extend_from_slice(b"\r\n");
}

fn push_copies(out: &mut Vec<u8>, request: &Message<'_>, name: Name) {
    for value in request.raw_values(name) {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
}

fn push_body(out: &mut Vec<u8>, body: &[u8]) {
    push(out, format_args!("Content-Length: {}", body.len()));
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// Writes the value of the first Via header with `received` and `rport` filled into its first hop. A
/// hop that needs neither is copied as it came.
fn push_top_via(out: &mut Vec<u8>, value: &str, peer: &Peer) {
    let (hop, others) = value.split_at(find_open(value, b',').unwrap_or(value.len()));
    let Ok(via) = Via::parse(hop) else {
        out.extend_from_slice(value.as_bytes());
        return;
    };
    // A socket that serves both families gives IPv4 peers mapped addresses, which nobody wrote.
    let address = peer.address.ip().to_canonical();
    let asked = via.rport == Rport::Asked;
    let told = via.params.get("received").is_some();
    let needed = asked || via.host.ip() != Some(address);
    if !told && !needed {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    let front = hop.find(';').map_or(hop, |at| &hop[..at]);
    out.extend_from_slice(trim(front).as_bytes());
    for part in via.params.parts() {
        let name = trim(part.split_once('=').map_or(part, |(name, _)| name));
        if name.eq_ignore_ascii_case("received") {
            continue;
        }
        out.push(b';');
        out.extend_from_slice(part.as_bytes());
        if asked && name.eq_ignore_ascii_case("rport") {
            push(out, format_args!("={}", peer.address.port()));
        }
    }
    if needed {
        push(out, format_args!(";received={address}"));
    }
    out.extend_from_slice(others.as_bytes());
}
