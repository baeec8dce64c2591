//! The `umbriel` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    umbriel_cli::run(std::env::args_os())
}
