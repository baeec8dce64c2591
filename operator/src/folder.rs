//! The folder that stands in for a cluster: every YAML file directly in it.
//!
//! Decides which files count and when one has to be read again. One of the two files of this room
//! that touch a disk. Refuses to know what documents mean together.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use config::Code;

use crate::admit::{Document, admit_all};
use crate::problem::{Located, Problem};

/// Files of one folder.
const MAX_FILES: usize = 10_000;

/// Bytes of one file: 100,000 mailboxes of about 250 bytes fit into two such files.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// A file that was changed this shortly before it was read may have changed again since, within
/// one tick of the file system's clock, and is read again.
const RACY: Duration = Duration::from_secs(2);

/// What was changed this shortly ago may still be changing: an editor empties a file before it
/// writes it anew, or moves it away and another one into its place, and a copy of a large file
/// grows for a while. Until it rests, what was read before holds.
const SETTLE: Duration = Duration::from_millis(100);

/// A folder, and what was last read from it.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    known: BTreeMap<PathBuf, Known>,
}

/// What a folder says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    /// Its files, by name; `None` if the folder itself cannot be read.
    pub(crate) files: Option<BTreeMap<PathBuf, Text>>,
    /// What could not be read.
    pub(crate) problems: Vec<Located>,
}

/// What a file says.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    /// Its documents.
    Read(Arc<Vec<Document>>),
    /// It is there and cannot be read.
    Unreadable,
}

#[derive(Debug)]
struct Known {
    identity: Identity,
    read_at: SystemTime,
    /// Of its text, to tell a file that was only touched from one that was edited.
    digest: u64,
    documents: Arc<Vec<Document>>,
}

/// What changes when a file does.
#[derive(Debug, PartialEq)]
struct Identity {
    inode: u64,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Listing {
    /// Whether nothing was read anew since `other`, and the same could not be read.
    pub(crate) fn is_still(&self, other: &Listing) -> bool {
        let same = |(ours, theirs): ((&PathBuf, &Text), (&PathBuf, &Text))| {
            let texts = match (ours.1, theirs.1) {
                (Text::Read(ours), Text::Read(theirs)) => Arc::ptr_eq(ours, theirs),
                (Text::Unreadable, Text::Unreadable) => true,
                (Text::Read(_), Text::Unreadable) | (Text::Unreadable, Text::Read(_)) => false,
            };
            texts && ours.0 == theirs.0
        };
        let files = match (&self.files, &other.files) {
            (Some(ours), Some(theirs)) => ours.len() == theirs.len() && ours.iter().zip(theirs).all(same),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        files && self.problems == other.problems
    }
}

impl Folder {
    /// The folder at `path`, which need not exist yet.
    pub(crate) fn new(path: &Path) -> Folder {
        Folder { path: path.into(), known: BTreeMap::new() }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what changed since the last time.
    pub(crate) fn read(&mut self, now: SystemTime) -> Listing {
        let paths = match yaml_files(&self.path) {
            Ok(paths) => paths,
            Err(error) => {
                return Listing { files: None, problems: vec![unreadable(&self.path, "folder", &error)] };
            }
        };
        let mut listing = Listing::default();
        let mut files = BTreeMap::new();
        for path in paths {
            match self.read_file(&path, now) {
                Ok(documents) => {
                    files.insert(path, Text::Read(documents));
                }
                // It went away between the two looks: it is gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {}
                Err(error) => {
                    listing.problems.push(unreadable(&path, "file", &error));
                    files.insert(path, Text::Unreadable);
                }
            }
        }
        if is_changing(std::fs::metadata(&self.path).and_then(|folder| folder.modified()).ok(), now) {
            for (path, known) in &self.known {
                files.entry(path.clone()).or_insert_with(|| Text::Read(Arc::clone(&known.documents)));
            }
        }
        self.known.retain(|path, _| files.contains_key(path));
        listing.files = Some(files);
        listing
    }

    fn read_file(&mut self, path: &Path, now: SystemTime) -> io::Result<Arc<Vec<Document>>> {
        let metadata = std::fs::metadata(path)?;
        // Opening a pipe would wait for whoever writes into it.
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let identity =
            Identity { inode: metadata.ino(), bytes: metadata.len(), modified: metadata.modified().ok() };
        if let Some(known) = self.known.get(path).filter(|known| known.still_holds(&identity)) {
            return Ok(Arc::clone(&known.documents));
        }
        if let Some(known) = self.known.get(path).filter(|_| is_changing(identity.modified, now)) {
            return Ok(Arc::clone(&known.documents));
        }
        let text = read_text(path)?;
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let digest = hasher.finish();
        let documents = match self.known.get(path).filter(|known| known.digest == digest) {
            Some(known) => Arc::clone(&known.documents),
            None => Arc::new(admit_all(&text)),
        };
        let known = Known { identity, read_at: now, digest, documents: Arc::clone(&documents) };
        self.known.insert(path.into(), known);
        Ok(documents)
    }
}

impl Known {
    /// Whether the file with this identity says what it said.
    fn still_holds(&self, identity: &Identity) -> bool {
        let settled = identity.modified.is_some_and(|modified| modified + RACY < self.read_at);
        settled && self.identity == *identity
    }
}

/// Whether what was last modified then may still be changing.
fn is_changing(modified: Option<SystemTime>, now: SystemTime) -> bool {
    modified.and_then(|modified| now.duration_since(modified).ok()).is_some_and(|age| age < SETTLE)
}

/// The YAML files directly in a folder, by name. Those that editors leave are not among them.
fn yaml_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_yaml && !name.starts_with('.') && !path.is_dir() {
            paths.push(path);
        }
    }
    if paths.len() > MAX_FILES {
        return Err(io::Error::other(format!("more than {MAX_FILES} YAML files")));
    }
    paths.sort();
    Ok(paths)
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let size = format!("larger than {} MiB", MAX_FILE_BYTES / 1024 / 1024);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, size));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8 text"))
}

