//! Diversion and History-Info as peers write them: all the forms of which somebody has said that they
//! are in use.

use proptest::prelude::*;

use super::*;
use crate::scan::scan;

fn diverted(headers: &str) -> Option<(String, DivertReason)> {
    let text = format!("INVITE sip:500@umbriel.example SIP/2.0\r\n{headers}\r\n\r\n");
    let message = scan(text.as_bytes()).unwrap();
    diverter(&message).map(|diverter| (diverter.party.user.into_owned(), diverter.reason))
}

fn by(user: &str, reason: DivertReason) -> Option<(String, DivertReason)> {
    Some((user.to_owned(), reason))
}

#[test]
fn a_call_that_was_not_diverted_names_nobody() {
    assert_eq!(diverted("Subject: x"), None);
}

#[test]
fn the_topmost_diversion_counts() {
    let two = "<sip:101@pbx>;reason=no-answer, <sip:102@pbx>;reason=user-busy";
    assert_eq!(diverted(&format!("Diversion: {two}")), by("101", DivertReason::NoAnswer));
    let three = "Diversion: <sip:103@pbx>\r\nDiversion: <sip:101@pbx>;reason=no-answer, <sip:102@pbx>";
    assert_eq!(diverted(three), by("103", DivertReason::Other));
}

#[test]
fn every_form_of_a_diversion_is_read() {
    for (form, user, reason) in [
        ("<tel:10001>;reason=no-answer", "10001", DivertReason::NoAnswer),
        ("tel:+1-425-555-0101;reason=user-busy", "+1-425-555-0101", DivertReason::Busy),
        ("<tel:101;phone-context=pbx.example>;reason=user-busy", "101", DivertReason::Busy),
        ("sip:101@pbx;reason=unconditional", "101", DivertReason::Unconditional),
        ("<sips:101@pbx:5061;transport=tcp;user=phone>;reason=No-Answer", "101", DivertReason::NoAnswer),
        ("<sip:101;phone-context=x@pbx>;privacy=off;REASON=User-Busy;screen=no", "101", DivertReason::Busy),
        (
            "\"A, <B>; C\" <sip:%31%30%31;x=y@pbx>;reason=\"unconditional\"",
            "101",
            DivertReason::Unconditional,
        ),
        ("Ann Lee<sip:101@[2001:db8::1]>;counter=1;reason=no-answer", "101", DivertReason::NoAnswer),
        ("<sip:101@pbx>\r\n ;reason=\r\n\tuser-busy", "101", DivertReason::Busy),
        ("< sip:101@pbx > ; reason = user-busy", "101", DivertReason::Busy),
        ("<sip:101@pbx>;reason=time-of-day", "101", DivertReason::Other),
        ("<sip:101@pbx>;reason", "101", DivertReason::Other),
        ("<sip:101@pbx>", "101", DivertReason::Other),
        // Parameters that no grammar has do not hide who diverted the call.
        ("<sip:101@pbx>;counter=1;counter=1;x=a b;reason=user-busy;", "101", DivertReason::Busy),
        ("<sip:101@pbx>junk;reason=user-busy", "101", DivertReason::Busy),
        // Comments, as RFC 2543 had them.
        ("(Lee, A.) <sip:101@pbx>;reason=no-answer (out (of office), gone)", "101", DivertReason::NoAnswer),
        ("<sip:101@pbx> (a \\) b, <sip:102@pbx>) ;reason=user-busy", "101", DivertReason::Busy),
        ("\"(101)\" <sip:(0)101@pbx>;reason=user-busy (never closed", "(0)101", DivertReason::Busy),
        ("sip:(0)101@pbx;reason=user-busy", "(0)101", DivertReason::Busy),
        // A reason within the URI, as History-Info has it.
        ("<sip:101@pbx?Reason=SIP%3Bcause%3D486>", "101", DivertReason::Busy),
    ] {
        assert_eq!(diverted(&format!("Diversion: {form}")), by(user, reason), "{form}");
    }
}

#[test]
fn else_the_last_other_user_of_history_info_counts() {
    let headers = "History-Info: <sip:100@pbx>;index=1, <sip:101@pbx?Reason=SIP%3Bcause%3D486%3Btext%3D%22Busy%22>;index=1.1\r\n\
                   History-Info: <sip:500@umbriel.example>;index=1.1.1";
    assert_eq!(diverted(headers), by("101", DivertReason::Busy));
    // From one host to the next it stays the same user.
    let moved = "History-Info: <sip:101@pbx?Reason=SIP%3Bcause%3D408>;index=1\r\n\
                 History-Info: <sip:500@a>;index=1.1, <sip:500@b>;index=1.1.1";
    assert_eq!(diverted(moved), by("101", DivertReason::NoAnswer));
    assert_eq!(diverted("History-Info: <sip:500@umbriel.example>;index=1"), None);
    assert_eq!(diverted("History-Info: <sip:500@a>;index=1, <sip:500@b>;index=1.1"), None);
}

