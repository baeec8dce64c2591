//! Audio sessions by offer and answer (RFC 3264 over RFC 8866).
//!
//! Decides which audio line of an offer is taken, where its media goes, and what the answer says.
//! Refuses to know packets, sockets and what a mailbox does with the audio.

mod crypto;
mod profile;
mod read;
mod write;

use std::net::SocketAddr;

pub use crypto::{Crypto, MAX_CRYPTOS, MAX_KEY_BYTES, Suite};
pub use profile::{OfferedAudio, Profile, offered_audio};
pub use write::{answer, write_offer};

/// Most media lines that a session description may have.
pub const MAX_MEDIA_LINES: usize = 16;
/// Packet time where an offer names none (RFC 3551 section 4.5: 20 ms).
pub const DEFAULT_PTIME_MS: u16 = 20;
/// Longest packet time that is believed: 200 ms (RFC 3551 section 4.2).
pub const MAX_PTIME_MS: u16 = 200;

/// The audio that a far end offers, reduced to what is taken: the first audio line with a port, a
/// unicast IP address, the profile that is asked for, PCMU or PCMA, and if it is encrypted a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioOffer {
    /// Where the far end receives media. The address is unspecified (`0.0.0.0`, `::`) when the far
    /// end holds the old way; then [`AudioOffer::direction`] says that it does not receive.
    pub address: SocketAddr,
    /// The codecs that are taken, in the order of the offer. Never empty.
    pub codecs: Vec<Payload>,
    /// Payload number of `telephone-event/8000` (RFC 4733), if offered.
    pub telephone_event: Option<u8>,
    /// Packet time that the far end likes to receive, 1 to 200 ms; 20 if it does not say.
    pub ptime_ms: u16,
    /// What the far end does: [`Direction::SendOnly`] means that it does not listen.
    pub direction: Direction,
    /// Whether the audio is encrypted.
    pub profile: Profile,
    /// The keys that the far end may send by, in its order. Empty if and only if nothing is encrypted.
    pub cryptos: Vec<Crypto>,
    /// Every media line of the offer, because an answer repeats them all (RFC 3264 section 6).
    lines: Vec<MediaLine>,
    /// Which of `lines` is taken.
    taken: usize,
    /// Start and stop of the offer's `t` lines, which an answer repeats (RFC 3264 section 6).
    times: Vec<(u64, u64)>,
}

/// What a refused media line keeps in the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MediaLine {
    media: String,
    proto: String,
    formats: String,
}

/// One codec under its payload number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// RTP payload type, 0 to 127.
    pub number: u8,
    /// What it carries.
    pub codec: AudioCodec,
}

/// The codecs of ITU-T G.711 at 8 kHz, one channel (RFC 3551 section 4.5.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// µ-law.
    Pcmu,
    /// A-law.
    Pcma,
}

/// Who sends, seen from the side that wrote it (RFC 3264 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Sends and receives.
    SendRecv,
    /// Only sends.
    SendOnly,
    /// Only receives.
    RecvOnly,
    /// Neither: the line is on hold.
    Inactive,
}

/// Names a session in the `o` line (RFC 3264 section 8): one `id` for a whole call, and a `version`
/// that grows by one with each description that differs from the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId {
    /// Unlike that of any other session of this host.
    pub id: u64,
    /// Of the description.
    pub version: u64,
}

/// Why an offer cannot be taken. All but [`SdpError::Malformed`] (400) mean 488 Not Acceptable Here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Not a session description.
    #[error("the session description cannot be read: {0}")]
    Malformed(String),
    /// More than [`MAX_MEDIA_LINES`].
    #[error("the session description has {0} media lines, and at most {MAX_MEDIA_LINES} are read")]
    TooManyMedia(usize),
    /// No audio line, or only ones with port 0.
    #[error("no audio is offered, or only with port 0")]
    NoAudio,
    /// Audio by another profile than the one that is asked for.
    #[error("audio is offered as {offered}, and only {taken} is taken", taken = taken.name())]
    Profile {
        /// The one of the offer.
        offered: String,
        /// The one that is asked for.
        taken: Profile,
    },
    /// A host name, a multicast group, or no address at all.
    #[error("the audio's address is not a unicast IP address: {0}")]
    Address(String),
    /// Neither PCMU nor PCMA.
    #[error("neither PCMU nor PCMA is offered")]
    NoCodec,
    /// Encrypted audio without a key that is taken.
    #[error("encrypted audio is offered without a crypto attribute that is taken")]
    NoCrypto,
}

/// Reads an offer, or the answer to an offer of ours, which has the same form: the audio of this profile.
///
/// # Errors
/// [`SdpError`] if no audio line can be taken, for the reason that the first of them fails.
pub fn parse_offer(body: &[u8], profile: Profile) -> Result<AudioOffer, SdpError> {
    read::offer(body, profile)
}

impl AudioOffer {
    /// The codec that the far end likes best among those that are taken.
    #[must_use]
    pub fn preferred(&self) -> Option<Payload> {
        self.codecs.first().copied()
    }
}

impl AudioCodec {
    /// Encoding name in `a=rtpmap`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            AudioCodec::Pcmu => "PCMU",
            AudioCodec::Pcma => "PCMA",
        }
    }

    /// The static payload number (RFC 3551 table 4).
    #[must_use]
    pub const fn static_number(self) -> u8 {
        match self {
            AudioCodec::Pcmu => 0,
            AudioCodec::Pcma => 8,
        }
    }
}

impl Direction {
    /// Whether the side that wrote it sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether the side that wrote it receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// The same, seen from the other side: what answers it (RFC 3264 section 6.1).
    #[must_use]
    pub const fn reversed(self) -> Direction {
        Direction::of(self.receives(), self.sends())
    }

    /// As written in an attribute: `sendrecv` and so on.
    #[must_use]
    pub const fn attribute(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    const fn of(sends: bool, receives: bool) -> Direction {
        match (sends, receives) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }
}

#[cfg(test)]
mod tests;
