//! SIP, SIPS and tel URIs (RFC 3261 section 19.1, RFC 3966).
//!
//! Decides which part of the text is scheme, user, host, port, parameters and headers. Refuses to
//! know whether a URI leads anywhere. Nothing is copied: parts stay as written, escapes included,
//! until a caller asks for the decoded form.

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use crate::host::{Host, parse_hostport, split_hostport};
use crate::lex::{are_all, are_distinct, cut, kind, kinds_of, position, run_of};

/// What a URI begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `sip:`.
    Sip,
    /// `sips:`.
    Sips,
    /// `tel:` (RFC 3966).
    Tel,
    /// Any other scheme; what follows it is not looked into.
    Other,
}

/// Why a text is not a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UriError {
    /// No scheme and colon in front.
    #[error("the URI has no scheme")]
    Scheme,
    /// White space, a control character, a quote or an angle bracket within the URI.
    #[error("the URI holds a character that must be escaped")]
    Character,
    /// A `%` without two hexadecimal digits behind it.
    #[error("the URI holds a broken escape")]
    Escape,
    /// An empty user part before `@`, a second `@`, or a character that has to be escaped there.
    #[error("the URI's user part cannot be read")]
    User,
    /// No host, or one that is neither a name nor an address.
    #[error("the URI's host cannot be read")]
    Host,
    /// An empty parameter or header, a repeated parameter, or more parameters than
    /// [`MAX_PARAMETERS`](crate::MAX_PARAMETERS).
    #[error("the URI's parameters cannot be read")]
    Parameter,
    /// A port that is not a number from 0 to 65535.
    #[error("the URI's port cannot be read")]
    Port,
}

/// A URI, borrowed from the text that it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// The whole URI as written.
    pub text: &'a str,
    /// The scheme.
    pub scheme: Scheme,
    /// The user part without a password, still escaped; of a tel URI the number.
    pub user: Option<&'a str>,
    /// The host; none in tel URIs and other schemes.
    pub host: Option<Host<'a>>,
    /// The port, where one is written.
    pub port: Option<u16>,
    params: &'a str,
    headers: &'a str,
}

impl<'a> Uri<'a> {
    /// Reads a URI that fills `text`.
    ///
    /// # Errors
    ///
    /// [`UriError`] names the part that cannot be read. Of a scheme that is neither SIP nor tel only
    /// characters and escapes can be wrong, because only its owner knows its grammar.
    pub fn parse(text: &'a str) -> Result<Uri<'a>, UriError> {
        Self::parse_plain(text).map_or_else(|| Self::parse_any(text), Ok)
    }

    fn parse_any(text: &'a str) -> Result<Uri<'a>, UriError> {
        let kinds = text.bytes().fold(0, |kinds, byte| kinds | kinds_of(byte));
        if kinds & kind::NO_URI != 0 {
            return Err(UriError::Character);
        }
        if kinds & kind::ESCAPE != 0 && text.split('%').skip(1).any(|part| hex(part.as_bytes()).is_none()) {
            return Err(UriError::Escape);
        }
        let (scheme, rest) = cut(text, b':').ok_or(UriError::Scheme)?;
        if scheme.eq_ignore_ascii_case("sip") {
            return Self::parse_sip(text, Scheme::Sip, rest, kinds);
        }
        if scheme.eq_ignore_ascii_case("sips") {
            return Self::parse_sip(text, Scheme::Sips, rest, kinds);
        }
        if scheme.eq_ignore_ascii_case("tel") {
            return Self::parse_tel(text, rest);
        }
        let letter_first = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
        let is_scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if !letter_first || !scheme.bytes().all(is_scheme_byte) {
            return Err(UriError::Scheme);
        }
        let (user, host, port) = (None, None, None);
        Ok(Uri { text, scheme: Scheme::Other, user, host, port, params: "", headers: "" })
    }

    /// What nearly all URIs of calls are, read in one go. `None` for all others, be they URIs or not.
    fn parse_plain(text: &'a str) -> Option<Uri<'a>> {
        let (uri, rest) = Self::read_plain(text)?;
        rest.is_empty().then_some(uri)
    }

    /// The URI in front of `text`, and what is behind it: `sip:user@host[:port][;parameter]` without escapes, as
    /// far as it goes.
    pub(crate) fn read_plain(text: &'a str) -> Option<(Uri<'a>, &'a str)> {
        let rest = text.strip_prefix("sip:")?;
        let (user, rest) =
            rest.split_at(run_of(rest, |kinds| kinds & (kind::USER | kind::ESCAPE) == kind::USER));
        let rest = rest.strip_prefix('@').filter(|_| !user.is_empty())?;
        let (host, port, mut rest) = split_hostport(rest)?;
        let mut params = "";
        if let Some(behind) = rest.strip_prefix(';') {
            let hard = kind::NO_URI | kind::ESCAPE | kind::QUESTION_MARK | kind::SEMICOLON;
            (params, rest) = behind.split_at(run_of(behind, |kinds| kinds & hard == 0));
            if matches!(params.as_bytes(), [] | [b'=', ..]) || position(params.as_bytes(), b'@').is_some() {
                return None;
            }
        }
        let (host, scheme) = (Some(host), Scheme::Sip);
        let text = &text[..text.len() - rest.len()];
        Some((Uri { text, scheme, user: Some(user), host, port, params, headers: "" }, rest))
    }

    /// `[user[:password]@]host[:port][;parameters][?headers]`; `kinds` are those of all its characters.
    fn parse_sip(text: &'a str, scheme: Scheme, rest: &'a str, kinds: u8) -> Result<Uri<'a>, UriError> {
        let (user, rest) = match cut(rest, b'@') {
            Some((userinfo, rest)) => {
                let user = cut(userinfo, b':').map_or(userinfo, |(user, _password)| user);
                if user.is_empty() || !are_all(user, kind::USER) || position(rest.as_bytes(), b'@').is_some()
                {
                    return Err(UriError::User);
                }
                (Some(user), rest)
            }
            None => (None, rest),
        };
        let (mut rest, mut headers, mut params) = (rest, "", "");
        if kinds & kind::QUESTION_MARK != 0 {
            (rest, headers) = split_tail(rest, b'?')?;
            if !headers.is_empty() && headers.split('&').any(|header| name_of(header).is_empty()) {
                return Err(UriError::Parameter);
            }
        }
        if kinds & kind::SEMICOLON != 0 {
            (rest, params) = split_tail(rest, b';')?;
            if !params.is_empty() && !are_distinct(params.split(';').map(name_of)) {
                return Err(UriError::Parameter);
            }
        }
        let (host, port) = parse_hostport(rest)?;
        Ok(Uri { text, scheme, user, host: Some(host), port, params, headers })
    }

    /// `number[;parameters]`.
    fn parse_tel(text: &'a str, rest: &'a str) -> Result<Uri<'a>, UriError> {
        let (number, params) = rest.split_once(';').unwrap_or((rest, ""));
        if number.is_empty() {
            return Err(UriError::User);
        }
        let (user, host, port) = (Some(number), None, None);
        Ok(Uri { text, scheme: Scheme::Tel, user, host, port, params, headers: "" })
    }

    /// The user part with its escapes decoded, parameters within it included. Bytes that are not
    /// UTF-8 become U+FFFD, so that such a user matches nobody.
    #[must_use]
    pub fn user_decoded(&self) -> Option<Cow<'a, str>> {
        self.user.map(unescape)
    }

