//! A voice message as mail.
//!
//! Decides headers, words and the attachment (spec 3.2). Refuses to know how mail travels. Composed
//! twice from the same facts it is the same mail, byte for byte, under the same Message-ID, so that
//! whoever gets it twice can tell.

use std::time::{Duration, UNIX_EPOCH};

use config::token::DivertReason;
use config::{MailboxPolicy, Recipient};
use jiff::Timestamp;
use lettre::address::AddressError;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Body, Mailbox, Message, MultiPart, SinglePart};

use crate::message::{RecordingFacts, StoredFacts};

/// Who sends where no mail server is configured. The name can never exist (RFC 2606, 2).
pub(crate) const LOCAL_SENDER: &str = "voicemail@umbriel.invalid";
/// The right-hand side of every Message-ID; the left-hand side is unique already.
const MESSAGE_ID_HOST: &str = "umbriel.invalid";

/// The message cannot be written as mail.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComposeError {
    #[error("{address:?} is not a mail address: {source}")]
    Address { address: String, source: AddressError },
    #[error("the recording began at no time of this calendar")]
    Time(#[from] jiff::Error),
    #[error("the mail cannot be built: {0}")]
    Build(#[from] lettre::error::Error),
    #[error("the audio cannot be encoded")]
    Encode,
}

/// Writes the mail for `recipient`, sent by the address `from`, with `wav` attached.
///
/// # Errors
/// [`ComposeError`] when an address is none; all else comes from broken facts.
pub(crate) fn compose(
    facts: &StoredFacts,
    recipient: &Recipient,
    from: &str,
    wav: Vec<u8>,
) -> Result<Message, ComposeError> {
    let (recording, owner) = (&facts.recording, &recipient.owner);
    let caller = Caller::of(recording);
    let length = length_in_words(facts.seconds());
    let file_name = format!("{} ({length}) Voice Mail.wav", caller.file_name());
    let audio =
        Body::new_with_encoding(wav, ContentTransferEncoding::Base64).map_err(|_| ComposeError::Encode)?;
    let mut mail = Message::builder()
        .from(address(Some(caller.name()), from)?)
        .to(address(owner.display_name.clone().map(|name| clean(&name)), &owner.primary_smtp_address)?)
        .subject(format!("Voice Mail from {} ({length})", caller.number()))
        .date(UNIX_EPOCH + Duration::from_millis(recording.started_unix_ms))
        .message_id(Some(format!("<{}@{MESSAGE_ID_HOST}>", recording.id)))
        .raw_header(header("Content-Class", "voice-ca"))
        .raw_header(header("X-CallingTelephoneNumber", &caller.number))
        .raw_header(header("X-VoiceMessageDuration", &facts.seconds().to_string()))
        .raw_header(header("X-AttachmentOrder", &file_name))
        .raw_header(header("X-CallID", &clean(&recording.call_id)));
    if let Some(caller_address) = &recording.caller_address {
        mail = mail.reply_to(address(caller.name.clone(), caller_address)?);
    }
    if let Some(name) = &caller.name {
        mail = mail.raw_header(header("X-VoiceMessageSenderName", name));
    }
    let parts = MultiPart::mixed()
        .boundary(recording.id.to_string())
        .singlepart(SinglePart::plain(text(facts, &recipient.policy, &caller, &length)?))
        .singlepart(Attachment::new(file_name).body(audio, content_type_of_wav()?));
    Ok(mail.multipart(parts)?)
}

/// What was presented of the caller, without anything that could break a header.
struct Caller {
    /// Empty when none was presented.
    number: String,
    name: Option<String>,
}

impl Caller {
    fn of(recording: &RecordingFacts) -> Self {
        let number = recording.caller.as_deref().map(clean).unwrap_or_default();
        let name = recording.caller_name.as_deref().map(clean).filter(|name| !name.is_empty());
        Self { number, name }
    }

    fn number(&self) -> &str {
        if self.number.is_empty() { "an unknown number" } else { &self.number }
    }

    /// The name, or the number of a caller without one.
    fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.number().to_owned())
    }

    /// The number with nothing that a file system or a mail program could take for something else.
    fn file_name(&self) -> String {
        let safe = |character: char| character.is_ascii_alphanumeric() || "+-. ".contains(character);
        let name: String = self.number().chars().map(|c| if safe(c) { c } else { '_' }).collect();
        name.trim_start_matches('.').to_owned()
    }
}

/// The text without control characters.
fn clean(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect::<String>().trim().to_owned()
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

fn address(name: Option<String>, address: &str) -> Result<Mailbox, ComposeError> {
    let parsed =
        address.parse().map_err(|source| ComposeError::Address { address: address.to_owned(), source })?;
    Ok(Mailbox::new(name, parsed))
}

fn content_type_of_wav() -> Result<ContentType, ComposeError> {
    ContentType::parse("audio/wav").map_err(|_| ComposeError::Encode)
}

fn length_in_words(seconds: u32) -> String {
    if seconds == 1 { "1 second".to_owned() } else { format!("{seconds} seconds") }
}

fn in_words(reason: DivertReason) -> &'static str {
    match reason {
        DivertReason::Unconditional => "every call",
        DivertReason::Busy => "busy",
        DivertReason::NoAnswer => "no answer",
        DivertReason::Other => "for another reason",
    }
}

fn text(
    facts: &StoredFacts,
    policy: &MailboxPolicy,
    caller: &Caller,
    length: &str,
) -> Result<String, ComposeError> {
    let recording = &facts.recording;
    let started = i64::try_from(recording.started_unix_ms).unwrap_or(i64::MAX);
    let received = Timestamp::from_millisecond(started)?.strftime("%Y-%m-%d %H:%M:%S UTC");
    let name = caller.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let diverted = recording.diverted.map(|reason| format!("Diverted:  {}\n", in_words(reason)));
    let mut text = format!(
        "You received a voice message from {}.\n\nCaller:    {}{name}\nCalled:    {}\n{}Received:  {received}\nDuration:  {length}\n",
        caller.number(),
        caller.number(),
        clean(&recording.called),
        diverted.unwrap_or_default(),
    );
    if facts.ended_by.is_partial() {
        text.push_str(
            "\nThis recording is incomplete: the server stopped while the caller was speaking. \
             It holds what was stored until then.\n",
        );
    }
    if facts.damaged {
        text.push_str("\nA piece of this recording was damaged on disk and is silent.\n");
    }
    if let Some(policy) = &policy.voice_mail_text {
        text.push('\n');
        text.push_str(policy);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
