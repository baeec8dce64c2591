//! One file of configuration that is followed while the server runs.
//!
//! Decides when the file has changed, and that a version which cannot be read or parsed changes
//! nothing: the last good one goes on, and the fault is reported once (`UM1020`). Polls, because
//! what is mounted into a pod changes by a swapped symbolic link, of which no file event tells.
//! Refuses to know what the file says.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;

/// How often the file's identity is looked at: a tenth of the second in which an edit must act.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// No configuration is larger: 100,000 mailboxes take about 15 MB.
pub const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Turns the text of the file into what is served; the message says what is wrong, and where. It
/// must not quote the text, which may hold keys.
pub trait Parse<T>: Fn(&str) -> Result<T, String> + Send + 'static {}

impl<T, F: Fn(&str) -> Result<T, String> + Send + 'static> Parse<T> for F {}

/// Why the first version of a file could not be used. Later ones are kept out silently.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// It cannot be read.
    #[error("read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It was read and makes no sense.
    #[error("parse {}: {message}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// The thread that follows it could not be started.
    #[error("start watch thread: {0}")]
    Thread(io::Error),
}

/// A file that is followed; dropping it ends the watch.
#[derive(Debug)]
pub struct Watched<T: Send + Sync + 'static> {
    shared: Arc<Shared<T>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<T> {
    path: PathBuf,
    current: ArcSwap<T>,
    problem: Mutex<Option<String>>,
    stopped: AtomicBool,
}

/// What changes when a file does: a rename changes the inode, a write the time or the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    modified_s: i64,
    modified_ns: i64,
    bytes: u64,
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads the file, then follows it. `on_change` is called on the watch's own thread, after a new
    /// version has become current; not for the first.
    ///
    /// # Errors
    /// When the first version cannot be read or parsed.
    pub fn start(
        path: impl Into<PathBuf>,
        parse: impl Parse<T>,
        on_change: impl Fn(&Arc<T>) + Send + 'static,
    ) -> Result<Self, WatchError> {
        let path = path.into();
        // The identity is taken before the text: a change in between is then seen by the next poll.
        let seen = identity(&path);
        let first =
            read(&path).map_err(|error| WatchError::Unreadable { path: path.clone(), error }).and_then(
                |text| parse(&text).map_err(|message| WatchError::Unusable { path: path.clone(), message }),
            )?;
        let shared = Arc::new(Shared {
            path,
            current: ArcSwap::from_pointee(first),
            problem: Mutex::new(None),
            stopped: AtomicBool::new(false),
        });
        let follower = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("watch".into())
            .spawn(move || follower.follow(seen.ok(), &parse, &on_change))
            .map_err(WatchError::Thread)?;
        Ok(Watched { shared, thread: Some(thread) })
    }

    /// The last good version.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        self.shared.current.load_full()
    }

    /// What is wrong with the version that lies there now, if it is not the one that is served.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<T: Send + Sync + 'static> Drop for Watched<T> {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.thread().id() != std::thread::current().id() {
                // A panic of the thread was reported when it happened.
                let _ended = thread.join();
            }
        }
    }
}

impl<T> Shared<T> {
    fn follow(&self, mut seen: Option<Identity>, parse: &impl Parse<T>, on_change: &impl Fn(&Arc<T>)) {
        loop {
            std::thread::park_timeout(POLL_INTERVAL);
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            let now = match identity(&self.path) {
                Ok(now) => now,
                Err(error) => {
                    // A missing source is not an empty one. Whatever comes next is looked at.
                    seen = None;
                    self.report(format!("read {}: {error}", self.path.display()));
                    continue;
                }
            };
            if seen == Some(now) {
                continue;
            }
            seen = Some(now);
            let parsed = read(&self.path)
                .map_err(|error| format!("read {}: {error}", self.path.display()))
                .and_then(|text| {
                    parse(&text).map_err(|message| format!("parse {}: {message}", self.path.display()))
                });
            match parsed {
                Err(problem) => self.report(problem),
                Ok(good) => {
                    *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    let good = Arc::new(good);
                    self.current.store(Arc::clone(&good));
                    on_change(&good);
                }
            }
        }
    }

    /// Says it once, however often it is found.
    fn report(&self, problem: String) {
        let mut last = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != Some(&problem) {
            tracing::error!(code = "UM1020", "{problem}; the last good configuration goes on serving");
            *last = Some(problem);
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    // Follows symbolic links, `..data` among them.
    let found = fs::metadata(path)?;
    Ok(Identity {
        device: found.dev(),
        inode: found.ino(),
        modified_s: found.mtime(),
        modified_ns: found.mtime_nsec(),
        bytes: found.size(),
    })
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 64 MiB"));
    }
    Ok(text)
}
