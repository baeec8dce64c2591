//! Structured logs, and phone numbers in them.
//!
//! Decides the format, the default filter and what a number looks like in a log. Refuses to know
//! what is logged; keys, tokens and audio never are.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends logs to standard error. The environment's `RUST_LOG` goes before `filter`. A second call
/// changes nothing.
pub fn init(format: Format, filter: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // The only failure is that a subscriber is already installed: then its owner decides.
    let _already = match format {
        Format::Text => subscriber.try_init(),
        Format::Json => subscriber.json().flatten_event(true).try_init(),
    };
}

static SHOW_NUMBERS: AtomicBool = AtomicBool::new(false);

/// Digits that a redacted number still shows: enough to tell two calls apart, too few to dial.
const SHOWN_DIGITS: usize = 2;

/// Writes phone numbers in full from now on, in the whole process. For an operator who asks for it.
pub fn show_numbers(show: bool) {
    SHOW_NUMBERS.store(show, Ordering::Relaxed);
}

/// A phone number, or a user of a SIP URI, as it may stand in a log: `**01` for `2001`.
#[derive(Clone, Copy)]
pub struct Number<'a>(pub &'a str);

impl fmt::Display for Number<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if SHOW_NUMBERS.load(Ordering::Relaxed) {
            return write_printable(formatter, self.0.chars());
        }
        let hidden = self.0.chars().count().saturating_sub(SHOWN_DIGITS);
        if hidden == 0 {
            // So short a number would be shown whole.
            return self.0.chars().try_for_each(|_| formatter.write_str("*"));
        }
        (0..hidden).try_for_each(|_| formatter.write_str("*"))?;
        write_printable(formatter, self.0.chars().skip(hidden))
    }
}

impl fmt::Debug for Number<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// What a caller wrote must not break a log line or move a terminal's cursor.
fn write_printable(
    formatter: &mut fmt::Formatter<'_>,
    mut characters: impl Iterator<Item = char>,
) -> fmt::Result {
    use fmt::Write;
    characters
        .try_for_each(|character| formatter.write_char(if character.is_control() { '?' } else { character }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_shows_its_last_two_digits_unless_asked_for_more() {
        assert_eq!(Number("2001").to_string(), "**01");
        assert_eq!(Number("7").to_string(), "*");
        assert_eq!(Number("").to_string(), "");
        assert_eq!(format!("{:?}", Number("+4930\n1")), "*****?1");
        show_numbers(true);
        assert_eq!(Number("2001").to_string(), "2001");
        show_numbers(false);
    }
}
