//! Whether a message that could be scanned may be acted on, and which status refuses it if not.
//!
//! Decides what RFC 3261 sections 8.1.1 and 8.2 ask of every request and 8.1.3 of every response.
//! Refuses to know which methods, extensions and users the server serves.

use memchr::memchr;
use thiserror::Error;

use crate::header::{Flaw, HeaderError};
use crate::lex::{Split, decimal};
use crate::message::Message;
use crate::name::{Method, Name};
use crate::name_addr::NameAddr;
use crate::start_line::StartLine;
use crate::uri::{Scheme, UriError};
use crate::via::Via;

/// Headers that may stand only once beside the mandatory ones, whose readers see to it themselves.
const SINGLE: [Name; 3] = [Name::MaxForwards, Name::ContentType, Name::Expires];

/// Why a message is not acted on, whatever it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The version is not SIP/2.0 (RFC 3261 section 21.5.6).
    #[error("the version is not SIP/2.0")]
    Version,
    /// A header line has no `name:`, or the start line ends in white space.
    #[error("a line cannot be read")]
    Line,
    /// The Request-URI is not a URI.
    #[error("in the Request-URI, {0}")]
    RequestUri(UriError),
    /// The Request-URI carries headers, which it may not (RFC 3261 section 19.1.1).
    #[error("the Request-URI carries headers")]
    RequestUriHeaders,
    /// The Request-URI's scheme is neither SIP nor tel (RFC 3261 section 8.2.2.1).
    #[error("the Request-URI's scheme is not served")]
    Scheme,
    /// A header that every request has, or that may stand once, is missing, repeated or malformed.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// The method of CSeq is not the request's (RFC 3261 section 8.1.1.5).
    #[error("the method in CSeq is not the request's")]
    CSeqMethod,
    /// The method is not known at all (RFC 3261 section 21.5.2).
    #[error("the method is not known")]
    Method,
    /// The message is a response where a request is wanted, or a request where a response is.
    #[error("the message is not of the kind that is wanted")]
    Kind,
}

impl Fault {
    /// The status that a server answers with.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Fault::Line
            | Fault::RequestUri(_)
            | Fault::RequestUriHeaders
            | Fault::Header(_)
            | Fault::CSeqMethod
            | Fault::Kind => 400,
            Fault::Scheme => 416,
            Fault::Method => 501,
            Fault::Version => 505,
        }
    }
}

impl<'a> Message<'a> {
    /// Whether this is a request with all that a server relies on: version, readable Request-URI,
    /// every Via, From, To, Call-ID and CSeq in order, and a method that is known.
    ///
    /// A missing Max-Forwards is let pass, as RFC 2543 had none (RFC 4475 section 3.4.1 asks for
    /// it). Extensions are not judged here: see [`Message::unsupported`].
    ///
    /// # Errors
    ///
    /// The first [`Fault`], whose [`status`](Fault::status) answers the request. An ACK is never
    /// answered, whatever its fault.
    pub fn check_request(&self) -> Result<(), Fault> {
        let StartLine::Request { method, method_text, version_is_2_0, .. } = self.start() else {
            return Err(Fault::Kind);
        };
        if !version_is_2_0 {
            return Err(Fault::Version);
        }
        if self.malformed_line {
            return Err(Fault::Line);
        }
        let uri = self.read_uri().ok_or(Fault::Kind)?.map_err(Fault::RequestUri)?;
        if uri.has_headers() {
            return Err(Fault::RequestUriHeaders);
        }
        let cseq = self.check_common()?;
        // Before the comparison with CSeq, because 501 tells more than 400 (RFC 4475 section 3.1.2.18).
        if method == Method::Unknown {
            return Err(Fault::Method);
        }
        if cseq != method_text {
            return Err(Fault::CSeqMethod);
        }
        self.check_max_forwards()?;
        if uri.scheme == Scheme::Other { Err(Fault::Scheme) } else { Ok(()) }
    }

