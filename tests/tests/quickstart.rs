//! What a newcomer does: the examples, as they lie there.

use std::path::{Path, PathBuf};
use std::process::Command;

use umbriel_tests::audio::{self, Wav};
use umbriel_tests::{has, house, mail};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("examples")
}

#[test]
fn every_example_is_without_a_problem() {
    let mut folders = 0;
    for entry in std::fs::read_dir(examples()).expect("examples") {
        let folder = entry.expect("an entry").path();
        let output = Command::new(house::umbriel()).arg("check").arg(&folder).output().expect("umbriel runs");
        assert!(output.status.success(), "{}: {}", folder.display(), String::from_utf8_lossy(&output.stdout));
        folders += 1;
    }
    assert!(folders >= 1, "there is at least the quickstart");
}

/// What `make run ONCE=1` starts, on the documented ports of 127.0.0.1.
#[test]
fn the_quickstart_calls_itself_and_delivers_what_was_said() {
    if !has("espeak-ng", "the_quickstart_calls_itself_and_delivers_what_was_said") {
        return;
    }
    let state = tempfile::tempdir().expect("a folder");
    let output = Command::new(house::umbriel())
        .arg("up")
        .arg(examples().join("quickstart"))
        .args(["--call", "101", "--once", "--state"])
        .arg(state.path())
        .output()
        .expect("umbriel runs");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}{}", String::from_utf8_lossy(&output.stderr));
    for line in ["INVITE", "302 Moved Temporarily", "200 OK", "BYE"] {
        assert!(shown.contains(line), "the ladder shows {line}: {shown}");
    }

    let mails = mail::maildir(&state.path().join("mail/alice"));
    let [mail] = mails.as_slice() else { panic!("one message, not {}: {shown}", mails.len()) };
    assert!(shown.contains(&mail.path.display().to_string()), "it is said where the mail lies: {shown}");
    let said = std::fs::read(state.path().join("caller.wav")).expect("what the caller said");
    let said = Wav::read(&said).expect("a WAV file").data;
    assert!(said.len() > 8000, "more than a second was said");
    assert!(audio::find(&mail.audio.data, &said).is_some(), "the message holds what was said, in one piece");
}
