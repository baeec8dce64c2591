//! The redirect token: what a router decided, signed for the mailbox server (decision 10).
//!
//! Decides its form, its lifetime and who may believe it. Refuses to know the clock and where the
//! token is carried. It reads `<key id>.<payload>.<tag>`: payload and tag in unpadded base64url,
//! the tag being HMAC-SHA-256 over everything before it, cut to 128 bits (RFC 2104 section 5).
//! All its characters may stand in a SIP URI parameter unescaped (RFC 3261 section 25.1).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::Route;
use crate::keyring::{Key, Keyring};
use crate::table::stable_hash;

/// Tokens expire at whole windows of this length, seconds, so that a retransmitted INVITE gets the
/// very same token. Where the windows begin is a matter of the Call-ID, so that not all calls
/// change windows at once.
pub const WINDOW_S: u64 = 120;

/// The longest token that is looked at, bytes. The longest that can be made has a key id of 16
/// bytes, a payload of 10 + 4 * 256 bytes and a tag of 16 bytes: 16 + 1 + 1379 + 1 + 22 = 1419.
pub const MAX_TOKEN_BYTES: usize = 1536;

const FORMAT: u8 = 1;
const TAG_BYTES: usize = 16;

/// How a call is to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// The mailbox answers for its user and takes a message.
    CallAnswering,
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
    /// Name of the mailbox.
    pub mailbox: Cow<'a, str>,
    /// The number that found the mailbox, in normal form.
    pub extension: Cow<'a, str>,
}

impl<'a> From<&Route<'a>> for Claims<'a> {
    fn from(route: &Route<'a>) -> Self {
        Claims {
            kind: CallKind::CallAnswering,
            dial_plan: Cow::Borrowed(&route.dial_plan.name),
            gateway: Cow::Borrowed(&route.gateway.name),
            mailbox: Cow::Borrowed(&route.mailbox.name),
            extension: Cow::Borrowed(route.extension),
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
    /// The tag is not that of the payload.
    #[error("the signature of the token is wrong")]
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
    let payload = encode(claims, expiry_unix_s(call_id, now_unix_s))?;
    let key = keys.signer();
    let start = out.len();
    out.push_str(&key.id);
    out.push('.');
    URL_SAFE_NO_PAD.encode_string(&payload, out);
    let tag = tag_over(key, &out[start..]).finalize().into_bytes();
    out.push('.');
    URL_SAFE_NO_PAD.encode_string(&tag[..TAG_BYTES], out);
    Ok(())
}

/// Reads a token and believes it only if one of `keys` signed it and its time is not over.
///
/// # Errors
/// [`TokenError`]. How long the comparison of tags takes says nothing about them.
pub fn verify(keys: &Keyring, token: &str, now_unix_s: u64) -> Result<Claims<'static>, TokenError> {
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
    tag_over(key, signed).verify_truncated_left(&tag).map_err(|_| TokenError::WrongTag)?;
    let (claims, expiry_unix_s) = decode(&payload).ok_or(TokenError::Malformed)?;
    if now_unix_s >= expiry_unix_s {
        return Err(TokenError::Expired);
    }
    Ok(claims)
}

fn tag_over(key: &Key, signed: &str) -> Hmac<Sha256> {
    let mut mac = key.mac.clone();
    mac.update(signed.as_bytes());
    mac
}

fn expiry_unix_s(call_id: &str, now_unix_s: u64) -> u64 {
    let offset_s = stable_hash(call_id) % WINDOW_S;
    let window = now_unix_s.saturating_add(offset_s) / WINDOW_S;
    window.saturating_add(2).saturating_mul(WINDOW_S) - offset_s
}

/// Format, kind, expiry in unix seconds (8 bytes, big endian), then four names with a byte of
/// length before each.
fn encode(claims: &Claims<'_>, expiry_unix_s: u64) -> Result<Vec<u8>, NameTooLong> {
    let kind = match claims.kind {
        CallKind::CallAnswering => 1,
    };
    let mut payload = vec![FORMAT, kind];
    payload.extend_from_slice(&expiry_unix_s.to_be_bytes());
    for name in [&claims.dial_plan, &claims.gateway, &claims.mailbox, &claims.extension] {
        payload.push(u8::try_from(name.len()).map_err(|_| NameTooLong(name.len()))?);
        payload.extend_from_slice(name.as_bytes());
    }
    Ok(payload)
}

fn decode(payload: &[u8]) -> Option<(Claims<'static>, u64)> {
    let (&[FORMAT, 1], rest) = payload.split_first_chunk::<2>()? else { return None };
    let (expiry, mut rest) = rest.split_first_chunk::<8>()?;
    let mut name = || {
        let (&length, after) = rest.split_first()?;
        let (name, after) = after.split_at_checked(usize::from(length))?;
        rest = after;
        Some(Cow::Owned(std::str::from_utf8(name).ok()?.to_owned()))
    };
    let claims = Claims {
        kind: CallKind::CallAnswering,
        dial_plan: name()?,
        gateway: name()?,
        mailbox: name()?,
        extension: name()?,
    };
    rest.is_empty().then_some((claims, u64::from_be_bytes(*expiry)))
}
