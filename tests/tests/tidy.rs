//! The house rules that a machine can hold.
//!
//! Decides nothing about behaviour: it reads the tree as text and compares it with the rules of
//! ARCHITECTURE.md. An exception stands here by name, with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may depend on. There are no other arrows.
const ARROWS: &[(&str, &[&str])] = &[
    ("crds", &[]),
    ("config", &[]),
    ("sip", &[]),
    ("runtime", &["sip"]),
    ("operator", &["crds", "config", "runtime"]),
    ("router", &["config", "sip", "runtime"]),
    ("mailbox", &["config", "sip", "runtime"]),
    ("cli", &["config", "runtime", "operator", "router", "mailbox"]),
    ("bench", &["config", "router", "runtime", "sip"]),
    ("tests", &["crds", "config", "sip", "runtime", "operator", "router", "mailbox", "cli"]),
];

/// The files that may touch sockets, files, threads, processes, the environment or a clock.
/// `cli`, `bench` and `tests` are shell and harness throughout.
const IO_FILES: &[&str] = &[
    "runtime/src/",
    "cli/src/",
    "bench/src/",
    "tests/",
    "crds/examples/generate.rs",
    "sip/examples/corpus.rs",
    "operator/src/folder.rs",
    "operator/src/disk.rs",
    "operator/src/resolver.rs",
    "operator/src/standalone.rs",
    "operator/src/token_key.rs",
    "operator/src/cluster/mod.rs",
    "operator/src/cluster/events.rs",
    "operator/src/cluster/connect.rs",
    "operator/src/cluster/health.rs",
    "operator/src/cluster/watch.rs",
    "operator/src/cluster/apply.rs",
    "operator/src/cluster/pods.rs",
    "operator/src/cluster/lease.rs",
    "operator/src/cluster/trial.rs",
    "router/src/server.rs",
    "mailbox/src/server.rs",
    "mailbox/src/speech.rs",
    "mailbox/src/spool_writer.rs",
    "mailbox/src/volumes.rs",
    "mailbox/src/store.rs",
    "mailbox/src/store_s3.rs",
    "mailbox/src/outbox.rs",
    "mailbox/src/delivery.rs",
    "mailbox/src/carrier.rs",
    "mailbox/src/smtp.rs",
    "mailbox/src/maildir.rs",
];

/// What IO looks like in the text of a file.
const IO_MARKS: &[&str] = &[
    "std::fs",
    "std::net::UdpSocket",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::process",
    "std::thread",
    "std::env",
    "tokio::net",
    "tokio::fs",
    "tokio::process",
    "tokio::spawn",
    "socket2::",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "getrandom::",
];

/// A file longer than this does more than one thing.
const MAX_LINES: usize = 500;

/// Files that may be longer, and why.
const LONG_FILES: &[(&str, &str)] = &[];

/// Words that promise work instead of doing it, in pieces so that this file does not find itself.
const PROMISES: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("HA", "CK:")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// Every text file of the tree, as (path from the root, text).
fn files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() {
                if !["target", "run", ".git", "corpus"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if let Ok(text) = fs::read_to_string(&path) {
                let relative =
                    path.strip_prefix(root()).expect("a path below the root").to_string_lossy().into_owned();
                found.push((relative, text));
            }
        }
    }
    found.sort();
    found
}

fn rust_files() -> Vec<(String, String)> {
    files().into_iter().filter(|(path, _)| path.ends_with(".rs")).collect()
}

/// Whether a file holds tests or measurements alone.
fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.contains("/benches/") || path.ends_with("tests.rs")
}

/// The text before a file's unit tests.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

fn report(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

fn manifest(room: &str) -> String {
    fs::read_to_string(root().join(room).join("Cargo.toml")).expect("a manifest")
}

#[test]
fn rooms_see_only_the_rooms_that_the_house_allows() {
    let allowed: BTreeMap<_, BTreeSet<_>> =
        ARROWS.iter().map(|(room, sees)| (*room, sees.iter().copied().collect())).collect();
    let mut broken = Vec::new();
    for (room, sees) in &allowed {
        for line in manifest(room).lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if allowed.contains_key(name) && !sees.contains(name) {
                broken.push(format!("{room} -> {name}"));
            }
        }
    }
    report(&broken, "an arrow that ARCHITECTURE.md does not draw");
}

