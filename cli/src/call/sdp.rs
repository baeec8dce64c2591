//! The session descriptions of a test call (RFC 8866, RFC 3264): writes the offer, reads the answer.
//!
//! Decides which of the offered codecs the answer took. Refuses to know anything that is not audio.

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use super::plan::Codec;

/// The payload type that we offer for keys (RFC 4733); any of 96 to 127 would do.
const TELEPHONE_EVENT: u8 = 101;

/// What the answer agreed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// Where media goes and comes from.
    pub remote: SocketAddr,
    /// The codec.
    pub codec: Codec,
    /// The payload type of keys, if the far end takes them.
    pub telephone_event: Option<u8>,
}

/// Why an answer cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum SdpError {
    #[error("the answer has no audio in it")]
    NoAudio,
    #[error("the answer refuses the audio: its port is 0")]
    Refused,
    #[error("the answer names no address for the audio")]
    NoAddress,
    #[error("the answer took none of the codecs that were offered")]
    NoCodec,
}

/// The offer of one audio stream, received and sent at `local`.
pub(crate) fn offer(local: SocketAddr, session: u64, codecs: &[Codec]) -> String {
    let family = match local.ip() {
        IpAddr::V4(_) => "IP4",
        IpAddr::V6(_) => "IP6",
    };
    let address = local.ip();
    let formats: String = codecs.iter().map(|codec| format!("{} ", codec.payload_type())).collect();
    let maps: String = codecs
        .iter()
        .map(|codec| format!("a=rtpmap:{} {}/8000\r\n", codec.payload_type(), codec.name()))
        .collect();
    format!(
        "v=0\r\no=umbriel {session} {session} IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {formats}{TELEPHONE_EVENT}\r\n{maps}\
         a=rtpmap:{TELEPHONE_EVENT} telephone-event/8000\r\na=fmtp:{TELEPHONE_EVENT} 0-15\r\n\
         a=ptime:20\r\na=sendrecv\r\n",
        port = local.port(),
    )
}

/// Reads the answer to an offer of `offered`.
pub(crate) fn read_answer(text: &str, offered: &[Codec]) -> Result<Agreed, SdpError> {
    let mut session_address = None;
    let mut audio: Option<Audio> = None;
    let mut in_audio = false;
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("m=") {
            in_audio = audio.is_none() && value.starts_with("audio ");
            if in_audio {
                audio = Some(Audio::read(value));
            } else if audio.is_some() {
                break;
            }
            continue;
        }
        let Some(audio) = audio.as_mut().filter(|_| in_audio) else {
            session_address = line.strip_prefix("c=").and_then(connection).or(session_address);
            continue;
        };
        if let Some(value) = line.strip_prefix("c=") {
            audio.address = connection(value);
        } else if let Some(value) = line.strip_prefix("a=rtpmap:")
            && let Some((number, encoding)) = value.split_once(' ')
            && encoding.to_ascii_lowercase().starts_with("telephone-event/8000")
        {
            audio.telephone_event = number.parse().ok();
        }
    }
    let audio = audio.ok_or(SdpError::NoAudio)?;
    if audio.port == 0 {
        return Err(SdpError::Refused);
    }
    let address = audio.address.or(session_address).ok_or(SdpError::NoAddress)?;
    let codec = audio
        .formats
        .iter()
        .find_map(|format| offered.iter().copied().find(|codec| codec.payload_type() == *format))
        .ok_or(SdpError::NoCodec)?;
    Ok(Agreed {
        remote: SocketAddr::new(address, audio.port),
        codec,
        telephone_event: audio.telephone_event.filter(|number| audio.formats.contains(number)),
    })
}

/// The audio section while it is read.
struct Audio {
    port: u16,
    formats: Vec<u8>,
    address: Option<IpAddr>,
    telephone_event: Option<u8>,
}

impl Audio {
    /// Reads `audio PORT RTP/AVP FORMAT ...`.
    fn read(line: &str) -> Self {
        let mut words = line.split_whitespace().skip(1);
        let port = words.next().and_then(|port| port.parse().ok()).unwrap_or(0);
        let formats = words.skip(1).filter_map(|format| format.parse().ok()).collect();
        Self { port, formats, address: None, telephone_event: None }
    }
}

/// The address of a `c=` line.
fn connection(value: &str) -> Option<IpAddr> {
    value.split_whitespace().nth(2)?.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Codec; 2] = [Codec::Pcmu, Codec::Pcma];

    #[test]
    fn an_offer_names_its_codecs_in_order_and_keys_last() {
        assert_eq!(
            offer("127.0.0.1:4000".parse().unwrap(), 7, &BOTH),
            "v=0\r\no=umbriel 7 7 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
        );
    }

    #[test]
    fn the_first_offered_codec_of_the_answer_is_the_agreed_one() {
        let answer = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n\
                      m=audio 5004 RTP/AVP 8 0 96\r\nc=IN IP4 10.0.0.2\r\na=rtpmap:96 telephone-event/8000\r\n";
        let agreed = read_answer(answer, &BOTH).unwrap();
        assert_eq!(agreed.remote, "10.0.0.2:5004".parse().unwrap());
        assert_eq!(agreed.codec, Codec::Pcma);
        assert_eq!(agreed.telephone_event, Some(96));
    }

    #[test]
    fn video_before_the_audio_is_passed_over() {
        let answer = "v=0\r\nc=IN IP4 10.0.0.1\r\nm=video 0 RTP/AVP 31\r\nm=audio 9 RTP/AVP 0\r\nm=text 1 RTP/AVP 8\r\n";
        let agreed = read_answer(answer, &BOTH).unwrap();
        assert_eq!(agreed.remote, "10.0.0.1:9".parse().unwrap());
        assert_eq!(agreed.telephone_event, None);
    }

    #[test]
    fn an_answer_that_cannot_carry_audio_says_why() {
        assert_eq!(read_answer("v=0\r\n", &BOTH), Err(SdpError::NoAudio));
        assert_eq!(read_answer("m=audio 0 RTP/AVP 0\r\n", &BOTH), Err(SdpError::Refused));
        assert_eq!(read_answer("m=audio 9 RTP/AVP 0\r\n", &BOTH), Err(SdpError::NoAddress));
        let other = "c=IN IP4 10.0.0.1\r\nm=audio 9 RTP/AVP 9\r\n";
        assert_eq!(read_answer(other, &BOTH), Err(SdpError::NoCodec));
    }
}
