//! What every header value has in common: how it can be wrong, and how folds are undone; and `CSeq`.
//!
//! Decides the words for faults within a header. Refuses to know what a message does with them.

use std::borrow::Cow;

use thiserror::Error;

use crate::lex::{decimal, is_space, is_token, trim};
use crate::name::{Method, Name};
use crate::uri::UriError;

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
    /// A parameter is empty, repeated or not `token` or `token=value`, or there are more than
    /// [`MAX_PARAMETERS`](crate::MAX_PARAMETERS).
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
        let (number, method_text) = text.split_at(text.bytes().position(is_space).unwrap_or(text.len()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cseq_is_a_number_below_2_to_the_31_and_a_method() {
        let cseq = CSeq::parse(" 0009\r\n  INVITE ").unwrap();
        assert_eq!((cseq.number, cseq.method, cseq.method_text), (9, Method::Invite, "INVITE"));
        assert_eq!(CSeq::parse("2147483647 FOO").unwrap().method, Method::Unknown);
        for text in ["2147483648 INVITE", "-1 INVITE", "x INVITE", "INVITE", ""] {
            assert_eq!(CSeq::parse(text), Err(Flaw::Number), "{text}");
        }
        for text in ["1", "1 ", "1 A B", "1 @"] {
            assert_eq!(CSeq::parse(text), Err(Flaw::Word), "{text}");
        }
    }

    #[test]
    fn a_fold_is_one_space() {
        assert_eq!(unfold("a  b"), "a  b");
        assert_eq!(unfold("a \r\n\t b\r\n \r\n c"), "a b c");
    }
}
