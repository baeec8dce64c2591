//! One file of configuration, and the files beside it, that are followed while the server runs.
//!
//! Decides when something has changed, and that a version which cannot be read or parsed changes
//! nothing: the last good one goes on, and the fault is reported once (`UM1020`). A version that
//! waits for files beside it is looked at again when one of them changes, and is reported only if it
//! waits for long. Polls, because what is mounted into a pod changes by a swapped symbolic link, of
//! which no file event tells. Refuses to know what the files say.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

/// What could not be taken up whole is tried again after this: somebody frees the port, say.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How often the file's identity is looked at: a tenth of the second in which an edit must act.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Calls come before news of them: to compile 100,000 mailboxes takes a processor a second, of which
/// workers must not lose any. A tenth of a busy processor is left for it.
const NICENESS: i32 = 10;

/// The code of a configuration that cannot be read.
const CODE: &str = "UM1020";

/// A version may wait for this long until somebody is told. What is mounted into a pod arrives file
/// by file within seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// A first version that is not whole by then is given up.
const START_LIMIT: Duration = Duration::from_secs(30);

/// No file is larger: the mailboxes of one database take less than a megabyte.
pub const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// What became of one version of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version<T> {
    /// What is served from now on; `None`: the last good version.
    pub value: Option<T>,
    /// What is wrong with it. It must not quote the files, which may hold keys.
    pub problem: Option<String>,
    /// The files beside it that it waits for.
    pub awaits: Vec<String>,
}

impl<T> Version<T> {
    /// It is served.
    pub fn good(value: T) -> Self {
        Version { value: Some(value), problem: None, awaits: Vec::new() }
    }

    /// It is never served.
    pub fn unusable(problem: impl Into<String>) -> Self {
        Version { value: None, problem: Some(problem.into()), awaits: Vec::new() }
    }
}

/// Turns the text of the file, and of those beside it, into what is served.
pub trait Parse<T>: FnMut(&str, &Beside) -> Version<T> + Send + 'static {}

impl<T, F: FnMut(&str, &Beside) -> Version<T> + Send + 'static> Parse<T> for F {}

/// The folder of the file.
#[derive(Debug)]
pub struct Beside {
    folder: PathBuf,
    /// The files that were read, as they were right before; `None` for one that was not there.
    read: RefCell<BTreeMap<String, Option<Identity>>>,
}

impl Beside {
    /// The folder of the file at `path`.
    #[must_use]
    pub fn of(path: &Path) -> Beside {
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        Beside { folder, read: RefCell::default() }
    }

    /// The bytes of a file; `None` if it cannot be read.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.folder.join(name);
        self.read.borrow_mut().entry(name.to_owned()).or_insert_with(|| identity(&path).ok());
        bytes(&path).ok()
    }

    /// Whether one of `names` is not as it was when it was read.
    fn has_changed(&self, names: &[String]) -> bool {
        let read = self.read.borrow();
        names.iter().any(|name| read.get(name).copied().flatten() != identity(&self.folder.join(name)).ok())
    }
}

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
    /// It waits for other files, and they have not come.
    #[error("wait for what belongs to {}: {message}", path.display())]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// What is missing.
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

/// The newest version that was looked at.
struct Seen {
    /// The file, as it was right before it was read; `None` if it could not be.
    file: Option<Identity>,
    beside: Beside,
    awaits: Vec<String>,
    problem: Option<String>,
    since: Instant,
}

impl Seen {
    /// Whether there is something new to look at.
    fn is_old(&self, file: Option<Identity>) -> bool {
        self.file != file || self.beside.has_changed(&self.awaits)
    }

