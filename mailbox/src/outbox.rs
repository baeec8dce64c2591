//! The outbox: one small file for each message that waits for delivery.
//!
//! ```text
//! <message>.json           waits
//! <message>.sent           was taken by the mail server or lies in the Maildir; the rest is tidying
//! refused/<message>.json   was refused for good and is kept; moved back here it is tried again
//! ```
//!
//! A message moves by renaming its file, which is one step whatever happens. Decides what is due.
//! Refuses to know how mail travels.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use runtime::folder;
use serde::{Deserialize, Serialize};

use crate::message::MessageId;

/// What the outbox knows of a message; all else is in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Entry {
    /// The message.
    pub(crate) id: MessageId,
    /// Name of the mailbox that it is for.
    pub(crate) mailbox: String,
    /// When it came into the outbox, milliseconds since 1970.
    pub(crate) queued_unix_ms: u64,
}

/// What an earlier process left in the outbox.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Messages that wait, the oldest call first.
    pub(crate) waiting: Vec<Entry>,
    /// Messages that were taken and must only be tidied up.
    pub(crate) sent: Vec<Entry>,
    /// Messages that were refused.
    pub(crate) refused: usize,
    /// Files that are no entries; they are left alone.
    pub(crate) unreadable: Vec<PathBuf>,
}

/// The outbox in one folder.
#[derive(Debug)]
pub(crate) struct Outbox {
    folder: PathBuf,
}

impl Outbox {
    /// Opens the outbox in `folder`, which it makes if need be.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub(crate) fn open(folder: &Path) -> io::Result<(Self, Left)> {
        folder::private(folder)?;
        folder::private(&folder.join("refused"))?;
        let mut left = Left::default();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let list = match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => &mut left.waiting,
                Some("sent") => &mut left.sent,
                // Written, but never renamed to its name: its recording is still in the spool.
                Some("tmp") => {
                    fs::remove_file(&path)?;
                    continue;
                }
                Some(_) | None => continue,
            };
            match fs::read(&path).map(|bytes| serde_json::from_slice(&bytes)) {
                Ok(Ok(entry)) => list.push(entry),
                Ok(Err(_)) | Err(_) => left.unreadable.push(path),
            }
        }
        left.waiting.sort_by_key(|entry| entry.id);
        left.sent.sort_by_key(|entry| entry.id);
        left.refused = fs::read_dir(folder.join("refused"))?.count();
        Ok((Self { folder: folder.to_owned() }, left))
    }

    /// Adds a message and syncs it.
    ///
    /// # Errors
    /// When it cannot be written; then it is not there.
    pub(crate) fn add(&self, entry: &Entry) -> io::Result<()> {
        let temporary = self.file(entry.id, "tmp");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&serde_json::to_vec(entry)?)?;
        file.sync_all()?;
        fs::rename(&temporary, self.file(entry.id, "json"))?;
        self.sync()
    }

    /// Whether a message is here, in whatever state.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn knows(&self, id: MessageId) -> io::Result<bool> {
        Ok(self.file(id, "json").try_exists()?
            || self.file(id, "sent").try_exists()?
            || self.refused_file(id).try_exists()?)
    }

    /// Notes that a message was taken: one rename, so that it is the shortest step there is.
    ///
    /// # Errors
    /// When it cannot be noted. Noting it twice is no error.
    pub(crate) fn note_sent(&self, id: MessageId) -> io::Result<()> {
        match fs::rename(self.file(id, "json"), self.file(id, "sent")) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }?;
        self.sync()
    }

    /// Keeps a message that was refused for good.
    ///
    /// # Errors
    /// When it cannot be moved. Moving it twice is no error.
    pub(crate) fn keep_refused(&self, id: MessageId) -> io::Result<PathBuf> {
        match fs::rename(self.file(id, "json"), self.refused_file(id)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }?;
        self.sync()?;
        Ok(self.refused_file(id))
    }

    /// Forgets a message that was taken.
    ///
    /// # Errors
    /// When its file cannot be removed. Forgetting it twice is no error.
    pub(crate) fn close(&self, id: MessageId) -> io::Result<()> {
        match fs::remove_file(self.file(id, "sent")) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn file(&self, id: MessageId, extension: &str) -> PathBuf {
        self.folder.join(format!("{id}.{extension}"))
    }

    fn refused_file(&self, id: MessageId) -> PathBuf {
        self.folder.join("refused").join(format!("{id}.json"))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(last: u8) -> Entry {
        let id = MessageId::new(1_790_000_000_000, [0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        Entry { id, mailbox: "alice".into(), queued_unix_ms: 1_790_000_007_000 }
    }

    #[test]
    fn a_message_waits_is_sent_and_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let (outbox, left) = Outbox::open(folder.path()).unwrap();
        assert_eq!(left, Left::default());
        outbox.add(&entry(1)).unwrap();
        outbox.add(&entry(2)).unwrap();
        assert!(outbox.knows(entry(1).id).unwrap());
        outbox.note_sent(entry(1).id).unwrap();
        outbox.note_sent(entry(1).id).unwrap();
        let (_, left) = Outbox::open(folder.path()).unwrap();
        assert_eq!((left.waiting, left.sent), (vec![entry(2)], vec![entry(1)]));
        outbox.close(entry(1).id).unwrap();
        outbox.close(entry(1).id).unwrap();
        assert!(!outbox.knows(entry(1).id).unwrap());
    }

    #[test]
    fn a_refused_message_is_kept_and_tried_again_when_it_is_moved_back() {
        let folder = tempfile::tempdir().unwrap();
        let (outbox, _) = Outbox::open(folder.path()).unwrap();
        outbox.add(&entry(1)).unwrap();
        let kept = outbox.keep_refused(entry(1).id).unwrap();
        assert!(outbox.knows(entry(1).id).unwrap());
        assert_eq!(Outbox::open(folder.path()).unwrap().1, Left { refused: 1, ..Left::default() });
        fs::rename(&kept, folder.path().join(kept.file_name().unwrap())).unwrap();
        assert_eq!(Outbox::open(folder.path()).unwrap().1.waiting, vec![entry(1)]);
    }

    #[test]
    fn a_file_that_is_no_entry_is_reported_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        Outbox::open(folder.path()).unwrap();
        let broken = folder.path().join("broken.json");
        fs::write(&broken, "{").unwrap();
        assert_eq!(Outbox::open(folder.path()).unwrap().1.unreadable, vec![broken.clone()]);
        assert!(broken.exists());
    }
}
