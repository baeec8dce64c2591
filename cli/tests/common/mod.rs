//! A folder of objects for the command's own tests, and the command itself.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A room with `site` in it: one object of each kind, Alice at 101 and Bob at 102.
pub(crate) fn room() -> TempDir {
    let room = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(room.path().join("site")).expect("the folder");
    let mailbox = |name: &str, number: u16| {
        format!(
            "  umMailboxPolicy: staff\n  extensions: [\"{number}\"]\n  primarySmtpAddress: {name}@contoso.example\n"
        )
    };
    for (kind, name, spec) in [
        ("UMDialPlan", "contoso", "  numberOfDigitsInExtension: 3\n".to_owned()),
        ("UMIPGateway", "pbx", "  address: 127.0.0.1\n".to_owned()),
        ("UMHuntGroup", "pbx-default", "  umIPGateway: pbx\n  umDialPlan: contoso\n".to_owned()),
        ("UMMailboxPolicy", "staff", "  umDialPlan: contoso\n".to_owned()),
        ("UMMailbox", "alice", mailbox("alice", 101)),
        ("UMMailbox", "bob", mailbox("bob", 102)),
        ("UMCallRouter", "router", "  umStartupMode: TCP\n".to_owned()),
        ("UMService", "mailbox", "  maxCallsAllowed: 100\n".to_owned()),
    ] {
        write(room.path(), &format!("{name}.yaml"), &object(kind, name, &spec));
    }
    room
}

/// An object as a person writes it; its spec begins in line 6.
pub(crate) fn object(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: umbriel.dev/v1alpha1\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n{spec}")
}

/// Writes a file of the site as editors do: beside it, then renamed over it.
pub(crate) fn write(room: &Path, name: &str, text: &str) {
    let beside = room.join(format!("{name}.new"));
    std::fs::write(&beside, text).expect("the file is written");
    std::fs::rename(beside, room.join("site").join(name)).expect("the file is renamed");
}

/// The command, in the room.
pub(crate) fn umbriel(room: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_umbriel"));
    command.current_dir(room).args(arguments).env_remove("RUST_LOG");
    command
}

/// What was printed, as (status, standard output, standard error).
pub(crate) fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}
