//! [`Reader`]: a folder as a server reads it, time and again.
//!
//! Decides when a folder is whole: every part that the index names must be there and have its digest.
//! Parts that were parsed are kept, so that one change parses one part. What belongs to the server
//! alone, its certificate and its keys of a bucket, comes from people at any time: where it is not
//! what the index names, what was there before goes on, and everybody else's news are served.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    CERTIFICATE_FILES, DatabasePart, MailboxIndex, RouterIndex, SITE_FILE, STORE_FILES, SitePart,
    TOKEN_KEYS_FILE, database_file, digest, is_own, token_keys_from_yaml,
};
use crate::{
    Certificate, Code, ConfigError, DATABASES, Directory, MailboxConfig, RouterConfig, S3Keys, Store,
    TokenKey,
};

/// Whether TLS can use a certificate, and why not.
type Usable = Box<dyn Fn(&Certificate) -> Result<(), String> + Send>;

/// Gives the bytes of a file beside the index, if it can be read.
pub type Folder<'f> = &'f dyn Fn(&str) -> Option<Vec<u8>>;

/// Why a folder cannot be served. The server keeps its last good one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Files are not there yet, or not yet those that the index names.
    #[error("{}", sentence(.0))]
    NotYet(Vec<Awaited>),
    /// It would be whole, and makes no sense.
    #[error(transparent)]
    Unusable(#[from] ConfigError),
}

impl ReadError {
    /// Always [`Code::UnreadableConfig`].
    pub const fn code(&self) -> Code {
        Code::UnreadableConfig
    }
}

/// A file that a server waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// Its name.
    pub file: String,
    /// What is wrong with what lies there.
    pub lack: Lack,
}

/// Why a file is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It is not there.
    Missing,
    /// It is not the one that the index names.
    Differs,
    /// It is the one that the index names, and TLS cannot use it.
    Unusable(String),
}

impl Awaited {
    pub(super) fn missing(file: &str) -> Awaited {
        Awaited { file: file.into(), lack: Lack::Missing }
    }
}

impl std::fmt::Display for Awaited {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let file = &self.file;
        match &self.lack {
            Lack::Missing => write!(formatter, "{file} is missing"),
            Lack::Differs => write!(formatter, "{file} is not the one that the index names"),
            Lack::Unusable(why) => write!(formatter, "{file} cannot be used: {why}"),
        }
    }
}

/// What is waited for, in words.
pub(super) fn sentence(awaited: &[Awaited]) -> String {
    awaited.iter().map(Awaited::to_string).collect::<Vec<_>>().join(", ")
}

/// What a folder says, and what of it is still waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading<C> {
    /// What is served.
    pub config: C,
    /// Files of the server's own that are not what the index names: what was there before goes on.
    pub awaits: Vec<Awaited>,
}

impl<C> Reading<C> {
    /// What is waited for, in words, if anything is.
    pub fn problem(&self) -> Option<String> {
        (!self.awaits.is_empty()).then(|| sentence(&self.awaits))
    }

    /// What it says, if it is whole.
    pub(super) fn whole(self) -> Result<C, ReadError> {
        if self.awaits.is_empty() { Ok(self.config) } else { Err(ReadError::NotYet(self.awaits)) }
    }
}

/// Reads the folder of one server, and remembers its parts.
pub struct Reader {
    usable: Usable,
    /// By file, with its digest.
    known: BTreeMap<String, (String, Content)>,
    certificate: Option<Certificate>,
    store_keys: Option<S3Keys>,
}

impl std::fmt::Debug for Reader {
    /// Shows no byte of what is secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Reader(..)")
    }
}

/// What a part says.
enum Content {
    Site(Arc<SitePart>),
    Database(Arc<DatabasePart>),
    TokenKeys(Vec<TokenKey>),
}

/// What all shared parts together say.
struct Shared {
    site: Arc<SitePart>,
    databases: Vec<Arc<DatabasePart>>,
    token_keys: Vec<TokenKey>,
}

impl Shared {
    fn directory(&self) -> Directory {
        let mut directory = self.site.directory.clone();
        directory.mailboxes.reserve(self.databases.iter().map(|database| database.mailboxes.len()).sum());
        for database in &self.databases {
            directory.mailboxes.extend(database.mailboxes.iter().cloned());
        }
        directory
    }
}

