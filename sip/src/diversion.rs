//! For whom a call was meant before it was diverted to voice mail, and why it was.
//!
//! Decides which of several diverting parties counts: the topmost `Diversion` (RFC 5806), else that of
//! `History-Info` (RFC 7044) before its last one, as the user agent that diverted last is the one whose
//! mailbox is wanted. Reads both headers as leniently as can be, because what is around the URI is
//! written by every peer in its own way: comments, names, reasons. Refuses to know whether that user
//! exists, and to guess: where the topmost `Diversion` names nobody, the one below it is that of
//! another user, whose mailbox this message is not for.

use std::borrow::Cow;

use memchr::memchr;

use crate::lex::{Split, cut, find_open, kind, position, quoted_end, run, trim};
use crate::message::Message;
use crate::name::Name;
use crate::name_addr::read_bracketed;
use crate::params::unquote;
use crate::party::Party;
use crate::uri::{Uri, unescape};

/// Who diverted a call, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diverter<'a> {
    /// The user whose mailbox the call is for.
    pub party: Party<'a>,
    /// Why the call was diverted.
    pub reason: DivertReason,
}

/// Why a call was diverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DivertReason {
    /// Every call is diverted.
    Unconditional,
    /// The user was busy.
    Busy,
    /// The user did not answer.
    NoAnswer,
    /// Any other reason, or none given.
    Other,
}

/// Who diverted the call to us. `None` if nobody did, or nobody who can be read.
#[must_use]
pub fn diverter<'a>(message: &Message<'a>) -> Option<Diverter<'a>> {
    let topmost = message
        .header(Name::Diversion)
        .and_then(|line| Entry::parse_plain(line).or_else(|| first_entry(line)));
    topmost.map(|entry| entry.diverter(None)).or_else(|| of_history(message))
}

/// Two entries at least, the last of which is where the call is now: with us. The one before it counts;
/// entries that only move the call between hosts are one.
fn of_history<'a>(message: &Message<'a>) -> Option<Diverter<'a>> {
    let mut before: Option<Diverter<'a>> = None;
    let mut last: Option<Entry<'a>> = None;
    for line in message.headers(Name::HistoryInfo) {
        for_each_entry(line, |entry| {
            let Some(entry) = entry else { return };
            if let Some(last) = last.take().filter(|last| last.party.user != entry.party.user) {
                before = Some(last.diverter(entry.cause));
            }
            last = Some(entry);
        });
    }
    before
}

/// One entry of either header.
struct Entry<'a> {
    party: Party<'a>,
    /// Why this user diverted the call, as a parameter of the entry or an escaped `Reason` says.
    reason: Option<DivertReason>,
    /// The `cause` of the URI (RFC 4458): why the call was sent here, which is why the user before
    /// diverted it.
    cause: Option<DivertReason>,
}

impl<'a> Entry<'a> {
    /// What it says of its user; `next_cause` is what the entry after it says of the reason.
    fn diverter(self, next_cause: Option<DivertReason>) -> Diverter<'a> {
        let reason = self.reason.or(next_cause).or(self.cause).unwrap_or(DivertReason::Other);
        Diverter { party: self.party, reason }
    }

    fn into_owned(self) -> Entry<'static> {
        Entry { party: self.party.into_owned(), reason: self.reason, cause: self.cause }
    }

    /// What nearly all of them are, read in one go: `["name"] <URI>[;parameters]`, the parameters being tokens.
    /// `None` for all others.
    fn parse_plain(text: &'a str) -> Option<Entry<'a>> {
        let (_, uri, mut rest) = read_bracketed(text)?;
        let mut reason = None;
        while let Some(param) = rest.strip_prefix(';') {
            let (name, behind) = param.split_at(run(param, kind::TOKEN));
            rest = behind;
            if let Some(behind) = behind.strip_prefix('=') {
                let (value, behind) = behind.split_at(run(behind, kind::TOKEN));
                if reason.is_none() && name.eq_ignore_ascii_case("reason") {
                    reason = Some(reason_of_word(value));
                }
                rest = behind;
            }
        }
        // A plain one has no comma that separates, and no comment.
        if !rest.is_empty() || uri.has_params() || position(uri.text.as_bytes(), b'?').is_some() {
            return None;
        }
        Some(Entry { party: Party::of(&uri)?, reason, cause: None })
    }

    /// `["name"] <URI>;parameters`, or without brackets. `None` if no user can be read in it.
    fn parse(text: &'a str) -> Option<Entry<'a>> {
        let (uri, params) = match find_open(text, b'<') {
            Some(at) => {
                let (uri, behind) = cut(&text[at + 1..], b'>')?;
                (uri, cut(behind, b';').map_or("", |(_, params)| params))
            }
            None => cut(text, b';').unwrap_or((text, "")),
        };
        let uri = trim(uri);
        // Texts of reasons are often not escaped, and then the URI is none: what is behind `?` is no part
        // of the address.
        let (address, headers) = match position(uri.as_bytes(), b'?') {
            None => (uri, ""),
            Some(_) => split_headers(uri),
        };
        let address = Uri::parse(address).ok()?;
        let mut params = Split::new(params, b';').filter_map(|part| cut(part, b'='));
        let word = params.find(|(name, _)| trim(name).eq_ignore_ascii_case("reason"));
        let word = word.map(|(_, value)| reason_of_word(unquote(trim(value))));
        let escaped = || {
            let headers = headers.split('&').filter_map(|header| header.split_once('='));
            let mut reasons = headers.filter(|(name, _)| name.eq_ignore_ascii_case("Reason"));
            reasons.find_map(|(_, value)| reason_of_header(&unescape(value)))
        };
        let cause = address.param("cause").and_then(|cause| reason_of_status(cause.parse().ok()?));
        Some(Entry { party: Party::of(&address)?, reason: word.or_else(escaped), cause })
    }
}

/// The address and what is behind its `?`, which may stand in the user part too.
fn split_headers(uri: &str) -> (&str, &str) {
    match uri.rfind('@').and_then(|at| uri[at..].find('?').map(|to| at + to)) {
        Some(at) => (&uri[..at], &uri[at + 1..]),
        None => uri.split_once('?').filter(|(address, _)| !address.contains('@')).unwrap_or((uri, "")),
    }
}

/// The first entry of a header line, if it can be read.
fn first_entry(line: &str) -> Option<Entry<'_>> {
    let mut first = None;
    for_each_entry(line, |entry| first = first.take().or(Some(entry)));
    first.flatten()
}

