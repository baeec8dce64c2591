//! Whether a message that was left has arrived, and holds what was said.
//!
//! Decides where the message of a call is looked for and what counts as the same audio: every byte
//! that was spoken, in order and without a gap. Refuses to know how mail is written: it reads the
//! mail with another implementation, as a mail program would.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mail_parser::{MessageParser, MimeHeaders};

use crate::call::Codec;
use crate::call::audio::{Audio, parse_wav};

/// The header that names the call (spec 3.2).
const CALL_ID: &str = "X-CallID";
/// The longest mail that is read: an hour of audio in base64.
const MAX_MAIL_BYTES: u64 = 64 * 1024 * 1024;

/// A message that was delivered for a call.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// The mail file; a mail server that took it has it elsewhere.
    pub mail: Option<PathBuf>,
    /// The audio in the mail, or else in the store.
    pub audio: Option<Audio>,
    /// The stored audio file, where there is one.
    pub stored: Option<PathBuf>,
}

/// How the audio in a mail compares with what was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// Every byte is there, between this much before it and after it.
    Same { before: Duration, after: Duration },
    /// The first byte that differs, where the two begin alike as long as they ever do.
    Different { alike: usize },
    /// The mail has no audio, or in another codec.
    NoAudio,
}

/// Where messages are delivered to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A Maildir below the state folder.
    Maildir,
    /// A mail server; what it took, the store says.
    MailServer,
}

/// The message of a call, if it was delivered already.
pub(crate) fn find(state: &Path, destination: Destination, call_id: &str) -> Option<Delivered> {
    match destination {
        Destination::Maildir => find_mail(state, call_id),
        Destination::MailServer => find_stored(state, call_id),
    }
}

fn find_mail(state: &Path, call_id: &str) -> Option<Delivered> {
    for mailbox in entries(&state.join("mail")) {
        for mail in ["new", "cur"].iter().flat_map(|place| entries(&mailbox.join(place))) {
            if let Some(audio) = read(&mail, call_id) {
                let stored = stored(state, &mailbox, &mail);
                return Some(Delivered { mail: Some(mail), audio, stored });
            }
        }
    }
    None
}

fn find_stored(state: &Path, call_id: &str) -> Option<Delivered> {
    let call_id = serde_json::to_string(call_id).ok()?;
    let message =
        entries(&state.join("store")).iter().flat_map(|mailbox| entries(mailbox)).find(|message| {
            message.join("events/delivered.json").is_file()
                && std::fs::read_to_string(message.join("facts.json"))
                    .is_ok_and(|facts| facts.contains(&call_id))
        })?;
    let stored = message.join("audio.wav");
    let audio = std::fs::read(&stored).ok().and_then(|bytes| parse_wav(&bytes).ok());
    Some(Delivered { mail: None, audio, stored: Some(stored) })
}

/// Compares the audio of a mail with what was said in `codec`.
pub(crate) fn compare(audio: Option<&Audio>, codec: Codec, spoken: &[u8]) -> Comparison {
    let Some(Audio::Encoded(own, bytes)) = audio else { return Comparison::NoAudio };
    if *own != codec || spoken.is_empty() {
        return Comparison::NoAudio;
    }
    match bytes.windows(spoken.len()).position(|window| window == spoken) {
        Some(at) => Comparison::Same { before: time(at), after: time(bytes.len() - at - spoken.len()) },
        None => Comparison::Different { alike: longest_start(bytes, spoken) },
    }
}

/// The audio of the mail in `file`, if it is the mail of this call.
#[expect(clippy::option_option, reason = "not this call's mail, or this call's mail without audio")]
fn read(file: &Path, call_id: &str) -> Option<Option<Audio>> {
    if std::fs::metadata(file).ok()?.len() > MAX_MAIL_BYTES {
        return None;
    }
    let bytes = std::fs::read(file).ok()?;
    let mail = MessageParser::default().parse(&bytes)?;
    if mail.header(CALL_ID)?.as_text()?.trim() != call_id {
        return None;
    }
    let wav = mail
        .attachments()
        .find(|part| part.content_type().is_some_and(|kind| kind.ctype().eq_ignore_ascii_case("audio")));
    Some(wav.and_then(|part| parse_wav(part.contents()).ok()))
}