impl Reader {
    /// A reader that has read nothing. `usable` says whether TLS can use a certificate.
    pub fn new(usable: impl Fn(&Certificate) -> Result<(), String> + Send + 'static) -> Reader {
        Reader { usable: Box::new(usable), known: BTreeMap::new(), certificate: None, store_keys: None }
    }

    /// What a router's folder says, whose index is `index`.
    ///
    /// # Errors
    /// [`ReadError`], if it is not whole or cannot be read.
    pub fn router(&mut self, index: &str, folder: Folder<'_>) -> Result<Reading<RouterConfig>, ReadError> {
        let mut index = RouterIndex::from_yaml(index)?;
        let shared = self.shared(&index.parts, folder)?;
        let mut awaits = Vec::new();
        index.server.certificate = self.certificate(&index.parts, folder, &mut awaits);
        let config = RouterConfig {
            schema_version: index.schema_version,
            generation: index.generation,
            server: index.server,
            unknown_peers: index.unknown_peers,
            directory: shared.directory(),
            token_keys: shared.token_keys,
        };
        Ok(Reading { config, awaits })
    }

    /// What a mailbox server's folder says, whose index is `index`.
    ///
    /// # Errors
    /// [`ReadError`], if it is not whole or cannot be read.
    pub fn mailbox(&mut self, index: &str, folder: Folder<'_>) -> Result<Reading<MailboxConfig>, ReadError> {
        let mut index = MailboxIndex::from_yaml(index)?;
        let shared = self.shared(&index.parts, folder)?;
        let mut awaits = Vec::new();
        index.server.certificate = self.certificate(&index.parts, folder, &mut awaits);
        if let Store::S3(s3) = &mut index.store {
            s3.keys = self.store_keys(&index.parts, folder, &mut awaits);
        }
        let owners = shared.databases.iter().flat_map(|database| &database.owners);
        let config = MailboxConfig {
            schema_version: index.schema_version,
            generation: index.generation,
            server: index.server,
            first_media_port: index.first_media_port,
            max_calls_allowed: index.max_calls_allowed,
            directory: shared.directory(),
            calls: shared.site.calls.clone(),
            policies: shared.site.policies.clone(),
            owners: owners.map(|(name, owner)| (name.clone(), owner.clone())).collect(),
            token_keys: shared.token_keys,
            delivery: index.delivery,
            store: index.store,
        };
        Ok(Reading { config, awaits })
    }

    /// What the shared parts say, once all of them fit.
    fn shared(&mut self, parts: &BTreeMap<String, String>, folder: Folder<'_>) -> Result<Shared, ReadError> {
        self.known.retain(|file, _| parts.contains_key(file));
        let mut awaited = Vec::new();
        let shared = |file: &&String| !is_own(file);
        for file in parts.keys().filter(shared) {
            let wanted = &parts[file];
            if self.known.get(file).is_some_and(|(known, _)| known == wanted) {
                continue;
            }
            match fitting(file, wanted, folder) {
                Ok(bytes) => {
                    let content = Content::read(file, &bytes)?;
                    self.known.insert(file.clone(), (wanted.clone(), content));
                }
                Err(lack) => awaited.push(Awaited { file: file.clone(), lack }),
            }
        }
        if !awaited.is_empty() {
            return Err(ReadError::NotYet(awaited));
        }
        let (mut site, mut databases, mut token_keys) = (None, Vec::new(), None);
        for (_, content) in self.known.values() {
            match content {
                Content::Site(part) => site = Some(Arc::clone(part)),
                Content::Database(part) => databases.push(Arc::clone(part)),
                Content::TokenKeys(keys) => token_keys = Some(keys.clone()),
            }
        }
        Ok(Shared {
            site: site.ok_or(ConfigError::Unnamed(SITE_FILE))?,
            databases,
            token_keys: token_keys.ok_or(ConfigError::Unnamed(TOKEN_KEYS_FILE))?,
        })
    }

