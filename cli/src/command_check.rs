//! `umbriel check`: what is wrong with the objects of a folder.
//!
//! Decides how problems look. Refuses to find any: that is the operator's.

use std::fmt::Write;
use std::path::Path;

use miette::{IntoDiagnostic, Result};
use operator::{Located, Preview};
use serde::Serialize;

use crate::args::{CheckArguments, Output};
use crate::folder::look;
use crate::print::say;
use crate::style::{Colour, Style};
use crate::waiting::{causes, waiting};

/// The JSON document of a check.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    usable: Usable,
    problems: Vec<Found>,
}

/// How much of the folder calls can be routed by.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Usable {
    dial_plans: usize,
    gateways: usize,
    hunt_groups: usize,
    auto_attendants: usize,
    mailboxes: usize,
    servers: usize,
}

/// One problem in JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Found {
    file: String,
    line: Option<usize>,
    code: config::Code,
    name: &'static str,
    object: Option<String>,
    field: String,
    value: String,
    rule: String,
    fix: String,
    /// The object whose repair resolves this too.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<String>,
}

impl From<&Located> for Found {
    fn from(located: &Located) -> Self {
        let problem = &located.problem;
        Self {
            file: located.file.display().to_string(),
            line: (located.line > 0).then_some(located.line),
            code: problem.code,
            name: problem.code.name(),
            object: problem.object.as_ref().map(ToString::to_string),
            field: problem.field.clone(),
            value: problem.value.clone(),
            rule: problem.rule.clone(),
            fix: problem.fix.clone(),
            waits_for: problem.waits_for.as_ref().map(ToString::to_string),
        }
    }
}

/// Checks the folder; false if anything is wrong with it.
pub(crate) fn run(arguments: &CheckArguments) -> Result<bool> {
    let preview = look(&arguments.folder, &arguments.names)?;
    let usable = usable(&preview);
    let text = match arguments.output {
        Output::Text => render(&arguments.folder, &usable, &preview.problems, Style::of_stdout()),
        Output::Json => serde_json::to_string_pretty(&Checked {
            usable,
            problems: preview.problems.iter().map(Found::from).collect(),
        })
        .into_diagnostic()?,
    };
    say(&text);
    Ok(preview.problems.is_empty())
}

fn usable(preview: &Preview) -> Usable {
    let servers = usize::from(preview.router.is_some()) + usize::from(preview.mailbox.is_some());
    let directory = match (&preview.router, &preview.mailbox) {
        (Some(router), _) => &router.directory,
        (None, Some(mailbox)) => &mailbox.directory,
        (None, None) => return Usable::default(),
    };
    Usable {
        dial_plans: directory.dial_plans.len(),
        gateways: directory.gateways.len(),
        hunt_groups: directory.hunt_groups.len(),
        auto_attendants: directory.auto_attendants.len(),
        mailboxes: directory.mailboxes.len(),
        servers,
    }
}

/// The problems, each as a compiler would write it, what waits for their repair, and what calls can be routed by.
fn render(folder: &Path, usable: &Usable, problems: &[Located], style: Style) -> String {
    let mut text = String::new();
    let causes = causes(problems);
    for located in &causes {
        let _ = writeln!(text, "{}\n", problem(located, style));
    }
    for waiting in waiting(problems) {
        let _ = writeln!(text, "{waiting}\n");
    }
    let verdict = match causes.len() {
        0 => style.paint(Colour::Green, "nothing is wrong"),
        number => style.paint(Colour::Red, &count(number, "problem")),
    };
    let _ = write!(
        text,
        "{}: {verdict}\n  usable: {}, {}, {}, {}, {}",
        folder.display(),
        count(usable.servers, "server"),
        count(usable.dial_plans, "dial plan"),
        count(usable.gateways, "gateway"),
        count(usable.hunt_groups, "hunt group"),
        if usable.mailboxes == 1 {
            "1 mailbox".to_owned()
        } else {
            format!("{} mailboxes", usable.mailboxes)
        },
    );
    if !problems.is_empty() {
        text += "\n  each code has its page: docs/codes/UM1xxx.md";
    }
    text
}

/// One problem: its first line stands out.
pub(crate) fn problem(located: &Located, style: Style) -> String {
    let text = located.to_string();
    match text.split_once('\n') {
        Some((first, rest)) => format!("{}\n{rest}", style.paint(Colour::Bold, first)),
        None => style.paint(Colour::Bold, &text),
    }
}

/// `1 object`, `2 objects`.
pub(crate) fn count(number: usize, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {what}{ending}")
}
