//! Draws a call as a ladder: one column for each party, one arrow for each step, times at the left.
//!
//! Decides how a [`CallReport`] looks in at most [`WIDTH`] columns of text. Refuses to know where
//! the text goes: colours are an argument.

use std::fmt::Write;
use std::time::Duration;

use super::report::{CallReport, EndedBy, Outcome, StepKind};
use crate::style::{Colour, Style};

/// Columns that a ladder is drawn in.
pub const WIDTH: usize = 100;
/// Columns of the time and the space behind it.
const TIME: usize = 10;
/// Columns that the last party's name may reach beyond its line.
const MARGIN: usize = 12;

/// The ladder of a call, followed by how it ended.
#[must_use]
pub fn draw(report: &CallReport, style: Style) -> String {
    let columns = columns(report.parties.len());
    let mut text = String::new();
    let names: Vec<String> = report.parties.iter().map(|party| party.name.clone()).collect();
    let addresses: Vec<String> = report
        .parties
        .iter()
        .map(|party| party.address.map(|address| address.to_string()).unwrap_or_default())
        .collect();
    header(&mut text, &columns, &names, style, Colour::Bold);
    header(&mut text, &columns, &addresses, style, Colour::Dim);
    for step in &report.steps {
        let time = style.paint(Colour::Dim, &format!("{:>8}", stamp(step.at)));
        let arrow = arrow(&columns, step.from, step.to, step.kind, &step.text, style);
        let _ = writeln!(text, "{time}  {arrow}");
    }
    text
}

/// How the call ended, in a line or two.
#[must_use]
pub fn outcome(report: &CallReport, style: Style) -> String {
    match &report.outcome {
        Outcome::Completed { ended_by } => {
            let who = match ended_by {
                EndedBy::Caller => "the caller",
                EndedBy::FarEnd => "the far end",
            };
            let lasted = report.timings.ended.map(stamp).unwrap_or_default();
            style.paint(Colour::Green, &format!("Completed after {lasted} s; {who} hung up."))
        }
        Outcome::Refused { status, phrase, code, text } => {
            let mut line = style.paint(Colour::Red, &format!("Refused: {status} {phrase}"));
            if let Some(text) = text {
                let _ = write!(line, "\n  {text}");
            }
            if let Some(code) = code {
                let _ = write!(line, "\n  What to do: docs/codes/{code}.md");
            }
            line
        }
        Outcome::Failed { step, error } => {
            format!("{} {error}", style.paint(Colour::Red, &format!("Failed at {step}:")))
        }
    }
}

/// Seconds with three decimals.
fn stamp(at: Duration) -> String {
    format!("{}.{:03}", at.as_secs(), at.subsec_millis())
}

/// Where each party's line stands, counted from the end of the time.
fn columns(parties: usize) -> Vec<usize> {
    let gaps = parties.saturating_sub(1).max(1);
    let gap = (WIDTH - TIME - MARGIN) / gaps;
    (0..parties).map(|party| party * gap).collect()
}

fn header(text: &mut String, columns: &[usize], names: &[String], style: Style, colour: Colour) {
    let mut line = " ".repeat(TIME);
    for (column, name) in columns.iter().zip(names) {
        let start = (TIME + column).saturating_sub(name.chars().count() / 2).max(width(&line));
        line.push_str(&" ".repeat(start - width(&line)));
        line.push_str(name);
        line.push(' ');
    }
    let _ = writeln!(text, "{}", style.paint(colour, line.trim_end()));
}

fn arrow(columns: &[usize], from: usize, to: usize, kind: StepKind, text: &str, style: Style) -> String {
    let (Some(&start), Some(&end)) = (columns.get(from.min(to)), columns.get(from.max(to))) else {
        return text.to_owned();
    };
    let shaft = if kind == StepKind::Media { '═' } else { '─' };
    let room = (end - start).saturating_sub(1);
    let text = shorten(text, room.saturating_sub(6));
    let fill = room.saturating_sub(text.chars().count() + 4);
    let line = |length: usize| shaft.to_string().repeat(length);
    let body = if from < to {
        format!("{shaft} {text} {}▶", line(fill))
    } else {
        format!("◀{} {text} {shaft}", line(fill))
    };
    let body = cross(&body, columns, start, shaft);
    let mut row: Vec<char> = vec![' '; columns.last().map_or(1, |last| last + 1)];
    for &column in columns {
        row[column] = '│';
    }
    let [before, after] = [&row[..=start], &row[end..]].map(|part| part.iter().collect::<String>());
    format!("{before}{}{after}", style.paint(colour(kind), &body))
}

