//! A pair of files for each behaviour: what a person writes (`.in.yaml`) and what follows from it
//! (`.out.yaml`): problems with their lines, documents, and the status of every object. After the
//! first step only the lines that changed are shown, with `-` and `+`.
//!
//! A line that begins with `# ===` begins another step: `then` adds what follows to the folder,
//! `instead` replaces what the last step wrote, and `the servers serve 1 and 2` says which
//! generations router and mailbox server report. `UPDATE_GOLDEN=1` writes the `.out.yaml` files
//! anew; read the difference before you keep it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use umbriel_operator::{Served, Standalone, Step};

/// 2026-11-21T08:00:00Z; each step is a second later.
const START_S: u64 = 1_795_248_000;

/// What the redirect token is signed with in every pair.
const TOKEN_KEYS: &str = "- id: golden\n  secret: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[test]
fn each_pair_holds() {
    let mut inputs: Vec<PathBuf> =
        fs::read_dir(golden_dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.retain(|path| path.to_str().unwrap().ends_with(".in.yaml"));
    inputs.sort();
    assert!(inputs.len() >= 20, "{} pairs", inputs.len());
    let mut wrong = Vec::new();
    for input in inputs {
        let output = input.to_str().unwrap().replace(".in.yaml", ".out.yaml");
        let found = outcome(&fs::read_to_string(&input).unwrap());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&output, &found).unwrap();
        }
        let expected = fs::read_to_string(&output).unwrap_or_default();
        if found != expected {
            wrong.push(format!("{output} says:\n{expected}\nbut this follows:\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One step of a pair.
struct Scene<'t> {
    title: &'t str,
    text: String,
}

fn scenes(input: &str) -> Vec<Scene<'_>> {
    let mut scenes = vec![Scene { title: "first", text: String::new() }];
    for line in input.lines() {
        if let Some(title) = line.strip_prefix("# === ") {
            scenes.push(Scene { title, text: String::new() });
        } else {
            let text = &mut scenes.last_mut().unwrap().text;
            *text += line;
            *text += "\n";
        }
    }
    scenes
}

/// The generations that a title says are served.
fn served(title: &str) -> Option<Served> {
    let numbers = title.split("the servers serve ").nth(1)?;
    let mut numbers = numbers.split(" and ").map(|number| number.trim().parse().ok());
    Some(Served { router: numbers.next()?, mailbox: numbers.next()? })
}

fn outcome(input: &str) -> String {
    let root = tempfile::tempdir().unwrap();
    let (dir, state) = (root.path().join("objects"), root.path().join("run"));
    fs::create_dir_all(&dir).unwrap();
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("token-keys.yaml"), TOKEN_KEYS).unwrap();
    let mut standalone = Standalone::open(&dir, &state, "127.0.0.1".parse().unwrap()).unwrap();
    let mut serving = Served::default();
    let mut seen = [String::new(), String::new(), String::new()];
    let mut out = String::new();
    let mut file = String::from("in.yaml");
    let folder = format!("{}/", dir.display());
    for (index, scene) in scenes(input).into_iter().enumerate() {
        if index > 0 && !scene.text.trim().is_empty() && !scene.title.starts_with("instead") {
            file = format!("in-{}.yaml", index + 1);
        }
        if index == 0 || !scene.text.trim().is_empty() {
            fs::write(dir.join(&file), &scene.text).unwrap();
        }
        serving = served(scene.title).unwrap_or(serving);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(START_S + index as u64);
        let step = standalone.step(now, serving).unwrap();
        writeln!(out, "# === {}", scene.title).unwrap();
        describe(&mut out, &dir, &step);
        let (router, mailbox) = standalone.configs().unwrap();
        let router = router.map(|config| serde_yaml::to_string(&config).unwrap()).unwrap_or_default();
        let mailbox = mailbox.map(|config| serde_yaml::to_string(&config).unwrap()).unwrap_or_default();
        let shown = [
            ("router.yaml", hosts_in_short(&without_keys(&router))),
            ("mailbox.yaml", without_directory(&without_keys(&mailbox))),
            ("status.yaml", statuses(&read(&standalone.status_path())).replace(&folder, "")),
        ];
        for ((name, text), seen) in shown.into_iter().zip(&mut seen) {
            show(&mut out, name, seen, &text);
            *seen = text;
        }
        let again = standalone.step(now + Duration::from_secs(1), serving).unwrap();
        assert!(!again.changed, "the same world once more writes nothing");
    }
    out
}

fn describe(out: &mut String, dir: &Path, step: &Step) {
    if step.problems.is_empty() {
        writeln!(out, "problems: []").unwrap();
        return;
    }
    writeln!(out, "problems:").unwrap();
    let folder = format!("{}/", dir.display());
    for problem in &step.problems {
        let text = problem.to_string().replace(&folder, "");
        writeln!(out, "- |-").unwrap();
        text.lines().for_each(|line| writeln!(out, "  {line}").unwrap());
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Writes a text whole the first time, and then what changed in it.
fn show(out: &mut String, name: &str, before: &str, after: &str) {
    if before == after {
        writeln!(out, "{name}: not written").unwrap();
        return;
    }
    writeln!(out, "{name}:").unwrap();
    if before.is_empty() {
        after.lines().for_each(|line| writeln!(out, "  {line}").unwrap());
        return;
    }
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    for (mark, line) in changes(&before, &after) {
        writeln!(out, "{mark} {line}").unwrap();
    }
}

/// The lines that were removed and added, by the longest common part.
fn changes<'t>(before: &[&'t str], after: &[&'t str]) -> Vec<(char, &'t str)> {
    let mut common = vec![vec![0; after.len() + 1]; before.len() + 1];
    for i in (0..before.len()).rev() {
        for j in (0..after.len()).rev() {
            let skipped = common[i + 1][j].max(common[i][j + 1]);
            common[i][j] = if before[i] == after[j] { common[i + 1][j + 1] + 1 } else { skipped };
        }
    }
    let (mut i, mut j, mut changes) = (0, 0, Vec::new());
    while i < before.len() || j < after.len() {
        if i < before.len() && j < after.len() && before[i] == after[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == after.len() || (i < before.len() && common[i + 1][j] >= common[i][j + 1]) {
            changes.push(('-', before[i]));
            i += 1;
        } else {
            changes.push(('+', after[j]));
            j += 1;
        }
    }
    changes
}

/// A document without the lines below `tokenKeys`, which are the same in every pair.
fn without_keys(text: &str) -> String {
    cut(text, "tokenKeys:")
}

/// A mailbox document without its directory, which is that of the router.
fn without_directory(text: &str) -> String {
    cut(text, "directory:")
}

/// The hosts of all databases in one line, such as `32 of mailbox`.
fn hosts_in_short(text: &str) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    let mut inside = false;
    let mut kept = String::new();
    for line in text.lines() {
        inside = line == "  hosts:" || (inside && line.starts_with("  - "));
        match line.strip_prefix("  - ").filter(|_| inside) {
            Some(host) => match counts.last_mut() {
                Some((last, count)) if *last == host => *count += 1,
                Some(_) | None => counts.push((host, 1)),
            },
            None if inside => {}
            None => writeln!(kept, "{line}").unwrap(),
        }
    }
    for (host, count) in counts {
        writeln!(kept, "  hosts: {count} of {host}").unwrap();
    }
    kept
}

fn cut(text: &str, block: &str) -> String {
    let mut inside = false;
    let mut kept = String::new();
    for line in text.lines() {
        inside = line == block || (inside && (line.starts_with(' ') || line.starts_with('-')));
        if !inside {
            kept += line;
            kept += "\n";
        }
    }
    kept
}

/// The status of every object, a line for each condition.
fn statuses(text: &str) -> String {
    let list: serde_json::Value = serde_yaml::from_str(text).unwrap_or_default();
    let mut shown = String::new();
    for item in list["items"].as_array().into_iter().flatten() {
        let (kind, metadata, status) = (text_of(&item["kind"]), &item["metadata"], &item["status"]);
        let (namespace, name) = (text_of(&metadata["namespace"]), text_of(&metadata["name"]));
        let object = format!("{kind} {namespace}/{name}");
        write!(shown, "{object}: generation {}", status["observedGeneration"]).unwrap();
        for (field, value) in status.as_object().unwrap() {
            if !matches!(field.as_str(), "observedGeneration" | "conditions") {
                write!(shown, ", {field} {value}").unwrap();
            }
        }
        shown.push('\n');
        for condition in status["conditions"].as_array().unwrap() {
            assert_eq!(condition["observedGeneration"], status["observedGeneration"]);
            let text = |field: &str| text_of(&condition[field]);
            let (type_, value, reason) = (text("type"), text("status"), text("reason"));
            let since = text("lastTransitionTime").replace("2026-11-21T", "").replace('Z', "");
            writeln!(shown, "{object}: {type_} {value} since {since} {reason}").unwrap();
            if (value != "True") != (type_ == "InUse") {
                text("message").lines().for_each(|line| writeln!(shown, "    {line}").unwrap());
            }
        }
    }
    shown
}

fn text_of(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().into()
}
