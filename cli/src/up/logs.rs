//! How `umbriel up` logs.
//!
//! Decides that a person sees calls as lines and faults as logs, and a program sees everything as
//! JSON. Refuses to know what is logged.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::lines::{self, Printer};
use crate::args::{LogFormat, UpArguments};
use crate::style::Style;

/// Begins to log; gives what prints the lines, if there are any. Numbers are shown in full only if
/// that was asked for.
///
/// # Errors
/// The thread that prints cannot be started.
pub(crate) fn init(arguments: &UpArguments, style: Style) -> io::Result<Option<Printer>> {
    runtime::log::show_numbers(arguments.show_numbers);
    match arguments.log_format {
        LogFormat::Json => {
            runtime::log::init(runtime::log::Format::Json, "info");
            Ok(None)
        }
        LogFormat::Text => {
            // Problems of the folder have lines of their own.
            let filter =
                EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,umbriel_cli=off"));
            let faults = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(Style::of_stderr() == Style::Coloured)
                .with_filter(filter_fn(|metadata| metadata.target() != lines::CALLS))
                .with_filter(filter);
            let (calls, printer) = lines::start(style)?;
            // The only failure is that a subscriber is already installed: then its owner decides.
            let _ = tracing_subscriber::registry().with(faults).with(calls).try_init();
            Ok(Some(printer))
        }
    }
}
