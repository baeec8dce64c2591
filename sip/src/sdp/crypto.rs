//! Keys for encrypted audio, as session descriptions carry them (RFC 4568): the `crypto` attribute.
//!
//! Decides which of the offered ones are taken: those whose suite is known and which ask for nothing that
//! would weaken it, or that only a peer of another kind needs. Refuses to encrypt anything. Keys are in no
//! text that is meant for people.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// Most `crypto` attributes of one audio line that are read.
pub const MAX_CRYPTOS: usize = 32;
/// The longest key with its salt: that of AEAD_AES_256_GCM.
pub const MAX_KEY_BYTES: usize = 44;
/// Packets that a key must be good for. At 50 in a second that is 5.8 hours, longer than any call.
const MIN_LIFETIME: u64 = 1 << 20;
/// No counter of packets is longer than this (RFC 3711 section 9.2), and no written power of two.
const MAX_LIFETIME_BITS: u32 = 48;

/// How audio is encrypted and authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// AES in Galois counter mode with 128 bits (RFC 7714).
    AeadAes128Gcm,
    /// The same with 256 bits.
    AeadAes256Gcm,
    /// AES in counter mode with 128 bits, and a tag of 80 bits (RFC 4568 section 6.2.1).
    AesCm128HmacSha1Tag80,
    /// The same with a tag of 32 bits (RFC 4568 section 6.2.2).
    AesCm128HmacSha1Tag32,
}

impl Suite {
    /// All of them, in the order in which they are offered: what costs least and proves most comes first.
    pub const ALL: [Suite; 4] = [
        Suite::AeadAes128Gcm,
        Suite::AeadAes256Gcm,
        Suite::AesCm128HmacSha1Tag80,
        Suite::AesCm128HmacSha1Tag32,
    ];

    /// Its registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Suite::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Suite::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Suite::AesCm128HmacSha1Tag80 => "AES_CM_128_HMAC_SHA1_80",
            Suite::AesCm128HmacSha1Tag32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// Bytes of its master key (RFC 4568 section 6.2, RFC 7714 section 12).
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            Suite::AeadAes128Gcm | Suite::AesCm128HmacSha1Tag80 | Suite::AesCm128HmacSha1Tag32 => 16,
            Suite::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of its master salt.
    #[must_use]
    pub const fn salt_bytes(self) -> usize {
        match self {
            Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => 12,
            Suite::AesCm128HmacSha1Tag80 | Suite::AesCm128HmacSha1Tag32 => 14,
        }
    }

    const fn bytes(self) -> usize {
        self.key_bytes() + self.salt_bytes()
    }
}

/// One `crypto` attribute: by which suite and which key the side that wrote it sends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Crypto {
    /// What an answer calls it by, at most nine digits.
    pub tag: u32,
    /// How.
    pub suite: Suite,
    secret: [u8; MAX_KEY_BYTES],
}

impl Crypto {
    /// One with a key of ours, of which as many bytes are used as the suite needs.
    #[must_use]
    pub const fn new(tag: u32, suite: Suite, secret: [u8; MAX_KEY_BYTES]) -> Self {
        Crypto { tag, suite, secret }
    }

    /// The same key under another tag.
    #[must_use]
    pub const fn with_tag(self, tag: u32) -> Self {
        Crypto { tag, ..self }
    }

    /// The master key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.secret[..self.suite.key_bytes()]
    }

    /// The master salt.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.secret[self.suite.key_bytes()..self.suite.bytes()]
    }

    /// Reads the value of a `crypto` attribute; `None` if it cannot be read or is not taken (RFC 4568
    /// section 9.1). It is not taken with a master key identifier, which every packet would then carry,
    /// nor with a session parameter that changes what is encrypted or authenticated.
    pub(super) fn read(value: &str) -> Option<Crypto> {
        let mut fields = value.split_ascii_whitespace();
        let tag = fields.next().filter(|tag| tag.len() <= 9)?.parse().ok()?;
        let name = fields.next()?;
        let suite = Suite::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))?;
        let (method, parameters) = fields.next()?.split_once(':')?;
        if !method.eq_ignore_ascii_case("inline") || !fields.all(changes_nothing) {
            return None;
        }
        let (key, lifetime) = match parameters.split_once('|') {
            Some((key, lifetime)) => (key, Some(lifetime)),
            None => (parameters, None),
        };
        // Without one it is the longest (RFC 4568 section 6.1).
        if lifetime.map_or(Some(u64::MAX), packets)? < MIN_LIFETIME {
            return None;
        }
        // Some leave the padding out, although it belongs to the text.
        let bytes = STANDARD.decode(key).or_else(|_| STANDARD_NO_PAD.decode(key)).ok()?;
        let mut secret = [0; MAX_KEY_BYTES];
        secret.get_mut(..bytes.len()).filter(|_| bytes.len() == suite.bytes())?.copy_from_slice(&bytes);
        Some(Crypto { tag, suite, secret })
    }

    /// The value of the attribute.
    pub(super) fn write(&self) -> String {
        let key = STANDARD.encode(&self.secret[..self.suite.bytes()]);
        format!("{} {} inline:{key}", self.tag, self.suite.name())
    }
}

