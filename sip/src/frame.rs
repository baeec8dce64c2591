//! Messages cut from a stream (RFC 3261 section 18.3).
//!
//! Decides where one message ends and the next begins on TCP and TLS, and that a stream on which
//! this is in doubt is given up: after a wrong Content-Length every later byte would be misread.
//! Refuses to know sockets; how many bytes come at once changes nothing.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use thiserror::Error;

use crate::scan::{MAX_MESSAGE_BYTES, ScanError, stated_bytes};

/// The most bytes from a start line to the empty line behind the headers. The longest valid message
/// of RFC 4475 has 3.5 KiB of them.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The most bytes that wait in a [`Framer`]: the longest message and one more of 64 KiB behind it.
const MAX_WAITING_BYTES: usize = 2 * MAX_MESSAGE_BYTES;

/// Finds the end of a header section. To make it takes longer than to find.
static HEAD_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// A keep-alive.
const PING: &[u8] = b"\r\n\r\n";

/// What a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// One whole message for [`scan`](crate::scan).
    Message(&'a [u8]),
    /// CRLF CRLF between messages: the peer asks whether we live, and is answered by one CRLF
    /// (RFC 5626 section 4.4.1).
    Ping,
}

/// Why a stream is given up. The connection is closed; nothing behind the fault is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// More than [`MAX_HEAD_BYTES`] without the end of the header section.
    #[error("the header section is longer than {MAX_HEAD_BYTES} bytes")]
    HeadTooLong,
    /// The headers and the stated body are longer than [`MAX_MESSAGE_BYTES`].
    #[error("the message is longer than {MAX_MESSAGE_BYTES} bytes")]
    MessageTooLong,
    /// No Content-Length, without which a stream has no messages (RFC 3261 section 20.14).
    #[error("Content-Length is missing")]
    NoContentLength,
    /// The start line or a header that the length hangs on cannot be read.
    #[error("the message cannot be framed: {0}")]
    Unreadable(#[from] ScanError),
    /// More bytes were pushed than may wait.
    #[error("more than {MAX_WAITING_BYTES} bytes wait")]
    Overflow,
}

/// The bytes of one connection that are not yet whole messages. What comes is cut where it lies; only
/// the beginning of a message whose rest has not come is kept, so that a silent connection keeps
/// nothing.
#[derive(Debug, Default)]
pub struct Framer {
    waiting: Vec<u8>,
    /// How many bytes of `waiting` were handed out and can go.
    done: usize,
    front: Front,
    failed: Option<FrameError>,
}

/// What is known of the message in front.
#[derive(Debug, Default)]
struct Front {
    /// How far the end of the header section was looked for.
    searched: usize,
    /// How long the message is, once its head is there: a body that comes byte by byte does not have
    /// its head scanned for each of them.
    length: Option<usize>,
}

/// What is in front of some bytes.
enum Next {
    /// This many line ends before a message, which mean nothing.
    Blank(usize),
    Ping,
    Message(usize),
    Unfinished,
}

impl Framer {
    /// A framer for a new connection.
    #[must_use]
    pub fn new() -> Self {
        Framer::default()
    }

    /// Takes bytes as they came. Call [`next`](Framer::next) until it gives `None` before pushing more;
    /// what does not fit is not kept, and the next call says so.
    pub fn push(&mut self, bytes: &[u8]) {
        self.waiting.drain(..self.done);
        self.done = 0;
        if self.waiting.len() + bytes.len() > MAX_WAITING_BYTES {
            self.fail(FrameError::Overflow);
        } else if self.failed.is_none() {
            self.waiting.extend_from_slice(bytes);
        }
    }

