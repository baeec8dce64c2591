//! The first line of a message: a request line or a status line (RFC 3261 sections 7.1 and 7.2).
//!
//! Decides which of the two it is, if any. Refuses to judge the version and the Request-URI, so that a
//! request with a fault in them can be answered.

use crate::lex::{cut, decimal, is_token};
use crate::name::Method;

/// The first line of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartLine<'a> {
    /// `method uri SIP/x.y` (RFC 3261 section 7.1).
    Request {
        /// The method.
        method: Method,
        /// The method as written.
        method_text: &'a str,
        /// The Request-URI as written; surplus white space around it stays with it.
        uri: &'a str,
        /// Whether the version is 2.0. Any other is answered by 505.
        version_is_2_0: bool,
    },
    /// `SIP/2.0 status reason` (RFC 3261 section 7.2).
    Response {
        /// 100 to 699.
        status: u16,
        /// The reason phrase, which may be empty.
        reason: &'a str,
    },
}

impl<'a> StartLine<'a> {
    /// Reads `line`, which has no line end; also tells whether no white space stands behind it. `None` if
    /// it is neither of the two.
    pub(crate) fn parse(line: &'a [u8]) -> Option<(StartLine<'a>, bool)> {
        let line = std::str::from_utf8(line).ok()?;
        // Nearly all of them.
        if let Some((method_text, uri)) = line.strip_suffix(" SIP/2.0").and_then(|line| cut(line, b' '))
            && is_token(method_text)
        {
            let method = Method::read(method_text);
            return Some((StartLine::Request { method, method_text, uri, version_is_2_0: true }, true));
        }
        if line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("SIP/")) {
            return status_line(line).map(|start| (start, true));
        }
        let trimmed = line.trim_end_matches([' ', '\t']);
        request_line(trimmed).map(|start| (start, trimmed.len() == line.len()))
    }
}

/// `method uri SIP/x.y`. All between the first space and the last is the URI, be it one or not.
fn request_line(line: &str) -> Option<StartLine<'_>> {
    let (method_text, rest) = cut(line, b' ')?;
    let last_space = rest.bytes().rposition(|byte| byte == b' ')?;
    let (uri, version) = (&rest[..last_space], &rest[last_space + 1..]);
    let (protocol, version) = cut(version, b'/')?;
    let (major, minor) = cut(version, b'.')?;
    let (major, minor) = (decimal(major)?, decimal(minor)?);
    if !protocol.eq_ignore_ascii_case("SIP") || !is_token(method_text) {
        return None;
    }
    let method = Method::read(method_text);
    Some(StartLine::Request { method, method_text, uri, version_is_2_0: (major, minor) == (2, 0) })
}

/// `SIP/2.0 status reason`, where the reason may be empty (RFC 4475 section 3.1.1.13).
fn status_line(line: &str) -> Option<StartLine<'_>> {
    let (version, rest) = line.split_once(' ')?;
    let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    if !version.eq_ignore_ascii_case("SIP/2.0") || status.len() != 3 {
        return None;
    }
    let status = u16::try_from(decimal(status)?).ok().filter(|status| (100..700).contains(status))?;
    Some(StartLine::Response { status, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_keeps_what_stands_between_method_and_version() {
        let request = |method, method_text, uri, version_is_2_0| StartLine::Request {
            method,
            method_text,
            uri,
            version_is_2_0,
        };
        let parse = |line: &'static str| StartLine::parse(line.as_bytes());
        let plain = request(Method::Invite, "INVITE", "sip:a", true);
        assert_eq!(parse("INVITE sip:a SIP/2.0"), Some((plain, true)));
        assert_eq!(parse("INVITE sip:a SIP/2.0 \t"), Some((plain, false)));
        assert_eq!(
            parse("invite  sip:a b  sip/02.00"),
            Some((request(Method::Unknown, "invite", " sip:a b ", true), true))
        );
        assert_eq!(parse("BYE sip:a SIP/3.0"), Some((request(Method::Bye, "BYE", "sip:a", false), true)));
    }

    #[test]
    fn a_status_line_may_lack_its_reason() {
        let parse = |line: &'static str| StartLine::parse(line.as_bytes());
        assert_eq!(
            parse("sip/2.0 200 All is well "),
            Some((StartLine::Response { status: 200, reason: "All is well " }, true))
        );
        for line in ["SIP/2.0 699 ", "SIP/2.0 699"] {
            assert_eq!(parse(line), Some((StartLine::Response { status: 699, reason: "" }, true)));
        }
    }

    #[test]
    fn any_other_line_is_noise() {
        for noise in [
            "",
            " ",
            "INVITE",
            "INVITE sip:a",
            "INVITE sip:a SIP/2",
            "INVITE sip:a SIP/2.x",
            "INVITE sip:a SIP/2.0.0",
            "INV@TE sip:a SIP/2.0",
            " INVITE sip:a SIP/2.0",
            "INVITE SIP/2.0",
            "GET / HTTP/1.1",
            "SIP/2.0",
            "SIP/2.0x200",
            "SIP/2.0 99 x",
            "SIP/2.0 700 x",
            "SIP/2.0 2000 x",
            "SIP/2.0 +20 x",
            "SIP/2.0  200 x",
            "SIP/3.0 200 x",
        ] {
            assert_eq!(StartLine::parse(noise.as_bytes()), None, "{noise}");
        }
        assert_eq!(StartLine::parse(b"INVITE sip:\xff SIP/2.0"), None);
    }
}
