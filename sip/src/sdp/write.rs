//! From what was decided to the text of an answer or an offer.
//!
//! Decides the lines and their order. Refuses to choose a codec.

use std::net::SocketAddr;

use sdp_types::{Attribute, Connection, Media, Origin, Session, Time};

use super::{AudioCodec, AudioOffer, Crypto, DEFAULT_PTIME_MS, Direction, Payload, Profile, SessionId};

/// The number under which our own offers name telephone events: the customary dynamic one.
const TELEPHONE_EVENT: u8 = 101;

/// Answers `offer` with one codec of it, and telephone events if they were offered: media is
/// received at `local`, all other media lines are refused by port 0 (RFC 3264 section 6). If it is
/// encrypted, `crypto` is what it is sent by: it has the tag of the key that was chosen (RFC 4568
/// section 5.1.2).
#[must_use]
pub fn answer(
    offer: &AudioOffer,
    codec: Payload,
    crypto: Option<Crypto>,
    local: SocketAddr,
    session: SessionId,
) -> String {
    let cryptos = crypto.as_slice();
    let mut description = description(local, session, &offer.times);
    for (index, line) in offer.lines.iter().enumerate() {
        let media = if index == offer.taken {
            let direction = offer.direction.reversed();
            audio((local.port(), offer.profile, cryptos), &[codec], offer.telephone_event, direction)
        } else {
            media(&line.media, 0, &line.proto, line.formats.clone())
        };
        description.medias.push(media);
    }
    text(&description)
}

/// Offers PCMU, PCMA and telephone events at `local`, for an INVITE that came without an offer
/// (RFC 3261 section 13.3.1.4), encrypted by one of `cryptos` or without any in the clear. The ACK brings
/// the answer, for [`parse_offer`](super::parse_offer).
#[must_use]
pub fn write_offer(cryptos: &[Crypto], local: SocketAddr, session: SessionId) -> String {
    let mut description = description(local, session, &[]);
    let codecs =
        [AudioCodec::Pcmu, AudioCodec::Pcma].map(|codec| Payload { number: codec.static_number(), codec });
    let profile = if cryptos.is_empty() { Profile::Avp } else { Profile::Savp };
    let port = (local.port(), profile, cryptos);
    description.medias.push(audio(port, &codecs, Some(TELEPHONE_EVENT), Direction::SendRecv));
    text(&description)
}

fn description(local: SocketAddr, session: SessionId, times: &[(u64, u64)]) -> Session {
    let origin = Origin::with_ip_addr(session.id, session.version, local.ip());
    let mut description = Session::new(origin, "-");
    description.connection = Some(Connection::from_ip_addr(local.ip()));
    description.times = times.iter().map(|&(start, stop)| Time::new(start, stop)).collect();
    description
}

fn audio(
    (port, profile, cryptos): (u16, Profile, &[Crypto]),
    codecs: &[Payload],
    telephone_event: Option<u8>,
    direction: Direction,
) -> Media {
    let numbers = codecs.iter().map(|codec| codec.number).chain(telephone_event);
    let formats: Vec<String> = numbers.map(|number| number.to_string()).collect();
    let mut media = media("audio", port, profile.name(), formats.join(" "));
    for crypto in cryptos {
        media.attributes.push(Attribute::with_value("crypto", crypto.write()));
    }
    for Payload { number, codec } in codecs {
        media.attributes.push(Attribute::with_value("rtpmap", format!("{number} {}/8000", codec.name())));
    }
    if let Some(number) = telephone_event {
        media.attributes.push(Attribute::with_value("rtpmap", format!("{number} telephone-event/8000")));
        // The sixteen keys of a telephone (RFC 4733 section 2.4.1).
        media.attributes.push(Attribute::with_value("fmtp", format!("{number} 0-15")));
    }
    media.attributes.push(Attribute::with_value("ptime", DEFAULT_PTIME_MS));
    media.attributes.push(Attribute::new(direction.attribute()));
    media
}

fn media(kind: &str, port: u16, proto: &str, formats: String) -> Media {
    Media {
        media: kind.to_owned(),
        port,
        num_ports: None,
        proto: proto.to_owned(),
        fmt: formats,
        media_title: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes: Vec::new(),
    }
}

fn text(description: &Session) -> String {
    let mut bytes = Vec::with_capacity(512);
    // Writing to memory cannot fail.
    let _written = description.write(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
