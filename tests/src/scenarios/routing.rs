//! Whose mailbox a call is for, from the request on the wire to the mail of its owner.

use std::time::Duration;

use crate::phone::Phone;
use crate::site::Site;

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
