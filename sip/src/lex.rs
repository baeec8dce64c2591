//! The characters of RFC 3261 section 25.1 and the ways to cut a header value.
//!
//! Decides what is a token, what is white space (folds included) and where a quoted string or an
//! angle bracket hides a separator. Refuses to know which header it is looking at.

use memchr::memchr3;

/// Whether `byte` may stand in a token (RFC 3261 section 25.1).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
}

/// Whether `text` is a token, which is never empty.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Whether `byte` is linear white space. CR and LF count: in a header value they only stand in folds.
pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// [`is_space`] for characters.
pub(crate) const fn is_space_char(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

/// `text` without linear white space at its ends.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(is_space_char)
}

/// `bytes` without linear white space at its ends.
pub(crate) fn trim_bytes(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_space(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_space(*last)
    {
        bytes = rest;
    }
    bytes
}

/// A decimal number as SIP writes it: digits and nothing else. `None` on overflow, too.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The most parameters of one header value or URI, so that comparing their names stays cheap.
pub const MAX_PARAMETERS: usize = 32;

/// Whether no name is empty or stands twice, in any case (RFC 3261 sections 7.3.1 and 19.1.1), and there
/// are not more than [`MAX_PARAMETERS`].
pub(crate) fn are_distinct<'a>(names: impl Iterator<Item = &'a str> + Clone) -> bool {
    let mut seen = 0;
    let mut rest = names;
    while let Some(name) = rest.next() {
        seen += 1;
        if name.is_empty() || seen > MAX_PARAMETERS {
            return false;
        }
        if rest.clone().take(MAX_PARAMETERS).any(|other| other.eq_ignore_ascii_case(name)) {
            return false;
        }
    }
    true
}

/// Where the quoted string that opens at the start of `text` ends: the index behind its closing quote.
pub(crate) fn quoted_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// Where `wanted` first stands in `text` outside of quoted strings and angle brackets. A quote or a
/// bracket that never closes hides the rest of the text.
pub(crate) fn find_open(text: &str, wanted: u8) -> Option<usize> {
    let bytes = text.as_bytes();
    // Most values have neither, or not in front.
    let mut at = memchr3(wanted, b'"', b'<', bytes)?;
    let (mut quoted, mut bracketed) = (false, false);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'>' if bracketed => bracketed = false,
            _ if bracketed => {}
            _ if byte == wanted => return Some(at),
            b'<' => bracketed = true,
            _ => {}
        }
        at += 1;
    }
    None
}

/// The parts of `text` between separators that stand outside of quoted strings and angle brackets,
/// each trimmed. An empty text has one empty part.
#[derive(Clone, Debug)]
pub(crate) struct Split<'a> {
    rest: Option<&'a str>,
    separator: u8,
}

impl<'a> Split<'a> {
    pub(crate) fn new(text: &'a str, separator: u8) -> Self {
        Split { rest: Some(text), separator }
    }
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        let (part, left) = match find_open(rest, self.separator) {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        self.rest = left;
        Some(trim(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        Split::new(text, b',').collect()
    }

    #[test]
    fn commas_in_quotes_and_brackets_do_not_separate() {
        assert_eq!(split(r#""a, \"b" <sip:c,d@e>, f"#), [r#""a, \"b" <sip:c,d@e>"#, "f"]);
        assert_eq!(split(""), [""]);
        assert_eq!(split("a,,b"), ["a", "", "b"]);
    }

    #[test]
    fn an_open_quote_hides_the_rest() {
        assert_eq!(split(r#"a, "b, c"#), ["a", r#""b, c"#]);
        assert_eq!(split(r#"a, <b, c"#), ["a", "<b, c"]);
    }

    #[test]
    fn numbers_are_digits_only() {
        assert_eq!(decimal("0070"), Some(70));
        assert_eq!(decimal("+7"), None);
        assert_eq!(decimal("-7"), None);
        assert_eq!(decimal(""), None);
        assert_eq!(decimal("18446744073709551616"), None);
    }

    #[test]
    fn a_backslash_at_the_very_end_is_not_a_closed_string() {
        assert_eq!(quoted_end("\"a\\"), None);
        assert_eq!(quoted_end("\"a\\\"\""), Some(5));
    }
}
