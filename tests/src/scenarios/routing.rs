//! Whose mailbox a call is for, from the request on the wire to the mail of its owner.

use std::time::Duration;

use crate::phone::Phone;
use crate::site::Site;
use crate::wait_until;
use crate::wire::{Invite, Wire};

/// Leaves a message of a second.
fn leave_a_message(mut phone: Phone) {
    phone.speak_through_the_greeting();
    phone.speak(Duration::from_secs(1));
    phone.hang_up();
}

pub(super) fn a_diverted_call_is_for_who_diverted_it_and_the_mail_says_why(site: &dyn Site) {
    let forms = [
        ("Diversion: \"Bob (UM)\" <tel:102> (out, today);reason=\"user-busy\"\r\n", "busy"),
        (
            "History-Info: <sip:101@pbx>;index=1,\r\n <sip:102@pbx?Reason=Q.850%3Bcause%3D19>;index=1.1\r\n\
             History-Info: <sip:900@pbx>;index=1.1.1\r\n",
            "no answer",
        ),
    ];
    std::thread::scope(|scope| {
        for (seed, (headers, _)) in (1..).zip(forms) {
            scope.spawn(move || leave_a_message(Phone::call_saying(site, "900", headers, seed)));
        }
    });
    let mails = site.wait_for_mails(forms.len());
    assert!(mails.iter().all(|mail| mail.to == "bob@contoso.example"), "{mails:?}");
    for (_, why) in forms {
        let line = format!("Diverted:  {why}");
        let says = mails.iter().filter(|mail| String::from_utf8_lossy(&mail.raw).contains(&line)).count();
        assert_eq!(says, 1, "one mail says {line:?}");
    }
}

/// Dial plans of the two other types, each behind a pilot of its own, and a user of all three.
const PLANS: &str = "\
apiVersion: umbriel.dev/v1alpha1
kind: UMDialPlan
metadata: {name: people}
spec: {numberOfDigitsInExtension: 3, uriType: SipName, accessTelephoneNumbers: ['+14255550500']}
---
apiVersion: umbriel.dev/v1alpha1
kind: UMDialPlan
metadata: {name: world}
spec: {numberOfDigitsInExtension: 4, uriType: E164}
---
apiVersion: umbriel.dev/v1alpha1
kind: UMMailboxPolicy
metadata: {name: team}
spec: {umDialPlan: people}
---
apiVersion: umbriel.dev/v1alpha1
kind: UMHuntGroup
metadata: {name: pbx-people}
spec: {umIPGateway: pbx, umDialPlan: people, pilotIdentifier: um@contoso.example}
---
apiVersion: umbriel.dev/v1alpha1
kind: UMHuntGroup
metadata: {name: pbx-people-access}
spec: {umIPGateway: pbx, umDialPlan: people, pilotIdentifier: '+14255550500'}
---
apiVersion: umbriel.dev/v1alpha1
kind: UMHuntGroup
metadata: {name: pbx-world}
spec: {umIPGateway: pbx, umDialPlan: world, pilotIdentifier: '+14255550900'}
---
apiVersion: umbriel.dev/v1alpha1
kind: UMMailbox
metadata: {name: zoe}
spec:
  umMailboxPolicy: team
  extensions: ['777']
  sipResourceIdentifier: zoe@contoso.example
  secondaryAddresses: [{umDialPlan: contoso, address: '778'}, {umDialPlan: world, address: '+14255550777'}]
  primarySmtpAddress: zoe@contoso.example
";

/// The answer to an INVITE for `uri` with these header lines.
fn answer(wire: &Wire, uri: &str, more: &str, call_id: &str) -> String {
    let text = wire.text(&Invite { called: "900", diverting: None, call_id });
    let written = text.split(' ').nth(1).expect("a Request-URI").to_owned();
    let text = text.replacen(&written, uri, 1);
    wire.ask(&text.replacen("Contact:", &format!("{more}Contact:"), 1), call_id)
}

/// Calls `uri` until a router redirects the call; gives the URI in Contact, and a wire to the server
/// there.
fn redirected(site: &dyn Site, uri: &str, call_id: &str) -> (String, Wire) {
    let wire = Wire::new(site.caller(), site.router());
    let mut tries = 0;
    let redirect = wait_until(&format!("{uri} is served"), Duration::from_secs(20), || {
        tries += 1;
        let answer = answer(&wire, uri, "", &format!("{call_id}-{tries}"));
        answer.starts_with("SIP/2.0 302 ").then_some(answer)
    });
    let target =
        redirect.split_once("Contact: <").and_then(|(_, rest)| rest.split('>').next()).expect("a Contact");
    let server = target.split(['@', ';']).nth(1).expect("a host").parse().expect("an address and a port");
    (target.to_owned(), Wire::new(site.caller(), server))
}

