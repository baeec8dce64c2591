//! The characters of RFC 3261 section 25.1 and the ways to cut a header value.
//!
//! Decides what is a token, what is white space (folds included) and where a quoted string or an
//! angle bracket hides a separator. Refuses to know which header it is looking at.

use memchr::{memchr2, memchr3};

/// Kinds of characters, a bit each, so that one look at a byte answers what it may be part of.
pub(crate) mod kind {
    /// A token (RFC 3261 section 25.1).
    pub(crate) const TOKEN: u8 = 1;
    /// The user part of a URI: `unreserved`, `user-unreserved` and escapes (section 25.1), and `#`, which
    /// peers leave unescaped in dialled codes.
    pub(crate) const USER: u8 = 2;
    /// A domain name. The underscore is no part of RFC 3261's hostname, but names in private networks have
    /// it.
    pub(crate) const HOST_NAME: u8 = 4;
    /// What no URI holds: white space, control characters, quotes and angle brackets.
    pub(crate) const NO_URI: u8 = 8;
    /// `%`.
    pub(crate) const ESCAPE: u8 = 16;
    /// `?`.
    pub(crate) const QUESTION_MARK: u8 = 32;
    /// `;`.
    pub(crate) const SEMICOLON: u8 = 64;
    /// The value of a parameter without quotes: a token or a host.
    pub(crate) const VALUE: u8 = 128;
}

const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0_u8;
    loop {
        let token = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        let user = token && byte != b'`'
            || matches!(byte, b'(' | b')' | b'&' | b'=' | b'$' | b',' | b';' | b'?' | b'/' | b'#');
        let host_name = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let no_uri = byte <= b' ' || matches!(byte, 0x7f | b'<' | b'>' | b'"' | b'\\');
        kinds[byte as usize] = if token { kind::TOKEN } else { 0 }
            | if user { kind::USER } else { 0 }
            | if host_name { kind::HOST_NAME } else { 0 }
            | if no_uri { kind::NO_URI } else { 0 }
            | if token || matches!(byte, b'[' | b']' | b':') { kind::VALUE } else { 0 }
            | match byte {
                b'%' => kind::ESCAPE,
                b'?' => kind::QUESTION_MARK,
                b';' => kind::SEMICOLON,
                _ => 0,
            };
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    kinds
};

/// The kinds of characters that `byte` is of.
pub(crate) const fn kinds_of(byte: u8) -> u8 {
    KINDS[byte as usize]
}

/// Whether all of `text` is of one kind; nothing is.
pub(crate) fn are_all(text: &str, kind: u8) -> bool {
    text.bytes().all(|byte| kinds_of(byte) & kind != 0)
}

/// How many bytes in front of `text` are of one kind.
pub(crate) fn run(text: &str, kind: u8) -> usize {
    run_of(text, |kinds| kinds & kind != 0)
}

/// How many bytes in front of `text` are of kinds that are right.
pub(crate) fn run_of(text: &str, are_right: impl Fn(u8) -> bool) -> usize {
    text.as_bytes().iter().position(|byte| !are_right(kinds_of(*byte))).unwrap_or(text.len())
}

/// Whether `byte` may stand in a token (RFC 3261 section 25.1).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    kinds_of(byte) & kind::TOKEN != 0
}

/// Whether `text` is a token, which is never empty.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && are_all(text, kind::TOKEN)
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
    // Mostly there is none.
    match text.as_bytes() {
        [] => text,
        [first, .., last] if !is_space(*first) && !is_space(*last) => text,
        _ => text.trim_matches(is_space_char),
    }
}

/// The halves of `text` around the first `mark`, which is ASCII.
pub(crate) fn cut(text: &str, mark: u8) -> Option<(&str, &str)> {
    let at = position(text.as_bytes(), mark)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Where `wanted` first stands in a short text: for those it is quicker than the search of long ones.
pub(crate) fn position(bytes: &[u8], wanted: u8) -> Option<usize> {
    bytes.iter().position(|byte| *byte == wanted)
}

/// Where the first CR or LF stands from `start` on. Lines of a head are short: eight bytes are looked at at once, and
/// nothing is prepared for it.
pub(crate) fn line_break(bytes: &[u8], start: usize) -> Option<usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let mut at = start;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*eight);
        // The high bit of each byte that is below 14, as are CR and LF; behind the first there may be others.
        let mut low = word.wrapping_sub(14 * EACH) & !word & (0x80 * EACH);
        while low != 0 {
            // At most 7.
            let place = at + (low.trailing_zeros() / 8) as usize;
            if is_break(&bytes[place]) {
                return Some(place);
            }
            low &= low - 1;
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(is_break).map(|place| at + place)
}

/// `bytes` without linear white space at its ends.
pub(crate) fn trim_bytes(bytes: &[u8]) -> &[u8] {
    trim_bytes_end(trim_bytes_start(bytes))
}

/// `bytes` without linear white space in front.
pub(crate) fn trim_bytes_start(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_space(*first)
    {
        bytes = rest;
    }
    bytes
}

/// `bytes` without linear white space behind.
pub(crate) fn trim_bytes_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., last] = bytes
        && is_space(*last)
    {
        bytes = rest;
    }
    bytes
}

/// A decimal number as SIP writes it: digits and nothing else. `None` on overflow, too.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.bytes().try_fold(0_u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
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
    quote_end(text.as_bytes(), 0)
}

/// The index behind the quote that closes the one at `start`.
fn quote_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
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
    let mut at = 0;
    loop {
        at += memchr3(wanted, b'"', b'<', &bytes[at..])?;
        at = match bytes[at] {
            b'"' => quote_end(bytes, at)?,
            byte if byte == wanted => return Some(at),
            _ => bracket_end(bytes, at)?,
        };
    }
}

/// The index behind the bracket that closes the one at `start`; one within quotes does not.
fn bracket_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        at += memchr2(b'>', b'"', &bytes[at..])?;
        match bytes[at] {
            b'"' => at = quote_end(bytes, at)?,
            _ => return Some(at + 1),
        }
    }
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
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn the_first_line_break_is_found(text in "[\\x00-\\x20é\\x7f]{0,30}", start in 0..40_usize) {
            let found = text.bytes().enumerate().skip(start).find(|(_, byte)| matches!(byte, b'\r' | b'\n'));
            prop_assert_eq!(line_break(text.as_bytes(), start), found.map(|(at, _)| at));
            let long = format!("{}{text}", "a\tb".repeat(start));
            let first = text.find(['\r', '\n']).map(|at| at + 3 * start);
            prop_assert_eq!(line_break(long.as_bytes(), 0), first);
        }
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
