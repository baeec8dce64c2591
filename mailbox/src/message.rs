//! What a voice message is before and while it is recorded: its identity, its facts and the
//! commands that carry its audio from a call to the spool.
//!
//! Decides the words that calls and storage share. Refuses to know SIP, RTP, files and mail.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use config::token::DivertReason;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// RTP ticks, and samples, in one second: both codecs run at 8 kHz (RFC 3551, 4.5.14).
pub(crate) const TICKS_PER_SECOND: u32 = 8_000;

/// The longest recording that can be stored, in ticks: `maxRecordingDuration` is at most 100 minutes.
pub(crate) const MAX_RECORDING_TICKS: u32 = 100 * 60 * TICKS_PER_SECOND;

/// The longest text of a SIP header that is kept with a message, bytes of UTF-8.
pub(crate) const MAX_TEXT_BYTES: usize = 256;

/// Names one voice message from the moment that its call is answered until it was delivered.
///
/// Every step of storage and delivery is idempotent on it. It is a UUID of version 7 (RFC 9562),
/// so that names sort by the time of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageId(Uuid);

impl MessageId {
    /// Makes the identity of a call that began at `unix_ms` from ten bytes of chance.
    pub fn new(unix_ms: u64, chance: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &chance).into_uuid())
    }

    /// The identity as it is written in a segment of the spool.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// The identity that a segment of the spool carries.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(formatter)
    }
}

/// A text that is no message identity.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the identity of a message")]
pub struct NotAMessageId(String);

impl FromStr for MessageId {
    type Err = NotAMessageId;

    fn from_str(text: &str) -> Result<Self, NotAMessageId> {
        Uuid::try_parse(text).map(Self).map_err(|_| NotAMessageId(text.to_owned()))
    }
}

impl TryFrom<String> for MessageId {
    type Error = NotAMessageId;

    fn try_from(text: String) -> Result<Self, NotAMessageId> {
        text.parse()
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> String {
        id.to_string()
    }
}

/// How audio is encoded, from the wire to the attachment; it is never transcoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Codec {
    /// G.711 µ-law, RTP payload type 0 (RFC 3551).
    #[serde(rename = "PCMU")]
    Pcmu,
    /// G.711 A-law, RTP payload type 8 (RFC 3551).
    #[serde(rename = "PCMA")]
    Pcma,
}

impl Codec {
    /// The byte that means silence: what fills a gap.
    pub const fn silence(self) -> u8 {
        match self {
            // G.711: the code of +0 in µ-law, and of the smallest positive value in A-law.
            Codec::Pcmu => 0xFF,
            Codec::Pcma => 0xD5,
        }
    }
}

/// What is known of a recording when it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordingFacts {
    /// The identity of the message.
    pub id: MessageId,
    /// Name of the mailbox that it is for.
    pub mailbox: String,
    /// The caller's number as presented, if any was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The caller's name as presented, if any was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_name: Option<String>,
    /// The mail address of a caller who is a user of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_address: Option<String>,
    /// The extension that was called.
    pub called: String,
    /// Why the called user diverted the call, if that is how it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverted: Option<DivertReason>,
    /// The SIP Call-ID.
    pub call_id: String,
    /// Name of the gateway that the call came through.
    pub gateway: String,
    /// How the audio is encoded.
    pub codec: Codec,
    /// When the recording began, milliseconds since 1970.
    pub started_unix_ms: u64,
}

impl RecordingFacts {
    /// The same facts with every text that a caller chose cut to [`MAX_TEXT_BYTES`].
    pub(crate) fn clipped(mut self) -> Self {
        let texts = [&mut self.called, &mut self.call_id].into_iter();
        for text in texts.chain(self.caller.as_mut()).chain(self.caller_name.as_mut()) {
            text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        }
        self
    }
}

/// What ended a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EndedBy {
    /// The caller hung up.
    Hangup,
    /// The caller pressed `#`.
    Key,
    /// Nothing was heard for `recordingIdleTimeout`.
    Silence,
    /// `maxRecordingDuration` or `maxCallDuration` was reached.
    Limit,
    /// The recording could not be stored any further.
    Storage,
    /// The server was stopped.
    Shutdown,
    /// The server crashed; what was stored until then was recovered.
    Crash,
}

impl EndedBy {
    /// Whether the caller may have said more than what was recorded.
    pub const fn is_partial(self) -> bool {
        match self {
            EndedBy::Hangup | EndedBy::Key | EndedBy::Silence | EndedBy::Limit => false,
            EndedBy::Storage | EndedBy::Shutdown | EndedBy::Crash => true,
        }
    }
}

/// What is known of a message when it is in the store: the object `facts.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct StoredFacts {
    /// What was known when the recording began.
    pub(crate) recording: RecordingFacts,
    /// Why it ended.
    pub(crate) ended_by: EndedBy,
    /// Its length: samples of 8 kHz in `audio.wav`.
    pub(crate) samples: u32,
    /// Whether a piece of it was damaged in the spool and is silent now (`UM1207`).
    pub(crate) damaged: bool,
}

impl StoredFacts {
    /// The length in whole seconds, rounded, and at least one (`X-VoiceMessageDuration`).
    pub(crate) fn seconds(&self) -> u32 {
        (self.samples.saturating_add(TICKS_PER_SECOND / 2) / TICKS_PER_SECOND).max(1)
    }
}

/// What a call tells the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpoolCommand {
    /// A recording begins.
    Begin(RecordingFacts),
    /// Audio was heard.
    Append {
        /// The recording.
        id: MessageId,
        /// Where it belongs: 8 kHz ticks since the recording began.
        at_ticks: u32,
        /// Encoded samples, one byte each.
        payload: Bytes,
    },
    /// The recording is complete: it becomes a message.
    Finish {
        /// The recording.
        id: MessageId,
        /// Why it ended.
        ended_by: EndedBy,
    },
    /// The recording is forgotten: nothing was said.
    Discard {
        /// The recording.
        id: MessageId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_text_and_bytes() {
        let id = MessageId::new(1_790_000_000_000, [7; 10]);
        assert_eq!(id.to_string(), "01a0c450-6c00-7707-8707-070707070707");
        assert_eq!("01a0c450-6c00-7707-8707-070707070707".parse(), Ok(id));
        assert_eq!(MessageId::from_bytes(id.to_bytes()), id);
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"01a0c450-6c00-7707-8707-070707070707\"");
    }

    #[test]
    fn a_word_is_no_identity() {
        let error = "../etc".parse::<MessageId>().unwrap_err();
        assert_eq!(error.to_string(), "\"../etc\" is not the identity of a message");
    }
}