pub(super) fn a_user_is_found_by_sip_address_by_e164_number_and_through_another_dial_plan(site: &dyn Site) {
    site.apply("plans.yaml", PLANS);
    let wire = Wire::new(site.caller(), site.router());
    let calls = [
        ("sip:778@192.0.2.1", ""),
        ("sip:UM@Contoso.example", "Diversion: <sip:Zoe@CONTOSO.example>;reason=no-answer\r\n"),
        ("sip:um@contoso.example", "Diversion: <tel:777>\r\n"),
        ("tel:+1-425-555-0900", "Diversion: <tel:+1-425-555-0777>;reason=user-busy\r\n"),
        (
            "sip:14255550900@192.0.2.1",
            "History-Info: <sip:+14255550777@pbx>;index=1,<sip:+14255550900@pbx>;index=1.1\r\n",
        ),
    ];
    for (number, (uri, more)) in calls.into_iter().enumerate() {
        let mut tries = 0;
        wait_until(&format!("a call for {uri} {more}"), Duration::from_secs(20), || {
            tries += 1;
            let answer = answer(&wire, uri, more, &format!("plans-{number}-{tries}"));
            answer.starts_with("SIP/2.0 302 ").then_some(())
        });
    }
    site.wait_until_logged(r#""mailbox":"zoe""#);
    let nobody =
        answer(&wire, "sip:um@contoso.example", "Diversion: <sip:yan@contoso.example>\r\n", "plans-y");
    assert!(nobody.starts_with("SIP/2.0 404 ") && nobody.contains("UM1110"), "{nobody}");
}

pub(super) fn an_access_number_leads_to_a_mailbox_server_that_says_what_it_cannot_do(site: &dyn Site) {
    site.apply("plans.yaml", PLANS);
    let (target, there) = redirected(site, "sip:+14255550500@192.0.2.1", "access");
    let refused = refused_there(&there, &target, "access", "UM1132");
    assert!(refused.starts_with("SIP/2.0 480 "), "{refused}");
}

/// What a mailbox server says to a call for `target` once it refuses it with this code.
fn refused_there(there: &Wire, target: &str, call_id: &str, code: &str) -> String {
    let mut tries = 0;
    // Each server takes up news by itself: until then this one has no such number.
    wait_until("the mailbox server knows the number", Duration::from_secs(20), || {
        tries += 1;
        let answer = answer(there, target, "", &format!("{call_id}-there-{tries}"));
        answer.contains(code).then_some(answer)
    })
}

pub(super) fn a_pilot_of_an_auto_attendant_leads_to_a_mailbox_server_that_says_what_it_cannot_do(
    site: &dyn Site,
) {
    let reception = include_str!("../../../examples/attendant/autoattendant.yaml");
    site.apply("autoattendant.yaml", reception);
    let (target, there) = redirected(site, "sip:+14255550600@192.0.2.1", "attendant");
    let refused = refused_there(&there, &target, "attendant", "UM1135");
    assert!(refused.starts_with("SIP/2.0 480 "), "{refused}");
    // Whoever forwarded the call, it is the pilot that was called.
    let wire = Wire::new(site.caller(), site.router());
    let diverted = answer(&wire, "sip:600@192.0.2.1", "Diversion: <sip:102@pbx>\r\n", "attendant-diverted");
    assert!(diverted.starts_with("SIP/2.0 302 "), "{diverted}");

    site.apply("autoattendant.yaml", &reception.replace("status: Enabled", "status: Disabled"));
    let refused = refused_there(&wire, "sip:reception@contoso.example", "attendant-disabled", "UM1134");
    assert!(refused.starts_with("SIP/2.0 480 "), "{refused}");
}

pub(super) fn a_caller_who_is_a_user_is_shown_by_name_and_an_anonymous_one_may_be_refused(site: &dyn Site) {
    let carol = "apiVersion: umbriel.dev/v1alpha1\nkind: UMMailbox\nmetadata:\n  name: carol\nspec:\n  \
                 umMailboxPolicy: staff\n  extensions: [\"200\"]\n  displayName: Carol\n  \
                 anonymousCallersCanLeaveMessages: false\n  primarySmtpAddress: carol@contoso.example\n";
    site.apply("carol.yaml", carol);
    let (_, there) = redirected(site, "sip:200@192.0.2.1", "carol");
    let mut tries = 0;
    // Each server takes up news by itself: until then this one has nobody of that number.
    let refused = wait_until("the mailbox server knows carol", Duration::from_secs(20), || {
        tries += 1;
        let answer = call_without_a_number(&there, &format!("nobody-calls-{tries}"));
        (!answer.starts_with("SIP/2.0 404 ")).then_some(answer)
    });
    assert!(refused.starts_with("SIP/2.0 433 ") && refused.contains("UM1133"), "{refused}");

    // The phone calls as 200, which is Carol's extension.
    leave_a_message(Phone::call(site, "101", 1));
    let mails = site.wait_for_mails(1);
    let text = String::from_utf8_lossy(&mails[0].raw).into_owned();
    for line in ["From: Carol <", "Reply-To: Carol <carol@contoso.example>", "Caller:    200 (Carol)"] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

/// What a caller hears who calls 200 and shows no number.
fn call_without_a_number(there: &Wire, call_id: &str) -> String {
    let text = there.text(&Invite { called: "200", diverting: None, call_id });
    let from = text.lines().find(|line| line.starts_with("From: ")).expect("From");
    let text = text.replacen(from, "From: <sip:anonymous@anonymous.invalid>;tag=nobody", 1);
    there.ask(&text, call_id)
}
