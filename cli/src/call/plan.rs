//! What a test call is to do.
//!
//! Decides the shape of a [`CallPlan`] and what it does when nothing is said. Refuses to know
//! SIP, sockets and files.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::audio::Audio;

/// A call to place: whom, by which way, with which audio, and how it ends.
#[derive(Clone, Debug)]
pub struct CallPlan {
    /// The SIP URI to call, such as `sip:101@127.0.0.1`.
    pub target: String,
    /// How the first INVITE travels; a redirect may name another way.
    pub transport: Transport,
    /// The user part of the caller's own address.
    pub from_user: String,
    /// The number that the call was diverted from, as a PBX names it (RFC 5806).
    pub diversion: Option<String>,
    /// Codecs to offer, best first.
    pub codecs: Vec<Codec>,
    /// What to say; without it the caller keeps silent for a second.
    pub audio: Option<Audio>,
    /// When to begin to speak.
    pub speak: Speak,
    /// How the call is ended once everything was said.
    pub ending: Ending,
    /// The local address for signalling and media; without it the one that leads to the target.
    pub bind: Option<IpAddr>,
    /// The Call-ID; without it one is made up.
    pub call_id: Option<String>,
    /// The caller hangs up after this, whatever happened until then.
    pub patience: Duration,
}

impl CallPlan {
    /// A call over UDP that offers both G.711 codecs, speaks after the beep and hangs up.
    #[must_use]
    pub fn new(target: impl Into<String>) -> Self {
        Self {
            target: target.into(),
            transport: Transport::Udp,
            from_user: "umbriel-probe".to_owned(),
            diversion: None,
            codecs: vec![Codec::Pcmu, Codec::Pcma],
            audio: None,
            speak: Speak::AfterBeep,
            ending: Ending::HangUp,
            bind: None,
            call_id: None,
            patience: Duration::from_secs(180),
        }
    }
}

/// How SIP messages travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// UDP.
    #[default]
    Udp,
    /// TCP.
    Tcp,
}

impl Transport {
    /// As written in `Via`.
    #[must_use]
    pub const fn via(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        }
    }
}

/// An audio codec: both have 8,000 samples a second of one byte each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
}

impl Codec {
    /// The static RTP payload type (RFC 3551 section 6).
    #[must_use]
    pub const fn payload_type(self) -> u8 {
        match self {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
        }
    }

    /// The encoding name in SDP (RFC 3551 section 6).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
        }
    }

    /// The byte that stands for silence.
    #[must_use]
    pub const fn silence(self) -> u8 {
        match self {
            Codec::Pcmu => 0xFF,
            Codec::Pcma => 0xD5,
        }
    }

    /// One sample as this codec sends it.
    #[must_use]
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Codec::Pcmu => audio_codec_algorithms::encode_ulaw(sample),
            Codec::Pcma => audio_codec_algorithms::encode_alaw(sample),
        }
    }

    /// One byte of this codec as a sample.
    #[must_use]
    pub fn decode(self, byte: u8) -> i16 {
        match self {
            Codec::Pcmu => audio_codec_algorithms::decode_ulaw(byte),
            Codec::Pcma => audio_codec_algorithms::decode_alaw(byte),
        }
    }
}

/// When the caller begins to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speak {
    /// As soon as a beep has ended.
    AfterBeep,
    /// This long after the call was answered.
    After(Duration),
}

/// How the caller ends the call once everything was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Hangs up.
    HangUp,
    /// Presses `#` (RFC 4733) and waits for the far end to hang up.
    Key,
    /// Keeps silent and waits for the far end to hang up.
    FarEnd,
}
