//! Offers as peers write them, and what is answered.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

const LOCAL: &str = "192.0.2.9:40000";
const SESSION: SessionId = SessionId { id: 7, version: 1 };

/// A session description around `lines`, from 192.0.2.1.
fn sdp(lines: &str) -> String {
    let head = "v=0\r\no=alice 1 1 IN IP4 192.0.2.1\r\ns=call\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
    format!("{head}{}", lines.replace('\n', "\r\n"))
}

fn parse(lines: &str) -> Result<AudioOffer, SdpError> {
    parse_offer(sdp(lines).as_bytes(), Profile::Avp)
}

fn local() -> SocketAddr {
    LOCAL.parse().unwrap()
}

fn answered(offer: &AudioOffer) -> String {
    answer(offer, offer.preferred().unwrap(), None, local(), SESSION)
}

#[test]
fn rfc_3264_section_6_the_first_codec_of_the_offer_is_preferred() {
    let mu_first = parse("m=audio 5004 RTP/AVP 0 8\n").unwrap();
    assert_eq!(mu_first.preferred(), Some(Payload { number: 0, codec: AudioCodec::Pcmu }));
    let a_first = parse("m=audio 5004 RTP/AVP 8 0\n").unwrap();
    assert_eq!(a_first.preferred(), Some(Payload { number: 8, codec: AudioCodec::Pcma }));
    assert_eq!(a_first.address, "192.0.2.1:5004".parse().unwrap());
}

#[test]
fn an_answer_names_one_codec_and_the_offered_telephone_event() {
    let offer = parse(
        "m=audio 5004 RTP/AVP 18 8 0 96\na=rtpmap:96 telephone-event/8000\na=fmtp:96 0-16\na=ptime:30\n",
    )
    .unwrap();
    assert_eq!(offer.telephone_event, Some(96));
    assert_eq!(offer.ptime_ms, 30);
    let expected = "v=0\r\no=- 7 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
        m=audio 40000 RTP/AVP 8 96\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:96 telephone-event/8000\r\n\
        a=fmtp:96 0-15\r\na=ptime:20\r\na=sendrecv\r\n";
    assert_eq!(answered(&offer), expected);
}

#[test]
fn rfc_3551_section_6_a_dynamic_number_may_carry_pcma_and_a_map_overrules_a_static_number() {
    let offer =
        parse("m=audio 5004 RTP/AVP 0 97\na=rtpmap:0 G726-32/8000\na=rtpmap:97 pcma/8000/1\n").unwrap();
    assert_eq!(offer.codecs, [Payload { number: 97, codec: AudioCodec::Pcma }]);
}

#[test]
fn rfc_3551_section_6_a_number_that_no_packet_can_carry_is_not_taken() {
    let maps = "a=rtpmap:127 PCMU/8000\na=rtpmap:128 PCMA/8000\na=rtpmap:129 telephone-event/8000\n";
    let offer = parse(&format!("m=audio 5004 RTP/AVP 128 127 129\n{maps}")).unwrap();
    assert_eq!(offer.codecs, [Payload { number: 127, codec: AudioCodec::Pcmu }]);
    assert_eq!(offer.telephone_event, None);
}

#[test]
fn a_wideband_or_stereo_namesake_of_g711_is_not_taken() {
    let lines = "m=audio 5004 RTP/AVP 96 97\na=rtpmap:96 PCMU/16000\na=rtpmap:97 PCMU/8000/2\n";
    assert_eq!(parse(lines), Err(SdpError::NoCodec));
}

#[test]
fn a_telephone_event_at_another_clock_is_not_ours() {
    let lines = "m=audio 5004 RTP/AVP 0 98\na=rtpmap:98 telephone-event/48000\n";
    assert_eq!(parse(lines).unwrap().telephone_event, None);
}