/// A file or folder that is there and cannot be read.
fn unreadable(path: &Path, what: &str, error: &io::Error) -> Located {
    let kind = error.kind();
    let fix = if kind == io::ErrorKind::PermissionDenied {
        format!("allow reading the {what}")
    } else if kind == io::ErrorKind::NotFound && path.is_symlink() {
        format!("make the {what} that it points to, or remove the link")
    } else if kind == io::ErrorKind::NotFound {
        format!("make the {what}, or name another one")
    } else if kind == io::ErrorKind::FileTooLarge {
        format!("divide the {what} into several")
    } else if kind == io::ErrorKind::InvalidData {
        format!("save the {what} as UTF-8")
    } else {
        format!("repair the {what}, or remove it")
    };
    let problem = Problem {
        code: Code::UnreadableSource,
        object: None,
        field: String::new(),
        value: error.to_string(),
        rule: format!("a {what} that can be read; what was last read from it goes on being used"),
        fix,
        waits_for: None,
    };
    Located { file: path.into(), line: 0, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_edit_within_one_tick_of_the_clock_is_seen() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.yaml");
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_248_000);
        let write = |kind: &str| {
            std::fs::write(&path, format!("kind: {kind}\n")).expect("it is written");
            let file = std::fs::File::options().write(true).open(&path).expect("it is there");
            file.set_modified(written).expect("its time is set");
        };
        let mut folder = Folder::new(dir.path());
        let mut value = |after_s: u64| {
            let listing = folder.read(written + Duration::from_secs(after_s));
            let files = listing.files.expect("it is read");
            let Some(Text::Read(documents)) = files.get(&path) else { panic!("it is read") };
            documents[0].node.as_ref().and_then(|node| node.text("kind")).map(str::to_owned)
        };
        write("one");
        assert_eq!(value(1).as_deref(), Some("one"));
        write("two");
        assert_eq!(value(2).as_deref(), Some("two"), "the same length and the same time");
    }

    #[test]
    fn a_pipe_in_the_folder_stops_nobody() {
        let dir = tempfile::tempdir().expect("a folder");
        let pipe = dir.path().join("pipe.yaml");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
        assert!(made.success());
        let listing = Folder::new(dir.path()).read(SystemTime::now());
        let said: Vec<&str> = listing.problems.iter().map(|located| located.problem.value.as_str()).collect();
        assert_eq!(said, ["not a regular file"]);
    }
}
