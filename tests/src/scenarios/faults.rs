//! What goes wrong says so with its code, and everything else goes on.

use std::time::Duration;

use crate::audio::{Law, noise};
use crate::phone::Phone;
use crate::site::Site;
use crate::wait_until;
use crate::wire::{Invite, Wire};

fn invite(called: &'static str, call_id: &'static str) -> Invite<'static> {
    Invite { called, diverting: None, call_id }
}

fn from_the_gateway(site: &dyn Site) -> Wire {
    Wire::new(site.caller(), site.router())
}

/// A good call is still redirected.
fn still_serves(site: &dyn Site, call_id: &'static str) {
    let answer = from_the_gateway(site).invite(&invite("101", call_id));
    assert!(answer.starts_with("SIP/2.0 302 "), "a good call is redirected: {answer}");
}

fn refused(answer: &str, status: u16, code: &str) {
    assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{status}: {answer}");
    let reason = answer.lines().find(|line| line.starts_with("Reason: ")).unwrap_or_default();
    assert!(reason.contains(code), "the Reason names {code}: {answer}");
}

/// Calls until one is redirected. How soon that is, is measured where nothing else runs.
fn is_soon_redirected(site: &dyn Site, called: &str) {
    let wire = from_the_gateway(site);
    let mut tries = 0;
    wait_until(&format!("{called} is served"), Duration::from_secs(20), || {
        tries += 1;
        let call_id = format!("{called}-{tries}");
        let answer = wire.invite(&Invite { called, diverting: None, call_id: &call_id });
        answer.starts_with("SIP/2.0 302 ").then_some(())
    });
}

pub(super) fn a_malformed_file_and_a_wrong_value_are_named_and_what_was_there_serves(site: &dyn Site) {
    site.apply("alice.yaml", "apiVersion: umbriel.dev/v1alpha1\nkind: UMMailbox\nmetadata: [broken\n");
    site.wait_until_told(&["alice.yaml"]);
    let plan = "apiVersion: umbriel.dev/v1alpha1\nkind: UMDialPlan\nmetadata:\n  name: contoso\nspec:\n  \
                numberOfDigitsInExtension: 3\n  recordingIdleTimeout: 99\n";
    site.apply("dialplan.yaml", plan);
    site.wait_until_told(&["recordingIdleTimeout", "99", "10"]);
    still_serves(site, "wrong");
}

pub(super) fn a_dangling_reference_harms_only_its_own_object(site: &dyn Site) {
    let lost = "apiVersion: umbriel.dev/v1alpha1\nkind: UMMailbox\nmetadata:\n  name: carol\nspec:\n  \
                umMailboxPolicy: nobody\n  extensions: [\"103\"]\n  primarySmtpAddress: carol@contoso.example\n";
    site.apply("carol.yaml", lost);
    site.wait_until_told(&["UM1010"]);
    refused(&from_the_gateway(site).invite(&invite("103", "dangling")), 404, "UM1110");
    still_serves(site, "dangling-other");
    // The policy arrives: the object heals without being touched.
    let policy = "apiVersion: umbriel.dev/v1alpha1\nkind: UMMailboxPolicy\nmetadata:\n  name: nobody\nspec:\n  umDialPlan: contoso\n";
    site.apply("nobody.yaml", policy);
    is_soon_redirected(site, "103");
}

pub(super) fn an_unknown_caller_is_refused_by_router_and_mailbox_server(site: &dyn Site) {
    let stranger = site.stranger();
    refused(&Wire::new(stranger, site.router()).invite(&invite("101", "stranger")), 403, "UM1102");
    refused(&Wire::new(stranger, site.mailbox_server()).invite(&invite("101", "stranger-2")), 403, "UM1102");
    still_serves(site, "stranger-other");
}

pub(super) fn a_call_for_nobody_is_refused_with_404_and_a_number_of_another_length_with_484(site: &dyn Site) {
    let wire = from_the_gateway(site);
    refused(&wire.invite(&invite("199", "nobody")), 404, "UM1110");
    refused(&wire.invite(&invite("19", "short")), 484, "UM1109");
    // The Contact keeps the called number; whose mailbox it is travels in the token.
    let diverted = Invite { called: "900", diverting: Some("102"), call_id: "diverted" };
    assert!(wire.invite(&diverted).contains("Contact: <sip:900@"), "the diverted call is taken");
    site.wait_until_logged(r#""mailbox":"bob""#);
}

pub(super) fn noise_gets_no_answer_and_harms_nobody(site: &dyn Site) {
    let wire = from_the_gateway(site);
    let at_mailbox = Wire::new(site.caller(), site.mailbox_server());
    for seed in 1..200 {
        let noise = noise(Law::Mu, seed, usize::try_from(seed).unwrap_or(1) * 7);
        wire.send(&noise);
        at_mailbox.send(&noise);
    }
    for text in ["\r\n\r\n", "INVITE\r\n\r\n", "INVITE sip:101 SIP/2.0\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n"] {
        wire.send(text.as_bytes());
        at_mailbox.send(text.as_bytes());
    }
    still_serves(site, "noise");
    let mut phone = Phone::call(site, "101", 1);
    phone.hang_up();
}

pub(super) fn an_edit_reaches_the_wire(site: &dyn Site) {
    refused(&from_the_gateway(site).invite(&invite("104", "before")), 404, "UM1110");
    let dave = "apiVersion: umbriel.dev/v1alpha1\nkind: UMMailbox\nmetadata:\n  name: dave\nspec:\n  \
                umMailboxPolicy: staff\n  extensions: [\"104\"]\n  primarySmtpAddress: dave@contoso.example\n";
    site.apply("dave.yaml", dave);
    is_soon_redirected(site, "104");
}
