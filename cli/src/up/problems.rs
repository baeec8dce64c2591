//! Tells problems as they appear and as they are resolved, each once.
//!
//! Decides when a problem is a new one: not because a line above it was added. Refuses to know
//! what is wrong.

use operator::Located;

use crate::command_check::problem;
use crate::print::say;
use crate::style::{Colour, Style};

/// What was told so far.
pub(crate) struct Problems {
    style: Style,
    told: Vec<Located>,
    trouble: Option<String>,
}

impl Problems {
    pub(crate) fn new(style: Style) -> Self {
        Self { style, told: Vec::new(), trouble: None }
    }

    /// Tells what changed.
    pub(crate) fn now(&mut self, problems: &[Located]) {
        self.trouble = None;
        for located in problems.iter().filter(|located| !is_among(&self.told, located)) {
            say(&format!("\n{}\n", problem(located, self.style)));
            let (file, line) = (located.file.display(), located.line);
            tracing::warn!(code = located.problem.code.id(), %file, line, "{located}");
        }
        for located in self.told.iter().filter(|located| !is_among(problems, located)) {
            say(&self.style.paint(Colour::Green, &resolved(located)));
            tracing::info!(code = located.problem.code.id(), "{}", resolved(located));
        }
        self.told = problems.to_vec();
    }

    /// Tells what keeps the folder from being followed, once.
    pub(crate) fn trouble(&mut self, what: &str) {
        if self.trouble.as_deref() != Some(what) {
            say(&self.style.paint(Colour::Red, what));
            tracing::error!("{what}");
            self.trouble = Some(what.to_owned());
        }
    }
}

fn is_among(problems: &[Located], one: &Located) -> bool {
    problems.iter().any(|other| other.file == one.file && other.problem == one.problem)
}

fn resolved(located: &Located) -> String {
    let object = located.problem.object.as_ref().map(|object| format!(": {object}")).unwrap_or_default();
    format!("{}: resolved {}{object}", located.file.display(), located.problem.code)
}
