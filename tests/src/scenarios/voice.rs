//! Real callers leave messages, and what arrives by mail is what they said, sample for sample.

use std::time::Duration;

use crate::audio::{self, Law};
use crate::callers::{Baresip, Dialled, Running, Sipp};
use crate::mail::Mail;
use crate::site::Site;

/// Long enough for greeting and tone, and for some seconds after them.
const SOUND_S: usize = 12;

/// On a busy machine sipp speaks this much later than it should; it hangs up when it has said all.
const LATE_S: u64 = 3;

fn format_of(law: Law) -> u16 {
    match law {
        Law::Mu => 7,
        Law::A => 6,
    }
}

/// The message holds what was said from the tone to the end, and nothing else.
fn is_the_end_of(sound: &[u8], mail: &Mail, law: Law) {
    assert_eq!((mail.audio.format, mail.audio.rate), (format_of(law), 8000), "{}", mail.path.display());
    assert!(mail.audio.data.len() >= 8000, "at least a second: {} samples", mail.audio.data.len());
    assert!(
        sound.ends_with(&mail.audio.data),
        "caller {}: the recording is the end of what was sent",
        mail.caller
    );
}

/// Twenty callers at once, each with a sound of its own, half of them for each mailbox.
fn twenty_at_once(site: &dyn Site, transport: &'static str, law: Law) {
    // Media ports follow from callers' numbers, and these scenarios run side by side.
    let first = if transport == "udp" { 200 } else { 300 };
    let calls: Vec<Sipp> = (0..20_u16)
        .map(|number| Sipp {
            called: if number % 2 == 0 { "101" } else { "102" },
            caller: (first + number).to_string(),
            transport,
            law,
            sound: audio::noise(law, u64::from(number) + 1, 8000 * SOUND_S),
            hang_up_after: Duration::from_secs(SOUND_S as u64 + LATE_S),
        })
        .collect();
    let running: Vec<_> = calls.iter().map(|call| call.start(site)).collect();
    running.into_iter().for_each(Running::finish);

    let mails = site.wait_for_mails(20);
    assert_eq!(mails.len(), 20, "one message per call");
    for call in &calls {
        let mail = mails.iter().find(|mail| mail.caller == call.caller).expect("a message of each caller");
        is_the_end_of(&call.sound, mail, law);
        let owner = if call.called == "101" { "alice@contoso.example" } else { "bob@contoso.example" };
        assert_eq!(mail.to, owner);
    }
}

pub(super) fn twenty_sipp_callers_over_udp_leave_mu_law_messages(site: &dyn Site) {
    twenty_at_once(site, "udp", Law::Mu);
}

pub(super) fn twenty_sipp_callers_over_tcp_leave_a_law_messages(site: &dyn Site) {
    twenty_at_once(site, "tcp", Law::A);
}

/// baresip follows the redirect by itself, speaks from the answer on and hangs up after a while.
fn baresip_leaves_a_message(site: &dyn Site, transport: &str, law: Law) {
    let sound = audio::noise(law, 77, 8000 * 30);
    let baresip = Baresip { law, ..Baresip::of(Dialled { transport, ..Dialled::to(site, "101") }) };
    let text = baresip.call(site, &sound, Duration::from_secs(12));
    assert!(text.contains("Call established"), "baresip: {text}");

    let mails = site.wait_for_mails(1);
    let [mail] = mails.as_slice() else { panic!("one message, not {}", mails.len()) };
    assert_eq!(mail.audio.format, format_of(law));
    assert!(mail.audio.data.len() >= 8000 * 2, "{} samples\n{text}", mail.audio.data.len());
    assert!(
        audio::find(&sound, &mail.audio.data).is_some(),
        "the recording is one piece of what was sent\n{text}"
    );
}

pub(super) fn baresip_over_udp_leaves_a_mu_law_message(site: &dyn Site) {
    baresip_leaves_a_message(site, "udp", Law::Mu);
}

pub(super) fn baresip_over_tcp_leaves_an_a_law_message(site: &dyn Site) {
    baresip_leaves_a_message(site, "tcp", Law::A);
}
