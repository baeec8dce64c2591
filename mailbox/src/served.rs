//! What a mailbox server serves: one version of its document, made ready for calls.
//!
//! Decides how a folder becomes tables and keys, and that one which could not be served whole is
//! not served at all. Refuses to touch files.

use std::sync::Arc;

use config::parts::{Awaited, ReadError, Reader};
use config::{Keyring, MailboxConfig, MailboxServer, StartupMode, Table};
use runtime::watch::{Beside, Version};

/// One version of the folder, ready for calls.
#[derive(Debug)]
pub(crate) struct Served {
    /// What stands in it.
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
    /// Reads `mailbox.yaml` and its parts, for the server of this name; without one for that of the
    /// index.
    pub(crate) fn read(
        reader: &mut Reader,
        index: &str,
        beside: &Beside,
        name: Option<&str>,
    ) -> Version<Self> {
        let names = |awaited: &[Awaited]| awaited.iter().map(|awaited| awaited.file.clone()).collect();
        match reader.mailbox(index, &|file| beside.read(file)) {
            Ok(reading) => {
                let (problem, awaits) = (reading.problem(), names(&reading.awaits));
                match Served::compile(reading.config, name) {
                    Ok(served) => Version { value: Some(served), problem, awaits },
                    Err(error) => Version::unusable(error),
                }
            }
            Err(ReadError::NotYet(awaited)) => Version {
                value: None,
                awaits: names(&awaited),
                problem: Some(ReadError::NotYet(awaited).to_string()),
            },
            Err(ReadError::Unusable(error)) => Version::unusable(error.to_string()),
        }
    }

    /// Makes it ready for the server of this name; without one for that of the index.
    ///
    /// # Errors
    /// What is wrong with it, in words, without any of its text.
    pub(crate) fn compile(config: MailboxConfig, name: Option<&str>) -> Result<Self, String> {
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
