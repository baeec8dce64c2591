//! What a scanned message says: its start line, headers by name, body and the headers every message has.
//!
//! Decides how headers are found and split. Refuses to know whether the message as a whole may be
//! used; that is `check`.

use std::cell::OnceCell;
use std::fmt;

use crate::header::{CSeq, Flaw, HeaderError};
use crate::lex::Split;
use crate::name::{Method, Name};
use crate::name_addr::NameAddr;
use crate::scan::{Header, MAX_HEADERS};
use crate::start_line::StartLine;
use crate::uri::{Uri, UriError};
use crate::via::Via;

/// One SIP message, borrowed from the bytes that it was scanned from. About one kilobyte on the stack
/// and nothing on the heap.
#[derive(Clone)]
pub struct Message<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) body_start: usize,
    /// Start line and headers, if all of them are UTF-8.
    text: Option<&'a str>,
    start: StartLine<'a>,
    headers: [Header; MAX_HEADERS],
    count: usize,
    /// By name, one more than the place in `headers` of the first of that name; 0 where there is none.
    first: [u8; Name::COUNT],
    /// The names that stand more than once, a bit each.
    repeated: u32,
    pub(crate) too_many_headers: bool,
    /// A header line without `name:`, or white space behind the start line.
    pub(crate) malformed_line: bool,
    read: Read<'a>,
}

/// What was read already: one message is asked for these again and again.
#[derive(Clone)]
struct Read<'a> {
    via: OnceCell<Result<Via<'a>, HeaderError>>,
    from: OnceCell<Result<NameAddr<'a>, HeaderError>>,
    to: OnceCell<Result<NameAddr<'a>, HeaderError>>,
    call_id: OnceCell<Result<&'a str, HeaderError>>,
    uri: OnceCell<Option<Result<Uri<'a>, UriError>>>,
}

impl<'a> Message<'a> {
    /// One of which the first line is read; the next one begins at `next`.
    pub(crate) const fn new(bytes: &'a [u8], start: StartLine<'a>, is_plain: bool, next: usize) -> Self {
        let headers = [Header::EMPTY; MAX_HEADERS];
        Message {
            bytes,
            body_start: next,
            text: None,
            start,
            headers,
            count: 0,
            first: [0; Name::COUNT],
            repeated: 0,
            too_many_headers: false,
            malformed_line: !is_plain,
            read: Read {
                via: OnceCell::new(),
                from: OnceCell::new(),
                to: OnceCell::new(),
                call_id: OnceCell::new(),
                uri: OnceCell::new(),
            },
        }
    }

    /// Ends the headers, and with them what may be text.
    pub(crate) fn end_head(&mut self, end: usize) {
        self.body_start = end;
        self.text = std::str::from_utf8(&self.bytes[..end]).ok();
    }

    pub(crate) fn push(&mut self, header: Header) {
        let Some(place) = self.headers.get_mut(self.count) else {
            self.too_many_headers = true;
            return;
        };
        *place = header;
        self.count += 1;
        let first = &mut self.first[header.name as usize];
        if *first == 0 {
            // The table has fewer places than a byte has numbers.
            *first = u8::try_from(self.count).unwrap_or(u8::MAX);
        } else {
            self.repeated |= bit(header.name);
        }
    }

