//! A clock of a process that a test sets, by libfaketime.
//!
//! Decides what jumps: the time of day, and not the clock that only goes forward, as when somebody
//! sets the clock of a machine. Times of files stay those of the kernel.

use std::ffi::OsString;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::has;

/// The time of day as a test wants a process to see it.
#[derive(Debug)]
pub struct Clock {
    room: TempDir,
    library: PathBuf,
}

impl Clock {
    /// A clock that is right. Where the machine has no libfaketime, says that `test` is skipped.
    ///
    /// # Panics
    /// If its file cannot be written.
    #[must_use]
    pub fn start(test: &str) -> Option<Clock> {
        if !has("faketime", test) {
            return None;
        }
        // Debian has a folder of libraries for each architecture.
        let folders = std::fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
        let libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
        let library = libraries.into_iter().find(|library| library.exists()).expect("libfaketime");
        let room = tempfile::Builder::new().prefix("umbriel-clock-").tempdir().expect("a folder");
        let clock = Clock { room, library };
        clock.set(0);
        Some(clock)
    }

    /// From now on the time of day is so many seconds ahead.
    ///
    /// # Panics
    /// If that cannot be written.
    pub fn set(&self, ahead_s: i64) {
        let beside = self.room.path().join("new");
        std::fs::write(&beside, format!("{ahead_s:+}\n")).expect("a file");
        std::fs::rename(beside, self.file()).expect("the file is renamed");
    }

    /// The environment of a program that goes by this clock.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ]
    }

    fn file(&self) -> PathBuf {
        self.room.path().join("ahead")
    }
}