    /// The user part up to its first `;`, decoded: the number of `sip:5551000;ext=7@host` is `5551000`.
    /// `None` if there is none before the `;`.
    #[must_use]
    pub fn number(&self) -> Option<Cow<'a, str>> {
        let number = self.user.map(|user| cut(user, b';').map_or(user, |(number, _)| number));
        number.filter(|number| !number.is_empty()).map(unescape)
    }

    /// The value of the parameter `name` (in any case), still escaped; empty where the parameter
    /// stands without a value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'a str> {
        // Most have none.
        if self.params.is_empty() {
            return None;
        }
        self.params().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Whether there are any headers behind a `?`.
    pub(crate) const fn has_headers(&self) -> bool {
        !self.headers.is_empty()
    }

    /// Whether there are any parameters.
    pub(crate) const fn has_params(&self) -> bool {
        !self.params.is_empty()
    }

    /// The parameters in order, still escaped, with an empty value where none is written.
    pub fn params(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        pairs(self.params, ';')
    }

    /// The headers behind `?` in order, still escaped.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        pairs(self.headers, '&')
    }
}

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

fn pairs(text: &str, separator: char) -> impl Iterator<Item = (&str, &str)> {
    text.split(separator)
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
}

fn name_of(part: &str) -> &str {
    part.split_once('=').map_or(part, |(name, _)| name)
}

/// What stands before and behind the first `mark`; nothing may not stand behind it.
fn split_tail(text: &str, mark: u8) -> Result<(&str, &str), UriError> {
    match cut(text, mark) {
        Some((_, "")) => Err(UriError::Parameter),
        Some(halves) => Ok(halves),
        None => Ok((text, "")),
    }
}