    /// How many bytes wait for the rest of their message.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.len() - self.done
    }

    /// The next whole message or keep-alive; `None` until more bytes come.
    ///
    /// # Errors
    ///
    /// [`FrameError`], the same one at every later call.
    #[expect(clippy::should_implement_trait, reason = "the frame borrows from the framer")]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        self.cut(&mut &[][..])
    }

    /// Like [`next`](Framer::next), for bytes that came and stay where they are: whole messages are
    /// taken off the front of `bytes`. Once it gives `None` all of them are taken, and what is no whole
    /// message yet is kept.
    ///
    /// # Errors
    ///
    /// [`FrameError`], the same one at every later call.
    pub fn cut<'f, 'b: 'f>(&'f mut self, bytes: &mut &'b [u8]) -> Result<Option<Frame<'f>>, FrameError> {
        if self.waiting_bytes() > 0 && !bytes.is_empty() {
            self.push(std::mem::take(bytes));
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.waiting_bytes() == 0 {
            return self.cut_direct(bytes);
        }
        loop {
            match self.front.find(&self.waiting[self.done..]) {
                Ok(Next::Blank(blanks)) => self.done += blanks,
                Ok(Next::Ping) => {
                    self.done += PING.len();
                    return Ok(Some(Frame::Ping));
                }
                Ok(Next::Message(length)) => {
                    self.front = Front::default();
                    let start = self.done;
                    self.done += length;
                    return Ok(Some(Frame::Message(&self.waiting[start..start + length])));
                }
                Ok(Next::Unfinished) => {
                    if self.waiting_bytes() == 0 {
                        (self.waiting, self.done) = (Vec::new(), 0);
                    }
                    return Ok(None);
                }
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    /// Cuts bytes while none wait.
    fn cut_direct<'b>(&mut self, bytes: &mut &'b [u8]) -> Result<Option<Frame<'b>>, FrameError> {
        (self.waiting, self.done) = (Vec::new(), 0);
        loop {
            match self.front.find(bytes) {
                Ok(Next::Blank(blanks)) => *bytes = &bytes[blanks..],
                Ok(Next::Ping) => {
                    *bytes = &bytes[PING.len()..];
                    return Ok(Some(Frame::Ping));
                }
                Ok(Next::Message(length)) => {
                    self.front = Front::default();
                    let (message, rest) = bytes.split_at(length);
                    *bytes = rest;
                    return Ok(Some(Frame::Message(message)));
                }
                Ok(Next::Unfinished) => {
                    self.waiting.extend_from_slice(std::mem::take(bytes));
                    return Ok(None);
                }
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    fn fail(&mut self, error: FrameError) -> FrameError {
        (self.waiting, self.done) = (Vec::new(), 0);
        *self.failed.get_or_insert(error)
    }
}

impl Front {
    fn find(&mut self, bytes: &[u8]) -> Result<Next, FrameError> {
        if let Some(length) = self.length {
            return Ok(if length <= bytes.len() { Next::Message(length) } else { Next::Unfinished });
        }
        match bytes {
            [] => return Ok(Next::Unfinished),
            _ if bytes.starts_with(PING) => return Ok(Next::Ping),
            // One CRLF may be half a ping, or a stray line end in front of a message (RFC 3261 section
            // 7.5).
            [b'\r', b'\n', third, ..] if *third != b'\r' => return Ok(Next::Blank(2)),
            [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => return Ok(Next::Unfinished),
            [b'\r', ..] => return Err(ScanError::StartLine.into()),
            _ => (),
        }
        let Some(head_bytes) = self.head_bytes(bytes) else {
            let too_long = bytes.len() > MAX_HEAD_BYTES;
            return if too_long { Err(FrameError::HeadTooLong) } else { Ok(Next::Unfinished) };
        };
        if head_bytes > MAX_HEAD_BYTES {
            return Err(FrameError::HeadTooLong);
        }
        let body_bytes = stated_bytes(&bytes[..head_bytes])?.ok_or(FrameError::NoContentLength)?;
        let length = usize::try_from(body_bytes).ok().and_then(|bytes| bytes.checked_add(head_bytes));
        let length =
            length.filter(|length| *length <= MAX_MESSAGE_BYTES).ok_or(FrameError::MessageTooLong)?;
        self.length = Some(length);
        Ok(if length <= bytes.len() { Next::Message(length) } else { Next::Unfinished })
    }

    /// The length of the header section with its empty line, once that is there.
    fn head_bytes(&mut self, bytes: &[u8]) -> Option<usize> {
        let end = HEAD_END.find(&bytes[self.searched..]);
        if end.is_none() {
            self.searched = bytes.len().saturating_sub(3);
        }
        end.map(|at| self.searched + at + 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "OPTIONS sip:a SIP/2.0\r\nl: 3\r\n\r\nabc";
    const TWO: &str = "SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n";

    /// What a stream holds that comes in pieces of `size` bytes: messages, and `ping`.
    fn frames(stream: &str, size: usize) -> Result<Vec<String>, FrameError> {
        let mut framer = Framer::new();
        let mut found = Vec::new();
        for piece in stream.as_bytes().chunks(size) {
            framer.push(piece);
            while let Some(frame) = framer.next()? {
                found.push(match frame {
                    Frame::Message(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    Frame::Ping => "ping".to_owned(),
                });
            }
        }
        Ok(found)
    }

    /// The same, by cutting the pieces where they lie.
    fn frames_in_place(stream: &str, size: usize) -> Result<Vec<String>, FrameError> {
        let mut framer = Framer::new();
        let mut found = Vec::new();
        for mut piece in stream.as_bytes().chunks(size) {
            while let Some(frame) = framer.cut(&mut piece)? {
                found.push(match frame {
                    Frame::Message(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    Frame::Ping => "ping".to_owned(),
                });
            }
            assert!(piece.is_empty());
        }
        Ok(found)
    }

    fn fault(stream: &str) -> FrameError {
        frames(stream, 7).unwrap_err()
    }

    #[test]
    fn the_size_of_the_pieces_changes_nothing() {
        let stream = format!("{ONE}{TWO}\r\n\r\n{ONE}\r\n{TWO}\r\n\r\n\r\n\r\n\r\n{TWO}");
        for size in [1, 2, 3, 5, 64, 4096] {
            let found = frames(&stream, size).unwrap();
            assert_eq!(found, [ONE, TWO, "ping", ONE, TWO, "ping", "ping", TWO], "{size}");
            assert_eq!(frames_in_place(&stream, size).unwrap(), found, "{size}");
        }
    }

    #[test]
    fn a_message_waits_for_its_body() {
        let mut framer = Framer::new();
        framer.push(&ONE.as_bytes()[..ONE.len() - 1]);
        assert_eq!(framer.next(), Ok(None));
        assert_eq!(framer.waiting_bytes(), ONE.len() - 1);
        framer.push(b"c");
        assert_eq!(framer.next(), Ok(Some(Frame::Message(ONE.as_bytes()))));
        assert_eq!(framer.waiting_bytes(), 0);
    }

    #[test]
    fn what_is_cut_in_place_leaves_nothing_behind() {
        let mut framer = Framer::new();
        let stream = [ONE.as_bytes(), ONE.as_bytes()].concat();
        let (mut first, mut rest) = stream.split_at(ONE.len() + 5);
        assert_eq!(framer.cut(&mut first), Ok(Some(Frame::Message(ONE.as_bytes()))));
        assert_eq!(framer.cut(&mut first), Ok(None));
        assert_eq!(framer.waiting_bytes(), 5);
        assert_eq!(framer.cut(&mut rest), Ok(Some(Frame::Message(ONE.as_bytes()))));
        assert_eq!(framer.cut(&mut rest), Ok(None));
        assert_eq!((framer.waiting_bytes(), framer.waiting.capacity()), (0, 0));
    }

    #[test]
    fn a_stream_without_a_length_or_with_two_is_given_up() {
        assert_eq!(fault("OPTIONS sip:a SIP/2.0\r\nX: y\r\n\r\n"), FrameError::NoContentLength);
        let repeated = fault("OPTIONS sip:a SIP/2.0\r\nl: 0\r\nl: 0\r\n\r\n");
        assert_eq!(repeated, FrameError::Unreadable(ScanError::RepeatedContentLength));
        assert_eq!(repeated.to_string(), "the message cannot be framed: Content-Length is repeated");
        assert_eq!(
            fault("OPTIONS sip:a SIP/2.0\r\nl: -1\r\n\r\n"),
            FrameError::Unreadable(ScanError::ContentLength)
        );
    }

    #[test]
    fn what_is_no_sip_is_given_up() {
        assert_eq!(fault("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), FrameError::Unreadable(ScanError::StartLine));
        assert_eq!(
            fault("OPTIONS sip:a SIP/2.0\nl: 0\r\n\r\n"),
            FrameError::Unreadable(ScanError::BareLineEnd)
        );
        assert_eq!(fault("\r\n\rOPTIONS"), FrameError::Unreadable(ScanError::StartLine));
        assert_eq!(fault("\rO"), FrameError::Unreadable(ScanError::StartLine));
    }

    #[test]
    fn a_head_has_at_most_16_kib() {
        let head =
            |bytes: usize| format!("OPTIONS sip:a SIP/2.0\r\nl: 0\r\nX: {}\r\n\r\n", "x".repeat(bytes - 36));
        assert_eq!(frames(&head(16_384), 1000).unwrap().len(), 1);
        assert_eq!(frames(&head(16_385), 1000), Err(FrameError::HeadTooLong));
        assert_eq!(frames(&"x".repeat(16_385), 1000), Err(FrameError::HeadTooLong));
    }

    #[test]
    fn a_message_has_at_most_65535_bytes() {
        let message = |body: usize| format!("OPTIONS sip:a SIP/2.0\r\nl: {body}\r\n\r\n{}", "x".repeat(body));
        assert_eq!(frames(&message(65_500), 1000).unwrap()[0].len(), 65_535);
        assert_eq!(frames(&message(65_501), 1000), Err(FrameError::MessageTooLong));
        let huge = "OPTIONS sip:a SIP/2.0\r\nl: 18446744073709551615\r\n\r\n";
        assert_eq!(fault(huge), FrameError::MessageTooLong);
    }

    #[test]
    fn a_stream_that_was_given_up_stays_so_and_keeps_nothing() {
        let mut framer = Framer::new();
        framer.push(b"GET / HTTP/1.1\r\n\r\n");
        assert!(framer.next().is_err());
        framer.push(ONE.as_bytes());
        assert_eq!(framer.next(), Err(FrameError::Unreadable(ScanError::StartLine)));
        assert_eq!(framer.waiting_bytes(), 0);
    }

    #[test]
    fn what_is_pushed_without_being_taken_is_bounded() {
        let mut framer = Framer::new();
        for _ in 0..3 {
            framer.push(&[b'x'; 65_535]);
        }
        assert_eq!(framer.next(), Err(FrameError::Overflow));
    }
}
