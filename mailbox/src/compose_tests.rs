//! The mail that an owner gets, as a mail program reads it.

use config::Owner;
use mail_parser::{HeaderValue, MessageParser, MimeHeaders};

use super::*;
use crate::message::{Codec, EndedBy, MessageId};
use crate::wav;

fn facts() -> StoredFacts {
    StoredFacts {
        recording: RecordingFacts {
            id: MessageId::new(1_790_000_000_000, [7; 10]),
            mailbox: "alice".into(),
            caller: Some("102".into()),
            caller_name: None,
            caller_address: None,
            called: "101".into(),
            diverted: None,
            call_id: "a84b4c76e66710@pc33.example.com".into(),
            gateway: "loopback".into(),
            codec: Codec::Pcmu,
            started_unix_ms: 1_790_000_000_000,
        },
        ended_by: EndedBy::Hangup,
        samples: 7 * 8_000,
        damaged: false,
    }
}

fn alice() -> Recipient {
    let owner = Owner {
        display_name: Some("Alice Smith".into()),
        primary_smtp_address: "alice@contoso.example".into(),
        mailbox_policy: "staff".into(),
        refuses_anonymous_callers: false,
    };
    Recipient { owner, policy: MailboxPolicy::default() }
}

fn mail(facts: &StoredFacts, recipient: &Recipient, wav: Vec<u8>) -> Vec<u8> {
    compose(facts, recipient, "voicemail@contoso.example", wav).unwrap().formatted()
}

/// The headers that are not those of MIME, in order, as they are written.
fn headers(mail: &[u8]) -> String {
    let text = String::from_utf8(mail.to_vec()).unwrap();
    let (headers, _) = text.split_once("\r\n\r\n").unwrap();
    headers.replace("\r\n", "\n")
}

#[test]
fn the_headers_are_those_of_a_call_that_was_answered() {
    assert_eq!(
        headers(&mail(&facts(), &alice(), wav::write(Codec::Pcmu, &[1, 2, 3]))),
        "From: 102 <voicemail@contoso.example>\n\
         To: \"Alice Smith\" <alice@contoso.example>\n\
         Subject: Voice Mail from 102 (7 seconds)\n\
         Date: Mon, 21 Sep 2026 14:13:20 +0000\n\
         Message-ID: <01a0c450-6c00-7707-8707-070707070707@umbriel.invalid>\n\
         Content-Class: voice-ca\n\
         X-CallingTelephoneNumber: 102\n\
         X-VoiceMessageDuration: 7\n\
         X-AttachmentOrder: 102 (7 seconds) Voice Mail.wav\n\
         X-CallID: a84b4c76e66710@pc33.example.com\n\
         MIME-Version: 1.0\n\
         Content-Type: multipart/mixed;\n boundary=\"01a0c450-6c00-7707-8707-070707070707\""
    );
}

#[test]
fn the_attachment_holds_every_byte_of_the_audio() {
    let audio: Vec<u8> = (0..=255).cycle().take(10_001).collect();
    let wav = wav::write(Codec::Pcmu, &audio);
    let mail = mail(&facts(), &alice(), wav.clone());
    let parsed = MessageParser::default().parse(&mail).unwrap();
    let attachment = parsed.attachment(0).unwrap();
    assert_eq!(attachment.attachment_name(), Some("102 (7 seconds) Voice Mail.wav"));
    let kind = attachment.content_type().unwrap();
    assert_eq!((kind.ctype(), kind.subtype()), ("audio", Some("wav")));
    assert_eq!(attachment.contents(), wav);
    assert!(mail.is_ascii(), "no mail server may have to understand 8BITMIME");
}

#[test]
fn the_text_says_who_called_whom_and_when() {
    let policy = MailboxPolicy { voice_mail_text: Some("Contoso: keep it private.".into()) };
    let mail = mail(&facts(), &Recipient { policy, ..alice() }, Vec::new());
    let parsed = MessageParser::default().parse(&mail).unwrap();
    assert_eq!(
        parsed.body_text(0).unwrap().replace("\r\n", "\n").trim_end(),
        "You received a voice message from 102.\n\n\
         Caller:    102\n\
         Called:    101\n\
         Received:  2026-09-21 14:13:20 UTC\n\
         Duration:  7 seconds\n\n\
         Contoso: keep it private."
    );
}