/// `text` with its `%XX` escapes decoded. An escape that is not one stays as it is written.
#[must_use]
pub(crate) fn unescape(text: &str) -> Cow<'_, str> {
    if position(text.as_bytes(), b'%').is_none() {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = if byte == b'%' { hex(&bytes[at + 1..]) } else { None };
        decoded.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    match String::from_utf8(decoded) {
        Ok(text) => Cow::Owned(text),
        Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

/// The octet that the two digits in front of `bytes` stand for.
fn hex(bytes: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match bytes {
        [high, low, ..] => Some(digit(*high)? << 4 | digit(*low)?),
        [] | [_] => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_plain_uri_is_read_as_any_other_is(
            text in "sip:[a1.%;]{0,3}@?[a1.]{0,9}(:[0-9a]{0,5})?(;[a=;?@%<é]{0,4})?", address in any::<[u8; 4]>(), port in any::<u16>(),
        ) {
            if let Some(plain) = Uri::parse_plain(&text) {
                prop_assert_eq!(Ok(plain), Uri::parse_any(&text));
            }
            let text = format!("sip:+1-425@{}:{port};transport=udp", Ipv4Addr::from(address));
            let plain = Uri::parse_plain(&text);
            prop_assert!(plain.is_some());
            prop_assert_eq!(plain, Uri::parse_any(&text).ok());
        }
    }

    #[test]
    fn every_part_of_a_sip_uri_is_found() {
        let uri =
            Uri::parse("SIP:al%69ce;day=tuesday:secret@Example.com:5070;transport=TCP;lr?a=b&c").unwrap();
        assert_eq!(uri.scheme, Scheme::Sip);
        assert_eq!(uri.user, Some("al%69ce;day=tuesday"));
        assert_eq!(uri.user_decoded().as_deref(), Some("alice;day=tuesday"));
        assert_eq!(uri.number().as_deref(), Some("alice"));
        assert_eq!(uri.host, Some(Host::HostName("Example.com")));
        assert_eq!(uri.port, Some(5070));
        assert_eq!(uri.param("Transport"), Some("TCP"));
        assert_eq!(uri.param("lr"), Some(""));
        assert_eq!(uri.param("maddr"), None);
        assert_eq!(uri.headers().collect::<Vec<_>>(), [("a", "b"), ("c", "")]);
    }

    #[test]
    fn a_question_mark_may_stand_in_the_user_part() {
        let uri = Uri::parse("sip:a?b@example.com").unwrap();
        assert_eq!((uri.user, uri.headers().count()), (Some("a?b"), 0));
    }

    #[test]
    fn addresses_are_read_as_addresses() {
        let v4 = Uri::parse("sips:192.0.2.1").unwrap();
        assert_eq!((v4.scheme, v4.host), (Scheme::Sips, Some(Host::V4(Ipv4Addr::new(192, 0, 2, 1)))));
        let v6 = Uri::parse("sip:[2001:db8::10]:5070").unwrap();
        assert_eq!(v6.host.unwrap().to_string(), "[2001:db8::10]");
        assert_eq!(v6.port, Some(5070));
        let three_colons = Uri::parse("sip:[2001:db8:::192.0.2.1]").unwrap();
        assert_eq!(three_colons.host.unwrap().to_string(), "[2001:db8::c000:201]");
    }

    #[test]
    fn a_tel_uri_has_a_number_and_no_host() {
        let uri = Uri::parse("tel:+1-201-555-0123;phone-context=example.com").unwrap();
        assert_eq!((uri.scheme, uri.user, uri.host), (Scheme::Tel, Some("+1-201-555-0123"), None));
        assert_eq!(uri.param("phone-context"), Some("example.com"));
    }

    #[test]
    fn a_user_of_parameters_alone_is_no_number_and_so_to_is_asked() {
        assert_eq!(Uri::parse("sip:;ext=7@example.com").unwrap().number(), None);
        assert_eq!(Uri::parse("sip:5551000;ext=7@example.com").unwrap().number().as_deref(), Some("5551000"));
    }

    #[test]
    fn what_is_not_a_uri_is_refused_with_the_part_that_is_wrong() {
        for (text, error) in [
            ("", UriError::Scheme),
            ("alice", UriError::Scheme),
            ("1sip:a", UriError::Scheme),
            ("sip:", UriError::Host),
            ("sip:a@", UriError::Host),
            ("sip:@b", UriError::User),
            ("sip:a@b@c", UriError::User),
            ("sip:a b@c", UriError::Character),
            ("<sip:a@b>", UriError::Character),
            ("sip:a@b:", UriError::Port),
            ("sip:a@b:65536", UriError::Port),
            ("sip:a@[::1", UriError::Host),
            ("sip:a@[::1]x", UriError::Host),
            ("sip:a@[1::2::3]", UriError::Host),
            ("sip:a@[2001:db8:::2001:2001:2001:2001:2001:255.255.255.255]", UriError::Host),
            ("sip:a@b,c", UriError::Host),
            ("sip:2001:db8::10", UriError::Port),
            ("sip:%u@b", UriError::Escape),
            ("sip:a@b;c=%4", UriError::Escape),
            ("sip:[a]@b", UriError::User),
            ("s%p:a@b", UriError::Escape),
            ("s%20p:a@b", UriError::Scheme),
            ("sip:a@b;", UriError::Parameter),
            ("sip:a@b;c;;d", UriError::Parameter),
            ("sip:a@b;c=1;C=2", UriError::Parameter),
            ("sip:a@b?", UriError::Parameter),
            ("sip:a@b;user?=phone", UriError::Parameter),
            ("tel:", UriError::User),
        ] {
            assert_eq!(Uri::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_broken_escape_stays_and_bytes_that_are_no_text_match_nobody() {
        assert_eq!(unescape("100%"), "100%");
        assert_eq!(unescape("%zz%4"), "%zz%4");
        assert_eq!(unescape("%C3%BC"), "ü");
        assert_eq!(unescape("a%FFb"), "a\u{fffd}b");
    }
}
