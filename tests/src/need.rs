//! What a test needs from the machine, and what it says where that is missing.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Says that `test` is skipped and why. `tests/count` shows these lines at the end of a run.
///
/// # Panics
/// With `CI=true`, where nothing may be skipped.
pub fn skip(test: &str, reason: &str) {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{test}: {reason}; with CI=true nothing may be skipped"
    );
    if let Some(path) = std::env::var_os("UMBRIEL_SKIPPED")
        && let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(path)
    {
        // A line that cannot be written loses only the mention; the test itself has said it below.
        let _ = writeln!(file, "{test}: {reason}");
    }
    std::io::stderr().write_all(format!("skipped {test}: {reason}\n").as_bytes()).ok();
}

/// Whether this machine has a program. Where it has not, says that `test` is skipped.
#[must_use]
pub fn has(program: &str, test: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).exists()));
    if !found && !Path::new(program).exists() {
        skip(test, &format!("{program} is not installed"));
        return false;
    }
    true
}

/// Whether the test runs as root. Where not, says that `test` is skipped.
#[must_use]
pub fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip(test, "it needs root");
    }
    root
}

/// Polls until `observe` gives something.
///
/// # Panics
/// With `what`, when `limit` has passed.
pub fn wait_until<T>(what: &str, limit: Duration, mut observe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(seen) = observe() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
