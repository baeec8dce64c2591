//! Encrypted audio of one call (RFC 3711, RFC 7714): what arrives is opened, what goes out is sealed.
//!
//! Decides that nothing passes without a key, nothing twice, and nothing that somebody else has made.
//! Refuses to know how keys are agreed on, and what packets carry.

use std::fmt;

use bytes::BytesMut;
use sip::sdp::{Crypto, Suite};
use webrtc_srtp::context::Context;
use webrtc_srtp::crypto::providers::AwsLcRsCrypto;
use webrtc_srtp::option::srtp_replay_protection;
use webrtc_srtp::protection_profile::ProtectionProfile;

use crate::rtp::Packet;

/// Packets behind the newest one that are told apart from those that came before (RFC 3711 section 3.3.2).
const REPLAY_WINDOW: usize = 64;

/// Sources of the far end in one call, one after the other: each has its own count of packets. More than
/// these are not heard.
const MAX_SOURCES: usize = 8;

/// What both sides send by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    /// The far end's.
    pub(crate) theirs: Crypto,
    /// Ours.
    pub(crate) ours: Crypto,
}

/// The two directions of one call. Until keys are agreed on nothing passes.
#[derive(Default)]
pub(crate) struct Srtp {
    keys: Option<Keys>,
    /// By source: each is made known by its first packet that is authentic.
    inbound: Vec<(u32, Context)>,
    outbound: Option<Context>,
}

impl Srtp {
    /// Keys were agreed on, maybe anew. A direction whose key is the same goes on counting (RFC 4568
    /// section 7.1.4).
    pub(crate) fn agree(&mut self, keys: Keys) {
        let before = self.keys.replace(keys);
        if before.map(|before| before.theirs) != Some(keys.theirs) {
            self.inbound.clear();
        }
        if before.map(|before| before.ours) != Some(keys.ours) {
            self.outbound = context(&keys.ours);
        }
    }

    /// The packet inside, if it is the far end's and has not come before.
    pub(crate) fn open(&mut self, sealed: &[u8]) -> Option<BytesMut> {
        let source = Packet::parse(sealed).ok()?.ssrc;
        if let Some((_, known)) = self.inbound.iter_mut().find(|(of, _)| *of == source) {
            return known.decrypt_rtp(sealed).ok();
        }
        if self.inbound.len() >= MAX_SOURCES {
            return None;
        }
        // Whoever only writes a new source into his packets leaves nothing behind.
        let mut context = context(&self.keys?.theirs)?;
        let opened = context.decrypt_rtp(sealed).ok()?;
        self.inbound.push((source, context));
        Some(opened)
    }

    /// The packet as it is sent.
    pub(crate) fn seal(&mut self, packet: &[u8]) -> Option<BytesMut> {
        self.outbound.as_mut()?.encrypt_rtp(packet).ok()
    }
}