#[test]
fn rfc_3264_section_6_all_lines_but_the_first_usable_audio_are_refused_by_port_0() {
    let offer = parse(
        "m=video 6000 RTP/AVP 31\nm=audio 0 RTP/AVP 0\nm=audio 5006 RTP/SAVP 0\nm=audio 5008 RTP/AVP 0\n\
         m=audio 5010 RTP/AVP 8\nm=image 9 udptl t38\n",
    )
    .unwrap();
    assert_eq!(offer.address.port(), 5008);
    let text = answered(&offer);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(
        lines,
        [
            "m=video 0 RTP/AVP 31",
            "m=audio 0 RTP/AVP 0",
            "m=audio 0 RTP/SAVP 0",
            "m=audio 40000 RTP/AVP 0",
            "m=audio 0 RTP/AVP 8",
            "m=image 0 udptl t38"
        ]
    );
}

#[test]
fn rfc_3264_section_6_the_answer_repeats_the_times_of_the_offer() {
    let text = sdp("m=audio 5004 RTP/AVP 0\n").replace("t=0 0", "t=2873397496 2873404696");
    let offer = parse_offer(text.as_bytes(), Profile::Avp).unwrap();
    assert!(answered(&offer).contains("\r\nt=2873397496 2873404696\r\n"));
}

#[test]
fn rfc_3264_section_6_1_each_direction_is_answered_by_its_mirror() {
    for (said, mirror) in [
        ("sendrecv", "sendrecv"),
        ("sendonly", "recvonly"),
        ("recvonly", "sendonly"),
        ("inactive", "inactive"),
    ] {
        let offer = parse(&format!("m=audio 5004 RTP/AVP 0\na={said}\n")).unwrap();
        assert_eq!(offer.direction.attribute(), said);
        assert!(answered(&offer).ends_with(&format!("\r\na={mirror}\r\n")), "{said}");
    }
}

#[test]
fn a_direction_of_the_session_counts_unless_the_line_has_its_own() {
    let text = sdp("a=sendonly\nm=audio 5004 RTP/AVP 0\n");
    assert_eq!(parse_offer(text.as_bytes(), Profile::Avp).unwrap().direction, Direction::SendOnly);
    let text = sdp("a=sendonly\nm=audio 5004 RTP/AVP 0\na=recvonly\n");
    assert_eq!(parse_offer(text.as_bytes(), Profile::Avp).unwrap().direction, Direction::RecvOnly);
}

#[test]
fn rfc_3264_section_8_4_an_unspecified_address_is_hold() {
    let held = parse("m=audio 5004 RTP/AVP 0\nc=IN IP4 0.0.0.0\n").unwrap();
    assert_eq!(held.direction, Direction::SendOnly);
    assert!(!held.direction.receives());
    let held = parse("m=audio 5004 RTP/AVP 0\nc=IN IP4 0.0.0.0\na=recvonly\n").unwrap();
    assert_eq!(held.direction, Direction::Inactive);
    let held = parse("m=audio 5004 RTP/AVP 0\nc=IN IP6 ::\n").unwrap();
    assert_eq!(held.direction, Direction::SendOnly);
}

#[test]
fn rfc_8866_section_5_7_the_address_of_the_line_comes_before_the_address_of_the_session() {
    let offer = parse("m=audio 5004 RTP/AVP 0\nc=IN IP6 2001:db8::5\n").unwrap();
    assert_eq!(offer.address, "[2001:db8::5]:5004".parse().unwrap());
    let text = answer(&offer, offer.codecs[0], None, "[2001:db8::9]:40000".parse().unwrap(), SESSION);
    assert!(text.starts_with("v=0\r\no=- 7 1 IN IP6 2001:db8::9\r\ns=-\r\nc=IN IP6 2001:db8::9\r\n"));
}

