//! The one place that prints.
//!
//! Decides that a reader who went away, such as `head`, is no error. Refuses to know what is said.

use std::io::Write;

/// Prints a text and ends its line.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    // Nobody is left to be told that nobody reads.
    let _ = write!(out, "{text}{end}").and_then(|()| out.flush());
}

/// Prints a text to standard error and ends its line.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
