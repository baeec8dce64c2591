//! From bytes to a table of offsets, in one pass and without allocating.
//!
//! Decides where the start line, each header and the body of one message begin and end, and refuses
//! what could be read in two ways: a second Content-Length, a line that ends without CRLF, a body
//! shorter than announced. Refuses to know what headers mean; that is `message` and `check`.
//!
//! **Line ends are CRLF and nothing else** (RFC 3261 section 7). A CR or LF on its own within the
//! header section is refused rather than taken for a line end: what one element takes for a header
//! and the next for the inside of one is how requests are smuggled, and a response that copied such a
//! value would carry it on. Any number of CRLFs in front of the start line is skipped (section 7.5).

use std::ops::Range;

use thiserror::Error;

use crate::lex::{decimal, is_token_byte, line_break, position, trim_bytes_end, trim_bytes_start};
use crate::message::Message;
use crate::name::Name;
use crate::start_line::StartLine;

/// The most header lines in one message. Calls through a dozen proxies, each with its Via and
/// Record-Route, have about 50.
pub const MAX_HEADERS: usize = 96;

/// The most bytes in one message: the largest UDP payload there could be, so that every offset fits
/// 16 bits.
pub const MAX_MESSAGE_BYTES: usize = 65_535;

/// Why bytes are not one SIP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ScanError {
    /// Nothing but CRLFs: a keep-alive (RFC 5626 section 3.5.1).
    #[error("there is no message, only line ends")]
    Empty,
    /// More than [`MAX_MESSAGE_BYTES`].
    #[error("the message is longer than {MAX_MESSAGE_BYTES} bytes")]
    TooLong,
    /// The first line is neither `method URI SIP/x.y` nor `SIP/2.0 status reason`.
    #[error("the first line is neither a request line nor a status line")]
    StartLine,
    /// No empty line ends the header section.
    #[error("the header section does not end")]
    Unterminated,
    /// A CR or LF that is not part of a CRLF within the header section.
    #[error("a line ends without CRLF")]
    BareLineEnd,
    /// More than [`MAX_HEADERS`] header lines.
    #[error("there are more than {MAX_HEADERS} header lines")]
    TooManyHeaders,
    /// Content-Length stands more than once, be it with the same value.
    #[error("Content-Length is repeated")]
    RepeatedContentLength,
    /// Content-Length is not a decimal number, is negative or overflows.
    #[error("Content-Length is not a number")]
    ContentLength,
    /// Content-Length says more bytes than there are.
    #[error("Content-Length says {stated} bytes, and {present} are there")]
    BodyCutShort {
        /// What Content-Length says, in bytes.
        stated: u64,
        /// What follows the header section, in bytes.
        present: usize,
    },
}

impl ScanError {
    /// The status that answers a request with this fault, built from [`scan_head`]. `None` where no
    /// header can be trusted, so that nothing can be answered.
    #[must_use]
    pub const fn status(self) -> Option<u16> {
        match self {
            ScanError::RepeatedContentLength | ScanError::ContentLength | ScanError::BodyCutShort { .. } => {
                Some(400)
            }
            // 513 Message Too Large (RFC 3261 section 21.5.7).
            ScanError::TooManyHeaders => Some(513),
            ScanError::Empty
            | ScanError::TooLong
            | ScanError::StartLine
            | ScanError::Unterminated
            | ScanError::BareLineEnd => None,
        }
    }
}

/// Where one header stands in the message. Values are trimmed, folds within them are kept.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) name: Name,
    pub(crate) name_start: u16,
    pub(crate) name_end: u16,
    pub(crate) value_start: u16,
    pub(crate) value_end: u16,
}

impl Header {
    /// Where its value stands.
    pub(crate) fn value(&self) -> Range<usize> {
        usize::from(self.value_start)..usize::from(self.value_end)
    }

    pub(crate) const EMPTY: Header =
        Header { name: Name::Other, name_start: 0, name_end: 0, value_start: 0, value_end: 0 };
}

