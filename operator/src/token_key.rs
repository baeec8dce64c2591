//! A new key of the redirect token.
//!
//! Decides how long its parts are. Refuses to know where it is kept.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::TokenKey;

/// Bytes of a key's public name before they are written as text.
const KEY_ID_BYTES: usize = 4;

/// The system has no randomness for a key.
#[derive(Clone, Debug, thiserror::Error)]
#[error("make a token key: {0}")]
pub struct NoChance(String);

/// A key that nobody has had before.
pub(crate) fn token_key() -> Result<TokenKey, NoChance> {
    let id: String = chance::<KEY_ID_BYTES>()?.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(TokenKey { id, secret: STANDARD.encode(chance::<{ config::SECRET_BYTES }>()?) })
}

fn chance<const N: usize>() -> Result<[u8; N], NoChance> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| NoChance(error.to_string()))?;
    Ok(bytes)
}
