//! The header values whose inside this project reads: `Via`, name-addr, `CSeq` and parameters.
//!
//! Decides which values are well-formed (RFC 3261 section 25.1). Refuses to know what a message does
//! with them. White space and folds may stand wherever the grammar has SWS, HCOLON and the like.

use std::borrow::Cow;
use std::net::IpAddr;

use thiserror::Error;

use crate::lex::{Split, decimal, find_open, is_space, is_token, quoted_end, trim};
use crate::name::{Method, Name};
use crate::uri::{Host, Uri, UriError, parse_hostport, parse_port, parse_v6};

/// The greatest CSeq number (RFC 3261 section 8.1.1.5: less than 2^31).
pub const MAX_CSEQ: u32 = (1 << 31) - 1;

/// Why a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// The message has no such header.
    #[error("{0} is missing")]
    Missing(Name),
    /// The header may stand once, and stands more often.
    #[error("{0} is repeated")]
    Repeated(Name),
    /// The value is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(Name),
    /// The value does not follow its grammar.
    #[error("{0}: {1}")]
    Malformed(Name, Flaw),
}

/// What is wrong within a header's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Flaw {
    /// A quoted string never closes, or something stands between it and `<`.
    #[error("a quoted string is not closed")]
    Quote,
    /// A display name without quotes holds more than tokens.
    #[error("the display name needs quotes")]
    DisplayName,
    /// `<` without `>`, or text behind `>` that is no parameter.
    #[error("the angle brackets do not fit")]
    Brackets,
    /// The URI is not one, or holds `?`, `,` or `;` without angle brackets around it.
    #[error("{0}")]
    Uri(#[from] UriError),
    /// A parameter is empty or is not `token` or `token=value`.
    #[error("a parameter cannot be read")]
    Parameter,
    /// Not `SIP/2.0/transport` in front.
    #[error("the protocol is not SIP/2.0")]
    Protocol,
    /// The number is missing, too great or not decimal.
    #[error("the number cannot be read")]
    Number,
    /// Not a word of the kind that this header has.
    #[error("the value cannot be read")]
    Word,
}

/// `;name=value` pairs behind a header's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params<'a> {
    /// Empty, or beginning with `;`.
    text: &'a str,
}

impl<'a> Params<'a> {
    /// Takes `text`, which is empty or begins with `;`.
    fn parse(text: &'a str) -> Result<Params<'a>, Flaw> {
        let text = trim(text);
        let params = Params { text };
        let fits = text.is_empty() || text.starts_with(';');
        if fits && params.parts().all(is_well_formed) { Ok(params) } else { Err(Flaw::Parameter) }
    }

    fn parts(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let skip = usize::from(self.text.starts_with(';'));
        let parts = Split::new(&self.text[skip..], b';');
        parts.take(if skip == 0 { 0 } else { usize::MAX })
    }

    /// Names and values in order. A value loses its quotes, if it has any; escapes within it stay.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        self.parts().map(|part| match part.split_once('=') {
            Some((name, value)) => (trim(name), Some(unquote(trim(value)))),
            None => (part, None),
        })
    }

    /// The value of the first parameter `name` (in any case); empty where it stands without one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.unwrap_or(""))
    }

    /// The parameters as written, with the `;` in front; empty if there are none.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.text
    }
}

fn is_well_formed(part: &str) -> bool {
    let Some((name, value)) = part.split_once('=') else {
        return is_token(part);
    };
    let value = trim(value);
    let value_fits = if value.starts_with('"') {
        quoted_end(value) == Some(value.len())
    } else {
        !value.is_empty() && !value.bytes().any(|byte| is_space(byte) || matches!(byte, b'"' | b'<' | b'>'))
    };
    is_token(trim(name)) && value_fits
}

fn unquote(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// What a `Via` says about the port to answer to (RFC 3581).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rport {
    /// No `rport` parameter.
    Absent,
    /// `rport` without a value: the sender asks for the port that we see.
    Asked,
    /// `rport` with a value.
    Port(u16),
}

/// One hop of a `Via` header (RFC 3261 section 20.42).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// `UDP`, `TCP`, `TLS` or any other token.
    pub transport: &'a str,
    /// Host of sent-by.
    pub host: Host<'a>,
    /// Port of sent-by, where one is written.
    pub port: Option<u16>,
    /// The `branch` parameter.
    pub branch: Option<&'a str>,
    /// The `received` parameter, where it is an address. IPv6 may stand in brackets (RFC 5118
    /// section 4.5).
    pub received: Option<IpAddr>,
    /// The `rport` parameter.
    pub rport: Rport,
    /// All parameters.
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Reads one value of a `Via` header.
    ///
    /// # Errors
    ///
    /// [`Flaw`] says which part does not follow the grammar.
    pub fn parse(text: &'a str) -> Result<Via<'a>, Flaw> {
        let (protocol, rest) = text.split_once('/').ok_or(Flaw::Protocol)?;
        let (version, rest) = rest.split_once('/').ok_or(Flaw::Protocol)?;
        if !trim(protocol).eq_ignore_ascii_case("SIP") || trim(version) != "2.0" {
            return Err(Flaw::Protocol);
        }
        let rest = trim(rest);
        let (transport, rest) = rest.split_at(rest.find(is_space_char).ok_or(Flaw::Protocol)?);
        if !is_token(transport) {
            return Err(Flaw::Protocol);
        }
        let (sent_by, params) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
        let (host, port) = parse_sent_by(trim(sent_by))?;
        let params = Params::parse(params)?;
        let rport = match params.get("rport") {
            None => Rport::Absent,
            Some("") => Rport::Asked,
            Some(port) => Rport::Port(parse_port(port).map_err(|_| Flaw::Parameter)?),
        };
        let branch = params.get("branch");
        let received = params.get("received").and_then(parse_received);
        Ok(Via { transport, host, port, branch, received, rport, params })
    }
}

