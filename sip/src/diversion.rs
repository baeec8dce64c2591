//! For whom a call was meant before it was diverted to voice mail.
//!
//! Decides which of several diverting parties counts: the topmost `Diversion` (RFC 5806), else the
//! second last entry of `History-Info` (RFC 7044), as the user agent that diverted last is the one
//! whose mailbox is wanted. Refuses to know whether that user exists.

use std::borrow::Cow;

use crate::message::Message;
use crate::name::Name;
use crate::name_addr::NameAddr;
use crate::uri::unescape;

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

/// The user whose mailbox a diverted call is for: the number or name in the diverting URI, decoded,
/// without its parameters. `None` if the call was not diverted, or by a URI that cannot be read.
#[must_use]
pub fn diverting_user<'a>(message: &Message<'a>) -> Option<Cow<'a, str>> {
    diverting(message)?.uri.number()
}

/// Why the call was diverted by the user that [`diverting_user`] names. `None` if it was not.
#[must_use]
pub fn diverting_reason(message: &Message<'_>) -> Option<DivertReason> {
    let entry = diverting(message)?;
    // RFC 5806 section 4 has a parameter; History-Info carries an escaped Reason header in the URI
    // (RFC 7044 section 5), or the cause parameter of RFC 4458 section 2.
    if let Some(reason) = entry.params.get("reason") {
        return Some(reason_of_word(reason));
    }
    let header = entry.uri.headers().find(|(name, _)| name.eq_ignore_ascii_case("Reason"));
    let cause = match header {
        Some((_, value)) => cause_of(&unescape(value)),
        None => entry.uri.param("cause").and_then(|cause| cause.parse().ok()),
    };
    Some(match cause {
        Some(302) => DivertReason::Unconditional,
        Some(486) => DivertReason::Busy,
        Some(408 | 480) => DivertReason::NoAnswer,
        Some(_) | None => DivertReason::Other,
    })
}

/// The entry that counts. A Diversion header that cannot be read is as if it were not there.
fn diverting<'a>(message: &Message<'a>) -> Option<NameAddr<'a>> {
    let topmost = message.values(Name::Diversion).next();
    topmost.and_then(|value| NameAddr::parse(value).ok()).or_else(|| {
        let mut last_two = [None, None];
        for value in message.values(Name::HistoryInfo) {
            last_two = [last_two[1], Some(value)];
        }
        NameAddr::parse(last_two[0]?).ok()
    })
}

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

/// The `cause` of a Reason header such as `SIP;cause=302;text="Moved"` (RFC 3326).
fn cause_of(reason: &str) -> Option<u16> {
    let parameters = reason.split(';').skip(1).filter_map(|part| part.split_once('='));
    parameters
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("cause"))
        .find_map(|(_, value)| value.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::scan;

    fn diverted(headers: &str) -> (Option<String>, Option<DivertReason>) {
        let text = format!("INVITE sip:500@umbriel.example SIP/2.0\r\n{headers}\r\n");
        let message = scan(text.as_bytes()).unwrap();
        (diverting_user(&message).map(Cow::into_owned), diverting_reason(&message))
    }

    fn to(user: &str, reason: DivertReason) -> (Option<String>, Option<DivertReason>) {
        (Some(user.to_owned()), Some(reason))
    }

    #[test]
    fn a_call_that_was_not_diverted_names_nobody() {
        assert_eq!(diverted(""), (None, None));
    }

    #[test]
    fn the_topmost_diversion_counts() {
        let headers = "Diversion: <sip:101@pbx>;reason=no-answer, <sip:102@pbx>;reason=user-busy\r\nDiversion: <sip:103@pbx>\r\n";
        assert_eq!(diverted(headers), to("101", DivertReason::NoAnswer));
        assert_eq!(diverted("Diversion: <tel:10001>;reason=User-Busy\r\n"), to("10001", DivertReason::Busy));
        assert_eq!(
            diverted("Diversion: sip:101@pbx;reason=unconditional\r\n"),
            to("101", DivertReason::Unconditional)
        );
        assert_eq!(
            diverted("Diversion: \"A, B\" <sip:%31%30%31;x=y@pbx>;reason=\"time-of-day\"\r\n"),
            to("101", DivertReason::Other)
        );
    }

    #[test]
    fn else_the_second_last_entry_of_history_info_counts() {
        let headers = "History-Info: <sip:100@pbx>;index=1, <sip:101@pbx?Reason=SIP%3Bcause%3D486%3Btext%3D%22Busy%22>;index=1.1\r\n\
                       History-Info: <sip:500@umbriel.example>;index=1.1.1\r\n";
        assert_eq!(diverted(headers), to("101", DivertReason::Busy));
        let cause = "History-Info: <sip:101@pbx;cause=408>;index=1,<sip:500@umbriel.example>;index=1.1\r\n";
        assert_eq!(diverted(cause), to("101", DivertReason::NoAnswer));
        assert_eq!(diverted("History-Info: <sip:500@umbriel.example>;index=1\r\n"), (None, None));
    }

    #[test]
    fn diversion_weighs_more_than_history_info_unless_it_cannot_be_read() {
        let history = "History-Info: <sip:101@pbx>;index=1, <sip:500@u>;index=1.1\r\n";
        assert_eq!(
            diverted(&format!("{history}Diversion: <sip:102@pbx>\r\n")),
            to("102", DivertReason::Other)
        );
        assert_eq!(diverted(&format!("{history}Diversion: <sip:\r\n")), to("101", DivertReason::Other));
    }

    #[test]
    fn an_entry_without_a_user_names_nobody() {
        assert_eq!(
            diverted("Diversion: <sip:pbx.example>;reason=unknown\r\n"),
            (None, Some(DivertReason::Other))
        );
    }
}