/// Gives every entry of a header line to `take`, one that cannot be read as `None`.
fn for_each_entry<'a>(line: &'a str, mut take: impl FnMut(Option<Entry<'a>>)) {
    match without_comments(line) {
        Cow::Borrowed(line) => Split::new(line, b',').for_each(|text| take(Entry::parse(text))),
        Cow::Owned(line) => {
            Split::new(&line, b',').for_each(|text| take(Entry::parse(text).map(Entry::into_owned)));
        }
    }
}

/// `line` without the comments of RFC 2543 (section 6.6), which peers still write there: `(...)`, one
/// within another, where a word may begin outside of quoted strings and angle brackets.
fn without_comments(line: &str) -> Cow<'_, str> {
    if memchr(b'(', line.as_bytes()).is_none() {
        return Cow::Borrowed(line);
    }
    let mut kept = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(next) = rest.chars().next() {
        let begins = kept.is_empty() || kept.ends_with([' ', '\t', '\r', '\n', '>', '"', ';', ',']);
        let length = match next {
            '"' => quoted_end(rest).unwrap_or(rest.len()),
            '<' => rest.find('>').map_or(rest.len(), |at| at + 1),
            '(' if begins => {
                rest = &rest[comment_end(rest)..];
                continue;
            }
            other => other.len_utf8(),
        };
        kept.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    Cow::Owned(kept)
}

/// Where the comment that opens at the start of `text` ends: the index behind its closing bracket, and
/// the end of the text where it has none.
fn comment_end(text: &str) -> usize {
    let (mut depth, mut escaped) = (0_usize, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' if depth == 1 => return at + 1,
            b')' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// The words of RFC 5806 section 4.
fn reason_of_word(word: &str) -> DivertReason {
    let is = |known: &str| word.eq_ignore_ascii_case(known);
    if is("unconditional") {
        DivertReason::Unconditional
    } else if is("user-busy") {
        DivertReason::Busy
    } else if is("no-answer") {
        DivertReason::NoAnswer
    } else {
        DivertReason::Other
    }
}

/// A Reason header such as `SIP;cause=302;text="Moved"` (RFC 3326), several with commas between them, or
/// a word as Diversion has it. `None` if none of them says anything known.
fn reason_of_header(header: &str) -> Option<DivertReason> {
    Split::new(header, b',').find_map(|reason| {
        let (protocol, params) = reason.split_once(';').unwrap_or((reason, ""));
        let mut params = Split::new(params, b';').filter_map(|part| part.split_once('='));
        let cause = params.find(|(name, _)| trim(name).eq_ignore_ascii_case("cause"));
        let cause = cause.and_then(|(_, value)| unquote(trim(value)).parse().ok());
        match cause {
            Some(cause) if trim(protocol).eq_ignore_ascii_case("Q.850") => reason_of_q850(cause),
            Some(cause) => reason_of_status(cause),
            None => Some(reason_of_word(trim(protocol))).filter(|reason| *reason != DivertReason::Other),
        }
    })
}

/// SIP status codes as reasons (RFC 4458 section 2).
fn reason_of_status(cause: u16) -> Option<DivertReason> {
    match cause {
        302 => Some(DivertReason::Unconditional),
        486 | 600 => Some(DivertReason::Busy),
        408 | 480 => Some(DivertReason::NoAnswer),
        _ => None,
    }
}

/// Causes of the telephone network (ITU-T Q.850): 17 user busy, 18 no user responding, 19 no answer.
fn reason_of_q850(cause: u16) -> Option<DivertReason> {
    match cause {
        17 => Some(DivertReason::Busy),
        18 | 19 => Some(DivertReason::NoAnswer),
        _ => None,
    }
}

#[cfg(test)]
#[path = "diversion_tests.rs"]
mod tests;
