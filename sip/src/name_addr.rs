//! A display name, a URI and parameters (RFC 3261 sections 20.10, 20.20 and 20.39).
//!
//! Decides which parameters belong to the URI and which to the header. Refuses to know which header
//! it reads.

use std::borrow::Cow;

use memchr::memchr2;

use crate::header::{Flaw, unfold};
use crate::lex::{cut, find_open, is_space, is_token, is_token_byte, position, quoted_end, trim};
use crate::params::{Params, unquote};
use crate::uri::{Uri, UriError};

/// The value of `From`, `To`, `Contact`, `Route`, `Diversion` and their kin (RFC 3261 section 20.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as written, without its quotes; empty if there is none.
    pub display: &'a str,
    /// The URI.
    pub uri: Uri<'a>,
    /// The header's parameters, which are not the URI's.
    pub params: Params<'a>,
    tag: Option<&'a str>,
}

impl<'a> NameAddr<'a> {
    /// Reads one value.
    ///
    /// # Errors
    ///
    /// [`Flaw`] says which part does not follow the grammar. Letters outside of ASCII are let pass in
    /// a display name without quotes, because peers write them so and nothing hangs on them.
    pub fn parse(text: &'a str) -> Result<NameAddr<'a>, Flaw> {
        Self::parse_plain(text).map_or_else(|| Self::parse_any(text), Ok)
    }

    /// What nearly all of them are in calls, read in one go: `["name"] <URI>[;tag=token]`. `None` for all others,
    /// be they right or not.
    fn parse_plain(text: &'a str) -> Option<NameAddr<'a>> {
        let (display, uri, params) = read_bracketed(text)?;
        let mut tag = None;
        if !params.is_empty() {
            let (value, rest) = Params::read_token(params, "tag")?;
            tag = Some(value).filter(|_| rest.is_empty());
            tag?;
        }
        Some(NameAddr { display, uri, params: Params::known(params), tag })
    }

    /// Whether that is what `text` is: one value, and right.
    pub(crate) fn is_plain(text: &str) -> bool {
        NameAddr::parse_plain(text).is_some()
    }

    fn parse_any(text: &'a str) -> Result<NameAddr<'a>, Flaw> {
        let text = trim(text);
        let (display, rest) = if text.starts_with('"') {
            let end = quoted_end(text).ok_or(Flaw::Quote)?;
            (unquote(&text[..end]), trim(&text[end..]))
        } else {
            let at = find_open(text, b'<').unwrap_or(0);
            let words = trim(&text[..at]);
            if !words.bytes().all(|byte| is_space(byte) || is_token_byte(byte) || !byte.is_ascii()) {
                return Err(Flaw::DisplayName);
            }
            (words, &text[at..])
        };
        if let Some(rest) = rest.strip_prefix('<') {
            let (uri, params) = cut(rest, b'>').ok_or(Flaw::Brackets)?;
            let params = trim(params);
            if !params.is_empty() && !params.starts_with(';') {
                return Err(Flaw::Brackets);
            }
            return Self::assemble(display, uri, params);
        }
        if text.starts_with('"') {
            return Err(Flaw::Quote);
        }
        // Without brackets every parameter is the header's, and the URI may not hold `?`, `,` or `;`.
        let (uri, params) = rest.split_at(position(rest.as_bytes(), b';').unwrap_or(rest.len()));
        if uri.contains(['?', ',']) {
            return Err(Flaw::Uri(UriError::Character));
        }
        Self::assemble(display, trim(uri), params)
    }

    fn assemble(display: &'a str, uri: &'a str, params: &'a str) -> Result<NameAddr<'a>, Flaw> {
        let (uri, params) = (Uri::parse(uri)?, Params::parse(params)?);
        let tag = params.get("tag");
        if tag.is_some_and(|tag| !is_token(tag)) {
            return Err(Flaw::Parameter);
        }
        Ok(NameAddr { display, uri, params, tag })
    }

    /// The `tag` parameter.
    #[must_use]
    pub const fn tag(&self) -> Option<&'a str> {
        self.tag
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

/// A display name in quotes, if there is one, a plain URI in angle brackets, and what is behind those.
pub(crate) fn read_bracketed(text: &str) -> Option<(&str, Uri<'_>, &str)> {
    let (mut display, mut rest) = ("", text);
    if let Some(quoted) = text.strip_prefix('"') {
        let end = memchr2(b'"', b'\\', quoted.as_bytes())?;
        display = &quoted[..end];
        rest = quoted[end..].strip_prefix('"')?;
        rest = rest.strip_prefix(' ').unwrap_or(rest);
    }
    let (uri, rest) = Uri::read_plain(rest.strip_prefix('<')?)?;
    Some((display, uri, rest.strip_prefix('>')?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_plain_one_is_read_as_any_other_is(
            name in "(\"[a;<,\\\\é ]{0,4}\"? ?)?", uri in "<?sip:[a1;,]{0,3}@[a1.]{0,9}(;[a=;]{0,3})?>?",
            params in "(;[tag]{0,3}=?[a1;=\" ]{0,4}){0,2}", tag in "[a-z0-9]{1,4}",
        ) {
            let text = format!("{name}{uri}{params}");
            if let Some(plain) = NameAddr::parse_plain(&text) {
                prop_assert_eq!(Ok(plain), NameAddr::parse_any(&text));
            }
            let text = format!("\"A; <b>\" <sip:{tag}@192.0.2.1:5070>;tag={tag}");
            let plain = NameAddr::parse_plain(&text);
            prop_assert!(plain.is_some());
            prop_assert_eq!(plain, NameAddr::parse_any(&text).ok());
        }
    }

    #[test]
    fn brackets_say_whose_a_parameter_is() {
        let with = NameAddr::parse("\"A. B\" <sip:a@b;lr?c=d>;tag=t").unwrap();
        assert_eq!((with.display, with.uri.text, with.tag()), ("A. B", "sip:a@b;lr?c=d", Some("t")));
        let without = NameAddr::parse("sip:a@b;tag=t").unwrap();
        assert_eq!((without.display, without.uri.text, without.tag()), ("", "sip:a@b", Some("t")));
    }

    #[test]
    fn a_display_name_is_read_as_it_is_meant() {
        let name = |text| NameAddr::parse(text).unwrap().display_name().map(Cow::into_owned);
        assert_eq!(name(r#""J \"R\" \\" <sip:a@b>"#).as_deref(), Some(r#"J "R" \"#));
        assert_eq!(name("Anna  Lee<sip:a@b>").as_deref(), Some("Anna  Lee"));
        assert_eq!(name("\"a\r\n b\" <sip:a@b>").as_deref(), Some("a b"));
        assert_eq!(name("Jürgen <sip:a@b>").as_deref(), Some("Jürgen"));
        assert_eq!(name("\"\" <sip:a@b>"), None);
        assert_eq!(name("<sip:a@b>"), None);
    }

    #[test]
    fn what_is_no_name_addr_is_refused() {
        for (text, flaw) in [
            ("\"a <sip:a@b>", Flaw::Quote),
            ("\"a\" sip:a@b", Flaw::Quote),
            ("\"a\"", Flaw::Quote),
            ("a, b <sip:a@b>", Flaw::DisplayName),
            ("a \"b\" <sip:a@b>", Flaw::DisplayName),
            ("<sip:a@b", Flaw::Brackets),
            ("<sip:a@b> c", Flaw::Brackets),
            ("< sip:a@b>", Flaw::Uri(UriError::Character)),
            ("sip:a@b?c=d", Flaw::Uri(UriError::Character)),
            ("sip:a,b@c", Flaw::Uri(UriError::Character)),
            ("", Flaw::Uri(UriError::Scheme)),
            ("<sip:a@b>;tag", Flaw::Parameter),
            ("<sip:a@b>;tag=a:b", Flaw::Parameter),
        ] {
            assert_eq!(NameAddr::parse(text), Err(flaw), "{text}");
        }
    }
}