/// The stored audio of a message: its mail file and its store folder have the message's name.
fn stored(state: &Path, mailbox: &Path, mail: &Path) -> Option<PathBuf> {
    // SECONDS.MESSAGE.umbriel, and after a colon what the mail program remembers of it.
    let id = mail.file_name()?.to_str()?.split('.').nth(1)?;
    let path = state.join("store").join(mailbox.file_name()?).join(id).join("audio.wav");
    path.is_file().then_some(path)
}

fn entries(path: &Path) -> Vec<PathBuf> {
    // A folder that does not exist yet has no mail in it.
    std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// How many bytes the best place for `spoken` has in common with its start.
fn longest_start(bytes: &[u8], spoken: &[u8]) -> usize {
    let alike = |at: usize| bytes[at..].iter().zip(spoken).take_while(|(one, other)| one == other).count();
    (0..bytes.len()).map(alike).max().unwrap_or(0)
}

/// Bytes of G.711 as time.
fn time(bytes: usize) -> Duration {
    // 8,000 bytes a second: 125 µs each.
    Duration::from_micros(u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(125))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(state: &Path, call_id: &str, wav: &str) -> PathBuf {
        let folder = state.join("mail/alice/new");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("179.0192.umbriel");
        let text = format!(
            "From: umbriel@contoso.example\r\nX-CallID: {call_id}\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n\
             --b\r\nContent-Type: audio/wav\r\nContent-Disposition: attachment; filename=m.wav\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{wav}\r\n--b--\r\n"
        );
        std::fs::write(&file, text).unwrap();
        file
    }

    /// µ-law, 8,000 Hz, bytes 1 to 6.
    const WAV: &str = "UklGRioAAABXQVZFZm10IBAAAAAHAAEAQB8AAEAfAAABAAgAZGF0YQYAAAABAgMEBQY=";

    #[test]
    fn the_mail_of_a_call_is_found_with_its_audio_and_its_stored_file() {
        let state = tempfile::tempdir().unwrap();
        let file = mail(state.path(), "c1@host", WAV);
        assert!(find(state.path(), Destination::Maildir, "c2@host").is_none());
        let found = find(state.path(), Destination::Maildir, "c1@host").unwrap();
        assert_eq!(found.mail, Some(file));
        assert_eq!(found.audio, Some(Audio::Encoded(Codec::Pcmu, vec![1, 2, 3, 4, 5, 6])));
        assert_eq!(found.stored, None);
        let store = state.path().join("store/alice/0192");
        std::fs::create_dir_all(&store).unwrap();
        std::fs::write(store.join("audio.wav"), b"RIFF").unwrap();
        assert_eq!(
            find(state.path(), Destination::Maildir, "c1@host").unwrap().stored,
            Some(store.join("audio.wav"))
        );
    }

    #[test]
    fn a_message_that_a_mail_server_took_is_found_in_the_store() {
        let state = tempfile::tempdir().unwrap();
        let message = state.path().join("store/alice/0192");
        std::fs::create_dir_all(message.join("events")).unwrap();
        std::fs::write(message.join("facts.json"), r#"{"recording":{"callId":"c1@host"}}"#).unwrap();
        std::fs::write(message.join("audio.wav"), b"RIFF\0\0\0\0WAVE").unwrap();
        assert!(find(state.path(), Destination::MailServer, "c1@host").is_none(), "it was not delivered yet");
        std::fs::write(message.join("events/delivered.json"), "{}").unwrap();
        let found = find(state.path(), Destination::MailServer, "c1@host").unwrap();
        assert_eq!((found.mail, found.stored), (None, Some(message.join("audio.wav"))));
        assert!(find(state.path(), Destination::MailServer, "c1").is_none());
    }

    #[test]
    fn what_was_said_must_lie_in_the_mail_whole_and_in_order() {
        let audio = Audio::Encoded(Codec::Pcmu, vec![1, 2, 3, 4, 5, 6]);
        let same = |spoken: &[u8]| compare(Some(&audio), Codec::Pcmu, spoken);
        assert_eq!(
            same(&[2, 3, 4]),
            Comparison::Same { before: Duration::from_micros(125), after: Duration::from_micros(250) }
        );
        assert_eq!(same(&[2, 3, 5]), Comparison::Different { alike: 2 });
        assert_eq!(same(&[6, 7]), Comparison::Different { alike: 1 });
        assert_eq!(same(&[]), Comparison::NoAudio);
        assert_eq!(compare(Some(&audio), Codec::Pcma, &[2]), Comparison::NoAudio);
        assert_eq!(compare(None, Codec::Pcmu, &[2]), Comparison::NoAudio);
    }
}