    /// The certificate to show: the one that the index names, or else the one before. A server that
    /// has just started has none before, and takes the one that lies there.
    fn certificate(
        &mut self,
        parts: &BTreeMap<String, String>,
        folder: Folder<'_>,
        awaits: &mut Vec<Awaited>,
    ) -> Option<Certificate> {
        let here = || {
            let [chain, key, authorities] = CERTIFICATE_FILES.map(|file| text(file, folder));
            let authorities = authorities.filter(|_| parts.contains_key(CERTIFICATE_FILES[2]));
            Some(Certificate { chain: chain?, key: key?, authorities })
        };
        match own_lack(&CERTIFICATE_FILES, parts, folder) {
            None => self.certificate = None,
            Some(Err(lack)) => {
                awaits.push(lack);
                if self.certificate.is_none() {
                    self.certificate = here().filter(|certificate| (self.usable)(certificate).is_ok());
                }
            }
            Some(Ok(())) => match here().map(|here| ((self.usable)(&here), here)) {
                Some((Ok(()), here)) => self.certificate = Some(here),
                Some((Err(why), _)) => {
                    awaits.push(Awaited { file: CERTIFICATE_FILES[0].into(), lack: Lack::Unusable(why) });
                }
                // It went away in between.
                None => awaits.push(Awaited::missing(CERTIFICATE_FILES[0])),
            },
        }
        self.certificate.clone()
    }

    /// The keys of a bucket: those that the index names, or else those before, or those that lie there.
    fn store_keys(
        &mut self,
        parts: &BTreeMap<String, String>,
        folder: Folder<'_>,
        awaits: &mut Vec<Awaited>,
    ) -> S3Keys {
        let fits = match own_lack(&STORE_FILES, parts, folder) {
            None => return S3Keys::default(),
            Some(Err(lack)) => {
                awaits.push(lack);
                false
            }
            Some(Ok(())) => true,
        };
        let [id, secret, authorities] = STORE_FILES.map(|file| text(file, folder));
        let authorities = authorities.filter(|_| parts.contains_key(STORE_FILES[2]));
        if let (Some(access_key_id), Some(secret_access_key)) = (id, secret)
            && (fits || self.store_keys.is_none())
        {
            self.store_keys = Some(S3Keys { access_key_id, secret_access_key, authorities });
        }
        self.store_keys.clone().unwrap_or_default()
    }
}

impl Content {
    fn read(file: &str, bytes: &[u8]) -> Result<Content, ConfigError> {
        if file == SITE_FILE {
            return Ok(Content::Site(Arc::new(SitePart::from_bytes(bytes)?)));
        }
        if file == TOKEN_KEYS_FILE {
            let no_text = |_| ConfigError::Part { file: file.into(), why: "it is no text".into() };
            let text = std::str::from_utf8(bytes).map_err(no_text)?;
            return Ok(Content::TokenKeys(token_keys_from_yaml(text)?));
        }
        if (0..DATABASES).any(|number| file == database_file(number)) {
            return Ok(Content::Database(Arc::new(DatabasePart::from_bytes(file, bytes)?)));
        }
        Err(ConfigError::UnknownPart(file.into()))
    }
}

/// The bytes of a file, if they are those that are wanted.
fn fitting(file: &str, wanted: &str, folder: Folder<'_>) -> Result<Vec<u8>, Lack> {
    let bytes = folder(file).ok_or(Lack::Missing)?;
    if digest(&bytes) == wanted { Ok(bytes) } else { Err(Lack::Differs) }
}

/// Whether those of `files` that the index names are there and fit; `None` if it names none of them.
fn own_lack(
    files: &[&str],
    parts: &BTreeMap<String, String>,
    folder: Folder<'_>,
) -> Option<Result<(), Awaited>> {
    let mut named = files.iter().filter_map(|file| Some((*file, parts.get(*file)?))).peekable();
    named.peek()?;
    let lack = named.find_map(|(file, wanted)| {
        let lack = fitting(file, wanted, folder).err()?;
        Some(Awaited { file: file.into(), lack })
    });
    Some(lack.map_or(Ok(()), Err))
}

fn text(file: &str, folder: Folder<'_>) -> Option<String> {
    String::from_utf8(folder(file)?).ok()
}
