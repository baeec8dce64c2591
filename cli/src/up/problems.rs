//! Tells problems as they appear and as they are resolved, each once.
//!
//! Decides when a problem is a new one: not because a line above it was added. Objects that only
//! wait for the repair of another are told as one line. Refuses to know what is wrong.

use std::collections::HashSet;

use operator::Located;

use crate::command_check::{count, problem};
use crate::print::say;
use crate::style::{Colour, Style};
use crate::waiting::{Waiting, causes, waiting};

/// Problems of one change that are told one by one. One edit of a dial plan can put the extension
/// of every user out of order.
const MOST: usize = 20;

/// What was told so far.
pub(crate) struct Problems {
    style: Style,
    told: Vec<Located>,
    waiting: Vec<Waiting>,
    trouble: Option<String>,
}

impl Problems {
    pub(crate) fn new(style: Style) -> Self {
        Self { style, told: Vec::new(), waiting: Vec::new(), trouble: None }
    }

    /// Tells what changed.
    pub(crate) fn now(&mut self, problems: &[Located]) {
        self.trouble = None;
        if self.told == problems {
            return;
        }
        let (before, now) = (causes(&self.told), causes(problems));
        let new = not_among(&now, &before);
        for located in new.iter().take(MOST) {
            say(&format!("\n{}\n", problem(located, self.style)));
            let (file, line) = (located.file.display(), located.line);
            tracing::warn!(code = located.problem.code.id(), %file, line, "{located}");
        }
        self.left_out(new.len(), "problems, which `umbriel check` lists");
        let gone = not_among(&before, &now);
        for located in gone.iter().take(MOST) {
            say(&self.style.paint(Colour::Green, &resolved(located)));
            tracing::info!(code = located.problem.code.id(), "{}", resolved(located));
        }
        self.left_out(gone.len(), "problems resolved");
        let waiting = waiting(problems);
        for one in waiting.iter().filter(|one| !self.waiting.contains(one)) {
            say(&format!("{one}\n"));
            tracing::warn!(code = config::Code::DanglingReference.id(), "{one}");
        }
        for one in self.waiting.iter().filter(|one| !waiting.iter().any(|other| other.cause == one.cause)) {
            let text = no_longer(one);
            say(&self.style.paint(Colour::Green, &text));
            tracing::info!(code = config::Code::DanglingReference.id(), "{text}");
        }
        self.told = problems.to_vec();
        self.waiting = waiting;
    }

    /// Tells of how many nothing more was said.
    fn left_out(&self, number: usize, what: &str) {
        if let Some(more @ 1..) = number.checked_sub(MOST) {
            say(&self.style.paint(Colour::Bold, &format!("and {more} more {what}\n")));
            tracing::warn!("and {more} more {what}");
        }
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

/// Those of `problems` that are not among `others`, wherever in their file they stand.
fn not_among<'p>(problems: &[&'p Located], others: &[&Located]) -> Vec<&'p Located> {
    let others: HashSet<_> = others.iter().map(|other| (&other.file, &other.problem)).collect();
    problems.iter().copied().filter(|one| !others.contains(&(&one.file, &one.problem))).collect()
}

fn resolved(located: &Located) -> String {
    let object = located.problem.object.as_ref().map(|object| format!(": {object}")).unwrap_or_default();
    format!("{}: resolved {}{object}", located.file.display(), located.problem.code)
}

fn no_longer(waiting: &Waiting) -> String {
    let number = waiting.objects.len();
    let verb = if number == 1 { "waits" } else { "wait" };
    format!("{} no longer {verb} for {}", count(number, "object"), waiting.cause)
}
