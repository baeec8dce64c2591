//! What a mailbox server serves: one version of its document, made ready for calls.
//!
//! Decides how a document becomes tables and keys, and that one which could not be served whole is
//! not served at all. Refuses to know files.

use std::net::SocketAddr;
use std::sync::Arc;

use config::{Code, Keyring, MailboxConfig, ServerIdentity, StartupMode, Table};

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
        let config = MailboxConfig::from_yaml(text).map_err(|error| error.to_string())?;
        if let Some(certificate) = &config.server.certificate {
            runtime::tls::server_config(&certificate.chain, &certificate.key)
                .map_err(|error| format!("{}: {error}", Code::CertificateUnusable))?;
        }
        let table = Table::compile(&config.directory, &config.server);
        let keys = Keyring::new(&config.token_keys).map_err(|error| error.to_string())?;
        Ok(Served { config: Arc::new(config), table, keys })
    }
}

/// Where a server listens for SIP: UDP, TCP and TLS, as far as its startup mode and its ports say.
pub(crate) fn listeners(identity: &ServerIdentity) -> [Option<SocketAddr>; 3] {
    let (clear, protected) = match identity.startup_mode {
        StartupMode::TCP => (true, false),
        StartupMode::TLS => (false, true),
        StartupMode::Dual => (true, true),
    };
    let at = |open: bool, port: Option<u16>| {
        port.filter(|_| open).map(|port| SocketAddr::new(identity.address, port))
    };
    let ports = identity.listeners;
    [at(clear, ports.udp), at(clear, ports.tcp), at(protected, ports.tls)]
}

/// Whether two configurations ask for the same listeners.
pub(crate) fn listens_alike(one: &ServerIdentity, other: &ServerIdentity) -> bool {
    one.address == other.address && one.certificate == other.certificate && listeners(one) == listeners(other)
}
