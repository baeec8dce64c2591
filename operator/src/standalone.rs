//! The shell that makes a folder a cluster of one machine.
//!
//! Decides where plans are written and how: each file whole or not at all, and those with keys for
//! the owner's eyes only. One of the two files of this room that touch a disk. Refuses to know what
//! a plan says; that is [`reconcile`]'s.
//!
//! Below the state folder it keeps `config/router/` and `config/mailbox/` for the servers, in each of
//! which the index is written last, `status.yaml` for people, `token-keys.yaml`, and `objects.json`: the accepted objects, which are
//! what is still known after a restart of a file that cannot be read.

use std::borrow::Borrow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use config::parts::{self, Files, MAILBOX_FILE, ROUTER_FILE, ReadError};
use config::{Code, ConfigError, MailboxConfig, RouterConfig, TokenKey};

use crate::folder::{Folder, Listing};
use crate::plan::{Plan, Write};
use crate::problem::{Located, Problem};
use crate::reconcile::reconcile;
use crate::status_file;
use crate::store::{Store, locate};
use crate::token_key::{NoChance, token_key};
use crate::world::{Generations, Key, Object, ObjectRef, Observed, World};
use crds::Kind;
use std::collections::BTreeMap;

/// For the owner's eyes only: these files hold keys, or names and addresses of people.
const OWNER_ONLY: u32 = 0o600;

/// Generations of configuration of the two servers of one machine: what each says that it serves,
/// or what is written for it. `None` where there is no such server or it has said nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Generation of `router.yaml`.
    pub router: Option<u64>,
    /// Generation of `mailbox.yaml`.
    pub mailbox: Option<u64>,
}

impl Served {
    /// The generations of the one server of each kind.
    fn of(generations: &Generations) -> Served {
        let of = |kind: Kind| {
            let server = generations.iter().find(|(server, _)| server.kind == kind.name());
            server.map(|(_, generation)| *generation)
        };
        Served { router: of(Kind::UMCallRouter), mailbox: of(Kind::UMService) }
    }

    /// The same by server object. Whatever object a server is described by, it is the one that runs.
    fn by_object(self, world: &World) -> Generations {
        fn of<S>(kind: Kind, objects: &BTreeMap<Key, Object<S>>, served: Option<u64>) -> Generations {
            let known = served.into_iter().flat_map(|generation| {
                objects.keys().map(move |key| (ObjectRef::new(kind, key), generation))
            });
            known.collect()
        }
        let mut generations = of(Kind::UMCallRouter, &world.routers, self.router);
        generations.extend(of(Kind::UMService, &world.services, self.mailbox));
        generations
    }
}

/// A folder of objects, and the state folder that its plans are carried out in.
#[derive(Debug)]
pub struct Standalone {
    folder: Folder,
    state: PathBuf,
    address: IpAddr,
    token_keys: Vec<TokenKey>,
    store: Store,
    observed: Observed,
    served: Served,
    /// What the last step saw and came to, if it was carried out.
    last: Option<(Listing, Step)>,
}

/// What one step came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Everything that is wrong now, by file and line.
    pub problems: Vec<Located>,
    /// Whether anything was written.
    pub changed: bool,
    /// The generations that the servers should serve; `None` for a server that nobody asks for.
    pub wanted: Served,
}

impl Step {
    /// Whether both servers serve what they should, given what they say.
    pub fn is_served(&self, served: Served) -> bool {
        let reached = |wanted: Option<u64>, served: Option<u64>| wanted.is_none() || wanted == served;
        reached(self.wanted.router, served.router) && reached(self.wanted.mailbox, served.mailbox)
    }
}

