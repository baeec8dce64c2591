//! The standalone server as a person starts it: the real program, real sockets, a real call.

mod common;

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use umbriel_cli::call::audio::Audio;
use umbriel_cli::call::{CallPlan, EndedBy, Outcome, place};

use common::{object, room, told, umbriel, write};

/// A loopback address of our own, so that the documented ports are free.
fn address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [low, high, ..] = std::process::id().to_le_bytes();
    // 127.128 to 127.255: the other half is left to the end-to-end tests.
    Ipv4Addr::new(127, 128 | low, high, NEXT.fetch_add(1, Ordering::Relaxed))
}

fn up(room: &Path, address: Ipv4Addr, more: &[&str]) -> Command {
    let address = address.to_string();
    let admin = format!("{address}:9060");
    let mut command = umbriel(room, &["up", "site", "--address", &address, "--admin", &admin]);
    command.args(more).stdin(Stdio::null());
    command
}

/// A server that runs, and what it has printed.
struct Running {
    child: Child,
    log: std::path::PathBuf,
}

impl Running {
    fn start(room: &Path, address: Ipv4Addr) -> Self {
        Self::of(room, up(room, address, &[]))
    }

    fn of(room: &Path, mut command: Command) -> Self {
        let log = room.join("log");
        let out = std::fs::File::create(&log).expect("a log");
        let child =
            command.stderr(out.try_clone().expect("a handle")).stdout(out).spawn().expect("umbriel starts");
        let running = Self { child, log };
        running.wait_for("Ctrl-C");
        running
    }

    fn told(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log")
    }

