//! Reading and writing the texts of a folder: the two indices and the token keys.
//!
//! Decides which text can be read. Refuses to touch files: it is handed text and hands back text.
//! Keys stand in one of them, so its errors quote nothing of it that is longer than the name of a
//! field.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::keyring::KeyError;
use crate::{Code, SCHEMA_VERSION};

/// The longest document that is read, bytes. An index and the token keys have a few thousand.
pub const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// The longest word of a document that an error quotes, bytes: the longest name of a field has 25,
/// a secret in base64 has 44.
const MAX_QUOTED_BYTES: usize = 32;

/// Why a document cannot be served. The server keeps its last good one and says [`ConfigError::code`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It is longer than [`MAX_DOCUMENT_BYTES`].
    #[error("the document has {0} bytes, at most {MAX_DOCUMENT_BYTES} are read")]
    TooLong(usize),
    /// It was written for another version of the servers.
    #[error("the document has schema version {found}, this server reads version {SCHEMA_VERSION}")]
    SchemaVersion {
        /// The version that it says.
        found: u32,
    },
    /// It is not YAML, or not of this shape.
    #[error("the document cannot be read: {0}")]
    Shape(String),
    /// A server could not sign or verify with its keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// A part does not say what its name says, although it is the one that the index names.
    #[error("{file} cannot be read: {why}")]
    Part {
        /// The file.
        file: String,
        /// Why not; nothing of it is quoted.
        why: String,
    },
    /// The index names a file that this version does not know.
    #[error("the index names {0}, which this server does not know")]
    UnknownPart(String),
    /// The index does not name a file that there must be.
    #[error("the index does not name {0}")]
    Unnamed(&'static str),
    /// It cannot be put into YAML.
    #[error("the document cannot be written: {0}")]
    Unwritable(String),
}

impl ConfigError {
    /// Always [`Code::UnreadableConfig`].
    pub const fn code(&self) -> Code {
        Code::UnreadableConfig
    }
}

pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, ConfigError> {
    if text.len() > MAX_DOCUMENT_BYTES {
        return Err(ConfigError::TooLong(text.len()));
    }
    parse(text).map_err(|error| match parse::<SchemaVersion>(text) {
        // A document of another version is likely to have another shape; the version explains it.
        Ok(SchemaVersion { schema_version: found }) if found != SCHEMA_VERSION => {
            ConfigError::SchemaVersion { found }
        }
        Ok(_) | Err(_) => ConfigError::Shape(error),
    })
}

/// Reads a list, which has no version.
pub(crate) fn read_list<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, ConfigError> {
    if text.len() > MAX_DOCUMENT_BYTES {
        return Err(ConfigError::TooLong(text.len()));
    }
    parse(text).map_err(ConfigError::Shape)
}

pub(crate) fn check(found: u32) -> Result<(), ConfigError> {
    if found == SCHEMA_VERSION { Ok(()) } else { Err(ConfigError::SchemaVersion { found }) }
}

/// The one field that is read of a document of unknown shape.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaVersion {
    schema_version: u32,
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_yaml::options! { with_snippet: false };
    serde_yaml::from_str_with_options(text, options).map_err(|error| without_long_words(&error.to_string()))
}

/// The message with everything left out that is too long for a name, and so could be a secret that
/// stands where it should not.
fn without_long_words(message: &str) -> String {
    let short: Vec<_> = message
        .split_whitespace()
        .map(|word| if word.len() > MAX_QUOTED_BYTES { "(left out)" } else { word })
        .collect();
    short.join(" ")
}

pub(crate) fn write<T: Serialize>(config: &T) -> Result<String, ConfigError> {
    serde_yaml::to_string(config).map_err(|error| ConfigError::Unwritable(error.to_string()))
}
