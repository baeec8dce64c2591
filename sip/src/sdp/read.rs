//! From the text of a session description to the audio that is taken.
//!
//! Decides which line is usable and why one is not. Refuses to write.

use std::net::{IpAddr, SocketAddr};

use sdp_types::{Attribute, Connection, Media, RtpMap, Session};

use super::{
    AudioCodec, AudioOffer, Crypto, DEFAULT_PTIME_MS, Direction, MAX_CRYPTOS, MAX_MEDIA_LINES, MAX_PTIME_MS,
    MediaLine, Payload, Profile, SdpError,
};

/// Clock of G.711 and of the telephone events beside it (RFC 3551, RFC 4733).
const CLOCK_HZ: u32 = 8_000;

pub(super) fn offer(body: &[u8], profile: Profile) -> Result<AudioOffer, SdpError> {
    let session = Session::parse(body).map_err(|error| SdpError::Malformed(error.to_string()))?;
    if session.medias.len() > MAX_MEDIA_LINES {
        return Err(SdpError::TooManyMedia(session.medias.len()));
    }
    let mut refused = SdpError::NoAudio;
    for (index, media) in session.medias.iter().enumerate() {
        match audio(&session, media, index, profile) {
            Ok(offer) => return Ok(offer),
            // The first line that is audio at all says best what is wrong.
            Err(error) if refused == SdpError::NoAudio => refused = error,
            Err(_) => {}
        }
    }
    Err(refused)
}

fn audio(session: &Session, media: &Media, index: usize, profile: Profile) -> Result<AudioOffer, SdpError> {
    if !media.media.eq_ignore_ascii_case("audio") || media.port == 0 {
        return Err(SdpError::NoAudio);
    }
    if !media.proto.eq_ignore_ascii_case(profile.name()) {
        return Err(SdpError::Profile { offered: media.proto.clone(), taken: profile });
    }
    let cryptos = match profile {
        Profile::Avp => Vec::new(),
        Profile::Savp => cryptos(media),
    };
    if profile == Profile::Savp && cryptos.is_empty() {
        return Err(SdpError::NoCrypto);
    }
    let ip = address(session, media)?;
    let (codecs, telephone_event) = formats(media);
    if codecs.is_empty() {
        return Err(SdpError::NoCodec);
    }
    let said = direction(&media.attributes).or_else(|| direction(&session.attributes));
    let said = said.unwrap_or(Direction::SendRecv);
    Ok(AudioOffer {
        address: SocketAddr::new(ip, media.port),
        codecs,
        telephone_event,
        ptime_ms: ptime_ms(media),
        // An unspecified address asks for no media: hold as before RFC 3264 (section 8.4).
        direction: Direction::of(said.sends(), said.receives() && !ip.is_unspecified()),
        profile,
        cryptos,
        lines: session.medias.iter().map(line).collect(),
        taken: index,
        times: session.times.iter().map(|time| (time.start_time, time.stop_time)).collect(),
    })
}

fn line(media: &Media) -> MediaLine {
    MediaLine { media: media.media.clone(), proto: media.proto.clone(), formats: media.fmt.clone() }
}

/// The line's own address comes before the session's (RFC 8866 section 5.7).
fn address(session: &Session, media: &Media) -> Result<IpAddr, SdpError> {
    let connection: &Connection = media
        .connections
        .first()
        .or(session.connection.as_ref())
        .ok_or_else(|| SdpError::Address("none is given".to_owned()))?;
    let text = &connection.connection_address;
    match text.parse::<IpAddr>() {
        Ok(ip) if !ip.is_multicast() => Ok(ip),
        Ok(_) | Err(_) => Err(SdpError::Address(text.clone())),
    }
}

/// The codecs that are taken, in the order of the line, and the number of telephone events.
fn formats(media: &Media) -> (Vec<Payload>, Option<u8>) {
    let maps: Vec<RtpMap> = media.attributes_typed::<RtpMap>().filter_map(Result::ok).collect();
    let mut codecs: Vec<Payload> = Vec::new();
    let mut telephone_event = None;
    // Seven bits of a packet say which it is (RFC 3551 section 6).
    let numbers = media.fmt.split_ascii_whitespace().filter_map(|format| format.parse::<u8>().ok());
    for number in numbers.filter(|number| *number < 128) {
        match maps.iter().find(|map| map.payload_type == number) {
            Some(map) if map.clock_rate != CLOCK_HZ => {}
            Some(map) if map.encoding_name.eq_ignore_ascii_case("telephone-event") => {
                telephone_event = telephone_event.or(Some(number));
            }
            Some(map) => codecs.extend(named(map).map(|codec| Payload { number, codec })),
            // Static numbers need no map (RFC 3551 section 6).
            None => codecs.extend(fixed(number).map(|codec| Payload { number, codec })),
        }
    }
    (codecs, telephone_event)
}

/// The keys of a line that are taken, in its order. Those of the session are none of a line (RFC 4568
/// section 4).
fn cryptos(media: &Media) -> Vec<Crypto> {
    let all = media.attributes.iter().filter(|attribute| attribute.attribute.eq_ignore_ascii_case("crypto"));
    let values = all.take(MAX_CRYPTOS).filter_map(|attribute| attribute.value.as_deref());
    values.filter_map(Crypto::read).collect()
}

fn named(map: &RtpMap) -> Option<AudioCodec> {
    let mono = map.encoding_params.as_deref().is_none_or(|channels| channels == "1");
    [AudioCodec::Pcmu, AudioCodec::Pcma]
        .into_iter()
        .find(|codec| mono && map.encoding_name.eq_ignore_ascii_case(codec.name()))
}

fn fixed(number: u8) -> Option<AudioCodec> {
    [AudioCodec::Pcmu, AudioCodec::Pcma].into_iter().find(|codec| codec.static_number() == number)
}

fn direction(attributes: &[Attribute]) -> Option<Direction> {
    let all = [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive];
    attributes.iter().find_map(|attribute| {
        all.into_iter().find(|direction| attribute.attribute.eq_ignore_ascii_case(direction.attribute()))
    })
}

fn ptime_ms(media: &Media) -> u16 {
    media
        .get_first_attribute_value("ptime")
        .flatten()
        .and_then(|value| value.trim().parse().ok())
        .filter(|ptime_ms| (1..=MAX_PTIME_MS).contains(ptime_ms))
        .unwrap_or(DEFAULT_PTIME_MS)
}