/// Why a step could not be carried out. What was written before stays, and the next step goes on
/// from there.
#[derive(Debug, thiserror::Error)]
pub enum StandaloneError {
    /// A file of the state folder cannot be read.
    #[error("read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A file of the state folder cannot be written.
    #[error("write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The keys of the redirect token are there and cannot be used. They are not replaced, because
    /// that would refuse calls that are on their way.
    #[error("use token keys of {}: {reason}", path.display())]
    TokenKeys {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The system has no randomness for a key.
    #[error(transparent)]
    Chance(#[from] NoChance),
    /// The time is outside of what a calendar can say.
    #[error("tell the time: {0}")]
    Time(String),
}

/// What a folder would come to, with nothing written.
#[derive(Clone, Debug)]
pub struct Preview {
    /// Everything that is wrong, by file and line.
    pub problems: Vec<Located>,
    /// What the router would read, if there is one.
    pub router: Option<RouterConfig>,
    /// What the mailbox server would read, if there is one.
    pub mailbox: Option<MailboxConfig>,
}

/// What the folder at `dir` would come to on a machine with this address. Nothing is written, and
/// the documents have no token keys.
pub fn preview(dir: &Path, address: IpAddr, now: SystemTime) -> Preview {
    let listing = Folder::new(dir).read(now);
    let mut store = Store::default();
    let refused = store.fold(&listing);
    let mut world = World::empty(address, jiff::Timestamp::UNIX_EPOCH);
    store.populate(&mut world);
    world.refused = refused.iter().map(|located| located.problem.clone()).collect();
    let plan = settle(&mut store, &mut world);
    let mut observed = Observed::default();
    let mut problems = problems(&plan, refused, |problem| locate(&store, &listing, problem));
    problems.extend(nothing_written(dir, &store, &problems));
    for write in plan.writes {
        write.apply(&mut observed);
    }
    let router = observed.routers.pop_first().map(|(_, config)| config);
    let mailbox = observed.services.pop_first().map(|(_, config)| config);
    Preview { problems, router, mailbox }
}

impl Standalone {
    /// Reads what the state folder `state` knows, and makes it with a token key if it is new. The
    /// objects in `dir` are read by the first [`Standalone::step`].
    ///
    /// # Errors
    /// [`StandaloneError`], if the state folder cannot be read or made.
    pub fn open(dir: &Path, state: &Path, address: IpAddr) -> Result<Standalone, StandaloneError> {
        let config = state.join("config");
        let folders = [state.to_owned(), config.clone(), config.join("router"), config.join("mailbox")];
        for path in folders {
            runtime::folder::private(&path).map_err(|error| StandaloneError::Write { path, error })?;
        }
        let mut standalone = Standalone {
            folder: Folder::new(dir),
            state: state.into(),
            address,
            token_keys: token_keys(&state.join("token-keys.yaml"))?,
            store: Store::default(),
            observed: Observed::default(),
            served: Served::default(),
            last: None,
        };
        let store = read(&standalone.objects_path())?;
        standalone.store =
            understood(&standalone.objects_path(), store, Store::from_json).unwrap_or_default();
        standalone.read_configurations()?;
        let statuses = read(&standalone.status_path())?;
        standalone.observed.statuses =
            understood(&standalone.status_path(), statuses, status_file::from_yaml).unwrap_or_default();
        Ok(standalone)
    }

    /// Reads the configurations that were written last, and finds the objects that they are of.
    fn read_configurations(&mut self) -> Result<(), StandaloneError> {
        let router = files(&self.router_config())?;
        if let Some(config) = understood(&self.router_config(), router, RouterConfig::from_files) {
            let key = self.store.key_of(Kind::UMCallRouter, &config.server.name);
            self.observed.routers.insert(key, config);
        }
        let mailbox = files(&self.mailbox_config())?;
        if let Some(config) = understood(&self.mailbox_config(), mailbox, MailboxConfig::from_files) {
            let key = self.store.key_of(Kind::UMService, &config.server.name);
            self.observed.services.insert(key, config);
        }
        Ok(())
    }

    /// The index of the router, beside its parts.
    pub fn router_config(&self) -> PathBuf {
        self.state.join("config").join("router").join(ROUTER_FILE)
    }

    /// The index of the mailbox server, beside its parts.
    pub fn mailbox_config(&self) -> PathBuf {
        self.state.join("config").join("mailbox").join(MAILBOX_FILE)
    }

    /// What stands in the two folders, as far as there is something.
    ///
    /// # Errors
    /// [`StandaloneError`], if it cannot be read.
    pub fn configs(&self) -> Result<(Option<RouterConfig>, Option<MailboxConfig>), StandaloneError> {
        let router = self.router_config();
        let router = files(&router)?.map(|files| RouterConfig::from_files(&files).map_err(unusable(router)));
        let mailbox = self.mailbox_config();
        let mailbox =
            files(&mailbox)?.map(|files| MailboxConfig::from_files(&files).map_err(unusable(mailbox)));
        Ok((router.transpose()?, mailbox.transpose()?))
    }

    /// Where people read the status of every object.
    pub fn status_path(&self) -> PathBuf {
        self.state.join("status.yaml")
    }

    fn objects_path(&self) -> PathBuf {
        self.state.join("objects.json")
    }

    /// Reads the folder, reconciles, and writes what differs. `served` is what the servers say
    /// that they serve. With nothing new it writes nothing.
    ///
    /// # Errors
    /// [`StandaloneError`], if something cannot be written; the next step tries it again.
    pub fn step(&mut self, now: SystemTime, served: Served) -> Result<Step, StandaloneError> {
        let listing = self.folder.read(now);
        if let Some((before, step)) = &self.last
            && listing.is_still(before)
            && served == self.served
        {
            return Ok(Step { changed: false, ..step.clone() });
        }
        self.last = None;
        let mut store = self.store.clone();
        let refused = store.fold(&listing);
        let mut world = World::empty(self.address, timestamp(now)?);
        store.populate(&mut world);
        self.served = served;
        self.observed.served = served.by_object(&world);
        world.refused = refused.iter().map(|located| located.problem.clone()).collect();
        world.token_keys = self.token_keys.clone();
        world.observed = self.observed.clone();
        let plan = settle(&mut store, &mut world);
        let mut changed = false;
        if store != self.store {
            let text = store.to_json().map_err(|error| unwritable(&self.objects_path(), error))?;
            replace(&self.objects_path(), text.as_bytes())?;
            self.store = store;
            changed = true;
        }
        let mut problems = problems(&plan, refused, |problem| locate(&self.store, &listing, problem));
        problems.extend(nothing_written(self.folder.path(), &self.store, &problems));
        let wanted = Served::of(&plan.wanted);
        self.observed.awaited.clone_from(&plan.awaited);
        changed |= self.carry_out(plan)?;
        let step = Step { problems, changed, wanted };
        self.last = Some((listing, step.clone()));
        Ok(step)
    }

    /// Carries out the writes of a plan, in their order.
    fn carry_out(&mut self, plan: Plan) -> Result<bool, StandaloneError> {
        let changed = !plan.writes.is_empty();
        let mut statuses = Vec::new();
        for write in plan.writes {
            match write {
                Write::Router(key, config) => {
                    write_files(&self.router_config(), config.to_files())?;
                    self.observed.routers = BTreeMap::from([(key, *config)]);
                }
                Write::Mailbox(key, config) => {
                    write_files(&self.mailbox_config(), config.to_files())?;
                    self.observed.services = BTreeMap::from([(key, *config)]);
                }
                // They stand in one file, which is written once.
                Write::Status(..) | Write::Forget(_) => statuses.push(write),
                // On one machine the servers are no objects of their own.
                Write::Workload(_) | Write::Remove(_) => {}
                // It is among the objects already.
                Write::Default(_) => {}
            }
        }
        if !statuses.is_empty() {
            let mut observed = self.observed.clone();
            statuses.into_iter().for_each(|write| write.apply(&mut observed));
            let path = self.status_path();
            let text = status_file::to_yaml(&observed.statuses).map_err(|error| unwritable(&path, error))?;
            replace(&path, text.as_bytes())?;
            self.observed = observed;
        }
        Ok(changed)
    }
}

/// The plan of a world in which everything is there that is made for an object: on one machine it
/// is made at once.
fn settle(store: &mut Store, world: &mut World) -> Plan {
    let plan = reconcile(world);
    let mut made = false;
    for write in plan.writes.iter() {
        if let Write::Default(default) = write {
            store.make(default);
            world.make((**default).clone());
            made = true;
        }
    }
    // Nothing is made for what was made.
    if made { reconcile(world) } else { plan }
}

/// A folder that makes no sense.
fn unusable(path: PathBuf) -> impl FnOnce(ReadError) -> StandaloneError {
    |error| StandaloneError::Read { path, error: io::Error::other(error) }
}

/// Something that cannot be put into text.
fn unwritable(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> StandaloneError {
    StandaloneError::Write { path: path.into(), error: io::Error::other(error) }
}

/// The problems of a plan, each with its place. Those that were refused in the folder have theirs.
fn problems(plan: &Plan, refused: Vec<Located>, locate: impl Fn(crate::Problem) -> Located) -> Vec<Located> {
    let found = plan.problems.iter().skip(refused.len()).cloned().map(locate).collect::<Vec<_>>();
    let mut located = refused;
    located.extend(found);
    located.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    located
}

/// A folder in which nobody wrote an object is told, or it would be right and serve nothing.
fn nothing_written(dir: &Path, store: &Store, problems: &[Located]) -> Option<Located> {
    let problem = || Problem {
        code: Code::ServerMissing,
        object: None,
        field: String::new(),
        value: "no object".into(),
        rule: "objects in files that end in .yaml or .yml, directly in the folder".into(),
        fix: "write them, or copy those of examples/quickstart".into(),
        waits_for: None,
    };
    let nothing = problems.is_empty() && store.is_empty();
    nothing.then(|| Located { file: dir.into(), line: 0, problem: problem() })
}

fn timestamp(now: SystemTime) -> Result<jiff::Timestamp, StandaloneError> {
    jiff::Timestamp::try_from(now).map_err(|error| StandaloneError::Time(error.to_string()))
}

/// The text of a file; `None` if there is no such file.
fn read(path: &Path) -> Result<Option<String>, StandaloneError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StandaloneError::Read { path: path.into(), error }),
    }
}

