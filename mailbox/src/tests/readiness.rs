//! When a server that has just been started says that it is ready.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use runtime::admin::Component;
use runtime::metrics::{lock, registry};

use super::stage::{CONFIG, write_folder};
use crate::{Server, ServerPaths};

const LIMIT: Duration = Duration::from_secs(20);

/// A program that speaks nothing: it waits until a file is there, and fails.
fn slow_program(folder: &Path) -> String {
    let (written, program) = (folder.join("program"), folder.join("speaks-late"));
    let text = format!("#!/bin/sh\nuntil [ -e {}/go ]; do sleep 0.02; done\nexit 1\n", folder.display());
    fs::write(&written, text).unwrap();
    fs::set_permissions(&written, fs::Permissions::from_mode(0o700)).unwrap();
    // A file that this process wrote itself may still be open in a child that another test starts,
    // and cannot be run until then.
    assert!(Command::new("cp").arg("-p").args([&written, &program]).status().unwrap().success());
    program.display().to_string()
}

/// A server on a loopback address that no other process uses.
fn start(folder: &Path, program: &str) -> Server {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let address = IpAddr::from([127, 63, high, low]);
    let paths =
        ServerPaths { config: folder.join("mailbox.yaml"), state: folder.join("state"), address, name: None };
    write_folder(&paths.config, CONFIG);
    Server::start_with(&paths, 1, &mut lock(&registry()), program).unwrap()
}

#[test]
fn a_server_is_not_ready_before_its_prompts_are_spoken_or_known_not_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), &slow_program(folder.path()));
    assert_eq!(server.ready(), Err("the prompts are being spoken".to_owned()));
    assert!(server.live());
    fs::write(folder.path().join("go"), "").unwrap();
    let end = Instant::now() + LIMIT;
    while let Err(reason) = server.ready() {
        assert!(Instant::now() < end, "{reason}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_server_that_is_not_in_its_own_directory_is_not_ready_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let paths = ServerPaths {
        config: folder.path().join("mailbox.yaml"),
        state: folder.path().join("state"),
        address: IpAddr::from([127, 64, high, low]),
        name: Some("main-mailbox-0".to_owned()),
    };
    write_folder(&paths.config, CONFIG);
    let server = Server::start_with(&paths, 1, &mut lock(&registry()), "no-such-program").unwrap();
    assert_eq!(server.ready(), Err("main-mailbox-0 is not in its own directory".to_owned()));
    assert!(server.live());
    let told = CONFIG.replace("mailboxServers: [{name: mailbox,", "mailboxServers: [{name: main-mailbox-0,");
    write_folder(&paths.config, &told);
    let end = Instant::now() + LIMIT;
    while let Err(reason) = server.ready() {
        assert!(Instant::now() < end, "{reason}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
