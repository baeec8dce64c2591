//! The folder that a server reads: an index, and the parts that it names.
//!
//! Decides what stands in which file, and how the bytes of a part are told from others. Parts are
//! shared by every server of a namespace, so each is written once; the index is each server's own,
//! and names every other file of its generation by its digest. Refuses to touch files: it is handed
//! bytes and hands back bytes.
//!
//! ```text
//! router.yaml or mailbox.yaml    who the server is, and the digest of everything below
//! site.json.gz                   the directory without mailboxes; how calls are conducted; policies
//! database-00.json.gz ... -31    the mailboxes of one database
//! token-keys.yaml                the keys of the redirect token
//! tls.crt, tls.key, ca.crt       its certificate, and who signs those of its peers
//! store-*                        who it is to the bucket in which it stores messages
//! ```
//!
//! A part of the site or of a database is one document after another, each compressed by itself and of the
//! same shape; together they say what the part says.

mod reader;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::document;
use crate::{
    CallSettings, Certificate, ConfigError, DATABASES, Delivery, Directory, Keyring, Mailbox, MailboxConfig,
    MailboxPolicy, Owner, RouterConfig, S3Keys, ServerIdentity, Store, TokenKey, UnknownPeers, database_of,
};

pub use reader::{Awaited, Folder, Lack, ReadError, Reader, Reading};

/// The files of a folder, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The index of a router.
pub const ROUTER_FILE: &str = "router.yaml";

/// The index of a mailbox server.
pub const MAILBOX_FILE: &str = "mailbox.yaml";

/// The part that holds everything but mailboxes.
pub const SITE_FILE: &str = "site.json.gz";

/// The keys of the redirect token.
pub const TOKEN_KEYS_FILE: &str = "token-keys.yaml";

/// The certificate chain, its key, and certificates that those of peers may be signed by.
pub const CERTIFICATE_FILES: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

/// The name of the access key of the bucket, the access key, and certificates that its server may be
/// signed by.
pub const STORE_FILES: [&str; 3] =
    ["store-access-key-id", "store-secret-access-key", "store-authorities.pem"];

/// Bytes of a digest.
const DIGEST_BYTES: usize = 16;

/// The longest part, bytes before it is compressed: 100,000 mailboxes in one database take 26 MB.
const MAX_PART_BYTES: u64 = 64 * 1024 * 1024;

/// The part of one database.
#[must_use]
pub fn database_file(number: usize) -> String {
    format!("database-{number:02}.json.gz")
}

/// Whether a file belongs to one server alone.
#[must_use]
pub fn is_own(file: &str) -> bool {
    CERTIFICATE_FILES.contains(&file) || STORE_FILES.contains(&file)
}

/// What tells the bytes of a part from others.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a part, and their digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What is written.
    pub bytes: Arc<[u8]>,
    /// [`digest`] of it.
    pub digest: String,
}

impl Part {
    /// The part that these pieces make, one after the other.
    pub fn of<'p>(pieces: impl IntoIterator<Item = &'p Piece>) -> Part {
        let pieces: Vec<&[u8]> = pieces.into_iter().map(|piece| &*piece.0).collect();
        let bytes = pieces.concat();
        Part { digest: digest(&bytes), bytes: bytes.into() }
    }
}

/// A document of a part, compressed by itself, so that a change of one costs no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece(Arc<[u8]>);

/// Everything but mailboxes: [`SITE_FILE`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SitePart {
    /// What calls are decided on, without mailboxes.
    pub directory: Directory,
    /// How calls of each dial plan are conducted.
    pub calls: BTreeMap<String, CallSettings>,
    /// What the mailboxes of each policy have in common, where that is anything.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<String, MailboxPolicy>,
}

/// The mailboxes of one database: [`database_file`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatabasePart {
    /// Users.
    pub mailboxes: Vec<Mailbox>,
    /// Whose mailbox it is and where messages go, by the mailbox's name.
    pub owners: BTreeMap<String, Owner>,
}

/// [`ROUTER_FILE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouterIndex {
    /// Always [`crate::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Grows by one with each change of content; the server publishes the one that it serves.
    pub generation: u64,
    /// Who this server is, without its certificate.
    pub server: ServerIdentity,
    /// What peers get that are no gateway.
    #[serde(default, skip_serializing_if = "UnknownPeers::are_refused")]
    pub unknown_peers: UnknownPeers,
    /// The digest of every other file of this generation.
    pub parts: BTreeMap<String, String>,
}

