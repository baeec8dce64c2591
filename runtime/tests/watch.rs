//! The configuration watch, over real files.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate umbriel_runtime as runtime;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use runtime::watch::{Beside, Version, WatchError, Watched};

const PATIENCE: Duration = Duration::from_secs(20);

fn parse(text: &str, _: &Beside) -> Version<u32> {
    text.trim().parse().map_or_else(|_| Version::unusable("not a number"), Version::good)
}

/// A file that says a number, which the file `part` must say too.
fn parse_both(text: &str, beside: &Beside) -> Version<u32> {
    let Ok(wanted) = text.trim().parse() else { return Version::unusable("not a number") };
    let part = beside.read("part").and_then(|bytes| String::from_utf8(bytes).ok());
    if part.and_then(|part| part.trim().parse().ok()) == Some(wanted) {
        return Version::good(wanted);
    }
    Version { value: None, problem: Some(format!("part is not {wanted}")), awaits: vec!["part".into()] }
}

fn start(path: &Path) -> (Watched<u32>, Receiver<u32>) {
    let (told, changes) = channel();
    (Watched::start(path, parse, move |now| told.send(**now).is_ok()).unwrap(), changes)
}

fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, path).unwrap();
}

fn until(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < PATIENCE, "never came true");
        std::thread::yield_now();
    }
}

#[test]
fn a_file_that_is_replaced_by_rename_becomes_current() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.yaml");
    fs::write(&path, "1").unwrap();
    let (watched, changes) = start(&path);
    assert_eq!(*watched.current(), 1);
    replace(&path, "2");
    assert_eq!(changes.recv_timeout(PATIENCE), Ok(2));
    assert_eq!(*watched.current(), 2);
}

#[test]
fn a_folder_that_is_swapped_behind_a_symbolic_link_becomes_current() {
    // As a ConfigMap is mounted: router.yaml -> ..data/router.yaml, ..data -> ..2026_1
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (version, text) in [("..1", "1"), ("..2", "2")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("router.yaml"), text).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/router.yaml", at("router.yaml")).unwrap();
    let (watched, changes) = start(&at("router.yaml"));
    symlink("..2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    assert_eq!(changes.recv_timeout(PATIENCE), Ok(2));
    assert_eq!(*watched.current(), 2);
}

#[test]
fn a_version_that_cannot_be_parsed_leaves_the_last_good_one_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.yaml");
    fs::write(&path, "1").unwrap();
    let (watched, changes) = start(&path);
    replace(&path, "what");
    until(|| watched.problem().is_some());
    assert_eq!(watched.problem(), Some(format!("parse {}: not a number", path.display())));
    assert_eq!(*watched.current(), 1);
    replace(&path, "3");
    assert_eq!(changes.recv_timeout(PATIENCE), Ok(3));
    assert_eq!(watched.problem(), None);
}

#[test]
fn a_file_that_vanishes_is_not_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.yaml");
    fs::write(&path, "1").unwrap();
    let (watched, changes) = start(&path);
    fs::remove_file(&path).unwrap();
    until(|| watched.problem().is_some());
    assert_eq!(*watched.current(), 1);
    replace(&path, "4");
    assert_eq!(changes.recv_timeout(PATIENCE), Ok(4));
}

#[test]
fn the_first_version_must_be_good() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.yaml");
    let missing = Watched::start(&path, parse, |_| true).unwrap_err();
    assert!(matches!(missing, WatchError::Unreadable { .. }), "{missing}");
    fs::write(&path, "what").unwrap();
    let unusable = Watched::start(&path, parse, |_| true).unwrap_err();
    assert!(matches!(unusable, WatchError::Unusable { .. }), "{unusable}");
}

#[test]
fn a_version_is_current_once_the_files_beside_it_have_come() {
    let folder = tempfile::tempdir().unwrap();
    let (path, part) = (folder.path().join("router.yaml"), folder.path().join("part"));
    fs::write(&part, "1").unwrap();
    fs::write(&path, "1").unwrap();
    let (told, changes) = channel();
    let watched = Watched::start(&path, parse_both, move |now| told.send(**now).is_ok()).unwrap();
    replace(&path, "2");
    until(|| watched.problem().is_some());
    assert_eq!(watched.problem(), Some(format!("parse {}: part is not 2", path.display())));
    assert_eq!(*watched.current(), 1);
    replace(&part, "2");
    assert_eq!(changes.recv_timeout(PATIENCE), Ok(2));
    until(|| watched.problem().is_none());
    // One that is whole at once is told of to nobody.
    replace(&part, "3");
    replace(&path, "3");
    assert_eq!(changes.recv_timeout(PATIENCE), Ok(3));
    assert_eq!(watched.problem(), None);
}

#[test]
fn a_first_version_is_waited_for_until_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (path, part) = (folder.path().join("router.yaml"), folder.path().join("part"));
    fs::write(&path, "1").unwrap();
    let (asked, questions) = channel();
    let start = std::thread::spawn(move || {
        let parse = move |text: &str, beside: &Beside| {
            asked.send(()).unwrap();
            parse_both(text, beside)
        };
        Watched::start(path, parse, |_| true).map(|watched| *watched.current())
    });
    questions.recv_timeout(PATIENCE).unwrap();
    fs::write(part, "1").unwrap();
    assert_eq!(start.join().unwrap().unwrap(), 1);
}

#[test]
fn a_version_that_is_not_taken_up_whole_is_told_again_until_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.yaml");
    fs::write(&path, "1").unwrap();
    let (told, changes) = channel();
    let mut left = 2;
    let taken_up = std::sync::Mutex::new(move || {
        left -= 1;
        left == 0
    });
    let _watched = Watched::start(&path, parse, move |now| {
        told.send(**now).unwrap();
        **now != 2 || (taken_up.lock().unwrap())()
    });
    replace(&path, "2");
    assert_eq!(changes.recv_timeout(PATIENCE), Ok(2));
    assert_eq!(changes.recv_timeout(PATIENCE), Ok(2));
    replace(&path, "3");
    assert_eq!(changes.recv_timeout(PATIENCE), Ok(3));
}