#[test]
fn dependencies_have_their_versions_in_one_place() {
    let mut broken = Vec::new();
    for (room, _) in ARROWS {
        let text = manifest(room);
        let versions =
            text.lines().filter(|line| line.contains("version = \"") || line.contains("path = \"../"));
        broken.extend(versions.map(|line| format!("{room}: {line}")));
    }
    report(&broken, "a version outside of the workspace's Cargo.toml");
}

#[test]
fn the_servers_do_not_link_kubernetes() {
    for room in ["router", "mailbox", "runtime", "config", "sip"] {
        let text = manifest(room);
        assert!(!text.contains("kube") && !text.contains("k8s"), "{room} links a Kubernetes crate");
    }
}

#[test]
fn only_the_named_files_touch_the_world() {
    let mut broken = Vec::new();
    for (path, text) in rust_files() {
        if is_test(&path) || IO_FILES.iter().any(|allowed| path.starts_with(allowed)) {
            continue;
        }
        for (number, line) in production(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let marks = IO_MARKS.iter().filter(|mark| code.contains(**mark));
            broken.extend(marks.map(|mark| format!("{path}:{}: {mark}", number + 1)));
        }
    }
    report(&broken, "IO outside of the files that may do it");
}

#[test]
fn files_keep_to_one_size() {
    let mut broken = Vec::new();
    for (path, text) in rust_files() {
        let lines = text.lines().count();
        let excused = LONG_FILES.iter().any(|(file, _)| *file == path);
        if lines > MAX_LINES && !excused {
            broken.push(format!("{path}: {lines} lines, {MAX_LINES} are allowed"));
        }
        if lines <= MAX_LINES && excused {
            broken.push(format!("{path}: needs no exception any more"));
        }
    }
    report(&broken, "a file that grew beyond its size");
}

#[test]
fn every_file_says_what_it_decides() {
    let silent = rust_files().into_iter().filter(|(_, text)| !text.trim_start().starts_with("//!"));
    report(&silent.map(|(path, _)| path).collect::<Vec<_>>(), "a Rust file without an opening `//!`");
}

#[test]
fn nothing_is_left_as_a_promise() {
    let mut broken = Vec::new();
    for (path, text) in files() {
        for (number, line) in text.lines().enumerate() {
            if PROMISES.iter().any(|word| line.contains(word)) {
                broken.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    report(&broken, "a promise instead of work");
}

#[test]
fn every_lint_that_is_switched_off_says_why() {
    let mut broken = Vec::new();
    for (path, text) in rust_files() {
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        for (number, line) in lines.iter().enumerate() {
            let switches =
                ["#[allow(", "#![allow(", "#[expect(", "#![expect("].iter().any(|on| line.starts_with(on));
            // rustfmt breaks a long attribute over lines; the reason is then within the next few.
            let attribute =
                lines[number..].iter().take(5).take_while(|next| !next.starts_with("fn ")).copied();
            if switches && !attribute.collect::<String>().contains("reason = \"") {
                broken.push(format!("{path}:{}: {line}", number + 1));
            }
        }
    }
    report(&broken, "a lint switched off without a reason");
}

#[test]
fn every_code_is_used_outside_of_its_list() {
    let used: String = rust_files()
        .iter()
        .filter(|(path, _)| path != "config/src/code.rs" && !is_test(path))
        .map(|(_, text)| production(text))
        .collect();
    // The runtime does not see `config`, and writes the few codes of its logs as text.
    let unused = config::Code::ALL.iter().filter(|code| {
        !used.contains(&format!("Code::{}", code.name())) && !used.contains(&format!("\"{}\"", code.id()))
    });
    let unused: Vec<_> = unused.map(|code| format!("{} {}", code.id(), code.name())).collect();
    report(&unused, "a code that nothing gives");
}

#[test]
fn the_pages_name_only_verbs_that_exist() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let mut broken = Vec::new();
    for page in ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        for before in ["`make ", "\nmake ", "    make "] {
            for verb in text.split(before).skip(1) {
                let verb: String = verb.chars().take_while(char::is_ascii_lowercase).collect();
                if !makefile.contains(&format!("\n{verb}:")) {
                    broken.push(format!("{page}: make {verb}"));
                }
            }
        }
    }
    report(&broken, "a verb that the Makefile does not have");
}