impl fmt::Debug for Srtp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Srtp").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// One direction. The lengths of a key are those of its suite, so that it can only be made.
fn context(crypto: &Crypto) -> Option<Context> {
    let profile = match crypto.suite {
        Suite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Suite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        Suite::AesCm128HmacSha1Tag80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Suite::AesCm128HmacSha1Tag32 => ProtectionProfile::Aes128CmHmacSha1_32,
    };
    let window = Some(srtp_replay_protection(REPLAY_WINDOW));
    Context::new(crypto.key(), crypto.salt(), profile, window, None, &AwsLcRsCrypto).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sip::sdp::MAX_KEY_BYTES;

    use super::*;

    /// Version 2, payload type 15, source cafebabe, and sixteen bytes of payload.
    fn packet(first: u8, sequence: u16) -> Vec<u8> {
        let [high, low] = sequence.to_be_bytes();
        let header = [0x80, first, high, low, 0xde, 0xca, 0xfb, 0xad, 0xca, 0xfe, 0xba, 0xbe];
        [&header[..], &[0xab; 16]].concat()
    }

    /// Keys that count from 0, and salts that count from 0x40.
    fn crypto(suite: Suite) -> Crypto {
        let mut secret = [0; MAX_KEY_BYTES];
        let (key, salt) = secret.split_at_mut(suite.key_bytes());
        (0..).zip(key).for_each(|(number, byte)| *byte = number);
        (0x40..).zip(salt).for_each(|(number, byte)| *byte = number);
        Crypto::new(1, suite, secret)
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            hex.chars().map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap()).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// What libsrtp 2.5 makes of three packets: one, and by a count of its own the last of a round of
    /// sequence numbers and the first of the next.
    const BY_LIBSRTP: [(Suite, [&str; 3]); 4] = [
        (
            Suite::AeadAes128Gcm,
            [
                "800f1234decafbadcafebabec50ae426f897f2b4440655f3f84aa2ddd0aae8c42914b1d32a1f4272e30b9169",
                "8000ffffdecafbadcafebabec255c9c2c7f6efac1cd1441665ffbdfc3b2b80e1a192094f6606525b30e35c72",
                "80000000decafbadcafebabeb96c4758c32babf230e7bbcfa9a7e40fc0e919002f060cb25157b46bf9b07e6b",
            ],
        ),
        (
            Suite::AeadAes256Gcm,
            [
                "800f1234decafbadcafebabe4aef1c529c6eace522e875f7770776844b52883cb71b413ed3c9f9eb580ed16b",
                "8000ffffdecafbadcafebabe3fc2832820e5d9e6e49f9fed0184a173ab557f2013d6a8da984b93e6497b0fe1",
                "80000000decafbadcafebabe4e8f9c69e8d69e165ab4fef39359964ef63146e46ee896a72bed00032cd18b2a",
            ],
        ),
        (
            Suite::AesCm128HmacSha1Tag80,
            [
                "800f1234decafbadcafebabe0186ac621e0a1eb99cecfa5f11fd731d930458680fbba9b6ec6d",
                "8000ffffdecafbadcafebabe5edbc54bf43cd5357e7ea123750ca1644538a51e2eba64c8c3e5",
                "80000000decafbadcafebabef24fb370dd308ac0c469312caa6e498eac6889b8f19eb9d31451",
            ],
        ),
        (
            Suite::AesCm128HmacSha1Tag32,
            [
                "800f1234decafbadcafebabe0186ac621e0a1eb99cecfa5f11fd731d93045868",
                "8000ffffdecafbadcafebabe5edbc54bf43cd5357e7ea123750ca1644538a51e",
                "80000000decafbadcafebabef24fb370dd308ac0c469312caa6e498eac6889b8",
            ],
        ),
    ];

    #[test]
    fn what_libsrtp_seals_is_opened_and_what_is_sealed_is_the_same() {
        for (suite, [alone, last, first]) in BY_LIBSRTP {
            let keys = Keys { theirs: crypto(suite), ours: crypto(suite) };
            for packets in
                [&[(packet(15, 0x1234), alone)][..], &[(packet(0, 0xffff), last), (packet(0, 0), first)]]
            {
                let mut srtp = Srtp::default();
                srtp.agree(keys);
                for (plain, sealed) in packets {
                    assert_eq!(srtp.seal(plain).unwrap(), bytes(sealed), "{suite:?}");
                    assert_eq!(srtp.open(&bytes(sealed)).unwrap(), *plain, "{suite:?}");
                }
            }
        }
    }

    #[test]
    fn without_keys_nothing_passes() {
        let mut srtp = Srtp::default();
        assert_eq!((srtp.open(&packet(0, 1)), srtp.seal(&packet(0, 1))), (None, None));
    }

    #[test]
    fn a_call_hears_so_many_sources_and_no_more() {
        let keys = Keys { theirs: crypto(Suite::AeadAes128Gcm), ours: crypto(Suite::AeadAes128Gcm) };
        let (mut far, mut srtp) = (Srtp::default(), Srtp::default());
        far.agree(keys);
        srtp.agree(keys);
        let mut of = |source: u8| {
            let mut plain = packet(0, 1);
            plain[11] = source;
            srtp.open(&far.seal(&plain).unwrap()).is_some()
        };
        let heard: Vec<u8> = (0..20).filter(|source| of(*source)).collect();
        assert_eq!(heard, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    proptest! {
        #[test]
        fn whatever_arrives_nothing_breaks(
            head in proptest::collection::vec(any::<u8>(), 0..40),
            tail in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            for suite in Suite::ALL {
                let mut srtp = Srtp::default();
                srtp.agree(Keys { theirs: crypto(suite), ours: crypto(suite) });
                // Version 2, so that the rest of the header is read: contributors, extension and padding.
                let mut bytes = [&head[..], &tail].concat();
                prop_assert_eq!(srtp.open(&bytes), None);
                if let Some(first) = bytes.first_mut() {
                    *first = *first & 0x3f | 0x80;
                }
                prop_assert_eq!(srtp.open(&bytes), None);
                // What is authentic is opened, whatever header the far end gave it.
                if Packet::parse(&bytes).is_ok() && let Some(sealed) = srtp.seal(&bytes) {
                    let opened = srtp.open(&sealed);
                    prop_assert!(opened.is_none_or(|opened| opened == bytes));
                }
            }
        }
    }
}