/// [`MAILBOX_FILE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MailboxIndex {
    /// Always [`crate::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Grows by one with each change of content; the server publishes the one that it serves.
    pub generation: u64,
    /// Who this server is, without its certificate.
    pub server: ServerIdentity,
    /// The first media port, as in [`MailboxConfig`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_media_port: Option<u16>,
    /// Calls at once on this server, 0 to 200.
    pub max_calls_allowed: u32,
    /// How messages leave this server.
    pub delivery: Delivery,
    /// Where messages are stored, without the keys of a bucket.
    #[serde(default, skip_serializing_if = "Store::is_own")]
    pub store: Store,
    /// The digest of every other file of this generation.
    pub parts: BTreeMap<String, String>,
}

impl SitePart {
    /// Its bytes; the same content always gives the same ones.
    ///
    /// # Errors
    /// [`ConfigError::Unwritable`], which no content of this shape is known to cause.
    pub fn to_part(&self) -> Result<Part, ConfigError> {
        Ok(Part::of([&self.to_piece()?]))
    }

    /// What stands in a part beside other documents; the same content always gives the same bytes.
    ///
    /// # Errors
    /// [`ConfigError::Unwritable`], which no content of this shape is known to cause.
    pub fn to_piece(&self) -> Result<Piece, ConfigError> {
        compress(self)
    }

    /// What the bytes of such a part say: what all of its documents say. Gateways and hunt groups of several
    /// documents come by name.
    ///
    /// # Errors
    /// [`ConfigError::Part`], if they are those of no such part.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ConfigError> {
        let text = expand(SITE_FILE, bytes)?;
        let mut documents = documents::<SitePart>(SITE_FILE, &text);
        let nothing = || Err(ConfigError::Part { file: SITE_FILE.into(), why: "it says nothing".into() });
        let mut whole = documents.next().unwrap_or_else(nothing)?;
        let mut is_divided = false;
        for document in documents {
            whole.add(document?);
            is_divided = true;
        }
        if is_divided {
            whole.directory.gateways.sort_by(|one, other| one.name.cmp(&other.name));
            whole.directory.hunt_groups.sort_by(|one, other| one.name.cmp(&other.name));
        }
        Ok(whole)
    }

    /// Takes up what another document says.
    fn add(&mut self, other: SitePart) {
        let SitePart { directory, calls, policies } = other;
        let whole = &mut self.directory;
        whole.gateways.extend(directory.gateways);
        whole.cluster.extend(directory.cluster);
        whole.hunt_groups.extend(directory.hunt_groups);
        whole.dial_plans.extend(directory.dial_plans);
        whole.auto_attendants.extend(directory.auto_attendants);
        whole.mailboxes.extend(directory.mailboxes);
        whole.mailbox_servers.extend(directory.mailbox_servers);
        whole.hosts.extend(directory.hosts);
        self.calls.extend(calls);
        self.policies.extend(policies);
    }
}

impl DatabasePart {
    /// Its bytes; the same content always gives the same ones.
    ///
    /// # Errors
    /// [`ConfigError::Unwritable`], which no content of this shape is known to cause.
    pub fn to_part(&self) -> Result<Part, ConfigError> {
        Ok(Part::of([&self.to_piece()?]))
    }

    /// What stands in a part beside other mailboxes of the database; the same content always gives the
    /// same bytes.
    ///
    /// # Errors
    /// [`ConfigError::Unwritable`], which no content of this shape is known to cause.
    pub fn to_piece(&self) -> Result<Piece, ConfigError> {
        compress(self)
    }

    /// What the bytes of such a part say, whose name is `file`: what all of its documents say.
    ///
    /// # Errors
    /// [`ConfigError::Part`], if they are those of no such part.
    pub fn from_bytes(file: &str, bytes: &[u8]) -> Result<Self, ConfigError> {
        let text = expand(file, bytes)?;
        let mut whole = DatabasePart::default();
        for document in documents::<DatabasePart>(file, &text) {
            let document = document?;
            whole.mailboxes.extend(document.mailboxes);
            whole.owners.extend(document.owners);
        }
        Ok(whole)
    }
}