#[test]
fn the_text_says_why_the_call_was_diverted() {
    for (reason, words) in [
        (DivertReason::Unconditional, "every call"),
        (DivertReason::Busy, "busy"),
        (DivertReason::NoAnswer, "no answer"),
        (DivertReason::Other, "for another reason"),
    ] {
        let mut facts = facts();
        facts.recording.diverted = Some(reason);
        let mail = mail(&facts, &alice(), Vec::new());
        let parsed = MessageParser::default().parse(&mail).unwrap();
        let text = parsed.body_text(0).unwrap().replace("\r\n", "\n");
        let line = format!("\nCalled:    101\nDiverted:  {words}\nReceived:  ");
        assert!(text.contains(&line), "{text}");
    }
}

#[test]
fn a_caller_who_is_a_user_can_be_answered() {
    let mut facts = facts();
    facts.recording.caller_name = Some("Bob".into());
    facts.recording.caller_address = Some("bob@contoso.example".into());
    let mail = mail(&facts, &alice(), Vec::new());
    let parsed = MessageParser::default().parse(&mail).unwrap();
    let reply_to = parsed.reply_to().unwrap().first().unwrap();
    assert_eq!((reply_to.name(), reply_to.address()), (Some("Bob"), Some("bob@contoso.example")));
    assert_eq!(parsed.from().unwrap().first().unwrap().name(), Some("Bob"));
}

#[test]
fn what_a_crash_or_a_bad_disk_took_is_said() {
    let facts = StoredFacts { ended_by: EndedBy::Crash, damaged: true, ..facts() };
    let mail = mail(&facts, &alice(), Vec::new());
    let parsed = MessageParser::default().parse(&mail).unwrap();
    let text = parsed.body_text(0).unwrap().into_owned();
    assert!(text.contains("This recording is incomplete"), "{text}");
    assert!(text.contains("A piece of this recording was damaged"), "{text}");
}

#[test]
fn a_name_in_another_script_arrives_as_it_was_presented() {
    let mut facts = facts();
    facts.recording.caller_name = Some("Жанна Д’Арк".into());
    let mail = mail(&facts, &alice(), Vec::new());
    assert!(mail.is_ascii());
    let parsed = MessageParser::default().parse(&mail).unwrap();
    assert_eq!(parsed.from().unwrap().first().unwrap().name(), Some("Жанна Д’Арк"));
    // Written as RFC 2047 asks: the parser decodes only headers that it knows.
    let Some(HeaderValue::Text(name)) = parsed.header("X-VoiceMessageSenderName") else { panic!() };
    assert_eq!(name, "=?utf-8?b?0JbQsNC90L3QsCDQlOKAmdCQ0YDQug==?=");
}

#[test]
fn a_caller_cannot_write_headers_or_folders() {
    let mut facts = facts();
    facts.recording.caller = Some("1\r\nBcc: eve@evil.example\r\n\r\n<b>".into());
    facts.recording.caller_name = Some("x\"\r\nBcc: eve@evil.example".into());
    facts.recording.call_id = "1@a\r\nX-Evil: yes".into();
    let mail = mail(&facts, &alice(), vec![1]);
    let parsed = MessageParser::default().parse(&mail).unwrap();
    assert!(parsed.bcc().is_none() && parsed.header("X-Evil").is_none());
    let name = parsed.attachment(0).unwrap().attachment_name().unwrap();
    assert_eq!(name, "1Bcc_ eve_evil.example_b_ (7 seconds) Voice Mail.wav");
}

#[test]
fn an_anonymous_caller_and_one_second_read_well() {
    let mut facts = facts();
    facts.recording.caller = None;
    facts.samples = 900;
    let mail = mail(&facts, &alice(), Vec::new());
    let parsed = MessageParser::default().parse(&mail).unwrap();
    assert_eq!(parsed.subject(), Some("Voice Mail from an unknown number (1 second)"));
}

#[test]
fn the_same_facts_make_the_same_mail() {
    assert_eq!(mail(&facts(), &alice(), vec![1, 2]), mail(&facts(), &alice(), vec![1, 2]));
}

#[test]
fn an_address_that_is_none_is_named() {
    let mut alice = alice();
    alice.owner.primary_smtp_address = "alice".into();
    let error = compose(&facts(), &alice, "voicemail@contoso.example", Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "\"alice\" is not a mail address: Missing domain or user");
}