    /// Whether this is a response with all that a client relies on. A response that is not is dropped
    /// (RFC 3261 section 18.1.2).
    ///
    /// # Errors
    ///
    /// The first [`Fault`].
    pub fn check_response(&self) -> Result<(), Fault> {
        if self.is_request() {
            return Err(Fault::Kind);
        }
        if self.malformed_line {
            return Err(Fault::Line);
        }
        self.check_common().map(|_method| ()).map_err(Fault::Header)
    }

    /// The option tags of `Require` that are not among `supported`: a request that has any is refused
    /// by 420 with an Unsupported header naming them (RFC 3261 section 8.2.2.3).
    pub fn unsupported<'s>(&self, supported: &'s [&'s str]) -> impl Iterator<Item = &'a str> {
        self.values(Name::Require)
            .filter(|tag| !tag.is_empty())
            .filter(move |tag| !supported.iter().any(|known| known.eq_ignore_ascii_case(tag)))
    }

    /// What requests and responses have in common; gives the method in CSeq.
    fn check_common(&self) -> Result<&'a str, HeaderError> {
        self.top_via()?;
        if self.is_repeated(Name::Via)
            || self.header(Name::Via).is_some_and(|value| memchr(b',', value.as_bytes()).is_some())
        {
            let mut others = self.values(Name::Via).skip(1);
            others
                .try_for_each(|value| Via::parse(value).map(|_| ()))
                .map_err(|flaw| HeaderError::Malformed(Name::Via, flaw))?;
        }
        self.from()?;
        self.to()?;
        self.call_id()?;
        let cseq = self.cseq()?;
        self.check_contacts()?;
        for name in SINGLE {
            if self.is_repeated(name) {
                return Err(HeaderError::Repeated(name));
            }
        }
        Ok(cseq.method_text)
    }

    fn check_contacts(&self) -> Result<(), HeaderError> {
        let check = |value| match value {
            "*" => Ok(()),
            _ => NameAddr::parse(value).map(|_| ()),
        };
        // A plain one has no comma that separates.
        let mut hard = self.headers(Name::Contact).filter(|line| !NameAddr::is_plain(line));
        hard.try_for_each(|line| Split::new(line, b',').try_for_each(check))
            .map_err(|flaw| HeaderError::Malformed(Name::Contact, flaw))
    }

    /// How many hops further the request may go, a number from 0 to 255 (RFC 3261 section 20.22).
    /// `None` if it does not say, or not in this form.
    #[must_use]
    pub fn max_forwards(&self) -> Option<u8> {
        self.header(Name::MaxForwards).and_then(decimal).and_then(|hops| u8::try_from(hops).ok())
    }