impl RouterIndex {
    /// Reads `router.yaml`.
    ///
    /// # Errors
    /// [`ConfigError`], if the text is not an index of this [`crate::SCHEMA_VERSION`].
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        index(text, |index: &Self| index.schema_version)
    }

    /// Writes `router.yaml`. The same content always gives the same text.
    ///
    /// # Errors
    /// [`ConfigError::Unwritable`], which no content of this shape is known to cause.
    pub fn to_yaml(&self) -> Result<String, ConfigError> {
        document::write(self)
    }
}

impl MailboxIndex {
    /// Reads `mailbox.yaml`.
    ///
    /// # Errors
    /// [`ConfigError`], if the text is not an index of this [`crate::SCHEMA_VERSION`].
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        index(text, |index: &Self| index.schema_version)
    }

    /// Writes `mailbox.yaml`. The same content always gives the same text.
    ///
    /// # Errors
    /// [`ConfigError::Unwritable`], which no content of this shape is known to cause.
    pub fn to_yaml(&self) -> Result<String, ConfigError> {
        document::write(self)
    }
}

impl RouterConfig {
    /// The folder that says this.
    ///
    /// # Errors
    /// [`ConfigError::Unwritable`], which no content of this shape is known to cause.
    pub fn to_files(&self) -> Result<Files, ConfigError> {
        let (calls, policies, owners) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut files = shared(&self.directory, (&calls, &policies), &owners, &self.token_keys)?;
        files.extend(certificate_files(self.server.certificate.as_ref()));
        let index = RouterIndex {
            schema_version: self.schema_version,
            generation: self.generation,
            server: self.server.clone(),
            unknown_peers: self.unknown_peers,
            parts: digests(&files),
        };
        files.insert(ROUTER_FILE.into(), index.to_yaml()?.into_bytes());
        Ok(files)
    }

    /// What a folder says. Its mailboxes come by database.
    ///
    /// # Errors
    /// [`ReadError`], if files are missing, do not belong together or cannot be read.
    pub fn from_files(files: &Files) -> Result<Self, ReadError> {
        let mut reader = Reader::new(|_| Ok(()));
        reader.router(&text(files, ROUTER_FILE)?, &|name| files.get(name).cloned())?.whole()
    }
}

impl MailboxConfig {
    /// The folder that says this.
    ///
    /// # Errors
    /// [`ConfigError::Unwritable`], which no content of this shape is known to cause.
    pub fn to_files(&self) -> Result<Files, ConfigError> {
        let mut files =
            shared(&self.directory, (&self.calls, &self.policies), &self.owners, &self.token_keys)?;
        files.extend(certificate_files(self.server.certificate.as_ref()));
        if let Store::S3(s3) = &self.store {
            files.extend(store_files(&s3.keys));
        }
        let index = MailboxIndex {
            schema_version: self.schema_version,
            generation: self.generation,
            server: self.server.clone(),
            first_media_port: self.first_media_port,
            max_calls_allowed: self.max_calls_allowed,
            delivery: self.delivery.clone(),
            store: self.store.clone(),
            parts: digests(&files),
        };
        files.insert(MAILBOX_FILE.into(), index.to_yaml()?.into_bytes());
        Ok(files)
    }

    /// What a folder says. Its mailboxes come by database.
    ///
    /// # Errors
    /// [`ReadError`], if files are missing, do not belong together or cannot be read.
    pub fn from_files(files: &Files) -> Result<Self, ReadError> {
        let mut reader = Reader::new(|_| Ok(()));
        reader.mailbox(&text(files, MAILBOX_FILE)?, &|name| files.get(name).cloned())?.whole()
    }
}

/// The text of [`TOKEN_KEYS_FILE`].
///
/// # Errors
/// [`ConfigError::Unwritable`], which no keys are known to cause.
pub fn token_keys_to_yaml(keys: &[TokenKey]) -> Result<String, ConfigError> {
    document::write(&keys)
}

/// The keys in [`TOKEN_KEYS_FILE`]: the first signs, all of them verify.
///
/// # Errors
/// [`ConfigError`], if the text is no list of keys, or if nobody could sign and verify by them.
pub fn token_keys_from_yaml(text: &str) -> Result<Vec<TokenKey>, ConfigError> {
    let keys: Vec<TokenKey> = document::read_list(text)?;
    Keyring::new(&keys)?;
    Ok(keys)
}

/// Reads an index, if it is of this [`crate::SCHEMA_VERSION`].
fn index<T: DeserializeOwned>(text: &str, schema_version: fn(&T) -> u32) -> Result<T, ConfigError> {
    let index = document::read(text)?;
    document::check(schema_version(&index))?;
    Ok(index)
}

