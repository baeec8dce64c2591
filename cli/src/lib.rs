//! The `umbriel` command as a library: test calls, explain, check and the standalone server.
//!
//! This room decides what a person at a terminal types and sees. It refuses to decide anything
//! about calls, objects or messages: those decisions come from the other rooms and are only shown
//! here. Test calls speak through `rsip` and `webrtc-rtp`, never through our own `sip`.

mod args;
pub mod call;
mod command_call;
mod command_check;
mod command_explain;
mod command_operator;
mod command_serve;
mod command_trial;
mod folder;
mod print;
pub mod speech;
pub mod style;
mod up;
mod waiting;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};

/// Something is wrong: with the call, the folder, the message or the system.
const WRONG: u8 = 1;
/// The command was not understood.
const USAGE: u8 = 2;

/// Does what was typed; the status is 0 if all is well, 1 if something is wrong and 2 if the
/// command was not understood.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are asked for; everything else was not understood.
            let status = if error.use_stderr() { USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    let done = match &arguments.command {
        Command::Up(arguments) => up::run(arguments),
        Command::Call(arguments) => command_call::run(arguments),
        Command::Explain(arguments) => command_explain::run(arguments),
        Command::Check(arguments) => command_check::run(arguments),
        Command::Router(arguments) => command_serve::router(arguments),
        Command::Mailbox(arguments) => command_serve::mailbox(arguments),
        Command::Operator(arguments) => command_operator::run(arguments),
        Command::Trial(arguments) => command_trial::run(arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(WRONG),
        Err(error) => {
            print::complain(&format!("{error:?}"));
            ExitCode::from(WRONG)
        }
    }
}