    /// Zero is for proxies to refuse.
    fn check_max_forwards(&self) -> Result<(), HeaderError> {
        if self.header(Name::MaxForwards).is_some() && self.max_forwards().is_none() {
            return Err(HeaderError::Malformed(Name::MaxForwards, Flaw::Number));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::scan;

    const INVITE: [&str; 6] = [
        "INVITE sip:101@umbriel.example SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1",
        "From: <sip:alice@example.com>;tag=a",
        "To: <sip:101@umbriel.example>",
        "Call-ID: 1@example.com",
        "CSeq: 1 INVITE",
    ];

    /// The INVITE with line `index` replaced and `more` lines behind it.
    fn check(index: usize, line: &str, more: &[&str]) -> Result<(), Fault> {
        let mut lines = INVITE.to_vec();
        lines[index] = line;
        lines.extend_from_slice(more);
        let text = format!("{}\r\n\r\n", lines.join("\r\n"));
        scan(text.as_bytes()).unwrap().check_request()
    }

    fn status(index: usize, line: &str) -> u16 {
        check(index, line, &[]).unwrap_err().status()
    }

    #[test]
    fn a_request_with_all_that_is_needed_passes() {
        assert_eq!(check(0, INVITE[0], &[]), Ok(()));
        assert_eq!(
            check(0, INVITE[0], &["Max-Forwards: 0", "Contact: *", "m: sip:a@b;expires=5, \"B\" <sip:b>"]),
            Ok(())
        );
        assert_eq!(check(0, "INVITE tel:101 SIP/2.0", &[]), Ok(()));
    }

    #[test]
    fn each_mandatory_header_is_needed_once() {
        for (index, name) in
            [(1, Name::Via), (2, Name::From), (3, Name::To), (4, Name::CallId), (5, Name::CSeq)]
        {
            assert_eq!(check(index, "X: y", &[]), Err(Fault::Header(HeaderError::Missing(name))));
        }
        for (index, name) in [(2, Name::From), (3, Name::To), (4, Name::CallId), (5, Name::CSeq)] {
            let twice = check(0, INVITE[0], &[INVITE[index]]);
            assert_eq!(twice, Err(Fault::Header(HeaderError::Repeated(name))));
        }
        assert_eq!(check(0, INVITE[0], &[INVITE[1]]), Ok(()), "Via may stand more often");
        for line in ["Max-Forwards: 70", "Content-Type: a/b", "Expires: 1"] {
            assert!(check(0, INVITE[0], &[line, line]).unwrap_err().to_string().ends_with("is repeated"));
        }
    }

    #[test]
    fn each_fault_has_the_status_that_the_rfc_gives_it() {
        assert_eq!(status(0, "INVITE sip:101@umbriel.example SIP/2.1"), 505);
        assert_eq!(status(0, "INVITE http://umbriel.example/ SIP/2.0"), 416);
        assert_eq!(status(0, "INVITE sip: SIP/2.0"), 400);
        assert_eq!(status(0, "INVITE sip:a@b?X=y SIP/2.0"), 400);
        assert_eq!(status(0, "INVENT sip:a@b SIP/2.0"), 501);
        assert_eq!(status(5, "CSeq: 1 BYE"), 400);
        assert_eq!(status(5, "CSeq: 1 invite"), 400);
        assert_eq!(status(5, "CSeq: 2147483648 INVITE"), 400);
        assert_eq!(status(4, "Call-ID: a b"), 400);
        assert_eq!(status(1, "Via: SIP/2.0/UDP"), 400);
        assert_eq!(status(1, "no colon"), 400);
        let fault = check(2, "From: <sip:a@b>;tag=;x", &[]).unwrap_err();
        assert_eq!(fault.status(), 400);
        assert_eq!(fault.to_string(), "From: a parameter cannot be read");
    }

    #[test]
    fn max_forwards_is_a_number_to_255() {
        for (value, fits) in
            [("0", true), ("0068", true), ("255", true), ("256", false), ("-1", false), ("x", false)]
        {
            let line = format!("Max-Forwards: {value}");
            assert_eq!(check(0, INVITE[0], &[&line]).is_ok(), fits, "{value}");
        }
    }

    #[test]
    fn a_response_needs_the_same_headers_and_no_uri() {
        let text = |start: &str| format!("{}\r\n\r\n", [&[start], &INVITE[1..]].concat().join("\r\n"));
        assert_eq!(scan(text("SIP/2.0 200 OK").as_bytes()).unwrap().check_response(), Ok(()));
        assert_eq!(scan(text("SIP/2.0 200 OK").as_bytes()).unwrap().check_request(), Err(Fault::Kind));
        assert_eq!(scan(text(INVITE[0]).as_bytes()).unwrap().check_response(), Err(Fault::Kind));
        let odd = text("SIP/2.0 200 OK").replace("CSeq:", "CSeq");
        assert_eq!(scan(odd.as_bytes()).unwrap().check_response(), Err(Fault::Line));
    }

    #[test]
    fn option_tags_that_nobody_knows_are_named() {
        let text = format!("{}\r\nRequire: 100rel, Timer\r\nRequire: path,\r\n\r\n", INVITE.join("\r\n"));
        let message = scan(text.as_bytes()).unwrap();
        assert_eq!(message.unsupported(&["timer"]).collect::<Vec<_>>(), ["100rel", "path"]);
    }
}