impl fmt::Debug for Crypto {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Crypto({} {})", self.tag, self.suite.name())
    }
}

/// Packets that a key is good for: a number, or a power of two. A `:` or `|` in it is that of a master key
/// identifier.
fn packets(text: &str) -> Option<u64> {
    match text.strip_prefix("2^") {
        Some(bits) => {
            bits.parse::<u32>().ok().filter(|bits| *bits <= MAX_LIFETIME_BITS).map(|bits| 1 << bits)
        }
        None => text.parse().ok(),
    }
}

/// Whether a session parameter may be passed over: a hint for the window of replayed packets (RFC 4568
/// section 6.3.7), or one that says itself that it is optional (section 6.3.8).
fn changes_nothing(parameter: &str) -> bool {
    parameter.starts_with('-') || parameter.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("WSH="))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 30 bytes: those of RFC 4568 section 9.3's example, `WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz`.
    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    fn taken(value: &str) -> Option<String> {
        Crypto::read(value).map(|crypto| format!("{crypto:?}"))
    }

    #[test]
    fn rfc_4568_section_9_1_the_attribute_is_read_with_its_key() {
        let crypto = Crypto::read(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20 WSH=128")).unwrap();
        assert_eq!((crypto.tag, crypto.suite), (1, Suite::AesCm128HmacSha1Tag80));
        assert_eq!(crypto.key(), b"YS___semctl () {");
        assert_eq!(crypto.salt(), b"\t220;}\n}\nunles");
        assert_eq!(crypto.with_tag(7).write(), format!("7 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"));
    }

    #[test]
    fn rfc_7714_section_12_keys_of_gcm_have_twelve_bytes_of_salt() {
        for (suite, bytes) in [("AEAD_AES_128_GCM", 28), ("AEAD_AES_256_GCM", 44)] {
            let key = STANDARD.encode(vec![7; bytes]);
            let crypto = Crypto::read(&format!("2 {suite} inline:{key}")).unwrap();
            assert_eq!((crypto.key().len(), crypto.salt().len()), (bytes - 12, 12));
            assert!(key.ends_with('='));
            assert_eq!(
                Crypto::read(&format!("2 {suite} inline:{}", key.trim_end_matches('='))),
                Some(crypto)
            );
            assert_eq!(crypto.write(), format!("2 {suite} inline:{key}"));
        }
    }

    #[test]
    fn what_would_weaken_a_call_or_cannot_be_read_is_not_taken() {
        let suite = "AES_CM_128_HMAC_SHA1_32";
        let short = &KEY[..36];
        for value in
            [format!("1 {suite} inline:{KEY}|2^31"), format!("999999999 {suite} INLINE:{KEY}|1048576 -NEW=1")]
        {
            assert!(taken(&value).is_some(), "{value}");
        }
        for value in [
            String::new(),
            format!("1 {suite}"),
            format!("x {suite} inline:{KEY}"),
            format!("1234567890 {suite} inline:{KEY}"),
            format!("1 F8_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 {suite} inline:{short}"),
            format!("1 {suite} inline:{KEY}{KEY}"),
            format!("1 {suite} inline:not/base64!"),
            format!("1 {suite} file:{KEY}"),
            format!("1 {suite} inline:{KEY}|2^19"),
            format!("1 {suite} inline:{KEY}|2^99"),
            format!("1 {suite} inline:{KEY}|2^31|1:1"),
            format!("1 {suite} inline:{KEY}|1:4"),
            format!("1 {suite} inline:{KEY};inline:{KEY}"),
            format!("1 {suite} inline:{KEY} UNENCRYPTED_SRTP"),
            format!("1 {suite} inline:{KEY} UNAUTHENTICATED_SRTP"),
            format!("1 {suite} inline:{KEY} KDR=1"),
        ] {
            assert_eq!(taken(&value), None, "{value}");
        }
    }

    #[test]
    fn a_key_is_in_no_text_for_people() {
        let crypto = Crypto::new(3, Suite::AeadAes128Gcm, [0x5a; MAX_KEY_BYTES]);
        assert_eq!(format!("{crypto:?}"), "Crypto(3 AEAD_AES_128_GCM)");
    }
}