/// The files of a certificate.
pub fn certificate_files(certificate: Option<&Certificate>) -> Files {
    let Some(Certificate { chain, key, authorities }) = certificate else { return Files::new() };
    let files = CERTIFICATE_FILES.into_iter().zip([Some(chain), Some(key), authorities.as_ref()]);
    files.filter_map(|(name, text)| Some((name.to_owned(), text?.clone().into_bytes()))).collect()
}

fn store_files(keys: &S3Keys) -> Files {
    let texts = [Some(&keys.access_key_id), Some(&keys.secret_access_key), keys.authorities.as_ref()];
    let files = STORE_FILES.into_iter().zip(texts);
    files.filter_map(|(name, text)| Some((name.to_owned(), text?.clone().into_bytes()))).collect()
}

/// The files that the servers of a namespace have in common.
fn shared(
    directory: &Directory,
    (calls, policies): (&BTreeMap<String, CallSettings>, &BTreeMap<String, MailboxPolicy>),
    owners: &BTreeMap<String, Owner>,
    token_keys: &[TokenKey],
) -> Result<Files, ConfigError> {
    let mut databases = vec![DatabasePart::default(); DATABASES];
    for mailbox in &directory.mailboxes {
        databases[database_of(&mailbox.name)].mailboxes.push(mailbox.clone());
    }
    for (name, owner) in owners {
        databases[database_of(name)].owners.insert(name.clone(), owner.clone());
    }
    let directory = Directory { mailboxes: Vec::new(), ..directory.clone() };
    let site = SitePart { directory, calls: calls.clone(), policies: policies.clone() };
    let mut files = Files::from([
        (SITE_FILE.to_owned(), site.to_part()?.bytes.to_vec()),
        (TOKEN_KEYS_FILE.to_owned(), token_keys_to_yaml(token_keys)?.into_bytes()),
    ]);
    let empty = DatabasePart::default();
    for (number, database) in databases.iter().enumerate().filter(|(_, database)| **database != empty) {
        files.insert(database_file(number), database.to_part()?.bytes.to_vec());
    }
    Ok(files)
}

fn digests(files: &Files) -> BTreeMap<String, String> {
    files.iter().map(|(name, bytes)| (name.clone(), digest(bytes))).collect()
}

/// The text of the index.
fn text(files: &Files, name: &'static str) -> Result<String, ReadError> {
    let bytes = files.get(name).ok_or_else(|| ReadError::NotYet(vec![Awaited::missing(name)]))?;
    let not_text = |_| ConfigError::Part { file: name.into(), why: "it is no text".into() };
    Ok(String::from_utf8(bytes.clone()).map_err(not_text)?)
}

fn compress<T: Serialize>(content: &T) -> Result<Piece, ConfigError> {
    let unwritable = |error: &dyn std::fmt::Display| ConfigError::Unwritable(error.to_string());
    let text = serde_json::to_vec(content).map_err(|error| unwritable(&error))?;
    // Without a time and a name in its head, the same text gives the same bytes.
    let mut encoder = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::new(6));
    let written = encoder.write_all(&text).and_then(|()| encoder.finish());
    let bytes = written.map_err(|error| unwritable(&error))?;
    Ok(Piece(bytes.into()))
}

/// The text of all documents of a part.
fn expand(file: &str, bytes: &[u8]) -> Result<Vec<u8>, ConfigError> {
    let fault = |why: String| ConfigError::Part { file: file.into(), why };
    let mut text = Vec::new();
    let read = flate2::read::MultiGzDecoder::new(bytes).take(MAX_PART_BYTES + 1).read_to_end(&mut text);
    read.map_err(|error| fault(error.to_string()))?;
    if text.len() as u64 > MAX_PART_BYTES {
        return Err(fault(format!("it has more than {MAX_PART_BYTES} bytes")));
    }
    Ok(text)
}

/// What each document of a part says.
fn documents<T: DeserializeOwned>(file: &str, text: &[u8]) -> impl Iterator<Item = Result<T, ConfigError>> {
    let documents = serde_json::Deserializer::from_slice(text).into_iter();
    documents.map(move |document| document.map_err(|error| misshapen(file, &error)))
}

fn misshapen(file: &str, error: &serde_json::Error) -> ConfigError {
    let why = format!("not of this shape at line {}, column {}", error.line(), error.column());
    ConfigError::Part { file: file.into(), why }
}
