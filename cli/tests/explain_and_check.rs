//! What `umbriel explain` and `umbriel check` print, held against files beside this one.
//! `UPDATE_GOLDEN=1` writes the files anew, to be read as a diff.

mod common;

use std::path::{Path, PathBuf};

use common::{object, room, told, umbriel, write};

/// Runs the command, holds its output against `golden/NAME` and gives its status.
fn golden(room: &Path, name: &str, arguments: &[&str]) -> Option<i32> {
    let (status, out, error) = told(&umbriel(room, arguments).output().expect("the command runs"));
    assert_eq!(error, "", "{arguments:?}");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &out).expect("the golden file is written");
    }
    let expected = std::fs::read_to_string(&path).expect("the golden file");
    assert_eq!(out, expected, "{} differs; UPDATE_GOLDEN=1 writes it anew", path.display());
    status
}

#[test]
fn an_accepted_call_is_explained_step_by_step_with_status_0() {
    let room = room();
    let arguments = ["explain", "101", "--from", "pbx", "--in", "site"];
    assert_eq!(golden(room.path(), "explain-accepted.txt", &arguments), Some(0));
    let arguments =
        ["explain", "200", "--from", "127.0.0.1", "--in", "site", "--diversion", "102", "-o", "json"];
    assert_eq!(golden(room.path(), "explain-diverted.json", &arguments), Some(0));
}

#[test]
fn a_refused_call_is_explained_with_its_code_and_what_to_do_with_status_1() {
    let room = room();
    let arguments = ["explain", "777", "--from", "pbx", "--in", "site"];
    assert_eq!(golden(room.path(), "explain-refused.txt", &arguments), Some(1));
    let arguments = ["explain", "101", "--from", "192.0.2.1", "--in", "site", "-o", "json"];
    assert_eq!(golden(room.path(), "explain-unknown-peer.json", &arguments), Some(1));
}

#[test]
fn a_refusal_points_to_the_problems_of_the_folder() {
    let room = room();
    write(room.path(), "alice.yaml", "kind: [broken\n");
    let arguments = ["explain", "101", "--from", "pbx", "--in", "site"];
    let (status, out, _) = told(&umbriel(room.path(), &arguments).output().expect("the command runs"));
    assert_eq!(status, Some(1));
    assert!(
        out.ends_with("\nThe folder has 1 problem, which may be why; see `umbriel check site`.\n"),
        "{out}"
    );
}

#[test]
fn a_gateway_that_does_not_exist_is_answered_with_those_that_do() {
    let room = room();
    let arguments = ["explain", "101", "--from", "sbc", "--in", "site"];
    let (status, out, error) = told(&umbriel(room.path(), &arguments).output().expect("the command runs"));
    assert_eq!((status, out.as_str()), (Some(1), ""));
    assert!(error.contains("no gateway is named \"sbc\"; there are: pbx"), "{error}");
}

#[test]
fn a_folder_that_is_right_is_checked_with_status_0() {
    let room = room();
    assert_eq!(golden(room.path(), "check-right.txt", &["check", "site"]), Some(0));
}

#[test]
fn mistakes_are_shown_with_file_line_field_value_rule_and_fix_with_status_1() {
    let room = room();
    let long = "  umMailboxPolicy: staff\n  extensions: [\"101\", \"1011\"]\n  primarySmtpAddress: alice@contoso.example\n";
    write(room.path(), "alice.yaml", &object("UMMailbox", "alice", long));
    let lost =
        "  umMailboxPolicy: nobody\n  extensions: [\"103\"]\n  primarySmtpAddress: carol@contoso.example\n";
    write(room.path(), "carol.yaml", &object("UMMailbox", "carol", lost));
    assert_eq!(golden(room.path(), "check-wrong.txt", &["check", "site"]), Some(1));
    assert_eq!(golden(room.path(), "check-wrong.json", &["check", "site", "-o", "json"]), Some(1));
}

#[test]
fn one_mistake_in_a_dial_plan_is_one_problem_however_many_wait_for_its_repair() {
    let room = room();
    let spec = "  numberOfDigitsInExtension: 3\n  recordingIdleTimeout: 99\n";
    write(room.path(), "contoso.yaml", &object("UMDialPlan", "contoso", spec));
    assert_eq!(golden(room.path(), "check-one-cause.txt", &["check", "site"]), Some(1));
}

#[test]
fn an_empty_folder_is_not_said_to_be_right() {
    let room = room();
    std::fs::create_dir(room.path().join("empty")).expect("the folder");
    let (status, out, _) =
        told(&umbriel(room.path(), &["check", "empty"]).output().expect("the command runs"));
    assert_eq!(status, Some(1));
    assert!(out.contains("directly in the folder") && out.contains("examples/quickstart"), "{out}");
}

#[test]
fn a_folder_that_is_not_there_is_no_empty_folder() {
    let room = room();
    let (status, _, error) =
        told(&umbriel(room.path(), &["check", "sight"]).output().expect("the command runs"));
    assert_eq!(status, Some(1));
    assert!(error.contains("UM1019 UnreadableSource: sight cannot be read"), "{error}");
    let path = "site/alice.yaml";
    let (status, _, error) =
        told(&umbriel(room.path(), &["check", path]).output().expect("the command runs"));
    assert_eq!(status, Some(1));
    assert!(error.contains("site/alice.yaml is a file, not a folder"), "{error}");
}

#[test]
fn what_is_not_understood_ends_with_status_2() {
    let room = room();
    for arguments in [&["chek", "site"][..], &["explain", "101"], &["up", "site", "--once"]] {
        let (status, _, error) = told(&umbriel(room.path(), arguments).output().expect("the command runs"));
        assert_eq!(status, Some(2), "{arguments:?}: {error}");
    }
    let (status, out, _) = told(&umbriel(room.path(), &["--help"]).output().expect("the command runs"));
    assert_eq!(status, Some(0));
    assert!(out.contains("Exit status: 0 all is well"), "{out}");
}
