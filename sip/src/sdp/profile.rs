//! Whether audio travels in the clear or encrypted, and how it is offered, for whoever decides on nothing
//! else of an offer.
//!
//! Decides that by the profiles of the audio lines alone, and copies nothing. Refuses to read the rest,
//! and to find fault with it.

use std::sync::LazyLock;

use memchr::memchr;
use memchr::memmem::Finder;

const AUDIO: &[u8; 8] = b"m=audio ";

/// Finds [`AUDIO`] in all lines but the first. To make it takes longer than to find.
static NEXT_AUDIO: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\nm=audio "));

/// How audio travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// In the clear: RTP/AVP (RFC 3551).
    Avp,
    /// Encrypted: RTP/SAVP (RFC 3711).
    Savp,
}

impl Profile {
    /// As media lines have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Avp => "RTP/AVP",
            Profile::Savp => "RTP/SAVP",
        }
    }
}

/// How audio is offered. Neither, where no audio is: an offer may still follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfferedAudio {
    /// By RTP/AVP or RTP/AVPF (RFC 3551, RFC 4585).
    pub clear: bool,
    /// By RTP/SAVP or RTP/SAVPF (RFC 3711, RFC 5124), with DTLS before it (RFC 5764) or without.
    pub encrypted: bool,
}

/// How audio is offered in a body. A line with port 0 offers nothing (RFC 3264 section 5.1).
#[must_use]
pub fn offered_audio(body: &[u8]) -> OfferedAudio {
    let mut offered = OfferedAudio::default();
    let first = body.strip_prefix(AUDIO.as_slice());
    let others = NEXT_AUDIO.find_iter(body).map(|at| &body[at + 1 + AUDIO.len()..]);
    for line in first.into_iter().chain(others) {
        let line = &line[..memchr(b'\n', line).unwrap_or(line.len())];
        let mut fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
        let (Some(port), Some(profile)) = (fields.next(), fields.next()) else { continue };
        if port == b"0" {
            continue;
        }
        let is_one_of =
            |names: [&str; 2]| names.iter().any(|name| profile.eq_ignore_ascii_case(name.as_bytes()));
        offered.clear |= is_one_of(["RTP/AVP", "RTP/AVPF"]);
        offered.encrypted |=
            is_one_of(["RTP/SAVP", "RTP/SAVPF"]) || is_one_of(["UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"]);
    }
    offered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(lines: &str) -> (bool, bool) {
        let body = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=m=audio 1 RTP/AVP 0\r\nt=0 0\r\n{lines}");
        let OfferedAudio { clear, encrypted } = offered_audio(body.as_bytes());
        (clear, encrypted)
    }

    #[test]
    fn the_profile_of_an_audio_line_says_how_it_is_protected() {
        for profile in ["RTP/AVP", "RTP/AVPF", "rtp/avp"] {
            assert_eq!(offered(&format!("m=audio 4000 {profile} 0 8\r\n")), (true, false), "{profile}");
        }
        for profile in ["RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"] {
            assert_eq!(offered(&format!("m=audio 4000/2 {profile} 0\n")), (false, true), "{profile}");
        }
    }

    #[test]
    fn a_caller_may_offer_both_or_nothing_that_counts() {
        assert_eq!(offered("m=audio 4000 RTP/SAVP 0\r\nm=audio 4002 RTP/AVP 0\r\n"), (true, true));
        for lines in
            ["", "m=audio 0 RTP/AVP 0\r\n", "m=video 4000 RTP/AVP 31\r\n", "m=audio 4000\r\n", "m=audio"]
        {
            assert_eq!(offered(lines), (false, false), "{lines:?}");
        }
    }
}
