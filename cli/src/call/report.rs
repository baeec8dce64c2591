//! What became of a test call.
//!
//! Decides the shape of a [`CallReport`], which is also the JSON document of `umbriel call -o
//! json`, and how a refusal's `Reason` header is read. Refuses to know how a call is made.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::plan::{Codec, Transport};

/// Everything that was seen of one call.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallReport {
    /// The URI that was called.
    pub target: String,
    /// The Call-ID, the same on every leg.
    pub call_id: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Who took part; the caller is the first.
    pub parties: Vec<Party>,
    /// What happened, in order.
    pub steps: Vec<Step>,
    /// The codec that was agreed on.
    pub codec: Option<Codec>,
    /// When what happened.
    pub timings: Timings,
    /// Packets of the media in both directions.
    pub media: MediaCounts,
    /// The bytes that the caller spoke, in the agreed codec, without the silence around them.
    #[serde(skip)]
    pub spoken: Vec<u8>,
    /// What the caller heard, 8,000 samples a second from the answer on.
    #[serde(skip)]
    pub heard: Vec<i16>,
}

impl CallReport {
    /// Whether the call was answered and ended in an orderly way.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        match self.outcome {
            Outcome::Completed { .. } => true,
            Outcome::Refused { .. } | Outcome::Failed { .. } => false,
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "result")]
pub enum Outcome {
    /// It was answered, and one side hung up.
    Completed {
        /// Who hung up.
        ended_by: EndedBy,
    },
    /// It was refused by a final response.
    Refused {
        /// The SIP status.
        status: u16,
        /// The reason phrase of the status line.
        phrase: String,
        /// Umbriel's own code, such as `UM1110`, where the `Reason` header names one.
        code: Option<String>,
        /// The text of the `Reason` header (RFC 3326).
        text: Option<String>,
    },
    /// It broke: nobody answered, a connection failed, an answer could not be used.
    Failed {
        /// At which step.
        step: String,
        /// What went wrong, and what to look at.
        error: String,
    },
}

/// Who hung up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EndedBy {
    /// The caller.
    Caller,
    /// The far end.
    FarEnd,
}

/// One who took part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Party {
    /// `caller`, `router`, `mailbox` or, where it is not known, `server`.
    pub name: String,
    /// Its signalling address.
    pub address: Option<SocketAddr>,
    /// How messages to it travel.
    pub transport: Option<Transport>,
}

/// One arrow of the ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Time since the call began, in the JSON document as microseconds.
    #[serde(rename = "atUs", serialize_with = "micros")]
    pub at: Duration,
    /// Index of the party that it comes from.
    pub from: usize,
    /// Index of the party that it goes to.
    pub to: usize,
    /// What kind of arrow it is.
    pub kind: StepKind,
    /// What it says: a method and whom, a status, or what was heard.
    pub text: String,
}

/// What kind of arrow a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StepKind {
    /// A SIP request.
    Request,
    /// A provisional or successful response.
    Response,
    /// A redirect.
    Redirect,
    /// A refusal.
    Refusal,
    /// A message that was sent or received once more.
    Again,
    /// Audio or keys by RTP.
    Media,
}

/// When what happened, each as time since the call began, in the JSON document as microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timings {
    /// The redirect arrived.
    #[serde(rename = "redirectedUs", serialize_with = "optional_micros")]
    pub redirected: Option<Duration>,
    /// The far end rings.
    #[serde(rename = "ringingUs", serialize_with = "optional_micros")]
    pub ringing: Option<Duration>,
    /// The far end answered.
    #[serde(rename = "answeredUs", serialize_with = "optional_micros")]
    pub answered: Option<Duration>,
    /// The first audio was heard.
    #[serde(rename = "firstAudioUs", serialize_with = "optional_micros")]
    pub first_audio: Option<Duration>,
    /// The beep ended.
    #[serde(rename = "beepEndedUs", serialize_with = "optional_micros")]
    pub beep_ended: Option<Duration>,
    /// Everything was said.
    #[serde(rename = "spokenUs", serialize_with = "optional_micros")]
    pub spoken: Option<Duration>,
    /// The call was over.
    #[serde(rename = "endedUs", serialize_with = "optional_micros")]
    pub ended: Option<Duration>,
}

/// Packets of the media in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MediaCounts {
    /// RTP packets sent.
    pub sent_packets: u64,
    /// RTP packets received.
    pub received_packets: u64,
    /// Packets that never came, by gaps in the sequence numbers.
    pub lost_packets: u64,
    /// Packets that came from somewhere else or were not RTP.
    pub strange_packets: u64,
}

/// Reads a `Reason` header (RFC 3326): its text, and the code that the text begins with.
pub(crate) fn read_reason(value: &str) -> (Option<String>, Option<String>) {
    let Some((_, rest)) = value.split_once("text=\"") else { return (None, None) };
    let mut text = String::new();
    let mut characters = rest.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => text.extend(characters.next()),
            plain => text.push(plain),
        }
    }
    let code = text
        .split_whitespace()
        .next()
        .filter(|word| word.len() == 6 && word.starts_with("UM"))
        .filter(|word| word[2..].bytes().all(|byte| byte.is_ascii_digit()))
        .map(str::to_owned);
    (code, Some(text))
}

fn micros<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

fn optional_micros<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => micros(duration, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_header_gives_its_code_and_its_text() {
        let value = r#"SIP;cause=404;text="UM1110 NoSuchUser: nobody has \"777\"""#;
        let (code, text) = read_reason(value);
        assert_eq!(code.as_deref(), Some("UM1110"));
        assert_eq!(text.as_deref(), Some("UM1110 NoSuchUser: nobody has \"777\""));
    }

    #[test]
    fn a_reason_of_another_maker_has_no_code() {
        assert_eq!(read_reason("Q.850;cause=16"), (None, None));
        let (code, text) = read_reason(r#"SIP;cause=486;text="busy""#);
        assert_eq!(code, None);
        assert_eq!(text.as_deref(), Some("busy"));
    }
}