#[test]
fn what_cannot_be_taken_says_why() {
    assert_eq!(parse("m=audio 0 RTP/AVP 0\n"), Err(SdpError::NoAudio));
    assert_eq!(parse("m=video 5004 RTP/AVP 31\n"), Err(SdpError::NoAudio));
    assert_eq!(parse(""), Err(SdpError::NoAudio));
    let refused = SdpError::Profile { offered: "RTP/SAVP".to_owned(), taken: Profile::Avp };
    assert_eq!(parse("m=audio 5004 RTP/SAVP 0\n"), Err(refused));
    assert_eq!(parse("m=audio 5004 RTP/AVP 18\n"), Err(SdpError::NoCodec));
    let named = "m=audio 5004 RTP/AVP 0\nc=IN IP4 media.example.com\n";
    assert_eq!(parse(named), Err(SdpError::Address("media.example.com".to_owned())));
    let group = "m=audio 5004 RTP/AVP 0\nc=IN IP4 224.2.1.1/127\n";
    assert_eq!(parse(group), Err(SdpError::Address("224.2.1.1/127".to_owned())));
    assert!(matches!(parse_offer(b"hello", Profile::Avp), Err(SdpError::Malformed(_))));
    assert!(matches!(parse_offer(b"", Profile::Avp), Err(SdpError::Malformed(_))));
}

#[test]
fn more_media_lines_than_the_cap_are_refused() {
    assert_eq!(parse(&"m=audio 5004 RTP/AVP 0\n".repeat(17)), Err(SdpError::TooManyMedia(17)));
    assert!(parse(&"m=audio 5004 RTP/AVP 0\n".repeat(16)).is_ok());
}

#[test]
fn a_packet_time_out_of_reason_falls_back_to_20_ms() {
    for ptime in ["0", "201", "-20", "soon", "99999999"] {
        let lines = format!("m=audio 5004 RTP/AVP 0\na=ptime:{ptime}\n");
        assert_eq!(parse(&lines).unwrap().ptime_ms, 20, "{ptime}");
    }
}

#[test]
fn rfc_3261_section_13_3_1_4_an_invite_without_an_offer_gets_one_that_we_would_take_ourselves() {
    let text = write_offer(&[], local(), SESSION);
    let offer = parse_offer(text.as_bytes(), Profile::Avp).unwrap();
    assert_eq!(offer.address, local());
    assert_eq!(offer.codecs.len(), 2);
    assert_eq!(offer.telephone_event, Some(101));
    assert_eq!(offer.direction, Direction::SendRecv);
}

#[test]
fn lines_that_end_in_a_bare_line_feed_are_read() {
    let text = sdp("m=audio 5004 RTP/AVP 8\n").replace("\r\n", "\n");
    assert_eq!(parse_offer(text.as_bytes(), Profile::Avp).unwrap().codecs.len(), 1);
}

#[test]
fn offers_of_real_peers_are_taken() {
    let softphone = "a=tool:phone 3\nm=audio 21060 RTP/AVP 96 0 8 101\nb=AS:125\na=rtpmap:96 opus/48000/2\n\
        a=fmtp:96 stereo=1;sprop-stereo=1\na=rtpmap:0 PCMU/8000\na=rtpmap:8 PCMA/8000\n\
        a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=rtcp:21061\na=rtcp-rsize\na=ssrc:1 cname:x\n\
        a=label:1\na=ptime:20\na=sendrecv\n";
    let offer = parse(softphone).unwrap();
    assert_eq!(offer.preferred(), Some(Payload { number: 0, codec: AudioCodec::Pcmu }));
    assert_eq!(offer.telephone_event, Some(101));
    let generator = "v=0\r\no=user1 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\n\
        t=0 0\r\nm=audio 6000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n";
    for tail in ["", "\r\n", "\r\n\r\n"] {
        let offer = parse_offer(format!("{generator}{tail}").as_bytes(), Profile::Avp);
        assert_eq!(offer.map(|offer| offer.address.port()), Ok(6000), "{tail:?}");
    }
}

#[test]
fn rfc_3264_section_8_the_version_of_a_later_answer_grows() {
    let offer = parse("m=audio 5004 RTP/AVP 0\n").unwrap();
    let text = answer(&offer, offer.codecs[0], None, local(), SessionId { id: 7, version: 2 });
    assert!(text.starts_with("v=0\r\no=- 7 2 IN IP4 192.0.2.9\r\n"));
}

