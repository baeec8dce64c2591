//! Delivery into a Maildir below the state folder, for a server without a mail server.
//!
//! Decides file names: they follow from the message alone, so that a message which is delivered
//! again is found where it lies, read or unread. Refuses to know what is in the mail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use runtime::folder;

use crate::message::MessageId;
use crate::store::folder_name;

/// Puts `mail` into the Maildir of `mailbox` below `root`, once, and returns the file that it lies
/// in. `started_unix_ms` begins the name, so that mail programs sort it by the time of the call.
///
/// # Errors
/// When the file cannot be written; then nothing is in `new`.
pub(crate) fn deliver(
    root: &Path,
    mailbox: &str,
    id: MessageId,
    started_unix_ms: u64,
    mail: &[u8],
) -> io::Result<PathBuf> {
    let maildir = root.join(folder_name(mailbox));
    if !maildir.join("new").try_exists()? {
        for name in ["tmp", "cur", "new"] {
            folder::private(&maildir.join(name))?;
        }
        File::open(&maildir)?.sync_all()?;
        File::open(root)?.sync_all()?;
    }
    let name = format!("{}.{id}.umbriel", started_unix_ms / 1000);
    if let Some(path) = find(&maildir, &name)? {
        return Ok(path);
    }
    let temporary = maildir.join("tmp").join(&name);
    let path = maildir.join("new").join(&name);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(mail).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, &path))
        .and_then(|()| File::open(maildir.join("new"))?.sync_all());
    if let Err(error) = written {
        // What lies in tmp is no message to anyone, and is written anew the next time.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    Ok(path)
}

/// The message of this name in `new`, or in `cur` with whatever flags a mail program gave it.
fn find(maildir: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    let unread = maildir.join("new").join(name);
    if unread.try_exists()? {
        return Ok(Some(unread));
    }
    for entry in fs::read_dir(maildir.join("cur"))? {
        let entry = entry?;
        if entry.file_name().to_str().and_then(|name| name.split(':').next()) == Some(name) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> MessageId {
        MessageId::new(1_790_000_000_000, [7; 10])
    }

    const NAME: &str = "1790000000.01a0c450-6c00-7707-8707-070707070707.umbriel";

    #[test]
    fn a_message_lies_in_new_once() {
        let root = tempfile::tempdir().unwrap();
        let path = deliver(root.path(), "alice", id(), 1_790_000_000_123, b"mail").unwrap();
        assert_eq!(path, root.path().join("alice/new").join(NAME));
        assert_eq!(deliver(root.path(), "alice", id(), 1_790_000_000_123, b"mail").unwrap(), path);
        assert_eq!(fs::read(path).unwrap(), b"mail");
        assert_eq!(fs::read_dir(root.path().join("alice/new")).unwrap().count(), 1);
        assert_eq!(fs::read_dir(root.path().join("alice/tmp")).unwrap().count(), 0);
    }

    #[test]
    fn a_message_that_was_read_is_not_delivered_again() {
        let root = tempfile::tempdir().unwrap();
        let unread = deliver(root.path(), "alice", id(), 1_790_000_000_123, b"mail").unwrap();
        let read = root.path().join("alice/cur").join(format!("{NAME}:2,S"));
        fs::rename(unread, &read).unwrap();
        assert_eq!(deliver(root.path(), "alice", id(), 1_790_000_000_123, b"mail").unwrap(), read);
        assert_eq!(fs::read_dir(root.path().join("alice/new")).unwrap().count(), 0);
    }

    #[test]
    fn what_a_crash_left_in_tmp_is_written_anew() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("alice/tmp")).unwrap();
        fs::write(root.path().join("alice/tmp").join(NAME), b"half of a much longer mail").unwrap();
        let path = deliver(root.path(), "alice", id(), 1_790_000_000_123, b"mail").unwrap();
        assert_eq!(fs::read(path).unwrap(), b"mail");
    }
}
