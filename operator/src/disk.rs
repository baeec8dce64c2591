//! The files of the state folder: how they are read and written.
//!
//! Decides that each is written whole or not at all, for its owner's eyes only, and that the parts of
//! a folder are there before the index that names them. Refuses to know what they say.

use std::borrow::Borrow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use config::parts::Files;

use crate::standalone::StandaloneError;

/// For the owner's eyes only: these files hold keys, or names and addresses of people.
const OWNER_ONLY: u32 = 0o600;

/// The text of a file; `None` if there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<String>, StandaloneError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StandaloneError::Read { path: path.into(), error }),
    }
}

/// The files of the folder whose index lies at `path`; `None` if it has no index.
pub(crate) fn files(path: &Path) -> Result<Option<Files>, StandaloneError> {
    let in_folder = || -> io::Result<Option<Files>> {
        if !path.try_exists()? {
            return Ok(None);
        }
        let mut files = Files::new();
        for entry in path.parent().map(fs::read_dir).transpose()?.into_iter().flatten() {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
            }
        }
        Ok(Some(files))
    };
    in_folder().map_err(|error| StandaloneError::Read { path: path.into(), error })
}

/// A folder that has anything in it.
pub(crate) fn whole(files: &Files) -> Option<&Files> {
    Some(files).filter(|files| !files.is_empty())
}

/// A file as text.
pub(crate) fn text_of<'f>(files: &'f Files, name: &str) -> Option<&'f str> {
    std::str::from_utf8(files.get(name)?).ok()
}

/// Writes what differs into the folder whose index lies at `path`: the index last, so that whoever
/// follows it finds what it names. What it does not name any more goes then.
pub(crate) fn write_files(path: &Path, wanted: &Files) -> Result<(), StandaloneError> {
    let there = files(path)?.unwrap_or_default();
    let at = |name: &str| path.with_file_name(name);
    let is_index = |name: &str| at(name) == path;
    let mut differing: Vec<_> =
        wanted.iter().filter(|(name, bytes)| there.get(*name) != Some(*bytes)).collect();
    differing.sort_by_key(|(name, _)| is_index(name));
    for (name, bytes) in differing {
        replace(&at(name), bytes)?;
    }
    for name in there.keys().filter(|name| !wanted.contains_key(*name)) {
        let path = at(name);
        fs::remove_file(&path).map_err(|error| StandaloneError::Write { path, error })?;
    }
    Ok(())
}

/// What a file of ours says. One that cannot be understood is written anew, and that is logged.
pub(crate) fn understood<S: Borrow<R>, R: ?Sized, T, E: std::fmt::Display>(
    path: &Path,
    text: Option<S>,
    parse: impl Fn(&R) -> Result<T, E>,
) -> Option<T> {
    match parse(text?.borrow()) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a state file cannot be understood and is written anew");
            None
        }
    }
}

/// Replaces a file in one step: whoever reads it sees the old text or the new one, also after a
/// crash.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StandaloneError> {
    let temporary = path.with_added_extension("tmp");
    let write = || -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(OWNER_ONLY).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|error| StandaloneError::Write { path: path.into(), error })
}

/// Something that cannot be put into text.
pub(crate) fn unwritable(
    path: &Path,
    error: impl std::error::Error + Send + Sync + 'static,
) -> StandaloneError {
    StandaloneError::Write { path: path.into(), error: io::Error::other(error) }
}