/// Reads one message: a datagram, or what a [`Framer`](crate::Framer) cut from a stream.
///
/// Without Content-Length the body goes to the end of `bytes`; with it, bytes behind the body are
/// left out (RFC 3261 section 18.3).
///
/// # Errors
///
/// [`ScanError`]; its [`status`](ScanError::status) tells whether and how a request is answered.
pub fn scan(bytes: &[u8]) -> Result<Message<'_>, ScanError> {
    let mut scanned = begin(bytes);
    if let Ok(message) = &mut scanned
        && let Err(error) = read_whole(message)
    {
        scanned = Err(error);
    }
    scanned
}

fn read_whole(message: &mut Message<'_>) -> Result<(), ScanError> {
    let head_end = read_headers(message)?;
    if message.too_many_headers {
        return Err(ScanError::TooManyHeaders);
    }
    let present = message.bytes.len() - head_end;
    let body = match content_length(message)? {
        None => present,
        Some(stated) => usize::try_from(stated)
            .ok()
            .filter(|stated| *stated <= present)
            .ok_or(ScanError::BodyCutShort { stated, present })?,
    };
    message.bytes = &message.bytes[..head_end + body];
    Ok(())
}

/// Reads the start line and headers alone, so that a request whose length is at fault can still be
/// answered: the message ends with its headers, has no body, and holds the first [`MAX_HEADERS`]
/// header lines.
///
/// # Errors
///
/// Those [`ScanError`]s whose [`status`](ScanError::status) is `None`.
pub fn scan_head(bytes: &[u8]) -> Result<Message<'_>, ScanError> {
    let mut message = begin(bytes)?;
    let head_end = read_headers(&mut message)?;
    message.bytes = &message.bytes[..head_end];
    Ok(message)
}

/// What the one Content-Length in a head says, in bytes; a head goes from the start line to the empty line.
/// It is what [`scan_head`] would find, with the same faults, and in a fraction of its time: a stream is
/// cut by it, and what is cut is scanned then.
pub(crate) fn stated_bytes(head: &[u8]) -> Result<Option<u64>, ScanError> {
    let (start, next) = line(head, 0)?;
    StartLine::parse(start).ok_or(ScanError::StartLine)?;
    let (mut stated, mut is_repeated, mut at) = (None, false, next);
    loop {
        let (end, next) = line_with_folds(head, at)?;
        if end == at {
            break;
        }
        if may_be_content_length(&head[at..])
            && let Some(header) = header(head, at, end).filter(|header| header.name == Name::ContentLength)
        {
            is_repeated |= stated.is_some();
            stated = Some(&head[header.value()]);
        }
        at = next;
    }
    if is_repeated { Err(ScanError::RepeatedContentLength) } else { stated.map(length).transpose() }
}

/// Whether a line may be a Content-Length; of the other headers none is taken for one.
fn may_be_content_length(line: &[u8]) -> bool {
    matches!(
        line,
        [b'c' | b'C', _, _, _, _, _, _, b'-', b'l' | b'L', ..] | [b'l' | b'L', b':' | b' ' | b'\t', ..]
    )
}

/// What the one Content-Length says, in bytes.
fn content_length(message: &Message<'_>) -> Result<Option<u64>, ScanError> {
    let Some(value) = message.raw_values(Name::ContentLength).next() else {
        return Ok(None);
    };
    if message.is_repeated(Name::ContentLength) {
        return Err(ScanError::RepeatedContentLength);
    }
    length(value).map(Some)
}

fn length(value: &[u8]) -> Result<u64, ScanError> {
    let text = std::str::from_utf8(value).map_err(|_| ScanError::ContentLength)?;
    decimal(text).ok_or(ScanError::ContentLength)
}

