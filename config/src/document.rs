//! Reading and writing the two documents.
//!
//! Decides which text is a document that a server may serve. Refuses to touch files: it is handed
//! text and hands back text. Keys stand in a document, so its errors quote nothing of it that is
//! longer than the name of a field.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::keyring::{KeyError, Keyring};
use crate::{Code, MailboxConfig, RouterConfig, SCHEMA_VERSION, TokenKey};

/// The longest document that is read, bytes: 100,000 mailboxes and their owners take about 26 MB.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024 * 1024;

/// The most YAML nodes of one document: a mailbox with two extensions and its owner have 17, so
/// 100,000 of them have 1.7 million.
const MAX_NODES: usize = 4_000_000;

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

impl RouterConfig {
    /// Reads `router.yaml`.
    ///
    /// # Errors
    /// [`ConfigError`], if the text is not a document of this [`SCHEMA_VERSION`] with usable keys.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        let config: Self = read(text)?;
        check(config.schema_version, &config.token_keys)?;
        Ok(config)
    }

    /// Writes `router.yaml`. The same content always gives the same text.
    ///
    /// # Errors
    /// [`ConfigError::Unwritable`], which no content of this shape is known to cause.
    pub fn to_yaml(&self) -> Result<String, ConfigError> {
        write(self)
    }
}

impl MailboxConfig {
    /// Reads `mailbox.yaml`.
    ///
    /// # Errors
    /// [`ConfigError`], if the text is not a document of this [`SCHEMA_VERSION`] with usable keys.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        let config: Self = read(text)?;
        check(config.schema_version, &config.token_keys)?;
        Ok(config)
    }

    /// Writes `mailbox.yaml`. The same content always gives the same text.
    ///
    /// # Errors
    /// [`ConfigError::Unwritable`], which no content of this shape is known to cause.
    pub fn to_yaml(&self) -> Result<String, ConfigError> {
        write(self)
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, ConfigError> {
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

fn check(found: u32, keys: &[TokenKey]) -> Result<(), ConfigError> {
    if found != SCHEMA_VERSION {
        return Err(ConfigError::SchemaVersion { found });
    }
    Keyring::new(keys)?;
    Ok(())
}

/// The one field that is read of a document of unknown shape.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaVersion {
    schema_version: u32,
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_yaml::options! {
        with_snippet: false,
        budget: serde_yaml::budget! {
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
        },
    };
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

fn write<T: Serialize>(config: &T) -> Result<String, ConfigError> {
    serde_yaml::to_string(config).map_err(|error| ConfigError::Unwritable(error.to_string()))
}
