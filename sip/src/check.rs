//! Whether a message that could be scanned may be acted on, and which status refuses it if not.
//!
//! Decides what RFC 3261 sections 8.1.1 and 8.2 ask of every request and 8.1.3 of every response.
//! Refuses to know which methods, extensions and users the server serves.

use thiserror::Error;

use crate::header::{Flaw, HeaderError};
use crate::lex::decimal;
use crate::message::{Message, StartLine};
use crate::name::{Method, Name};
use crate::name_addr::NameAddr;
use crate::uri::{Scheme, Uri, UriError};
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
        self.answer().0
    }

    /// The reason phrase that RFC 3261 section 21 gives the status.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        self.answer().1
    }

    const fn answer(self) -> (u16, &'static str) {
        match self {
            Fault::Line
            | Fault::RequestUri(_)
            | Fault::RequestUriHeaders
            | Fault::Header(_)
            | Fault::CSeqMethod
            | Fault::Kind => (400, "Bad Request"),
            Fault::Scheme => (416, "Unsupported URI Scheme"),
            Fault::Method => (501, "Not Implemented"),
            Fault::Version => (505, "Version Not Supported"),
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
        let StartLine::Request { method, method_text, uri, version_is_2_0 } = self.start() else {
            return Err(Fault::Kind);
        };
        if !version_is_2_0 {
            return Err(Fault::Version);
        }
        if self.malformed_line {
            return Err(Fault::Line);
        }
        let uri = Uri::parse(uri).map_err(Fault::RequestUri)?;
        if uri.headers().next().is_some() {
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
        self.each(Name::Via, |value| Via::parse(value).map(|_| ()))?;
        self.top_via()?;
        self.from()?;
        self.to()?;
        self.call_id()?;
        let cseq = self.cseq()?;
        self.each(Name::Contact, |value| match value {
            "*" => Ok(()),
            _ => NameAddr::parse(value).map(|_| ()),
        })?;
        for name in SINGLE {
            if self.raw_values(name).nth(1).is_some() {
                return Err(HeaderError::Repeated(name));
            }
        }
        Ok(cseq.method_text)
    }

    fn each(&self, name: Name, read: impl Fn(&'a str) -> Result<(), Flaw>) -> Result<(), HeaderError> {
        self.values(name).try_for_each(read).map_err(|flaw| HeaderError::Malformed(name, flaw))
    }

    /// Max-Forwards is a number from 0 to 255 (RFC 3261 section 20.22). Zero is for proxies to refuse.
    fn check_max_forwards(&self) -> Result<(), HeaderError> {
        match self.header(Name::MaxForwards) {
            Some(value) if decimal(value).is_none_or(|hops| hops > 255) => {
                Err(HeaderError::Malformed(Name::MaxForwards, Flaw::Number))
            }
            Some(_) | None => Ok(()),
        }
    }
}