proptest! {
    #[test]
    fn no_body_makes_the_reader_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse_offer(&body, Profile::Avp);
    }

    #[test]
    fn no_damage_to_an_offer_makes_it_panic(at in 0_usize..200, byte in any::<u8>()) {
        let mut body = sdp("m=audio 5004 RTP/AVP 0 8 101\na=rtpmap:101 telephone-event/8000\na=ptime:20\n").into_bytes();
        let at = at % body.len();
        body[at] = byte;
        if let Ok(offer) = parse_offer(&body, Profile::Avp) {
            prop_assert!(!offer.codecs.is_empty());
            prop_assert!(parse_offer(answered(&offer).as_bytes(), Profile::Avp).is_ok());
        }
    }
}

/// 30 bytes.
const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

fn parse_encrypted(lines: &str) -> Result<AudioOffer, SdpError> {
    parse_offer(sdp(lines).as_bytes(), Profile::Savp)
}

#[test]
fn rfc_4568_section_5_1_the_first_encrypted_line_with_a_key_is_taken_and_answered_by_its_tag() {
    let offer = parse_encrypted(&format!(
        "m=audio 5004 RTP/AVP 0\nm=audio 5006 RTP/SAVP 0\na=crypto:1 F8_128_HMAC_SHA1_80 inline:{KEY}\n\
         m=audio 5008 RTP/SAVP 8\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31|1:1\n\
         a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31\na=crypto:3 AES_CM_128_HMAC_SHA1_32 inline:{KEY}\n"
    ))
    .unwrap();
    assert_eq!((offer.address.port(), offer.profile), (5008, Profile::Savp));
    let taken: Vec<(u32, Suite)> = offer.cryptos.iter().map(|crypto| (crypto.tag, crypto.suite)).collect();
    assert_eq!(taken, [(2, Suite::AesCm128HmacSha1Tag80), (3, Suite::AesCm128HmacSha1Tag32)]);
    let ours = Crypto::new(2, Suite::AesCm128HmacSha1Tag80, [0; MAX_KEY_BYTES]);
    let text = answer(&offer, offer.preferred().unwrap(), Some(ours), local(), SESSION);
    let lines: Vec<&str> =
        text.lines().filter(|line| line.starts_with("m=") || line.contains("crypto")).collect();
    let zeros = "A".repeat(40);
    assert_eq!(
        lines,
        [
            "m=audio 0 RTP/AVP 0",
            "m=audio 0 RTP/SAVP 0",
            "m=audio 40000 RTP/SAVP 8",
            &format!("a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{zeros}"),
        ]
    );
}

#[test]
fn encrypted_audio_without_a_key_and_audio_in_the_clear_are_told_apart() {
    assert_eq!(parse_encrypted("m=audio 5004 RTP/SAVP 0\n"), Err(SdpError::NoCrypto));
    for offered in ["RTP/AVP", "UDP/TLS/RTP/SAVP"] {
        let refused = SdpError::Profile { offered: offered.to_owned(), taken: Profile::Savp };
        assert_eq!(parse_encrypted(&format!("m=audio 5004 {offered} 0\n")), Err(refused));
    }
    let clear = parse(&format!("m=audio 5004 RTP/AVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\n"));
    assert_eq!(clear.unwrap().cryptos, [], "a line in the clear has no keys");
}

#[test]
fn an_encrypted_offer_of_ours_names_every_suite_with_its_key() {
    let ours: Vec<Crypto> =
        (1..).zip(Suite::ALL).map(|(tag, suite)| Crypto::new(tag, suite, [9; 44])).collect();
    let text = write_offer(&ours, local(), SESSION);
    assert!(text.contains("\r\nm=audio 40000 RTP/SAVP 0 8 101\r\n"), "{text}");
    let read = parse_offer(text.as_bytes(), Profile::Savp).unwrap();
    let named: Vec<&str> = read.cryptos.iter().map(|crypto| crypto.suite.name()).collect();
    assert_eq!(
        named,
        ["AEAD_AES_128_GCM", "AEAD_AES_256_GCM", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"]
    );
}
