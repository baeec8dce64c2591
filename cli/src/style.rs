//! Colours, and whether there are any.
//!
//! Decides which escape codes stand for which meaning. Refuses to know what is painted.

use std::io::IsTerminal;

/// Whether text is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it is, for files, pipes and tests.
    Plain,
    /// With colours, for a terminal.
    Coloured,
}

/// What a piece of text is painted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Stands out.
    Bold,
    /// Stays in the background.
    Dim,
    /// Something is wrong.
    Red,
    /// Something went well.
    Green,
    /// Something needs a look.
    Yellow,
    /// A request of ours.
    Cyan,
    /// Audio.
    Magenta,
}

impl Style {
    /// Colours if the standard output is a terminal and `NO_COLOR` is not set.
    #[must_use]
    pub fn of_stdout() -> Self {
        Self::of(std::io::stdout().is_terminal())
    }

    /// The same for the standard error.
    #[must_use]
    pub fn of_stderr() -> Self {
        Self::of(std::io::stderr().is_terminal())
    }

    fn of(is_terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if is_terminal && !refused { Style::Coloured } else { Style::Plain }
    }

    /// The text, painted.
    #[must_use]
    pub fn paint(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Bold => "1",
            Colour::Dim => "2",
            Colour::Red => "31",
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Cyan => "36",
            Colour::Magenta => "35",
        };
        match self {
            Style::Plain => text.to_owned(),
            Style::Coloured => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}
