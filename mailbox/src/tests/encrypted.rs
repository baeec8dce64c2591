//! Calls whose audio is encrypted: keys by session description, packets by SRTP.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use webrtc_srtp::context::Context;
use webrtc_srtp::crypto::providers::AwsLcRsCrypto;
use webrtc_srtp::protection_profile::ProtectionProfile;

use super::caller::{Caller, offer_at};
use super::stage::{CALLER, Spooled, Stage, UNTIL_RECORDING_MS};
use crate::message::{Codec, EndedBy};
use crate::tone::beep;

const GCM_128: (&str, ProtectionProfile) = ("AEAD_AES_128_GCM", ProtectionProfile::AeadAes128Gcm);
const GCM_256: (&str, ProtectionProfile) = ("AEAD_AES_256_GCM", ProtectionProfile::AeadAes256Gcm);
const TAG_80: (&str, ProtectionProfile) = ("AES_CM_128_HMAC_SHA1_80", ProtectionProfile::Aes128CmHmacSha1_80);
const TAG_32: (&str, ProtectionProfile) = ("AES_CM_128_HMAC_SHA1_32", ProtectionProfile::Aes128CmHmacSha1_32);

/// A key of the caller's: a byte many times, as long as the suite has it.
fn key(profile: ProtectionProfile, byte: u8) -> Vec<u8> {
    vec![byte; profile.key_len() + profile.salt_len()]
}

fn context(profile: ProtectionProfile, key: &[u8]) -> Context {
    let (key, salt) = key.split_at(profile.key_len());
    Context::new(key, salt, profile, None, None, &AwsLcRsCrypto).unwrap()
}

/// An offer of encrypted audio by one key.
fn offer((name, profile): (&str, ProtectionProfile), tag: u32, byte: u8) -> String {
    let inline = STANDARD.encode(key(profile, byte));
    let crypto = format!("a=crypto:{tag} {name} inline:{inline}|2^31\r\n");
    offer_at(CALLER, "0 8 101", "sendrecv").replace("RTP/AVP", "RTP/SAVP") + &crypto
}

/// The key that the newest 200 sends by, under this tag and suite.
fn answered(stage: &Stage, tag: u32, name: &str) -> Vec<u8> {
    let begins = format!("a=crypto:{tag} {name} inline:");
    let answer = stage.last("SIP/2.0 200 OK");
    let line = answer.lines().find_map(|line| line.strip_prefix(&begins));
    STANDARD.decode(line.unwrap_or_else(|| panic!("no {begins} in {answer}"))).unwrap()
}

/// A call that has heard the beep, and what the caller seals by.
fn reach_the_beep(suite: (&str, ProtectionProfile)) -> (Stage, Caller, Context) {
    let (mut stage, mut caller) = (Stage::protected("Secured"), Caller::new());
    caller.invite_with(&mut stage, &offer(suite, 3, 0x11));
    caller.ack(&mut stage);
    stage.advance(UNTIL_RECORDING_MS);
    (stage, caller, context(suite.1, &key(suite.1, 0x11)))
}

fn says(stage: &mut Stage, caller: &mut Caller, seals: &mut Context, byte: u8) -> Vec<u8> {
    let sealed = seals.encrypt_rtp(&caller.packet(byte)).unwrap().to_vec();
    stage.hears_media(CALLER, &sealed);
    stage.advance(20);
    sealed
}

/// What was recorded, packet by packet: one byte of each.
fn recorded(stage: &Stage) -> Vec<u8> {
    let byte = |spooled: Spooled| match spooled {
        Spooled::Append(_, payload) => {
            assert_eq!(payload, vec![payload[0]; 160]);
            Some(payload[0])
        }
        Spooled::Begin | Spooled::Finish(_) | Spooled::Discard => None,
    };
    stage.spooled().into_iter().filter_map(byte).collect()
}

#[test]
fn rfc_4568_each_suite_carries_a_call_by_the_keys_of_offer_and_answer() {
    for suite in [GCM_128, GCM_256, TAG_80, TAG_32] {
        let (mut stage, mut caller, mut seals) = reach_the_beep(suite);
        assert!(stage.last("SIP/2.0 200 OK").contains("m=audio 20000 RTP/SAVP 0 101\r\n"));
        let mut opens = context(suite.1, &answered(&stage, 3, suite.0));
        let heard: Vec<u8> = stage
            .media
            .iter()
            .flat_map(|sent| opens.decrypt_rtp(&sent.bytes).unwrap().split_off(12))
            .collect();
        assert_eq!(heard[3 * 160..], beep(Codec::Pcmu), "{}", suite.0);
        // The caller's sequence numbers begin again meanwhile.
        for byte in 1..=60 {
            says(&mut stage, &mut caller, &mut seals, byte);
        }
        caller.bye(&mut stage);
        assert_eq!(recorded(&stage), Vec::from_iter(1..=60), "{}", suite.0);
        assert_eq!(stage.spooled().last(), Some(&Spooled::Finish(EndedBy::Hangup)));
    }
}

