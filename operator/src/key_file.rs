//! The keys of the redirect token as the standalone server keeps them, in a file of its state folder.
//!
//! Decides the shape of that file: the keys and how far their rotation is stand in one, so that a crash
//! leaves both as they were or as they are to be. A list of keys alone, as earlier versions wrote it, is
//! read as well. Refuses to know when it is written.

use std::collections::BTreeSet;

use config::TokenKey;
use config::parts::{token_keys_from_yaml, token_keys_to_yaml};
use serde::{Deserialize, Serialize};

use crate::rotation::known;
use crate::world::{Phase, WrittenKeys};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kept {
    phase: String,
    since: String,
    keys: Vec<TokenKey>,
}

/// Writes the file.
pub(crate) fn to_yaml(keys: &WrittenKeys) -> Result<String, serde_yaml::SerializeError> {
    let WrittenKeys { keys, phase, since, owners: _ } = keys;
    serde_yaml::to_string(&Kept { phase: phase.name().into(), since: since.to_string(), keys: keys.clone() })
}

/// Reads the file, or says why its keys cannot be used, without a word of them.
pub(crate) fn from_yaml(text: &str) -> Result<WrittenKeys, String> {
    let usable = |text: &str| token_keys_from_yaml(text).map_err(|error| error.to_string());
    if text.trim_start().starts_with('-') {
        return Ok(known(usable(text)?, None, None, BTreeSet::new()));
    }
    let kept: Result<Kept, _> = serde_yaml::from_str(text);
    let kept = kept.map_err(|_| "it is not phase, since and keys")?;
    let keys = token_keys_to_yaml(&kept.keys).map_err(|error| error.to_string())?;
    let phase = Phase::ALL.into_iter().find(|phase| phase.name() == kept.phase);
    Ok(known(usable(&keys)?, phase, kept.since.parse().ok(), BTreeSet::new()))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn key(id: &str) -> TokenKey {
        TokenKey { id: id.into(), secret: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".into() }
    }

    #[test]
    fn what_is_written_is_read() {
        let since: Timestamp = "2026-11-21T08:00:00Z".parse().unwrap();
        for phase in Phase::ALL {
            let keys = WrittenKeys { keys: vec![key("b"), key("a")], phase, since, owners: BTreeSet::new() };
            assert_eq!(from_yaml(&to_yaml(&keys).unwrap()), Ok(keys));
        }
    }

    #[test]
    fn a_list_of_keys_alone_is_one_whose_rotation_begins() {
        let keys = from_yaml(&token_keys_to_yaml(&[key("a")]).unwrap()).unwrap();
        assert_eq!((keys.phase, keys.since, keys.keys), (Phase::Steady, Timestamp::MAX, vec![key("a")]));
    }

    #[test]
    fn what_makes_no_sense_is_told_without_a_word_of_it() {
        let short = TokenKey { secret: "hush".into(), ..key("a") };
        let keys = WrittenKeys {
            keys: vec![short],
            phase: Phase::Steady,
            since: Timestamp::UNIX_EPOCH,
            owners: BTreeSet::new(),
        };
        let told = from_yaml(&to_yaml(&keys).unwrap()).unwrap_err();
        assert_eq!(told, "the secret of token key 0 is not 32 bytes in base64");
        for text in ["", "]", "phase: Steady", "keys: hush"] {
            assert_eq!(from_yaml(text).unwrap_err(), "it is not phase, since and keys", "{text}");
        }
    }
}
