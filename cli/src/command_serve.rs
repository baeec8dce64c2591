//! `umbriel router` and `umbriel mailbox`: one server in a process of its own, such as a pod.
//!
//! Decides how such a process starts and ends: the admin port opens when the server serves, and the
//! first signal to end leaves the calls that there are their time. Refuses to know who writes the
//! configuration folder, and what the server does.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use ::mailbox::{Server as Mailbox, ServerPaths as MailboxPaths};
use ::router::{Server as Router, ServerPaths as RouterPaths};
use miette::{IntoDiagnostic, Result, WrapErr};
use runtime::admin::{self, Admin, Component};
use runtime::drain::{Watch, on_signals};
use runtime::metrics::{self, SharedRegistry};

use crate::args::{InstanceArguments, LogFormat, MailboxArguments, RouterArguments};
use crate::up::servers::{admin_not_opened, mailbox_not_started, router_not_started};
use crate::up::{DELIVER, wait_while};

/// Serves as a router until it is asked to end.
pub(crate) fn router(arguments: &RouterArguments) -> Result<bool> {
    let instance = &arguments.instance;
    let drain = begin(instance)?;
    let registry = metrics::registry();
    let paths = RouterPaths { config: instance.config.join("router.yaml"), address: instance.address };
    let server = Router::start(&paths, cores(), &mut metrics::lock(&registry))
        .map_err(|error| router_not_started(&error))?;
    let server = Arc::new(server);
    let _admin = open_admin(instance, registry, Arc::clone(&server) as _)?;
    drain.wait();
    tracing::info!(seconds = arguments.linger.as_secs(), "ending; calls that still come are answered");
    std::thread::sleep(arguments.linger);
    server.drain();
    server.stop();
    Ok(true)
}

/// Serves as a mailbox server until it is asked to end, its calls have ended and their messages
/// have left.
pub(crate) fn mailbox(arguments: &MailboxArguments) -> Result<bool> {
    let instance = &arguments.instance;
    let drain = begin(instance)?;
    let registry = metrics::registry();
    let paths = MailboxPaths {
        config: instance.config.join("mailbox.yaml"),
        state: arguments.state.clone(),
        address: instance.address,
        name: arguments.name.clone(),
    };
    let workers = arguments.workers.map_or_else(cores, usize::from);
    let server = Mailbox::start(&paths, workers, &mut metrics::lock(&registry))
        .map_err(|error| mailbox_not_started(&error))?;
    let server = Arc::new(server);
    let _admin = open_admin(instance, registry, Arc::clone(&server) as _)?;
    drain.wait();
    tracing::info!(calls = server.active_calls(), "ending; no new call is taken");
    server.drain();
    finish(&server, arguments.drain_limit);
    server.stop();
    Ok(true)
}

/// Waits for the calls, and then for their messages.
fn finish(server: &Mailbox, limit: Duration) {
    wait_while(limit, || server.active_calls() > 0);
    wait_while(DELIVER, || server.delivery().outbox_len > 0);
}

/// Logs and signals, before anything else.
fn begin(instance: &InstanceArguments) -> Result<Watch> {
    begin_logs(instance.log_format, "info");
    runtime::log::show_numbers(instance.show_numbers);
    on_signals().into_diagnostic().wrap_err("cannot listen for signals")
}

/// Logs of a process that nobody sits in front of.
pub(crate) fn begin_logs(format: LogFormat, filter: &str) {
    let format = match format {
        LogFormat::Json => runtime::log::Format::Json,
        LogFormat::Text => runtime::log::Format::Text,
    };
    runtime::log::init(format, filter);
}

fn open_admin(
    instance: &InstanceArguments,
    registry: SharedRegistry,
    server: Arc<dyn Component>,
) -> Result<Admin> {
    let address = SocketAddr::new(instance.address, instance.admin_port);
    admin::serve(address, registry, vec![server]).map_err(|error| admin_not_opened(&error))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}