/// A message of which the first line is read; its body is what the rest is.
fn begin(bytes: &[u8]) -> Result<Message<'_>, ScanError> {
    let mut bytes = bytes;
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        bytes = rest;
    }
    if bytes.is_empty() {
        return Err(ScanError::Empty);
    }
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(ScanError::TooLong);
    }
    let (text, next) = line(bytes, 0)?;
    let (line, plain) = StartLine::parse(text).ok_or(ScanError::StartLine)?;
    Ok(Message::new(bytes, line, plain, next))
}

/// Fills in the headers, in place because a message is large, and gives where the header section ends.
fn read_headers(message: &mut Message<'_>) -> Result<usize, ScanError> {
    let (bytes, mut at) = (message.bytes, message.body_start);
    loop {
        let (end, next) = line_with_folds(bytes, at)?;
        if end == at {
            message.end_head(next);
            return Ok(next);
        }
        match header(bytes, at, end) {
            Some(header) => message.push(header),
            None => message.malformed_line = true,
        }
        at = next;
    }
}

/// The line that begins at `start`, without its CRLF, and where the next one begins.
fn line(bytes: &[u8], start: usize) -> Result<(&[u8], usize), ScanError> {
    let end = line_end(bytes, start)?;
    Ok((&bytes[start..end], end + 2))
}

/// Where the CRLF of the line stands that begins at `start`.
fn line_end(bytes: &[u8], start: usize) -> Result<usize, ScanError> {
    let end = line_break(bytes, start).ok_or(ScanError::Unterminated)?;
    match &bytes[end..] {
        [b'\r', b'\n', ..] => Ok(end),
        [b'\r'] => Err(ScanError::Unterminated),
        _ => Err(ScanError::BareLineEnd),
    }
}

/// Where the text of the header line ends that begins at `start`, continuation lines included, and
/// where the next header begins (RFC 3261 section 7.3.1).
fn line_with_folds(bytes: &[u8], start: usize) -> Result<(usize, usize), ScanError> {
    let mut end = line_end(bytes, start)?;
    while end > start && matches!(bytes.get(end + 2), Some(b' ' | b'\t')) {
        end = line_end(bytes, end + 2)?;
    }
    Ok((end, end + 2))
}

/// The header in `bytes[start..end]`; `None` if there is no `name:` in front.
fn header(bytes: &[u8], start: usize, end: usize) -> Option<Header> {
    let line = &bytes[start..end];
    let colon = position(line, b':')?;
    // HCOLON: spaces and tabs may stand between name and colon (RFC 3261 section 25.1).
    let blanks = line[..colon].iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let text = &line[..colon - blanks];
    let name = Name::read(text);
    // The names that are known are tokens.
    if name == Name::Other && (text.is_empty() || !text.iter().all(|byte| is_token_byte(*byte))) {
        return None;
    }
    let raw = &line[colon + 1..];
    let value = trim_bytes_start(raw);
    let value_start = end - value.len();
    let value = trim_bytes_end(value);
    Some(Header {
        name,
        name_start: offset(start),
        name_end: offset(start + text.len()),
        value_start: offset(value_start),
        value_end: offset(value_start + value.len()),
    })
}