    /// The first line.
    #[must_use]
    pub const fn start(&self) -> StartLine<'a> {
        self.start
    }

    /// Whether this is a request.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }

    /// A request's method.
    #[must_use]
    pub const fn method(&self) -> Option<Method> {
        match self.start {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Response { .. } => None,
        }
    }

    /// A request's URI as written.
    #[must_use]
    pub const fn uri(&self) -> Option<&'a str> {
        match self.start {
            StartLine::Request { uri, .. } => Some(uri),
            StartLine::Response { .. } => None,
        }
    }

    /// A request's URI, if it is one.
    #[must_use]
    pub fn request_uri(&self) -> Option<Uri<'a>> {
        self.read_uri()?.ok()
    }

    /// A request's URI, or why it is none.
    pub(crate) fn read_uri(&self) -> Option<Result<Uri<'a>, UriError>> {
        *self.read.uri.get_or_init(|| self.uri().map(Uri::parse))
    }

    /// A response's status.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(status),
        }
    }

    /// The value of the first header line of this name that is UTF-8, trimmed, with folds as they
    /// came ([`unfold`](crate::unfold) undoes them).
    #[must_use]
    pub fn header(&self, name: Name) -> Option<&'a str> {
        self.headers(name).next()
    }

    /// The values of all header lines of this name that are UTF-8, top to bottom.
    pub fn headers(&self, name: Name) -> impl Iterator<Item = &'a str> {
        self.named(name).filter_map(|header| self.value(header))
    }

    /// The values of this name, header lines split at the commas that stand outside of quotes and
    /// angle brackets (RFC 3261 section 7.3.1). For headers that are lists; Date and Subject are not.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &'a str> {
        self.headers(name).flat_map(|value| Split::new(value, b','))
    }

    /// The value of the first header line that is UTF-8 and whose name, as written, is `name` in any
    /// case: for headers that have no [`Name`] of their own.
    #[must_use]
    pub fn header_named(&self, name: &str) -> Option<&'a str> {
        self.all()
            .filter(|(_, raw_name, _)| raw_name.eq_ignore_ascii_case(name))
            .find_map(|(_, _, value)| std::str::from_utf8(value).ok())
    }

    /// Every header line, top to bottom: name, name as written, value as written but trimmed.
    pub fn all(&self) -> impl Iterator<Item = (Name, &'a str, &'a [u8])> {
        let bytes = self.bytes;
        self.table().iter().map(move |header| {
            let name = &bytes[usize::from(header.name_start)..usize::from(header.name_end)];
            let value = &bytes[header.value()];
            // The scanner lets only tokens be names, and tokens are ASCII.
            (header.name, std::str::from_utf8(name).unwrap_or_default(), value)
        })
    }

    /// The values of all header lines of this name as bytes.
    pub(crate) fn raw_values(&self, name: Name) -> impl Iterator<Item = &'a [u8]> {
        let bytes = self.bytes;
        self.named(name).map(move |header| &bytes[header.value()])
    }

    /// The values of all header lines of this name as bytes, and the whole line, with its line end, of each that is
    /// `name: value` as [`Name::as_str`] has it.
    pub(crate) fn lines(&self, name: Name) -> impl Iterator<Item = (Option<&'a [u8]>, &'a [u8])> {
        let (bytes, written) = (self.bytes, name.as_str().as_bytes());
        self.named(name).map(move |header| {
            let value = header.value();
            let line = &bytes[usize::from(header.name_start)..value.end + 2];
            let is_plain = line.starts_with(written)
                && line[written.len()..].starts_with(b": ")
                && line.len() == written.len() + 2 + value.len() + 2
                && line.ends_with(b"\r\n");
            (is_plain.then_some(line), &bytes[value])
        })
    }

    /// All header lines of this name.
    fn named(&self, name: Name) -> impl Iterator<Item = &Header> {
        let from_first = match usize::from(self.first[name as usize]) {
            0 => &[],
            first if self.is_repeated(name) => &self.table()[first - 1..],
            first => &self.table()[first - 1..first],
        };
        from_first.iter().filter(move |header| header.name == name)
    }

    /// The value of a header line, if it is UTF-8.
    fn value(&self, header: &Header) -> Option<&'a str> {
        match self.text {
            Some(text) => text.get(header.value()),
            None => std::str::from_utf8(&self.bytes[header.value()]).ok(),
        }
    }

    /// Whether the message has a header of this name.
    #[must_use]
    pub fn has(&self, name: Name) -> bool {
        self.first[name as usize] != 0
    }

    /// Whether it has more than one.
    pub(crate) fn is_repeated(&self, name: Name) -> bool {
        self.repeated & bit(name) != 0
    }

    fn table(&self) -> &[Header] {
        &self.headers[..self.count]
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[self.body_start..]
    }

    /// The whole message, without line ends in front of it and bytes behind its body.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The topmost `Via`.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] if there is none or it cannot be read.
    pub fn top_via(&self) -> Result<Via<'a>, HeaderError> {
        *self.read.via.get_or_init(|| {
            let value = self.first(Name::Via)?;
            // A plain one has no comma in it.
            if let Some(only) = Via::parse_plain(value) {
                return Ok(only);
            }
            let top = Split::new(value, b',').next().unwrap_or(value);
            Via::parse(top).map_err(|flaw| HeaderError::Malformed(Name::Via, flaw))
        })
    }

    /// The `From` header.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] if it is missing, repeated or cannot be read.
    pub fn from(&self) -> Result<NameAddr<'a>, HeaderError> {
        *self.read.from.get_or_init(|| self.name_addr(Name::From))
    }

    /// The `To` header.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] if it is missing, repeated or cannot be read.
    pub fn to(&self) -> Result<NameAddr<'a>, HeaderError> {
        *self.read.to.get_or_init(|| self.name_addr(Name::To))
    }

    /// The `Call-ID` header.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] if it is missing, repeated, empty or has white space within.
    pub fn call_id(&self) -> Result<&'a str, HeaderError> {
        *self.read.call_id.get_or_init(|| {
            let value = self.single(Name::CallId)?;
            if value.is_empty() || value.bytes().any(|byte| byte <= b' ') {
                return Err(HeaderError::Malformed(Name::CallId, Flaw::Word));
            }
            Ok(value)
        })
    }

    /// The `CSeq` header.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] if it is missing, repeated or cannot be read.
    pub fn cseq(&self) -> Result<CSeq<'a>, HeaderError> {
        CSeq::parse(self.single(Name::CSeq)?).map_err(|flaw| HeaderError::Malformed(Name::CSeq, flaw))
    }

    fn name_addr(&self, name: Name) -> Result<NameAddr<'a>, HeaderError> {
        NameAddr::parse(self.single(name)?).map_err(|flaw| HeaderError::Malformed(name, flaw))
    }

    /// The value of the first header of this name.
    pub(crate) fn first(&self, name: Name) -> Result<&'a str, HeaderError> {
        let header = self.named(name).next().ok_or(HeaderError::Missing(name))?;
        self.value(header).ok_or(HeaderError::NotUtf8(name))
    }

    /// The value of a header that may stand only once.
    pub(crate) fn single(&self, name: Name) -> Result<&'a str, HeaderError> {
        if self.is_repeated(name) {
            return Err(HeaderError::Repeated(name));
        }
        self.first(name)
    }
}

fn bit(name: Name) -> u32 {
    const { assert!(Name::COUNT <= 32) };
    1 << name as u32
}

impl fmt::Debug for Message<'_> {
    /// Without header values and body, which may name people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("method", &self.method())
            .field("status", &self.status())
            .field("headers", &self.count)
            .field("body_bytes", &self.body().len())
            .finish()
    }
}
