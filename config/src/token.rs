//! The redirect token: what a router decided, signed for the mailbox server (decision 10).
//!
//! Decides its form, its lifetime and who may believe it. Refuses to know the clock and where the
//! token is carried. It reads `<key id>.<payload>.<tag>`: payload and tag in unpadded base64url,
//! the tag being HMAC-SHA-256 over `<key id>.<payload>.<Call-ID>`, cut to 128 bits (RFC 2104 section 5).
//! All its characters may stand in a SIP URI parameter unescaped (RFC 3261 section 25.1).
//!
//! The Call-ID is signed and not carried: a token is that of one call, and says nothing about any
//! other. Retransmissions have the Call-ID of their call, and so has whoever follows a redirect
//! (RFC 3261 section 8.1.3.4); a branch and a CSeq of their own do not matter. Who follows it under
//! another Call-ID, as that section allows, is decided on again.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::keyring::{Key, Keyring};
use crate::table::stable_hash;
use crate::{Purpose, Route, Rule};

/// Tokens expire at whole windows of this length, seconds, so that a retransmitted INVITE gets the
/// very same token. Where the windows begin is a matter of the Call-ID, so that not all calls
/// change windows at once.
pub const WINDOW_S: u64 = 120;

/// The longest token that is looked at, bytes. The longest that can be made has a key id of 16
/// bytes, a payload of 10 + 4 * 256 + 1 bytes and a tag of 16 bytes: 16 + 1 + 1380 + 1 + 22 = 1420.
pub const MAX_TOKEN_BYTES: usize = 1536;

/// The longest payload: format, kind, expiry, four names of 255 bytes with their lengths, a reason.
const MAX_PAYLOAD_BYTES: usize = 2 + 8 + 4 * 256 + 1;

/// 1 was not bound to a call.
const FORMAT: u8 = 2;
const TAG_BYTES: usize = 16;

/// How a call is to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// The mailbox answers for its user and takes a message.
    CallAnswering,
    /// A user called an access number to get at a mailbox.
    SubscriberAccess,
    /// Somebody called a pilot of an auto attendant, which answers.
    AutoAttendant,
}

/// Why a call was diverted to voice mail (spec 2.3). It travels with the decision, because a peer need
/// not say it again to the server that it is redirected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DivertReason {
    /// Every call is diverted.
    Unconditional,
    /// The user was busy.
    Busy,
    /// The user did not answer.
    NoAnswer,
    /// Any other reason, or none given.
    Other,
}

impl DivertReason {
    const ALL: [DivertReason; 4] =
        [DivertReason::Unconditional, DivertReason::Busy, DivertReason::NoAnswer, DivertReason::Other];

    /// As a token says it.
    const fn byte(self) -> u8 {
        match self {
            DivertReason::Unconditional => 1,
            DivertReason::Busy => 2,
            DivertReason::NoAnswer => 3,
            DivertReason::Other => 4,
        }
    }
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims<'a> {
    /// How the call is to be treated.
    pub kind: CallKind,
    /// Name of the dial plan.
    pub dial_plan: Cow<'a, str>,
    /// Name of the gateway that the call came from.
    pub gateway: Cow<'a, str>,
    /// Name of the mailbox; empty where the call is for none.
    pub mailbox: Cow<'a, str>,
    /// The number that decided, in normal form.
    pub extension: Cow<'a, str>,
    /// Why the owner of the mailbox diverted the call, if that is how it came.
    pub diverted: Option<DivertReason>,
}

impl<'a> Claims<'a> {
    /// What was decided about a call; `diverted` is why it was, if a diverting user was named.
    pub fn of(route: &Route<'a>, diverted: Option<DivertReason>) -> Self {
        let (kind, mailbox, diverted) = match route.purpose {
            Purpose::CallAnswering { mailbox, rule, .. } => {
                (CallKind::CallAnswering, mailbox.name, diverted.filter(|_| rule == Rule::DivertingUser))
            }
            Purpose::SubscriberAccess { .. } => (CallKind::SubscriberAccess, "", None),
            // Whose pilot it is, the mailbox server's own table says.
            Purpose::AutoAttendant { .. } => (CallKind::AutoAttendant, "", None),
        };
        Claims {
            kind,
            dial_plan: Cow::Borrowed(&route.dial_plan.name),
            gateway: Cow::Borrowed(&route.gateway.name),
            mailbox: Cow::Borrowed(mailbox),
            extension: Cow::Borrowed(route.purpose.number()),
            diverted,
        }
    }
}