/// The files of the folder whose index lies at `path`; `None` if it has no index.
fn files(path: &Path) -> Result<Option<Files>, StandaloneError> {
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

/// Writes what differs into the folder whose index lies at `path`: the index last, so that whoever
/// follows it finds what it names. What it does not name any more goes then.
fn write_files(path: &Path, wanted: Result<Files, ConfigError>) -> Result<(), StandaloneError> {
    let wanted = wanted.map_err(|error| unwritable(path, error))?;
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
fn understood<S: Borrow<R>, R: ?Sized, T, E: std::fmt::Display>(
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

/// The keys of the redirect token, made at the first start.
fn token_keys(path: &Path) -> Result<Vec<TokenKey>, StandaloneError> {
    let unusable = |reason: String| StandaloneError::TokenKeys { path: path.into(), reason };
    if let Some(text) = read(path)? {
        return parts::token_keys_from_yaml(&text).map_err(|error| unusable(error.to_string()));
    }
    let keys = vec![token_key()?];
    let text = parts::token_keys_to_yaml(&keys).map_err(|error| unusable(error.to_string()))?;
    replace(path, text.as_bytes())?;
    Ok(keys)
}

/// Replaces a file in one step: whoever reads it sees the old text or the new one, also after a
/// crash.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), StandaloneError> {
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