    fn wait_for(&self, text: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.told().contains(text) {
            assert!(Instant::now() < until, "{text} was never told:\n{}", self.told());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: &str) {
        let status =
            Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(status.success());
    }

    fn end(mut self) -> Option<i32> {
        self.child.wait().expect("umbriel ends").code()
    }
}

#[test]
fn the_first_call_is_delivered_and_is_what_was_said() {
    let room = room();
    let output = up(room.path(), address(), &["--call", "101", "--once"]).output().expect("umbriel runs");
    let (status, out, error) = told(&output);
    assert_eq!(status, Some(0), "{out}\n{error}");
    for part in [
        "Umbriel serves site.",
        "INVITE sip:101@",
        "302 Moved Temporarily",
        "with token",
        "200 OK (PCMU)",
        "of greeting and beep",
        "of speech",
        "Completed after",
        "  mail   run/mail/alice/new/",
        "  audio  run/store/alice/",
        "  said   run/caller.wav",
        "bytes that were said are in the message, in order and without a gap",
        "  delivered   to *01  for alice",
    ] {
        assert!(out.contains(part), "{part} is missing:\n{out}\n{error}");
    }
    assert!(out.lines().all(|line| !line.contains('\u{1b}')), "colours without a terminal");
}

#[test]
fn a_first_call_that_is_refused_ends_with_status_1_and_its_code() {
    let room = room();
    let output = up(room.path(), address(), &["--call", "777", "--once"]).output().expect("umbriel runs");
    let (status, out, error) = told(&output);
    assert_eq!(status, Some(1), "{out}\n{error}");
    assert!(out.contains("Refused: 404 "), "{out}");
    assert!(out.contains("docs/codes/UM1110.md"), "{out}");
}

#[test]
fn a_mistake_is_told_once_and_so_is_its_repair_and_a_signal_ends_with_status_0() {
    let room = room();
    let running = Running::start(room.path(), address());
    let plan = |idle: u8| {
        let spec = format!("  numberOfDigitsInExtension: 3\n  recordingIdleTimeout: {idle}\n");
        object("UMDialPlan", "contoso", &spec)
    };
    write(room.path(), "contoso.yaml", &plan(99));
    running.wait_for("site/contoso.yaml:7: UM1006 OutOfRange: UMDialPlan default/contoso");
    running.wait_for("rule   2 to 10 seconds");
    write(room.path(), "contoso.yaml", &plan(9));
    running.wait_for("site/contoso.yaml: resolved UM1006 OutOfRange: UMDialPlan default/contoso");
    assert_eq!(running.told().matches("UM1006 OutOfRange").count(), 2, "{}", running.told());
    running.signal("-TERM");
    assert_eq!(running.end(), Some(0));
}

#[test]
fn what_waits_for_a_repair_is_told_in_one_line_and_so_is_that_it_no_longer_does() {
    let room = room();
    let plan = |idle: u8| {
        let spec = format!("  numberOfDigitsInExtension: 3\n  recordingIdleTimeout: {idle}\n");
        object("UMDialPlan", "contoso", &spec)
    };
    write(room.path(), "contoso.yaml", &plan(99));
    let alice = "  umMailboxPolicy: staff\n  extensions: [\"101\"]\n  displayName: Alice Archer\n  primarySmtpAddress: alice@contoso.example\n";
    write(room.path(), "alice.yaml", &object("UMMailbox", "alice", alice));
    let running = Running::start(room.path(), address());
    running.wait_for(
        "\n5 objects wait for UMDialPlan default/contoso: UMHuntGroup default/pbx-default, \
         UMIPGateway default/pbx, UMMailbox default/alice, and 2 more\n",
    );
    assert!(!running.told().contains("UM1010"), "{}", running.told());
    write(room.path(), "contoso.yaml", &plan(9));
    running.wait_for("\n5 objects no longer wait for UMDialPlan default/contoso\n");
    running.signal("-TERM");
    assert_eq!(running.end(), Some(0));
}

#[test]
fn users_are_shown_by_their_names_and_a_thousand_mistakes_do_not_flood_the_terminal() {
    let room = room();
    let user = |name: &str, number: &str| {
        let spec = format!(
            "  umMailboxPolicy: staff\n  extensions: [\"{number}\"]\n  displayName: Alice Archer\n  \
             primarySmtpAddress: {name}@contoso.example\n---\n"
        );
        object("UMMailbox", name, &spec)
    };
    write(room.path(), "alice.yaml", &user("alice", "101"));
    let running = Running::start(room.path(), address());
    assert!(running.told().contains("101 Alice Archer, 102 bob\n"), "{}", running.told());
    let many: String = (0..1_000).map(|number| user(&format!("user-{number}"), "1000")).collect();
    write(room.path(), "many.yaml", &many);
    running.wait_for("and 980 more problems, which `umbriel check` lists\n");
    assert_eq!(running.told().matches("UM1012").count(), 20);
    std::fs::remove_file(room.path().join("site/many.yaml")).expect("removed");
    running.wait_for("and 980 more problems resolved\n");
    running.signal("-TERM");
    assert_eq!(running.end(), Some(0));
}

#[test]
fn a_call_goes_on_after_the_signal_and_its_message_is_delivered() {
    let room = room();
    let address = address();
    let running = Running::start(room.path(), address);
    let plan = CallPlan {
        audio: Some(Audio::Linear([8_000, -8_000].repeat(8_000))),
        bind: Some(Ipv4Addr::LOCALHOST.into()),
        ..CallPlan::new(format!("sip:101@{address}"))
    };
    let call = std::thread::spawn(move || place(&plan).expect("the call is placed"));
    let spool = room.path().join("run/spool");
    let until = Instant::now() + Duration::from_secs(20);
    while !std::fs::read_dir(&spool)
        .is_ok_and(|mut files| files.any(|file| file.is_ok_and(|file| is_recording(&file))))
    {
        assert!(Instant::now() < until, "nothing is recorded:\n{}", running.told());
        std::thread::sleep(Duration::from_millis(20));
    }
    running.signal("-TERM");
    let report = call.join().expect("the caller");
    assert_eq!(report.outcome, Outcome::Completed { ended_by: EndedBy::Caller });
    running.wait_for("Ending: calls may go on for up to 30 s");
    assert_eq!(running.end(), Some(0));
    let mails = std::fs::read_dir(room.path().join("run/mail/alice/new")).expect("the Maildir");
    assert_eq!(mails.count(), 1);
}

/// Whether a file of the spool has audio in it: its first write is longer than its header.
fn is_recording(file: &std::fs::DirEntry) -> bool {
    file.metadata().is_ok_and(|file| file.len() > 1_000)
}

#[test]
fn a_folder_that_cannot_serve_yet_is_waited_for() {
    let room = room();
    let router = std::fs::read_to_string(room.path().join("site/router.yaml")).expect("the router");
    std::fs::remove_file(room.path().join("site/router.yaml")).expect("removed");
    let address = address();
    let output = up(room.path(), address, &["--call", "101", "--once"]).output().expect("umbriel runs");
    let (status, out, error) = told(&output);
    assert_eq!(status, Some(1), "{out}\n{error}");
    assert!(out.contains("UM1023 ServerMissing"), "{out}");
    assert!(error.contains("no call can be served from site"), "{error}");

    let mut command = up(room.path(), address, &[]);
    let child = command.stdout(Stdio::piped()).spawn().expect("umbriel starts");
    // It waits; the object arrives, and it serves.
    write(room.path(), "router.yaml", &router);
    let until = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect((address, 9060)).is_err() {
        assert!(Instant::now() < until, "it never served");
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(status.success());
    let output = child.wait_with_output().expect("umbriel ends");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_port_that_is_taken_is_named_with_its_code_and_nothing_runs_on() {
    let room = room();
    let address = address();
    let sip = UdpSocket::bind((address, 5060)).expect("the port is free");
    let (status, _, error) = told(&up(room.path(), address, &[]).output().expect("umbriel runs"));
    assert_eq!(status, Some(1));
    assert!(error.contains("UM1205 PortUnavailable"), "{error}");
    assert!(error.contains(":5060"), "{error}");
    drop(sip);
    let admin = TcpListener::bind((address, 9060)).expect("the port is free");
    let (status, _, error) = told(&up(room.path(), address, &[]).output().expect("umbriel runs"));
    assert_eq!(status, Some(1));
    assert!(error.contains("UM1205 PortUnavailable"), "{error}");
    assert!(error.contains("--admin"), "{error}");
    drop(admin);
}

#[test]
fn what_is_logged_into_a_file_has_no_colours() {
    let room = room();
    let mut command = up(room.path(), address(), &[]);
    command.env("PATH", room.path());
    let running = Running::of(room.path(), command);
    running.wait_for("code=\"UM1204\"");
    running.signal("-TERM");
    assert!(!running.told().contains('\u{1b}'), "{}", running.told());
    assert_eq!(running.end(), Some(0));
}

#[test]
fn without_espeak_ng_the_first_call_says_how_to_install_it() {
    let room = room();
    let mut command = up(room.path(), address(), &["--call", "101", "--once"]);
    let (status, _, error) = told(&command.env("PATH", room.path()).output().expect("umbriel runs"));
    assert_eq!(status, Some(1));
    assert!(error.contains("UM1204 SpeechUnavailable"), "{error}");
    assert!(error.contains("apt-get install espeak-ng"), "{error}");
}
