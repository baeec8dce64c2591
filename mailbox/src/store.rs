//! The message store: immutable objects, each created once.
//!
//! ```text
//! <mailbox>/<message>/audio.wav               the audio
//! <mailbox>/<message>/facts.json              what is known of the message
//! <mailbox>/<message>/events/delivered.json   it was delivered
//! <mailbox>/<message>/events/refused.json     the mail server refused it for good
//! ```
//!
//! Decides names and that nothing is ever written over: of two writers of one object the first
//! wins, and both go on with what it wrote. Refuses to know mail.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use runtime::folder;

use crate::message::MessageId;

/// An object of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    /// The audio.
    Audio,
    /// [`crate::message::StoredFacts`].
    Facts,
    /// It was delivered.
    Delivered,
    /// It was refused for good.
    Refused,
}

impl Object {
    const fn name(self) -> &'static str {
        match self {
            Object::Audio => "audio.wav",
            Object::Facts => "facts.json",
            Object::Delivered => "events/delivered.json",
            Object::Refused => "events/refused.json",
        }
    }
}

/// The store below one folder.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    objects: LocalFileSystem,
}

impl Store {
    /// Opens the store in `root`, which it makes if need be.
    ///
    /// # Errors
    /// When the folder cannot be made or found.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        folder::private(root)?;
        let objects = LocalFileSystem::new_with_prefix(root).map_err(io::Error::other)?.with_fsync(true);
        Ok(Self { root: root.to_owned(), objects })
    }

    /// Creates an object and syncs it; returns what the store holds: `bytes`, or what an earlier
    /// writer put there.
    ///
    /// # Errors
    /// When the store can neither write nor read it.
    pub(crate) async fn create(
        &self,
        mailbox: &str,
        id: MessageId,
        object: Object,
        bytes: Bytes,
    ) -> Result<Bytes, Error> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let payload = PutPayload::from_bytes(bytes.clone());
        match self.objects.put_opts(&location(mailbox, id, object), payload, options).await {
            Ok(_) => {
                self.close_to_others(mailbox, id, object)?;
                Ok(bytes)
            }
            Err(Error::AlreadyExists { .. }) => self.read(mailbox, id, object).await,
            Err(error) => Err(error),
        }
    }

    /// Reads an object.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub(crate) async fn read(&self, mailbox: &str, id: MessageId, object: Object) -> Result<Bytes, Error> {
        self.objects.get(&location(mailbox, id, object)).await?.bytes().await
    }

    /// Whether an object is there.
    ///
    /// # Errors
    /// When the store cannot say.
    pub(crate) async fn has(&self, mailbox: &str, id: MessageId, object: Object) -> Result<bool, Error> {
        match self.objects.head(&location(mailbox, id, object)).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The folder of the store is closed already; this holds for a copy of the file too.
    fn close_to_others(&self, mailbox: &str, id: MessageId, object: Object) -> Result<(), Error> {
        fs::set_permissions(self.path(mailbox, id, object), Permissions::from_mode(0o600))
            .map_err(|error| Error::Generic { store: "LocalFileSystem", source: error.into() })
    }

    /// Where an object of this store lies on disk, for people.
    pub(crate) fn path(&self, mailbox: &str, id: MessageId, object: Object) -> PathBuf {
        self.root.join(location(mailbox, id, object).as_ref())
    }
}

fn location(mailbox: &str, id: MessageId, object: Object) -> ObjectPath {
    ObjectPath::from(format!("{}/{id}/{}", folder_name(mailbox), object.name()))
}

/// The name of a mailbox as the name of a folder. Kubernetes names stay as they are; every other
/// byte is written as `_` and two hexadecimal digits, so that no two mailboxes share a folder and
/// none leads out of it.
pub(crate) fn folder_name(mailbox: &str) -> String {
    let mut name = String::with_capacity(mailbox.len());
    for (index, byte) in mailbox.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => name.push(char::from(byte)),
            b'.' if index > 0 => name.push('.'),
            _ => name.push_str(&format!("_{byte:02x}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> MessageId {
        MessageId::new(1_790_000_000_000, [7; 10])
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn the_first_writer_wins_and_both_go_on_with_what_it_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        run(async {
            let first = store.create("alice", id(), Object::Audio, Bytes::from_static(b"one")).await.unwrap();
            let second =
                store.create("alice", id(), Object::Audio, Bytes::from_static(b"two")).await.unwrap();
            assert_eq!((&first[..], &second[..]), (&b"one"[..], &b"one"[..]));
            assert!(store.has("alice", id(), Object::Audio).await.unwrap());
            assert!(!store.has("alice", id(), Object::Delivered).await.unwrap());
        });
        let path = folder.path().join("alice/01a0c450-6c00-7707-8707-070707070707/audio.wav");
        assert_eq!(store.path("alice", id(), Object::Audio), path);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "for its owner alone");
    }

    #[test]
    fn no_name_of_a_mailbox_leads_out_of_its_folder() {
        assert_eq!(folder_name("alice.smith-2"), "alice.smith-2");
        assert_eq!(folder_name("default/alice"), "default_2falice");
        assert_eq!(folder_name(".."), "_2e.");
        assert_eq!(folder_name("a_b"), "a_5fb");
    }
}