    /// What is to be told about it by now.
    fn told(&self) -> Option<&String> {
        let waits = !self.awaits.is_empty() && self.since.elapsed() < PATIENCE;
        self.problem.as_ref().filter(|_| !waits)
    }
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads the file, then follows it. A first version that waits for other files is waited for.
    /// `on_change` is called on the watch's own thread, after a new version has become current; not
    /// for the first. It says whether the version was taken up whole; until it was it is called again
    /// every second.
    ///
    /// # Errors
    /// When the first version cannot be read or parsed, or is not whole within half a minute.
    pub fn start(
        path: impl Into<PathBuf>,
        mut parse: impl Parse<T>,
        on_change: impl Fn(&Arc<T>) -> bool + Send + 'static,
    ) -> Result<Self, WatchError> {
        let path = path.into();
        let (first, seen) = first(&path, &mut parse)?;
        let shared = Arc::new(Shared {
            path,
            current: ArcSwap::from_pointee(first),
            problem: Mutex::new(None),
            stopped: AtomicBool::new(false),
        });
        let follower = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("watch".into())
            .spawn(move || {
                // Where it may not be, it competes with the workers like any other thread.
                let _nicer = rustix::process::nice(NICENESS);
                follower.follow(seen, &mut parse, &on_change);
            })
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

/// The first version, once it is whole.
fn first<T>(path: &Path, parse: &mut impl Parse<T>) -> Result<(T, Seen), WatchError> {
    let (began, mut told) = (Instant::now(), false);
    loop {
        // The identity is taken before the text: a change in between is then seen by the next poll.
        let file = identity(path).ok();
        let text = text(path).map_err(|error| WatchError::Unreadable { path: path.to_owned(), error })?;
        let beside = Beside::of(path);
        let Version { value, problem, awaits } = parse(&text, &beside);
        let seen = Seen { file, beside, awaits, problem, since: began };
        if let Some(value) = value {
            return Ok((value, seen));
        }
        let message = seen.problem.clone().unwrap_or_default();
        if seen.awaits.is_empty() {
            return Err(WatchError::Unusable { path: path.to_owned(), message });
        }
        while !seen.is_old(identity(path).ok()) {
            if began.elapsed() >= START_LIMIT {
                return Err(WatchError::Incomplete { path: path.to_owned(), message });
            }
            if seen.told().is_some() && !told {
                tracing::error!(code = CODE, "{}: {message}; it is waited for", path.display());
                told = true;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl<T> Shared<T> {
    fn follow(&self, mut seen: Seen, parse: &mut impl Parse<T>, on_change: &impl Fn(&Arc<T>) -> bool) {
        let mut try_again_at = None;
        loop {
            std::thread::park_timeout(POLL_INTERVAL);
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            let file = identity(&self.path).ok();
            if seen.is_old(file) {
                let good;
                (seen, good) = self.look(file, parse, &seen);
                if let Some(good) = good {
                    try_again_at = (!on_change(&good)).then(|| Instant::now() + TRY_AGAIN_AFTER);
                }
            } else if try_again_at.is_some_and(|at| at <= Instant::now()) {
                let whole = on_change(&self.current.load_full());
                try_again_at = (!whole).then(|| Instant::now() + TRY_AGAIN_AFTER);
            }
            self.report(seen.told());
        }
    }

    /// Looks at the version that lies there now, and gives it if it has become current.
    fn look(
        &self,
        file: Option<Identity>,
        parse: &mut impl Parse<T>,
        before: &Seen,
    ) -> (Seen, Option<Arc<T>>) {
        let beside = Beside::of(&self.path);
        let text = match text(&self.path) {
            Ok(text) => text,
            Err(error) => {
                // A missing source is not an empty one. Whatever comes next is looked at.
                let problem = Some(format!("read {}: {error}", self.path.display()));
                let since = Instant::now();
                return (Seen { file: None, beside, awaits: Vec::new(), problem, since }, None);
            }
        };
        let Version { value, problem, awaits } = parse(&text, &beside);
        let problem = problem.map(|problem| format!("parse {}: {problem}", self.path.display()));
        let good = value.map(Arc::new);
        if let Some(good) = &good {
            if problem.is_none() {
                // Before anybody can see that it is served.
                self.report(None);
            }
            self.current.store(Arc::clone(good));
        }
        // Who waits on for something waits since then.
        let waits_on = !awaits.is_empty() && !before.awaits.is_empty();
        let since = if waits_on { before.since } else { Instant::now() };
        (Seen { file, beside, awaits, problem, since }, good)
    }

    /// Says it once, however often it is found.
    fn report(&self, problem: Option<&String>) {
        let mut last = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != problem {
            if let Some(problem) = problem {
                tracing::error!(code = CODE, "{problem}; the last good configuration goes on serving");
            }
            *last = problem.cloned();
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

fn text(path: &Path) -> io::Result<String> {
    String::from_utf8(bytes(path)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text"))
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 64 MiB"));
    }
    Ok(bytes)
}
