//! What a mailbox server serves: one version of its document, made ready for calls.
//!
//! Decides how a document becomes tables and keys, and that one which could not be served whole is
//! not served at all. Refuses to know files.

use std::sync::Arc;

use config::{Code, Keyring, MailboxConfig, MailboxServer, StartupMode, Table};

/// One version of `mailbox.yaml`, ready for calls.
#[derive(Debug)]
pub(crate) struct Served {
    /// The document.
    pub(crate) config: Arc<MailboxConfig>,
    /// What calls are decided on.
    pub(crate) table: Table,
    /// What redirect tokens are verified with.
    pub(crate) keys: Keyring,
    /// This server as its peers see it: where it is reached, whatever it listens on. `None` while the
    /// directory does not have it.
    pub(crate) advertised: Option<MailboxServer>,
}

impl Served {
    /// Reads a document for the server of this name; without one for that of the document.
    ///
    /// # Errors
    /// What is wrong with it, in words, without any of its text.
    pub(crate) fn parse(text: &str, name: Option<&str>) -> Result<Self, String> {
        let config = MailboxConfig::from_yaml(text).map_err(|error| error.to_string())?;
        if let Some(certificate) = &config.server.certificate {
            runtime::tls::server_config(&certificate.chain, &certificate.key)
                .map_err(|error| format!("{}: {error}", Code::CertificateUnusable))?;
        }
        let table = Table::compile(&config.directory, &config.server);
        let keys = Keyring::new(&config.token_keys).map_err(|error| error.to_string())?;
        let advertised = table.mailbox_server(name.unwrap_or(&config.server.name)).cloned();
        Ok(Served { config: Arc::new(config), table, keys, advertised })
    }
}

/// Which ports a server listens on for SIP: UDP, TCP and TLS, as far as its startup mode says.
pub(crate) fn sip_ports(config: &MailboxConfig) -> [Option<u16>; 3] {
    let (clear, protected) = match config.server.startup_mode {
        StartupMode::TCP => (true, false),
        StartupMode::TLS => (false, true),
        StartupMode::Dual => (true, true),
    };
    let ports = config.server.listeners;
    [ports.udp.filter(|_| clear), ports.tcp.filter(|_| clear), ports.tls.filter(|_| protected)]
}

/// Whether two configurations ask for the same listeners.
pub(crate) fn listens_alike(one: &MailboxConfig, other: &MailboxConfig) -> bool {
    one.first_media_port == other.first_media_port
        && one.server.certificate == other.server.certificate
        && sip_ports(one) == sip_ports(other)
}
