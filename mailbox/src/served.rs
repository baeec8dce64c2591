//! What a mailbox server serves: one version of its document, made ready for calls.
//!
//! Decides how a document becomes tables and keys. Refuses to know files.

use std::sync::Arc;

use config::{Keyring, MailboxConfig, Table};

/// One version of `mailbox.yaml`, ready for calls.
#[derive(Debug)]
pub(crate) struct Served {
    /// The document.
    pub(crate) config: Arc<MailboxConfig>,
    /// What calls are decided on.
    pub(crate) table: Table,
    /// What redirect tokens are verified with.
    pub(crate) keys: Keyring,
}

impl Served {
    /// Reads a document.
    ///
    /// # Errors
    /// What is wrong with it, in words, without any of its text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        MailboxConfig::from_yaml(text).and_then(Served::new).map_err(|error| error.to_string())
    }

    /// Makes a document ready.
    ///
    /// # Errors
    /// When the keys of the redirect token cannot be used.
    pub(crate) fn new(config: MailboxConfig) -> Result<Self, config::ConfigError> {
        let table = Table::compile(&config.directory, &config.server);
        let keys = Keyring::new(&config.token_keys)?;
        Ok(Served { config: Arc::new(config), table, keys })
    }
}
