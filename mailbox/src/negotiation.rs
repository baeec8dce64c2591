//! Offer and answer of one call, from the mailbox's side (RFC 3264).
//!
//! Decides which codec a call has: the first of G.711 that the far end names. Refuses to know how
//! session descriptions are written (`sip::sdp`) and who else uses an address.

use std::net::SocketAddr;

use config::Code;
use sip::sdp::{AudioCodec, AudioOffer, Payload, Profile, SdpError, parse_offer};
use sip::{Message, Name};

use crate::admission::Refused;
use crate::call::Media;
use crate::message::Codec;

/// The only body type that is taken, and what 415 says in `Accept`.
pub(crate) const SDP: &str = "application/sdp";

/// The offer in an INVITE, of audio that travels so; `None` if it has none, so that our answer makes it
/// (RFC 3261 section 13.2.1).
///
/// # Errors
/// When there is a body that is no session description, or one that cannot be used.
pub(crate) fn offer_in(invite: &Message<'_>, profile: Profile) -> Result<Option<AudioOffer>, Refused> {
    if invite.body().is_empty() {
        return Ok(None);
    }
    let written = invite.header(Name::ContentType).unwrap_or_default();
    let kind = written.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case(SDP) {
        let text = format!("the body is not {SDP}; send the session description as the only body");
        return Err(Refused::because(Code::UnsupportedMediaType, text));
    }
    parse_offer(invite.body(), profile).map(Some).map_err(|error| unusable(&error))
}

/// What an offer comes to. With `codec`, only that one will do: a call has one codec for life.
pub(crate) fn choose(offer: &AudioOffer, codec: Option<Codec>) -> Option<(Payload, Media)> {
    let chosen = match codec {
        None => offer.preferred(),
        Some(codec) => offer.codecs.iter().copied().find(|payload| of(payload.codec) == codec),
    }?;
    let media = Media {
        remote: canonical(offer.address),
        codec: of(chosen.codec),
        audio_number: chosen.number,
        event_number: offer.telephone_event,
        listens: offer.direction.receives(),
    };
    Some((chosen, media))
}

/// The one form of an address: IPv4 is never written as IPv6.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A refusal in the words of the session description's reader.
pub(crate) fn unusable(error: &SdpError) -> Refused {
    let code = match error {
        SdpError::Malformed(_) => Code::MalformedRequest,
        SdpError::TooManyMedia(_)
        | SdpError::NoAudio
        | SdpError::Profile { .. }
        | SdpError::Address(_)
        | SdpError::NoCodec => Code::MediaNotAcceptable,
        SdpError::NoCrypto => Code::EncryptionUnavailable,
    };
    // The reader quotes the peer, and the words go into a quoted string.
    let harmless =
        |c: char| if c.is_ascii_graphic() && !matches!(c, '"' | '\\') || c == ' ' { c } else { '?' };
    let text = error.to_string().chars().take(160).map(harmless).collect();
    Refused::because(code, text)
}

const fn of(codec: AudioCodec) -> Codec {
    match codec {
        AudioCodec::Pcmu => Codec::Pcmu,
        AudioCodec::Pcma => Codec::Pcma,
    }
}