#[test]
fn what_is_in_the_clear_of_another_key_or_played_again_is_not_heard() {
    let (mut stage, mut caller, mut seals) = reach_the_beep(GCM_128);
    let first = says(&mut stage, &mut caller, &mut seals, 1);
    let clear = caller.packet(2);
    let stranger = context(GCM_128.1, &key(GCM_128.1, 0x12)).encrypt_rtp(&caller.packet(3)).unwrap();
    let mut changed = seals.encrypt_rtp(&caller.packet(4)).unwrap().to_vec();
    changed[20] ^= 1;
    for packet in [&clear[..], &stranger, &changed, &first, &first[..11], &[]] {
        stage.hears_media(CALLER, packet);
    }
    // Packets that only claim to be of another source leave nothing behind, however many there are.
    for source in 0..100 {
        caller.ssrc = 1_000 + source;
        stage.hears_media(CALLER, &caller.packet(5));
    }
    caller.ssrc = 77;
    says(&mut stage, &mut caller, &mut seals, 6);
    caller.bye(&mut stage);
    assert_eq!(recorded(&stage), [1, 6]);
    assert_eq!(stage.metrics.dropped_as("strange"), 106);
}

#[test]
fn a_call_without_an_offer_is_offered_every_suite_and_the_ack_chooses() {
    let (mut stage, mut caller) = (Stage::protected("Secured"), Caller::new());
    caller.invite_with(&mut stage, "");
    let ours: Vec<Vec<u8>> = (1..)
        .zip([GCM_128, GCM_256, TAG_80, TAG_32])
        .map(|(tag, (name, _))| answered(&stage, tag, name))
        .collect();
    assert!(ours.iter().all(|key| ours.iter().filter(|other| *other == key).count() == 1), "each its own");
    caller.ack_with(&mut stage, &offer(TAG_80, 3, 0x11));
    stage.advance(UNTIL_RECORDING_MS);
    let mut opens = context(TAG_80.1, &ours[2]);
    assert!(stage.media.iter().all(|sent| opens.decrypt_rtp(&sent.bytes).is_ok()));
    says(&mut stage, &mut caller, &mut context(TAG_80.1, &key(TAG_80.1, 0x11)), 7);
    caller.bye(&mut stage);
    assert_eq!(recorded(&stage), [7]);
}

#[test]
fn an_ack_that_chooses_what_was_not_offered_ends_the_call() {
    for (suite, tag) in [(TAG_80, 1), (TAG_80, 9)] {
        let (mut stage, mut caller) = (Stage::protected("Secured"), Caller::new());
        caller.invite_with(&mut stage, "");
        caller.ack_with(&mut stage, &offer(suite, tag, 0x11));
        assert!(stage.last("BYE ").contains("UM1116"), "{}", stage.last("BYE "));
        assert_eq!(stage.media.len(), 0, "nothing was said in the clear");
    }
}

#[test]
fn rfc_4568_section_7_1_4_a_key_that_stays_goes_on_and_a_new_one_takes_its_place() {
    let (mut stage, mut caller, mut seals) = reach_the_beep(GCM_128);
    let ours = answered(&stage, 3, GCM_128.0);
    let before = says(&mut stage, &mut caller, &mut seals, 1);
    caller.reinvite(&mut stage, &offer(GCM_128, 4, 0x22));
    assert_eq!(answered(&stage, 4, GCM_128.0), ours, "ours stays");
    caller.ack(&mut stage);
    says(&mut stage, &mut caller, &mut seals, 2);
    let mut renewed = context(GCM_128.1, &key(GCM_128.1, 0x22));
    let kept = says(&mut stage, &mut caller, &mut renewed, 3);
    // The same key under another tag: what has come before is still known.
    caller.reinvite(&mut stage, &offer(GCM_128, 5, 0x22));
    caller.ack(&mut stage);
    for packet in [before, kept] {
        stage.hears_media(CALLER, &packet);
    }
    says(&mut stage, &mut caller, &mut renewed, 4);
    caller.bye(&mut stage);
    assert_eq!(recorded(&stage), [1, 3, 4]);
}

#[test]
fn an_offer_without_a_usable_key_is_refused_and_says_so() {
    let mut stage = Stage::protected("Secured");
    let body = offer_at(CALLER, "0 101", "sendrecv").replace("RTP/AVP", "RTP/SAVP");
    Caller::new().invite_with(&mut stage, &body);
    let answer = stage.last("SIP/2.0 488 ");
    let reason = answer.lines().find(|line| line.starts_with("Reason: ")).unwrap();
    assert!(reason.contains("UM1131 EncryptionUnavailable"), "{answer}");
    assert!(include_str!("../../../docs/codes/UM1131.md").contains(reason), "the page of the code shows it");
}

#[test]
fn without_chance_for_a_key_a_call_is_refused_and_not_taken_in_the_clear() {
    for body in [String::new(), offer(TAG_32, 1, 0x11)] {
        let mut stage = Stage::protected("Secured");
        stage.props.has_chance.set(false);
        Caller::new().invite_with(&mut stage, &body);
        assert!(stage.last("SIP/2.0 500 ").contains("UM1120"), "{:?}", stage.starts());
        assert_eq!(stage.metrics.slots().taken(), 0);
    }
}
