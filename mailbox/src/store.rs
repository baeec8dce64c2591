//! The message store: immutable objects, each created once.
//!
//! ```text
//! <mailbox>/<message>/audio.wav               the audio
//! <mailbox>/<message>/facts.json              what is known of the message
//! <mailbox>/<message>/events/delivered.json   it was delivered
//! <mailbox>/<message>/events/refused.json     the mail server refused it for good
//! _umbriel/probe.json                         nothing: whoever created it could create
//! ```
//!
//! Decides names and that nothing is ever written over: of two writers of one object the first
//! wins, and both go on with what it wrote. Refuses to know mail.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use config::S3;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use runtime::folder;

use crate::message::MessageId;
use crate::store_error::StoreError;
use crate::store_s3;

/// What is created to see whether it can be. No mailbox has this folder: see [`folder_name`].
const PROBE: &str = "_umbriel/probe.json";
const PROBE_TEXT: &[u8] = b"{}\n";

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

/// One store, which other servers may write as well.
#[derive(Debug)]
pub(crate) struct Store {
    place: Place,
    objects: Arc<dyn ObjectStore>,
}

#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    Bucket(String),
}

impl Store {
    /// Opens the store in the folder `root`, which it makes if need be.
    ///
    /// # Errors
    /// When the folder cannot be made or found.
    pub(crate) fn in_folder(root: &Path) -> io::Result<Self> {
        folder::private(root)?;
        let objects = LocalFileSystem::new_with_prefix(root).map_err(io::Error::other)?.with_fsync(true);
        Ok(Self { place: Place::Folder(root.to_owned()), objects: Arc::new(objects) })
    }

    /// The store in a bucket, which is not looked at yet.
    ///
    /// # Errors
    /// When no request to it could be made.
    pub(crate) fn in_bucket(s3: &S3) -> Result<Self, StoreError> {
        let name = format!("s3://{}", s3.bucket);
        let objects = store_s3::open(s3).map_err(|error| StoreError::new(&name, &error))?;
        Ok(Self { place: Place::Bucket(name), objects: Arc::new(objects) })
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
    ) -> Result<Bytes, StoreError> {
        match self.put(&location(mailbox, id, object), bytes.clone()).await {
            Ok(()) => Ok(bytes),
            Err(Error::AlreadyExists { .. }) => self.read(mailbox, id, object).await,
            Err(error) => Err(self.error(&error)),
        }
    }

    /// Reads an object.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub(crate) async fn read(
        &self,
        mailbox: &str,
        id: MessageId,
        object: Object,
    ) -> Result<Bytes, StoreError> {
        let read = async { self.objects.get(&location(mailbox, id, object)).await?.bytes().await };
        read.await.map_err(|error| self.error(&error))
    }

    /// Whether an object is there.
    ///
    /// # Errors
    /// When the store cannot say.
    pub(crate) async fn has(&self, mailbox: &str, id: MessageId, object: Object) -> Result<bool, StoreError> {
        match self.objects.head(&location(mailbox, id, object)).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.error(&error)),
        }
    }

    /// Whether messages could be stored now: an object can be created, and a second one of its name
    /// is refused. One small object stays in the store for that.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn probe(&self) -> Result<(), StoreError> {
        let location = ObjectPath::from(PROBE);
        // What is there already was refused, which is all that is asked.
        for _ in 0..2 {
            match self.put(&location, Bytes::from_static(PROBE_TEXT)).await {
                Ok(()) => {}
                Err(Error::AlreadyExists { .. }) => return Ok(()),
                Err(error) => return Err(self.error(&error)),
            }
        }
        Err(StoreError::overwrites(&self.to_string()))
    }

    async fn put(&self, location: &ObjectPath, bytes: Bytes) -> Result<(), Error> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.objects.put_opts(location, PutPayload::from_bytes(bytes), options).await?;
        let Place::Folder(root) = &self.place else { return Ok(()) };
        // The folder of the store is closed already; this holds for a copy of the file too.
        fs::set_permissions(root.join(location.as_ref()), Permissions::from_mode(0o600))
            .map_err(|error| Error::Generic { store: "LocalFileSystem", source: error.into() })
    }

    fn error(&self, error: &Error) -> StoreError {
        StoreError::new(&self.to_string(), error)
    }

    /// Where an object of this store lies, for people.
    pub(crate) fn place(&self, mailbox: &str, id: MessageId, object: Object) -> String {
        let location = location(mailbox, id, object);
        match &self.place {
            Place::Folder(root) => root.join(location.as_ref()).display().to_string(),
            Place::Bucket(name) => format!("{name}/{location}"),
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Folder(root) => write!(formatter, "{}", root.display()),
            Place::Bucket(name) => formatter.write_str(name),
        }
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
        let store = Store::in_folder(folder.path()).unwrap();
        run(async {
            let first = store.create("alice", id(), Object::Audio, Bytes::from_static(b"one")).await.unwrap();
            let second =
                store.create("alice", id(), Object::Audio, Bytes::from_static(b"two")).await.unwrap();
            assert_eq!((&first[..], &second[..]), (&b"one"[..], &b"one"[..]));
            assert!(store.has("alice", id(), Object::Audio).await.unwrap());
            assert!(!store.has("alice", id(), Object::Delivered).await.unwrap());
        });
        let path = folder.path().join("alice/01a0c450-6c00-7707-8707-070707070707/audio.wav");
        assert_eq!(store.place("alice", id(), Object::Audio), path.display().to_string());
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
