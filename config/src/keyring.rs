//! The keys of the redirect token, ready to sign and to verify.
//!
//! Decides which keys are fit for use. Refuses to know where they come from and when they change:
//! the writer of the configuration puts the new key first and keeps the old one for as long as
//! tokens of it are alive.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _};
use sha2::Sha256;

use crate::TokenKey;

/// The most keys that one server holds: one that signs, and those that it replaced lately.
pub const MAX_KEYS: usize = 8;

/// The longest name of a key, bytes.
pub const MAX_KEY_ID_BYTES: usize = 16;

/// Length of every secret, bytes: as long as the hash, RFC 2104 section 3.
pub const SECRET_BYTES: usize = 32;

/// The keys of the redirect token. There is always at least one.
#[derive(Clone)]
pub struct Keyring {
    signer: Key,
    retired: Vec<Key>,
}

/// One key with its schedule computed.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) mac: Hmac<Sha256>,
}

/// Why keys cannot be used. Says nothing of the secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is none.
    #[error("there is no token key")]
    Missing,
    /// There are more than [`MAX_KEYS`].
    #[error("there are {0} token keys, at most {MAX_KEYS} are allowed")]
    TooMany(usize),
    /// The id is empty, too long, or has a character other than letters, digits, `-` and `_`.
    #[error("the id of token key {0} is not 1 to {MAX_KEY_ID_BYTES} letters, digits, - or _")]
    Id(usize),
    /// Two keys have the same id.
    #[error("the id of token key {0} is taken by an earlier one")]
    IdTaken(usize),
    /// The secret is not 32 bytes in base64.
    #[error("the secret of token key {0} is not {SECRET_BYTES} bytes in base64")]
    Secret(usize),
}

impl Keyring {
    /// Makes the keys ready: the first one signs, all of them verify.
    ///
    /// # Errors
    /// [`KeyError`], which counts keys from 0.
    pub fn new(keys: &[TokenKey]) -> Result<Keyring, KeyError> {
        if keys.len() > MAX_KEYS {
            return Err(KeyError::TooMany(keys.len()));
        }
        let mut ready: Vec<Key> = Vec::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            let key = Key::new(key, index)?;
            if ready.iter().any(|earlier| earlier.id == key.id) {
                return Err(KeyError::IdTaken(index));
            }
            ready.push(key);
        }
        let mut ready = ready.into_iter();
        let signer = ready.next().ok_or(KeyError::Missing)?;
        Ok(Keyring { signer, retired: ready.collect() })
    }

    pub(crate) fn signer(&self) -> &Key {
        &self.signer
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Key> {
        std::iter::once(&self.signer).chain(&self.retired).find(|key| key.id == id)
    }
}

impl Key {
    fn new(key: &TokenKey, index: usize) -> Result<Key, KeyError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if key.id.is_empty() || key.id.len() > MAX_KEY_ID_BYTES || !key.id.bytes().all(fits) {
            return Err(KeyError::Id(index));
        }
        let secret = STANDARD.decode(&key.secret).map_err(|_| KeyError::Secret(index))?;
        if secret.len() != SECRET_BYTES {
            return Err(KeyError::Secret(index));
        }
        let mac = Hmac::new_from_slice(&secret).map_err(|_| KeyError::Secret(index))?;
        Ok(Key { id: key.id.clone(), mac })
    }
}

impl std::fmt::Debug for Keyring {
    /// Shows the ids and no byte of the secrets.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids = std::iter::once(&self.signer).chain(&self.retired).map(|key| &key.id);
        formatter.write_str("Keyring")?;
        formatter.debug_list().entries(ids).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 32 zero bytes.
    const SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn key(id: &str, secret: &str) -> TokenKey {
        TokenKey { id: id.to_owned(), secret: secret.to_owned() }
    }

    fn fault(keys: &[TokenKey]) -> KeyError {
        Keyring::new(keys).unwrap_err()
    }

    #[test]
    fn a_ring_has_one_to_eight_keys() {
        assert_eq!(fault(&[]), KeyError::Missing);
        let nine: Vec<_> = (0..9).map(|n| key(&format!("k{n}"), SECRET)).collect();
        assert!(Keyring::new(&nine[..8]).is_ok());
        assert_eq!(fault(&nine), KeyError::TooMany(9));
    }

    #[test]
    fn an_id_may_stand_in_a_token() {
        for id in ["", "a.b", "a b", "ä", "a=", "seventeen-letters"] {
            assert_eq!(fault(&[key("good", SECRET), key(id, SECRET)]), KeyError::Id(1), "{id}");
        }
        assert_eq!(fault(&[key("same", SECRET), key("same", SECRET)]), KeyError::IdTaken(1));
    }

    #[test]
    fn a_secret_is_32_bytes_in_base64() {
        let short = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
        for secret in ["", "secret", short, &format!("{SECRET}AAAA"), &SECRET.replace('=', "")] {
            assert_eq!(fault(&[key("k1", secret)]), KeyError::Secret(0), "{secret}");
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        let ring = Keyring::new(&[key("k1", SECRET), key("k2", SECRET)]).unwrap();
        assert_eq!(format!("{ring:?}"), r#"Keyring["k1", "k2"]"#);
        assert_eq!(format!("{:?}", key("k1", SECRET)), "TokenKey(k1, ..)");
        assert_eq!(
            fault(&[key("k1", "hunter2")]).to_string(),
            "the secret of token key 0 is not 32 bytes in base64"
        );
    }
}
