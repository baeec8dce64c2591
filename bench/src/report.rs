//! What is told: a line while it works, a table for people, JSON lines for programs, and whether all
//! that must be reached was.
//!
//! Decides the requirements. Each is judged by the median over the rounds.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde_json::json;

use crate::load::Pace;
use crate::rows::{Measured, line};

/// Which figure of a run is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    PerCore,
    P99,
}

/// What a figure must be.
#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Bound::AtLeast(least) => value >= least,
            Bound::AtMost(most) => value <= most,
        }
    }

    fn text(self) -> String {
        match self {
            Bound::AtLeast(least) => format!("≥ {least}"),
            Bound::AtMost(most) => format!("≤ {most}"),
        }
    }
}

/// One row: Umbriel against another in the runs of `runs`, or a figure of its own where there is none.
pub(crate) struct Requirement {
    name: &'static str,
    runs: &'static str,
    server: &'static str,
    against: Option<(By, &'static str)>,
    must: Bound,
    aim: Bound,
}

pub(crate) const UMBRIEL: &str = "Umbriel";
pub(crate) const KAMAILIO: &str = "Kamailio";
pub(crate) const ECHO: &str = "bare echo";
pub(crate) const SMALL: &str = "Umbriel, 10 of each";
pub(crate) const LARGE: &str = "Umbriel, 100,000 mailboxes";
pub(crate) const AT_REST: &str = "memory at rest with 10,000 users, MB";
pub(crate) const IDLE_TCP: &str = "memory of an idle TCP connection, kB";
pub(crate) const IDLE_TLS: &str = "memory of an idle TLS connection, kB";
pub(crate) const SIZES: &str = "size";
pub(crate) const NO_FLOOD: &str = "good calls without a flood";
pub(crate) const FLOOD: &str = "good calls within a flood";
pub(crate) const FLOOD_SENT: &str = "datagrams of the flood in a second";
pub(crate) const FLOOD_ANSWERED: &str = "good calls answered within the flood, of those without";
pub(crate) const FLOOD_ANSWERS: &str = "answers to each stranger in a second";
pub(crate) const FLOOD_MEMORY: &str = "memory that the flood takes, MB";
pub(crate) const FLOOD_LINES: &str = "lines of the log in a second of the flood";
pub(crate) const SLOW_P99: &str = "p99 of OPTIONS among 3,000 slow peers, ms";
pub(crate) const SLOW_LOST: &str = "OPTIONS without an answer among them";
pub(crate) const SLOW_MEMORY: &str = "memory that they take, MB";
pub(crate) const HALF: &str = "half of the own capacity";

const fn ratio(
    name: &'static str,
    runs: &'static str,
    against: (By, &'static str),
    must: Bound,
    aim: Bound,
) -> Requirement {
    Requirement { name, runs, server: UMBRIEL, against: Some(against), must, aim }
}

const fn figure(name: &'static str, must: f64, aim: f64) -> Requirement {
    let (must, aim) = (Bound::AtMost(must), Bound::AtMost(aim));
    Requirement { name, runs: name, server: UMBRIEL, against: None, must, aim }
}

const fn at_least(must: f64, aim: f64) -> (Bound, Bound) {
    (Bound::AtLeast(must), Bound::AtLeast(aim))
}

/// Among hostile peers.
pub(crate) fn among_hostile_peers() -> Vec<Requirement> {
    let at_least = |name, must, aim| {
        let (must, aim) = (Bound::AtLeast(must), Bound::AtLeast(aim));
        Requirement { must, aim, ..figure(name, 0.0, 0.0) }
    };
    vec![
        at_least(FLOOD_SENT, 199_000.0, 200_000.0),
        at_least(FLOOD_ANSWERED, 0.99, 1.0),
        figure(FLOOD_ANSWERS, 1.0, 1.0),
        figure(FLOOD_MEMORY, 16.0, 1.0),
        // 100 about calls, 20 about strangers, and one of each that says how many were left out.
        figure(FLOOD_LINES, 150.0, 122.0),
        figure(SLOW_P99, 10.0, 1.0),
        figure(SLOW_LOST, 0.0, 0.0),
        // What connections may hold, and 16 kB for each of them.
        figure(SLOW_MEMORY, 112.0, 64.0),
    ]
}

/// Beside Kamailio and the bare echo.
pub(crate) fn beside_others() -> Vec<Requirement> {
    let speed = |name, runs, against, (must, aim)| ratio(name, runs, (By::PerCore, against), must, aim);
    let p99 = |name, against| ratio(name, HALF, (By::P99, against), Bound::AtMost(1.0), Bound::AtMost(1.0));
    vec![
        speed("UDP redirects against Kamailio", "UDP", KAMAILIO, at_least(1.5, 2.0)),
        speed("UDP redirects against the bare echo", "UDP", ECHO, at_least(0.60, 0.80)),
        speed("TCP, 1 connection, against Kamailio", "TCP, 1 connection", KAMAILIO, at_least(4.0, 10.0)),
        speed("TCP, 64 connections, against Kamailio", "TCP, 64 connections", KAMAILIO, at_least(3.0, 6.0)),
        speed("TLS, 64 connections, against Kamailio", "TLS, 64 connections", KAMAILIO, at_least(2.0, 3.0)),
        p99("UDP p99 at half capacity against Kamailio's", KAMAILIO),
        Requirement {
            must: Bound::AtMost(f64::INFINITY),
            ..p99("UDP p99 at half capacity against the echo's", ECHO)
        },
        figure(AT_REST, 25.0, 12.5),
        figure(IDLE_TCP, 8.0, 4.0),
        figure(IDLE_TLS, 40.0, 20.0),
        Requirement {
            server: LARGE,
            ..speed(
                "100,000 mailboxes, 2,000 hunt groups, 200 gateways against 10 of each",
                SIZES,
                SMALL,
                at_least(0.95, 0.95),
            )
        },
        Requirement { server: LARGE, ..figure("replies lost in a table swap", 0.0, 0.0) },
        Requirement { server: LARGE, ..figure("p99 in a table swap against p99 without", 2.0, 2.0) },
    ]
}

/// All that was measured.
pub(crate) struct Report {
    runs: BTreeMap<(String, String), Vec<Measured>>,
    figures: BTreeMap<(String, String), Vec<f64>>,
    /// Rows in the order in which they were first measured.
    order: Vec<(String, String)>,
    lines: File,
    steps: usize,
    step: usize,
}

impl Report {
    /// One that writes JSON lines to a file, of a run that has so many steps.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn new(lines: &Path, steps: usize) -> io::Result<Report> {
        let lines = File::create(lines)?;
        let (runs, figures) = (BTreeMap::new(), BTreeMap::new());
        Ok(Report { runs, figures, order: Vec::new(), lines, steps, step: 0 })
    }

    pub(crate) fn progress(&mut self, what: &str) {
        self.step += 1;
        eprint!("\r\x1b[K[{}/{}] {what}", self.step, self.steps.max(self.step));
    }

    pub(crate) fn measured(&mut self, row: &str, server: &str, pace: Pace, measured: Measured) {
        self.write(&line(row, server, pace, &measured));
        let key = (row.to_owned(), server.to_owned());
        if !self.order.contains(&key) {
            self.order.push(key.clone());
        }
        self.runs.entry(key).or_default().push(measured);
    }

    pub(crate) fn figure(&mut self, row: &str, server: &str, value: f64) {
        self.write(&json!({ "row": row, "server": server, "value": value }));
        self.figures.entry((row.to_owned(), server.to_owned())).or_default().push(value);
    }

    fn write(&mut self, line: &serde_json::Value) {
        // A full disk takes the lines and leaves the table.
        let _written = writeln!(self.lines, "{line}");
    }

    /// Median of the wall-clock rates of a row; 0 if there is none.
    pub(crate) fn rate(&self, row: &str, server: &str) -> f64 {
        let runs = self.runs.get(&(row.to_owned(), server.to_owned()));
        Spread::of(runs.into_iter().flatten().map(|run| run.rate).collect())
            .map_or(0.0, |spread| spread.median)
    }

    fn values(&self, requirement: &Requirement) -> Vec<f64> {
        let key = |server: &str| (requirement.runs.to_owned(), server.to_owned());
        let Some((by, other)) = requirement.against else {
            return self.figures.get(&key(requirement.server)).cloned().unwrap_or_default();
        };
        let of = |server: &str| self.runs.get(&key(server)).map(Vec::as_slice).unwrap_or_default();
        let pairs = of(requirement.server).iter().zip(of(other));
        let ratio = |(own, other): (&Measured, &Measured)| match by {
            By::PerCore => own.per_core() / other.per_core().max(1e-9),
            By::P99 => own.tally.p99_us / other.tally.p99_us.max(1e-9),
        };
        pairs.map(ratio).collect()
    }

    /// Prints it all; true if nothing that must be reached was missed.
    pub(crate) fn print(&mut self, requirements: &[Requirement]) -> bool {
        eprintln!("\r\x1b[K");
        println!(
            "| row | server | redirects/s | processor | for each second of it | p50 µs | p99 µs | wrong, lost |"
        );
        println!("|---|---|---:|---:|---:|---:|---:|---:|");
        for key in &self.order {
            let runs = &self.runs[key];
            let median = |of: &dyn Fn(&Measured) -> f64| {
                Spread::of(runs.iter().map(of).collect()).map_or(0.0, |spread| spread.median)
            };
            let (wrong, lost) = runs
                .iter()
                .fold((0, 0), |(wrong, lost), run| (wrong + run.tally.wrong, lost + run.tally.lost));
            println!(
                "| {} | {} | {:.0} | {:.0} % | {:.0} | {:.0} | {:.0} | {wrong}, {lost} |",
                key.0,
                key.1,
                median(&|run| run.rate),
                100.0 * median(&|run| run.used),
                median(&Measured::per_core),
                median(&|run| run.tally.p50_us),
                median(&|run| run.tally.p99_us),
            );
        }
        self.print_ceilings();
        println!("\n| on one core | must | aim | median | spread | |");
        println!("|---|---:|---:|---:|---:|---|");
        let mut all_reached = true;
        for requirement in requirements {
            all_reached &= self.judge(requirement);
        }
        let bad: u64 = self.runs.values().flatten().map(|run| run.tally.wrong).sum();
        if bad > 0 {
            println!("\n{bad} replies were wrong");
        }
        all_reached && bad == 0
    }

    /// How many calls the generator can place itself: against the echo, which mostly waits for it. Where a server comes
    /// near, its figure for each second of its processor is the one to go by.
    fn print_ceilings(&self) {
        let of_echo = self.order.iter().filter(|(row, server)| server == ECHO && row != HALF);
        let each = of_echo.map(|(row, server)| {
            let rate = self.rate(row, server);
            let (own, row) = (self.rate(row, UMBRIEL), row.as_str());
            format!("{row}: {rate:.0} ({UMBRIEL} had {:.0} %)", 100.0 * own / rate.max(1e-9))
        });
        let all: Vec<_> = each.collect();
        if !all.is_empty() {
            println!("\nthe generator's ceiling, calls/s against the echo: {}", all.join("; "));
        }
    }

    /// Prints one row of requirements; false if what must be reached was missed.
    fn judge(&mut self, requirement: &Requirement) -> bool {
        let Requirement { name, must, aim, .. } = requirement;
        let Some(spread) = Spread::of(self.values(requirement)) else {
            println!("| {name} | {} | {} | | | skipped |", must.text(), aim.text());
            self.write(&json!({ "requirement": name, "verdict": "skipped" }));
            return true;
        };
        let verdict = match (must.holds(spread.median), aim.holds(spread.median)) {
            (false, _) => "missed",
            (true, false) => "reached",
            (true, true) => "aim reached",
        };
        let must = match must {
            Bound::AtMost(most) if most.is_infinite() => String::new(),
            Bound::AtMost(_) | Bound::AtLeast(_) => must.text(),
        };
        let Spread { least, median, most } = spread;
        println!("| {name} | {must} | {} | {median:.2} | {least:.2} to {most:.2} | {verdict} |", aim.text());
        self.write(&json!({
            "requirement": name, "median": median, "least": least, "most": most, "verdict": verdict,
        }));
        verdict != "missed"
    }
}

/// The middle and the ends of some figures.
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Spread { least, median, most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_the_spread_the_ends() {
        let spread = Spread::of(vec![3.0, 1.0, 10.0, 2.0]).unwrap();
        assert_eq!((spread.least, spread.median, spread.most), (1.0, 2.5, 10.0));
        assert!(Spread::of(Vec::new()).is_none());
    }

    #[test]
    fn what_must_be_reached_and_is_not_fails_and_what_was_not_measured_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut report = Report::new(&folder.path().join("lines"), 1).unwrap();
        assert!(report.print(&beside_others()));
        report.figure(AT_REST, UMBRIEL, 20.0);
        assert!(report.print(&beside_others()));
        report.figure(IDLE_TCP, UMBRIEL, 8.1);
        assert!(!report.print(&beside_others()));
        let lines = std::fs::read_to_string(folder.path().join("lines")).unwrap();
        assert!(lines.contains("\"verdict\":\"missed\""), "{lines}");
    }
}