fn is_space_char(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

/// `host [COLON port]`, where white space may stand around the colon.
fn parse_sent_by(text: &str) -> Result<(Host<'_>, Option<u16>), Flaw> {
    if !text.contains(is_space_char) {
        return Ok(parse_hostport(text)?);
    }
    let (host, port) = text.rsplit_once(':').ok_or(Flaw::Uri(UriError::Host))?;
    let (host, no_port) = parse_hostport(trim(host))?;
    match no_port {
        None => Ok((host, Some(parse_port(trim(port))?))),
        Some(_) => Err(Flaw::Uri(UriError::Host)),
    }
}

fn parse_received(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match bare {
        Some(text) => parse_v6(text).map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// The value of `From`, `To`, `Contact`, `Route`, `Diversion` and their kin (RFC 3261 section 20.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as written, without its quotes; empty if there is none.
    pub display: &'a str,
    /// The URI.
    pub uri: Uri<'a>,
    /// The header's parameters, which are not the URI's.
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one value.
    ///
    /// # Errors
    ///
    /// [`Flaw`] says which part does not follow the grammar. Letters outside of ASCII are let pass in
    /// a display name without quotes, because peers write them so and nothing hangs on them.
    pub fn parse(text: &'a str) -> Result<NameAddr<'a>, Flaw> {
        let text = trim(text);
        let (display, rest) = if text.starts_with('"') {
            let end = quoted_end(text).ok_or(Flaw::Quote)?;
            (unquote(&text[..end]), trim(&text[end..]))
        } else {
            let at = find_open(text, b'<').unwrap_or(0);
            let words = trim(&text[..at]);
            if !words.split(is_space_char).all(is_display_word) {
                return Err(Flaw::DisplayName);
            }
            (words, &text[at..])
        };
        if let Some(rest) = rest.strip_prefix('<') {
            let (uri, params) = rest.split_once('>').ok_or(Flaw::Brackets)?;
            let params = trim(params);
            if !params.is_empty() && !params.starts_with(';') {
                return Err(Flaw::Brackets);
            }
            return Ok(NameAddr { display, uri: Uri::parse(uri)?, params: Params::parse(params)? });
        }
        if text.starts_with('"') {
            return Err(Flaw::Quote);
        }
        // Without brackets every parameter is the header's, and the URI may not hold `?`, `,` or `;`.
        let (uri, params) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
        if uri.contains(['?', ',']) {
            return Err(Flaw::Uri(UriError::Character));
        }
        Ok(NameAddr { display, uri: Uri::parse(trim(uri))?, params: Params::parse(params)? })
    }

    /// The `tag` parameter.
    #[must_use]
    pub fn tag(&self) -> Option<&'a str> {
        self.params.get("tag")
    }

    /// The display name with escapes and folds undone. `None` where there is none.
    #[must_use]
    pub fn display_name(&self) -> Option<Cow<'a, str>> {
        let text = unfold(self.display);
        if text.is_empty() {
            return None;
        }
        if !text.contains('\\') {
            return Some(text);
        }
        let mut plain = String::with_capacity(text.len());
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            plain.extend(if character == '\\' { characters.next() } else { Some(character) });
        }
        Some(Cow::Owned(plain))
    }
}

fn is_display_word(word: &str) -> bool {
    word.bytes().all(|byte| crate::lex::is_token_byte(byte) || !byte.is_ascii())
}

/// The value of `CSeq` (RFC 3261 section 20.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The sequence number, at most [`MAX_CSEQ`].
    pub number: u32,
    /// The method.
    pub method: Method,
    /// The method as written.
    pub method_text: &'a str,
}

impl<'a> CSeq<'a> {
    /// Reads the value of a `CSeq` header.
    ///
    /// # Errors
    ///
    /// [`Flaw::Number`] or [`Flaw::Word`].
    pub fn parse(text: &'a str) -> Result<CSeq<'a>, Flaw> {
        let text = trim(text);
        let (number, method_text) = text.split_at(text.find(is_space_char).unwrap_or(text.len()));
        let number = decimal(number)
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| *number <= MAX_CSEQ)
            .ok_or(Flaw::Number)?;
        let method_text = trim(method_text);
        if !is_token(method_text) {
            return Err(Flaw::Word);
        }
        Ok(CSeq { number, method: Method::read(method_text), method_text })
    }
}

/// `text` with each fold (CRLF and the white space around it) made one space (RFC 3261 section 7.3.1).
#[must_use]
pub fn unfold(text: &str) -> Cow<'_, str> {
    if !text.contains(['\r', '\n']) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for line in text.split(['\r', '\n']).map(trim).filter(|line| !line.is_empty()) {
        if !plain.is_empty() {
            plain.push(' ');
        }
        plain.push_str(line);
    }
    Cow::Owned(plain)
}