/// Why a token is not believed. The call is then decided on again, as if it had none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not have the form of a token.
    #[error("the token is malformed")]
    Malformed,
    /// No key of this id is known.
    #[error("the token was signed with a key that is not known")]
    UnknownKey,
    /// The tag is not that of the payload and the call.
    #[error("the signature of the token is wrong, or that of another call")]
    WrongTag,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
}

/// A name is too long for a token: more than 255 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name of {0} bytes is too long for a token")]
pub struct NameTooLong(pub usize);

/// Appends the token for `claims` to `out`.
///
/// It is valid for more than one and up to two windows ([`WINDOW_S`]) from `now_unix_s`, and within
/// one window the same claims and Call-ID give the same token.
///
/// # Errors
/// [`NameTooLong`], and then `out` is as it was. Names of Kubernetes objects always fit.
pub fn sign(
    keys: &Keyring,
    claims: &Claims<'_>,
    call_id: &str,
    now_unix_s: u64,
    out: &mut String,
) -> Result<(), NameTooLong> {
    let mut place = [0; MAX_PAYLOAD_BYTES];
    let payload = encode(claims, expiry_unix_s(call_id, now_unix_s), &mut place)?;
    let key = keys.signer();
    let start = out.len();
    out.push_str(&key.id);
    out.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, out);
    let tag = tag_over(key, &out[start..], call_id).finalize().into_bytes();
    out.push('.');
    URL_SAFE_NO_PAD.encode_string(&tag[..TAG_BYTES], out);
    Ok(())
}

/// Reads a token and believes it only if one of `keys` signed it for the call of this Call-ID and its
/// time is not over.
///
/// # Errors
/// [`TokenError`]. How long the comparison of tags takes says nothing about them.
pub fn verify(
    keys: &Keyring,
    token: &str,
    call_id: &str,
    now_unix_s: u64,
) -> Result<Claims<'static>, TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::Malformed);
    }
    let (signed, tag) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (key_id, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| TokenError::Malformed)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenError::Malformed)?;
    if tag.len() != TAG_BYTES {
        return Err(TokenError::Malformed);
    }
    let key = keys.get(key_id).ok_or(TokenError::UnknownKey)?;
    tag_over(key, signed, call_id).verify_truncated_left(&tag).map_err(|_| TokenError::WrongTag)?;
    let (claims, expiry_unix_s) = decode(&payload).ok_or(TokenError::Malformed)?;
    if now_unix_s >= expiry_unix_s {
        return Err(TokenError::Expired);
    }
    Ok(claims)
}

/// Neither a key id nor a payload has a dot in it, so that nobody can move text between the parts.
fn tag_over(key: &Key, signed: &str, call_id: &str) -> Hmac<Sha256> {
    let mut mac = key.mac.clone();
    mac.update(signed.as_bytes());
    mac.update(b".");
    mac.update(call_id.as_bytes());
    mac
}

fn expiry_unix_s(call_id: &str, now_unix_s: u64) -> u64 {
    let offset_s = stable_hash(call_id) % WINDOW_S;
    let window = now_unix_s.saturating_add(offset_s) / WINDOW_S;
    window.saturating_add(2).saturating_mul(WINDOW_S) - offset_s
}

/// Format, kind, expiry in unix seconds (8 bytes, big endian), then four names with a byte of
/// length before each, and at the end of that of a diverted call a byte with the reason.
fn encode<'p>(
    claims: &Claims<'_>,
    expiry_unix_s: u64,
    place: &'p mut [u8; MAX_PAYLOAD_BYTES],
) -> Result<&'p [u8], NameTooLong> {
    let kind = match claims.kind {
        CallKind::CallAnswering => 1,
        CallKind::SubscriberAccess => 2,
        CallKind::AutoAttendant => 3,
    };
    let mut length = 0;
    // The place holds the longest payload that there is.
    let mut push = |bytes: &[u8]| {
        if let Some(place) = place.get_mut(length..length + bytes.len()) {
            place.copy_from_slice(bytes);
            length += bytes.len();
        }
    };
    push(&[FORMAT, kind]);
    push(&expiry_unix_s.to_be_bytes());
    for name in [&claims.dial_plan, &claims.gateway, &claims.mailbox, &claims.extension] {
        push(&[u8::try_from(name.len()).map_err(|_| NameTooLong(name.len()))?]);
        push(name.as_bytes());
    }
    if let Some(reason) = claims.diverted {
        push(&[reason.byte()]);
    }
    Ok(&place[..length])
}