/// An offset in a message, which [`MAX_MESSAGE_BYTES`] keeps within 16 bits.
fn offset(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\n";

    fn with(rest: &str) -> Vec<u8> {
        format!("{HEAD}{rest}").into_bytes()
    }

    fn refused(rest: &str) -> ScanError {
        scan(&with(rest)).unwrap_err()
    }

    #[test]
    fn without_content_length_the_body_goes_to_the_end() {
        let bytes = with("\r\nbody");
        assert_eq!(scan(&bytes).unwrap().body(), b"body");
    }

    #[test]
    fn with_content_length_what_follows_the_body_is_left_out() {
        let bytes = with("l: 2\r\n\r\nbody");
        let message = scan(&bytes).unwrap();
        assert_eq!(message.body(), b"bo");
        assert!(message.bytes().ends_with(b"\r\n\r\nbo"));
    }

    #[test]
    fn a_content_length_that_could_be_read_in_two_ways_is_refused() {
        assert_eq!(refused("Content-Length: 0\r\nl: 0\r\n\r\n"), ScanError::RepeatedContentLength);
        assert_eq!(refused("Content-Length: 0, 0\r\n\r\n"), ScanError::ContentLength);
        assert_eq!(refused("Content-Length: -1\r\n\r\n"), ScanError::ContentLength);
        assert_eq!(refused("Content-Length: +1\r\n\r\nx"), ScanError::ContentLength);
        assert_eq!(refused("Content-Length: 0x1\r\n\r\nx"), ScanError::ContentLength);
        assert_eq!(refused("Content-Length:\r\n\r\n"), ScanError::ContentLength);
        assert_eq!(refused("Content-Length: 1\r\n 2\r\n\r\n"), ScanError::ContentLength);
        assert_eq!(refused("Content-Length: 18446744073709551616\r\n\r\n"), ScanError::ContentLength);
    }

    #[test]
    fn a_body_that_is_cut_short_is_refused() {
        let error = ScanError::BodyCutShort { stated: 18_446_744_073_709_551_615, present: 2 };
        assert_eq!(refused("Content-Length: 18446744073709551615\r\n\r\nxx"), error);
        let error = ScanError::BodyCutShort { stated: 3, present: 2 };
        assert_eq!(refused("Content-Length: 3\r\n\r\nxx"), error);
        assert_eq!(error.to_string(), "Content-Length says 3 bytes, and 2 are there");
    }

    #[test]
    fn a_request_whose_length_is_at_fault_can_be_answered_from_its_head() {
        let bytes = with("Call-ID: 7\r\nContent-Length: 3\r\n\r\nxx");
        assert_eq!(scan(&bytes).unwrap_err().status(), Some(400));
        let head = scan_head(&bytes).unwrap();
        assert_eq!(head.call_id(), Ok("7"));
        assert_eq!(head.body(), b"");
    }

    #[test]
    fn a_line_end_without_cr_or_lf_is_refused_and_cannot_be_answered() {
        for rest in
            ["A: b\nC: d\r\n\r\n", "A: b\rC: d\r\n\r\n", "A: b\r\r\n\r\n", "A: b\n\r\n\r\n", "\n", "\rx"]
        {
            assert_eq!(refused(rest), ScanError::BareLineEnd, "{rest:?}");
            assert_eq!(scan_head(&with(rest)).unwrap_err(), ScanError::BareLineEnd, "{rest:?}");
        }
        assert_eq!(scan(b"OPTIONS sip:a SIP/2.0\n\n").unwrap_err(), ScanError::BareLineEnd);
        assert_eq!(ScanError::BareLineEnd.status(), None);
    }

    #[test]
    fn a_header_section_without_an_end_is_refused() {
        for rest in ["", "A: b", "A: b\r", "A: b\r\n", "A: b\r\n C", "A: b\r\n\r"] {
            assert_eq!(refused(rest), ScanError::Unterminated, "{rest:?}");
        }
    }

    #[test]
    fn line_ends_in_front_are_skipped_and_alone_are_nothing() {
        let bytes = [b"\r\n\r\n\r\n", &with("\r\n")[..]].concat();
        assert!(scan(&bytes).unwrap().bytes().starts_with(b"OPTIONS"));
        assert_eq!(scan(b"\r\n\r\n").unwrap_err(), ScanError::Empty);
        assert_eq!(scan(b"").unwrap_err(), ScanError::Empty);
    }

    #[test]
    fn a_fold_belongs_to_the_header_above_and_not_to_the_start_line() {
        let bytes = with("Subject: I know\r\n you're there,\r\n\tpick up\r\nX:\r\n y\r\n\r\n");
        let message = scan(&bytes).unwrap();
        assert_eq!(message.header(Name::Subject), Some("I know\r\n you're there,\r\n\tpick up"));
        assert_eq!(message.header_named("x"), Some("y"));
        assert!(!message.malformed_line);
        let folded = scan(b"OPTIONS sip:a@b SIP/2.0\r\n X: y\r\n\r\n").unwrap();
        assert!(folded.malformed_line);
    }

    #[test]
    fn a_line_of_white_space_alone_is_a_fold_and_not_the_end() {
        let bytes = with("X: y\r\n \r\nZ: z\r\n\r\n");
        let message = scan(&bytes).unwrap();
        assert_eq!((message.header_named("X"), message.header_named("Z")), (Some("y"), Some("z")));
    }

    #[test]
    fn a_header_that_is_no_text_hides_only_itself() {
        let bytes =
            [HEAD.as_bytes(), b"From: \xff\r\nSubject: \xfe\r\nSubject: ok\r\nTo: <sip:a>\r\n\r\n"].concat();
        let message = scan(&bytes).unwrap();
        assert_eq!(message.header(Name::From), None);
        assert_eq!(message.header(Name::Subject), Some("ok"));
        assert!(message.to().is_ok());
        assert_eq!(message.all().count(), 5);
        assert_eq!(message.from().unwrap_err().to_string(), "From is not UTF-8");
    }

    #[test]
    fn a_line_without_a_name_hides_only_itself() {
        let bytes = with("no colon\r\n: no name\r\nsp ace: x\r\nTo: <sip:a>\r\n\r\n");
        let message = scan(&bytes).unwrap();
        assert!(message.malformed_line);
        assert!(message.to().is_ok());
    }

    #[test]
    fn header_lines_are_counted_and_one_too_many_is_answered_by_513() {
        let lines = |count: usize| with(&format!("{}\r\n", "X: y\r\n".repeat(count - 1)));
        assert!(scan(&lines(96)).is_ok());
        assert_eq!(scan(&lines(97)).unwrap_err().status(), Some(513));
        assert_eq!(scan_head(&lines(97)).unwrap().all().count(), 96);
    }

    #[test]
    fn a_message_has_at_most_65535_bytes() {
        let longest = with(&format!("\r\n{}", "x".repeat(65_535 - HEAD.len() - 2)));
        assert_eq!(scan(&longest).unwrap().bytes().len(), 65_535);
        assert_eq!(scan(&[&longest[..], b"x"].concat()).unwrap_err(), ScanError::TooLong);
        let header = with(&format!("X: {}\r\n\r\n", "x".repeat(65_535 - HEAD.len() - 7)));
        assert_eq!(scan(&header).unwrap().header_named("X").unwrap().len(), 65_535 - HEAD.len() - 7);
    }

    proptest! {
        #[test]
        fn a_stream_is_cut_by_the_length_that_a_scan_finds(
            lines in prop::collection::vec(prop::sample::select(&[
                "Content-Length: 7", "content-LENGTH :7", "l:7", "L\t:\r\n 7", "L: 7\r\n 8", "l", "Content-Length", "Lx: 7",
                "Content-Type: l", "Contact: <sip:a>", " l: 7", "To: a\r\n l: 7", "l: -7", "CSeq: 1 A", "", "A: \rl: 7", "b\nl: 7",
                "Call-ID: \u{fc}",
            ]), 0..6),
            start in prop::sample::select(&["OPTIONS sip:a SIP/2.0", "GET / HTTP/1.1", "SIP/2.0 200 OK", "A\r SIP/2.0", ""]),
        ) {
            let text = format!("{start}\r\n{}\r\n\r\n", lines.join("\r\n"));
            let head = &text[..text.find("\r\n\r\n").unwrap() + 4];
            prop_assume!(!head.starts_with('\r'));
            let found = scan_head(head.as_bytes()).and_then(|message| content_length(&message));
            prop_assert_eq!(stated_bytes(head.as_bytes()), found);
        }
    }
}
