//! The servers of this process: mailbox, router and the admin port.
//!
//! Decides the order in which they start and stop: whoever is redirected must find somebody, so
//! the mailbox server starts first and stops last. Refuses to know what they do.

use std::path::Path;
use std::sync::Arc;

use config::Code;
use mailbox::ServerPaths as MailboxPaths;
use miette::{Report, Result, miette};
use operator::{Served, Standalone};
use router::ServerPaths as RouterPaths;
use runtime::ServeError;
use runtime::admin::{self, Admin, AdminError, Component};
use runtime::metrics;

use crate::args::UpArguments;

/// What runs in this process.
pub(crate) struct Servers {
    router: Arc<router::Server>,
    mailbox: Arc<mailbox::Server>,
    _admin: Admin,
}

impl Servers {
    /// Starts everything, or leaves nothing running.
    pub(crate) fn start(arguments: &UpArguments, site: &Standalone, workers: usize) -> Result<Self> {
        let registry = metrics::registry();
        let paths = MailboxPaths {
            config: site.mailbox_config(),
            state: arguments.state.clone(),
            address: arguments.address,
            name: None,
        };
        let mailbox = mailbox::Server::start(&paths, workers, &mut metrics::lock(&registry))
            .map_err(|error| mailbox_not_started(&error))?;
        let paths = RouterPaths { config: site.router_config(), address: arguments.address };
        let router = router::Server::start(&paths, workers, &mut metrics::lock(&registry))
            .map_err(|error| router_not_started(&error))?;
        let (router, mailbox) = (Arc::new(router), Arc::new(mailbox));
        let components: Vec<Arc<dyn Component>> = vec![Arc::clone(&router) as _, Arc::clone(&mailbox) as _];
        let admin =
            admin::serve(arguments.admin, registry, components).map_err(|error| admin_not_opened(&error))?;
        Ok(Self { router, mailbox, _admin: admin })
    }

    /// The generations that are served.
    pub(crate) fn served(&self) -> Served {
        Served { router: Some(self.router.generation()), mailbox: Some(self.mailbox.generation()) }
    }

    /// Whether calls are taken.
    pub(crate) fn ready(&self) -> Result<(), String> {
        self.router.ready().and_then(|()| self.mailbox.ready())
    }

    /// Takes no new calls. The router refuses them first, so that nobody is redirected to be refused.
    pub(crate) fn drain(&self) {
        self.router.drain();
        self.mailbox.drain();
    }

    /// Whether calls are left.
    pub(crate) fn has_calls(&self) -> bool {
        self.mailbox.active_calls() > 0
    }

    /// Whether messages wait for storage or delivery.
    pub(crate) fn has_messages(&self) -> bool {
        self.mailbox.delivery().outbox_len > 0
    }

    /// Stops everything.
    pub(crate) fn stop(&self) {
        self.router.stop();
        self.mailbox.stop();
    }
}

/// Why `--once` ends before its call.
pub(crate) fn nothing_to_serve(folder: &Path) -> Report {
    miette!("no call can be served from {}; repair the problems above", folder.display())
}

/// Why `--once` ends although the servers run.
pub(crate) fn not_ready(why: &str) -> Report {
    miette!("the servers run but take no calls: {why}")
}

/// An admin port that did not open.
pub(crate) fn admin_not_opened(error: &AdminError) -> Report {
    let code = Code::PortUnavailable;
    miette!("{code}: {error}; stop what listens there or name another one with --admin")
}

/// A router that did not start.
pub(crate) fn router_not_started(error: &router::StartError) -> Report {
    match error {
        router::StartError::Listen(router::ListenError::Serve(error)) => port("router", error),
        router::StartError::Config(_) | router::StartError::Listen(router::ListenError::Tls(_)) => {
            miette!("cannot start the router: {error}")
        }
    }
}

/// A mailbox server that did not start.
pub(crate) fn mailbox_not_started(error: &mailbox::StartError) -> Report {
    match error {
        mailbox::StartError::Serve(error) => port("mailbox server", error),
        mailbox::StartError::Config(_)
        | mailbox::StartError::Storage(_)
        | mailbox::StartError::Prompts(_)
        | mailbox::StartError::Certificate(_) => miette!("cannot start the mailbox server: {error}"),
    }
}

/// A port that cannot be listened on, with its code and what to do.
fn port(server: &str, error: &ServeError) -> Report {
    let code = Code::PortUnavailable;
    match error {
        ServeError::Listen { .. } => miette!(
            "{code}: {server}: {error}; stop the program that listens there, or choose another port in the \
             server's object or another --address"
        ),
        ServeError::Workers(_) | ServeError::Thread(_) => miette!("cannot start the {server}: {error}"),
    }
}