/// Lets the lines of the parties in between show through, where no word is in the way.
fn cross(body: &str, columns: &[usize], start: usize, shaft: char) -> String {
    let crossing = if shaft == '═' { '╪' } else { '┼' };
    let is_crossed = |at: usize, drawn: char| drawn == shaft && columns.contains(&(start + 1 + at));
    body.chars().enumerate().map(|(at, drawn)| if is_crossed(at, drawn) { crossing } else { drawn }).collect()
}

fn colour(kind: StepKind) -> Colour {
    match kind {
        StepKind::Request => Colour::Cyan,
        StepKind::Response => Colour::Green,
        StepKind::Redirect => Colour::Yellow,
        StepKind::Refusal => Colour::Red,
        StepKind::Again => Colour::Dim,
        StepKind::Media => Colour::Magenta,
    }
}

fn shorten(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(room.saturating_sub(1)).collect();
    short.push('…');
    short
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::super::report::{MediaCounts, Party, Step, Timings};
    use super::*;

    fn party(name: &str, address: &str) -> Party {
        Party { name: name.into(), address: Some(address.parse().unwrap()), transport: None }
    }

    fn step(at_ms: u64, from: usize, to: usize, kind: StepKind, text: &str) -> Step {
        Step { at: Duration::from_millis(at_ms), from, to, kind, text: text.into() }
    }

    fn report() -> CallReport {
        CallReport {
            target: "sip:101@127.0.0.1".into(),
            call_id: "c1".into(),
            outcome: Outcome::Completed { ended_by: EndedBy::Caller },
            parties: vec![
                party("caller", "127.0.0.1:40001"),
                party("router", "127.0.0.1:5060"),
                party("mailbox", "127.0.0.1:5062"),
            ],
            steps: vec![
                step(0, 0, 1, StepKind::Request, "INVITE sip:101@127.0.0.1"),
                step(1, 1, 0, StepKind::Redirect, "302 Moved Temporarily"),
                step(2, 0, 2, StepKind::Request, "INVITE sip:101@127.0.0.1:5062 with token"),
                step(1_002, 0, 2, StepKind::Request, "ACK"),
                step(5_021, 2, 0, StepKind::Media, "RTP PCMU: 4.96 s of greeting and beep"),
            ],
            codec: None,
            timings: Timings { ended: Some(Duration::from_millis(7_250)), ..Timings::default() },
            media: MediaCounts::default(),
            spoken: Vec::new(),
            heard: Vec::new(),
        }
    }

    #[test]
    fn a_redirected_call_is_drawn_with_a_column_for_each_party() {
        assert_eq!(
            draw(&report(), Style::Plain),
            include_str!("../../tests/golden/ladder.txt"),
            "\n{}",
            draw(&report(), Style::Plain)
        );
    }

    #[test]
    fn a_ladder_fits_into_100_columns_and_long_texts_are_cut() {
        let mut long = report();
        long.steps.push(step(9, 0, 1, StepKind::Request, &"x".repeat(200)));
        long.steps.push(step(9, 2, 0, StepKind::Again, &"x".repeat(200)));
        for line in draw(&long, Style::Plain).lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn a_refusal_names_its_code_and_its_page() {
        let mut refused = report();
        refused.outcome = Outcome::Refused {
            status: 404,
            phrase: "Not Found".into(),
            code: Some("UM1110".into()),
            text: Some("UM1110 NoSuchUser: nobody has 777".into()),
        };
        assert_eq!(
            outcome(&refused, Style::Plain),
            "Refused: 404 Not Found\n  UM1110 NoSuchUser: nobody has 777\n  What to do: docs/codes/UM1110.md"
        );
        assert_eq!(outcome(&report(), Style::Plain), "Completed after 7.250 s; the caller hung up.");
    }
}