#[test]
fn every_form_of_a_reason_in_history_info_is_read() {
    for (form, reason) in [
        ("?Reason=SIP%3Bcause%3D302%3Btext%3D%22Moved%20Temporarily%22", DivertReason::Unconditional),
        ("?reason=sip%3bCAUSE%3d480", DivertReason::NoAnswer),
        ("?Reason=SIP;cause=486;text=\"Busy, Here\"", DivertReason::Busy),
        ("?Reason=SIP;cause=486;text=\"Busy Here\"", DivertReason::Busy),
        ("?Privacy=history&Reason=Q.850%3Bcause%3D17", DivertReason::Busy),
        ("?Reason=Q.850%3Bcause%3D19&Privacy=none", DivertReason::NoAnswer),
        ("?Reason=Q.850%3Bcause%3D16%2CSIP%3Bcause%3D%22600%22", DivertReason::Busy),
        ("?Reason=Q.850%3Bcause%3D16&Reason=SIP%3Bcause%3D408", DivertReason::NoAnswer),
        ("?Reason=No-Answer", DivertReason::NoAnswer),
        ("?Reason=SIP%3Bcause%3D503", DivertReason::Other),
        ("?Reason", DivertReason::Other),
        ("?", DivertReason::Other),
        ("", DivertReason::Other),
    ] {
        let headers = format!("History-Info: <sip:101@pbx{form}>;index=1, <sip:500@umbriel>;index=1.1");
        assert_eq!(diverted(&headers), by("101", reason), "{form}");
    }
    let tel =
        "History-Info: <tel:101?Reason=SIP%3Bcause%3D486>;index=1, \"UM (main)\" <tel:500>;index=1.1 (pilot)";
    assert_eq!(diverted(tel), by("101", DivertReason::Busy));
}

#[test]
fn the_cause_of_a_uri_says_why_the_user_before_it_diverted() {
    let chain = "History-Info: <sip:100@pbx>;index=1, <sip:101@pbx;cause=302>;index=1.1, <sip:500@u;cause=408>;index=1.2";
    assert_eq!(diverted(chain), by("101", DivertReason::NoAnswer));
    let own = "History-Info: <sip:101@pbx;cause=486>;index=1,<sip:500@umbriel.example>;index=1.1";
    assert_eq!(diverted(own), by("101", DivertReason::Busy));
}

#[test]
fn diversion_weighs_more_than_history_info_unless_it_cannot_be_read() {
    let history = "History-Info: <sip:101@pbx>;index=1, <sip:500@u>;index=1.1\r\n";
    assert_eq!(diverted(&format!("{history}Diversion: <sip:102@pbx>")), by("102", DivertReason::Other));
    for unreadable in ["<sip:", "", "<sip:pbx.example>;reason=unknown", "101", "\"open <sip:102@pbx>", "(102"]
    {
        let headers = format!("{history}Diversion: {unreadable}");
        assert_eq!(diverted(&headers), by("101", DivertReason::Other), "{unreadable}");
    }
}

#[test]
fn the_domain_of_a_user_is_kept() {
    for header in ["<sip:alice@contoso.example>", "(a) sip:alice@contoso.example:5060;reason=unknown"] {
        let text = format!("INVITE sip:500@umbriel.example SIP/2.0\r\nDiversion: {header}\r\n\r\n");
        let party = diverter(&scan(text.as_bytes()).unwrap()).unwrap().party.into_owned();
        assert_eq!((party.user.as_ref(), party.domain.as_ref()), ("alice", "contoso.example"), "{header}");
    }
}

#[test]
fn a_diversion_below_one_that_names_nobody_is_not_asked() {
    assert_eq!(diverted("Diversion: <sip:pbx>;reason=unknown, <sip:102@pbx>"), None);
    assert_eq!(diverted("Diversion: \r\nDiversion: <sip:102@pbx>"), None);
}

proptest! {
    #[test]
    fn a_plain_entry_is_read_as_any_other_is(
        name in "(\"[a,(]{0,3}\" ?)?", user in "[a1?(%,]{0,4}", params in "(;(reason|a)?=?[a1(,\" ]{0,4}){0,3}",
    ) {
        let text = format!("{name}<sip:{user}@pbx>{params}");
        if let Some(plain) = Entry::parse_plain(&text) {
            prop_assert_eq!(Some(plain.diverter(None)), first_entry(&text).map(|entry| entry.diverter(None)));
        }
        let plain = Entry::parse_plain("\"A\" <sip:101@192.0.2.1>;reason=no-answer;privacy=off;counter=1");
        let reason = DivertReason::NoAnswer;
        prop_assert_eq!(plain.map(|entry| entry.diverter(None).reason), Some(reason));
    }
}