fn decode(payload: &[u8]) -> Option<(Claims<'static>, u64)> {
    let (&[format, kind], rest) = payload.split_first_chunk::<2>()?;
    let kind = match (format, kind) {
        (FORMAT, 1) => CallKind::CallAnswering,
        (FORMAT, 2) => CallKind::SubscriberAccess,
        (FORMAT, 3) => CallKind::AutoAttendant,
        (_, _) => return None,
    };
    let (expiry, mut rest) = rest.split_first_chunk::<8>()?;
    let mut name = || {
        let (&length, after) = rest.split_first()?;
        let (name, after) = after.split_at_checked(usize::from(length))?;
        rest = after;
        Some(Cow::Owned(std::str::from_utf8(name).ok()?.to_owned()))
    };
    let [dial_plan, gateway, mailbox, extension] = [name()?, name()?, name()?, name()?];
    let diverted = match rest {
        [] => None,
        [byte] => Some(DivertReason::ALL.into_iter().find(|reason| reason.byte() == *byte)?),
        [_, _, ..] => return None,
    };
    let claims = Claims { kind, dial_plan, gateway, mailbox, extension, diverted };
    Some((claims, u64::from_be_bytes(*expiry)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::TokenKey;

    const CALL_ID: &str = "a84b4c76e66710@192.0.2.10";

    fn key(id: &str, byte: u8) -> TokenKey {
        TokenKey { id: id.to_owned(), secret: base64::engine::general_purpose::STANDARD.encode([byte; 32]) }
    }

    fn keys(keys: &[TokenKey]) -> Keyring {
        Keyring::new(keys).unwrap()
    }

    fn one_key() -> Keyring {
        keys(&[key("k1", 7)])
    }

    fn claims() -> Claims<'static> {
        Claims {
            kind: CallKind::CallAnswering,
            dial_plan: "contoso".into(),
            gateway: "pbx".into(),
            mailbox: "alice".into(),
            extension: "101".into(),
            diverted: None,
        }
    }

    fn token(keys: &Keyring, call_id: &str, now_unix_s: u64) -> String {
        let mut out = String::new();
        sign(keys, &claims(), call_id, now_unix_s, &mut out).unwrap();
        out
    }

    #[test]
    fn a_token_says_what_was_signed() {
        assert_eq!(
            verify(&one_key(), &token(&one_key(), CALL_ID, 1_000_000), CALL_ID, 1_000_000),
            Ok(claims())
        );
    }

    /// Routers and mailbox servers of different versions must agree on it. Computed apart from our
    /// code, by the hash libraries of another language.
    #[test]
    fn the_form_is_the_same_in_every_version() {
        assert_eq!(
            token(&one_key(), CALL_ID, 1_000_000),
            "k1.AgEAAAAAAA9DLQdjb250b3NvA3BieAVhbGljZQMxMDE.N6TlJssBdLSJaocCqDfSqg"
        );
    }

    #[test]
    fn a_token_says_why_a_call_was_diverted() {
        for diverted in DivertReason::ALL {
            let diverted = Claims { diverted: Some(diverted), ..claims() };
            let mut token = String::new();
            sign(&one_key(), &diverted, CALL_ID, 0, &mut token).unwrap();
            assert_eq!(verify(&one_key(), &token, CALL_ID, 0), Ok(diverted));
        }
    }

    #[test]
    fn a_token_is_appended_and_may_stand_in_a_uri_parameter() {
        let mut out = "sip:101@192.0.2.1;um=".to_owned();
        sign(&one_key(), &claims(), CALL_ID, 0, &mut out).unwrap();
        let token = out.strip_prefix("sip:101@192.0.2.1;um=").unwrap();
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "{token}");
        assert_eq!(verify(&one_key(), token, CALL_ID, 0), Ok(claims()));
    }

    #[test]
    fn the_same_call_gets_the_same_token_all_through_a_window() {
        let signed = |now_unix_s| token(&one_key(), CALL_ID, now_unix_s);
        let start = (1_000_000..1_000_121).find(|now| signed(*now) != signed(now - 1)).unwrap();
        assert_eq!(signed(start), signed(start + 60));
        assert_eq!(signed(start), signed(start + 119));
        assert_ne!(signed(start), signed(start + 120));
    }

    #[test]
    fn windows_begin_at_different_times_for_different_calls() {
        let begins = |call_id: &str| {
            (1_000_000..1_000_121)
                .find(|now| token(&one_key(), call_id, *now) != token(&one_key(), call_id, now - 1))
                .unwrap()
        };
        assert_ne!(begins("first"), begins("second"));
    }

    #[test]
    fn a_token_lives_for_one_to_two_windows() {
        for now_unix_s in 1_000_000..1_000_240 {
            let token = token(&one_key(), CALL_ID, now_unix_s);
            assert_eq!(verify(&one_key(), &token, CALL_ID, now_unix_s + 120), Ok(claims()));
            assert_eq!(verify(&one_key(), &token, CALL_ID, now_unix_s + 240), Err(TokenError::Expired));
        }
    }

    #[test]
    fn the_first_key_signs_and_every_key_verifies() {
        let old = keys(&[key("old", 1)]);
        let both = keys(&[key("new", 2), key("old", 1)]);
        let new = keys(&[key("new", 2)]);
        assert!(token(&both, CALL_ID, 0).starts_with("new."));
        assert_eq!(verify(&both, &token(&old, CALL_ID, 0), CALL_ID, 0), Ok(claims()));
        assert_eq!(verify(&new, &token(&both, CALL_ID, 0), CALL_ID, 0), Ok(claims()));
        assert_eq!(verify(&new, &token(&old, CALL_ID, 0), CALL_ID, 0), Err(TokenError::UnknownKey));
    }

    #[test]
    fn a_token_is_that_of_one_call() {
        let token = token(&one_key(), CALL_ID, 0);
        for other in
            ["", "a84b4c76e66710@192.0.2.1", "A84b4c76e66710@192.0.2.10", "a84b4c76e66710@192.0.2.10."]
        {
            assert_eq!(verify(&one_key(), &token, other, 0), Err(TokenError::WrongTag), "{other}");
        }
        let (signed, tag) = token.rsplit_once('.').unwrap();
        let moved = format!("{signed}.a84b4c76e66710@192.0.2.{tag}");
        assert!(verify(&one_key(), &moved, "10", 0).is_err(), "no text moves between the parts");
    }

    #[test]
    fn another_secret_under_the_same_name_is_another_key() {
        let other = keys(&[key("k1", 8)]);
        assert_eq!(verify(&one_key(), &token(&other, CALL_ID, 0), CALL_ID, 0), Err(TokenError::WrongTag));
    }

    #[test]
    fn a_token_with_any_bit_flipped_is_refused() {
        let both = keys(&[key("k1", 7), key("k3", 9)]);
        let good = token(&both, CALL_ID, 0);
        for index in 0..good.len() {
            for bit in 0..8 {
                let mut bytes = good.clone().into_bytes();
                bytes[index] ^= 1 << bit;
                if let Ok(flipped) = String::from_utf8(bytes) {
                    assert!(verify(&both, &flipped, CALL_ID, 0).is_err(), "bit {bit} of byte {index}");
                }
            }
        }
    }

    #[test]
    fn a_token_with_anything_missing_or_added_is_refused() {
        let good = token(&one_key(), CALL_ID, 0);
        for length in 0..good.len() {
            assert!(verify(&one_key(), &good[..length], CALL_ID, 0).is_err(), "{length}");
        }
        for changed in [format!("{good}A"), format!("{good}="), format!(" {good}"), format!("{good}.{good}")]
        {
            assert!(verify(&one_key(), &changed, CALL_ID, 0).is_err(), "{changed}");
        }
        assert_eq!(verify(&one_key(), &"A".repeat(1537), CALL_ID, 0), Err(TokenError::Malformed));
    }

    #[test]
    fn a_name_that_is_too_long_leaves_the_text_as_it_was() {
        let mut out = "before".to_owned();
        let claims = Claims { mailbox: "m".repeat(256).into(), ..claims() };
        assert_eq!(sign(&one_key(), &claims, CALL_ID, 0, &mut out), Err(NameTooLong(256)));
        assert_eq!(out, "before");
    }

    proptest! {
        #[test]
        fn whatever_is_signed_is_verified(
            names in prop::array::uniform4("[a-z0-9.-]{0,255}"), call_id in any::<String>(), now_unix_s in any::<u64>(),
            diverted in prop::option::of(prop::sample::select(&DivertReason::ALL)),
            kind in prop::sample::select(&[
                CallKind::CallAnswering, CallKind::SubscriberAccess, CallKind::AutoAttendant,
            ]),
        ) {
            let [dial_plan, gateway, mailbox, extension] = names.map(Cow::Owned);
            let claims = Claims { kind, dial_plan, gateway, mailbox, extension, diverted };
            let mut token = String::new();
            sign(&one_key(), &claims, &call_id, now_unix_s, &mut token).unwrap();
            prop_assert!(token.len() <= MAX_TOKEN_BYTES);
            let verified = verify(&one_key(), &token, &call_id, now_unix_s);
            // Where the clock cannot count further, nothing can expire later than it stands.
            prop_assert!(verified == Ok(claims) || now_unix_s > u64::MAX - 2 * WINDOW_S);
        }

        #[test]
        fn whatever_is_not_signed_is_refused(token in ".*") {
            prop_assert!(verify(&one_key(), &token, CALL_ID, 0).is_err());
        }
    }
}
