//! The shell that makes a folder a cluster of one machine.
//!
//! Decides where plans are written. Refuses to know what a plan says, which is [`reconcile`]'s, and how
//! files are written.
//!
//! Below the state folder it keeps `config/router/` and `config/mailbox/` for the servers, in each of
//! which the index is written last, `status.yaml` for people, `token-keys.yaml` with how far its rotation
//! is, and `objects.json`: the accepted objects, which are what is still known after a restart of a file
//! that cannot be read.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use config::parts::{
    Files, MAILBOX_FILE, MailboxIndex, Part, ROUTER_FILE, ReadError, RouterIndex, SitePart, TOKEN_KEYS_FILE,
    certificate_files, digest, token_keys_to_yaml,
};
use config::{Certificate, Code, ConfigError, MailboxConfig, RouterConfig, TokenKey};

use crate::disk::{files, read, replace, text_of, understood, unwritable, whole, write_files};
use crate::folder::{Folder, Listing};
use crate::key_file;
use crate::names::Answers;
use crate::plan::{Plan, Write};
use crate::problem::{Located, Problem};
use crate::reconcile::reconcile;
use crate::resolver::Resolver;
use crate::rotation::is_due;
use crate::status_file;
use crate::store::{Store, locate};
use crate::token_key::{NoChance, token_key};
use crate::told::Told;
use crate::world::{
    Generations, Key, Object, ObjectRef, Observed, PartName, PartRef, World, WrittenKeys, WrittenPart,
};
use crds::Kind;

/// Name servers may take this long before the rest of what changed is served, and before somebody who asks what
/// is wrong is told that they say nothing.
const PATIENCE: Duration = Duration::from_millis(500);
const PREVIEW_PATIENCE: Duration = Duration::from_secs(5);

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
    store: Store,
    observed: Observed,
    served: Served,
    resolver: Resolver,
    /// What the last step knew of names.
    names: Arc<Answers>,
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
/// `name_servers` are asked what gateways' names lead to, or those of the system where there are none.
pub fn preview(dir: &Path, address: IpAddr, now: SystemTime, name_servers: &[SocketAddr]) -> Preview {
    let listing = Folder::new(dir).read(now);
    let mut store = Store::default();
    let refused = store.fold(&listing);
    let mut world = World::empty(address, jiff::Timestamp::UNIX_EPOCH);
    store.populate(&mut world);
    world.refused = refused.iter().map(|located| located.problem.clone()).collect();
    world.spare_key = Some(preview_key());
    let plan = settle(&mut store, &mut world, &mut Resolver::new(name_servers), PREVIEW_PATIENCE);
    let mut problems = problems(&plan, refused, |problem| locate(&store, &listing, problem));
    problems.extend(nothing_written(dir, &store, &problems));
    let mut observed = Observed::default();
    for write in plan.writes {
        write.apply(&mut observed);
    }
    let keys = [preview_key()];
    let router = observed.routers.keys().next().cloned();
    let router = router.and_then(|key| observed.router_config(&key, &keys).ok().flatten());
    let mailbox = observed.services.keys().next().cloned();
    let mailbox = mailbox.and_then(|key| observed.mailbox_config(&key, &keys).ok().flatten());
    Preview { problems, router, mailbox }
}

/// What stands for the keys of the redirect token where nobody is served: 32 zero bytes.
fn preview_key() -> TokenKey {
    TokenKey { id: "preview".into(), secret: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into() }
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
            store: Store::default(),
            observed: Observed::default(),
            served: Served::default(),
            resolver: Resolver::default(),
            names: Arc::default(),
            last: None,
        };
        standalone.observed.token_keys = read_keys(&standalone.token_keys_path())?;
        let store = read(&standalone.objects_path())?;
        standalone.store =
            understood(&standalone.objects_path(), store, Store::from_json).unwrap_or_default();
        standalone.read_configurations()?;
        let statuses = read(&standalone.status_path())?;
        standalone.observed.statuses =
            understood(&standalone.status_path(), statuses, status_file::from_yaml).unwrap_or_default();
        Ok(standalone)
    }

    /// Asks these name servers what gateways' names lead to, instead of those of the system.
    pub fn ask_names_of(&mut self, name_servers: &[SocketAddr]) {
        self.resolver = Resolver::new(name_servers);
    }

    /// Reads the configurations that were written last, and finds the objects that they are of.
    fn read_configurations(&mut self) -> Result<(), StandaloneError> {
        let router = files(&self.router_config())?.unwrap_or_default();
        if let Some(config) = understood(&self.router_config(), whole(&router), RouterConfig::from_files) {
            let key = self.store.key_of(Kind::UMCallRouter, &config.server.name);
            self.know_parts(&key, &router);
            let index = text_of(&router, ROUTER_FILE).and_then(|text| RouterIndex::from_yaml(text).ok());
            self.observed.routers.extend(index.map(|index| (key, index)));
        }
        let mailbox = files(&self.mailbox_config())?.unwrap_or_default();
        if let Some(config) = understood(&self.mailbox_config(), whole(&mailbox), MailboxConfig::from_files) {
            let key = self.store.key_of(Kind::UMService, &config.server.name);
            self.know_parts(&key, &mailbox);
            let index = text_of(&mailbox, MAILBOX_FILE).and_then(|text| MailboxIndex::from_yaml(text).ok());
            self.observed.services.extend(index.map(|index| (key, index)));
        }
        Ok(())
    }

    /// Takes up the parts that lie in the folder of a server.
    fn know_parts(&mut self, server: &Key, files: &Files) {
        for name in PartName::all() {
            let Some(bytes) = files.get(&name.file()) else { continue };
            let namespace = server.namespace.clone();
            if name == PartName::Site
                && let Ok(site) = SitePart::from_bytes(bytes)
            {
                self.observed.sites.insert(namespace.clone(), Arc::new(Told::of(&site)));
            }
            let part = Part { digest: digest(bytes), bytes: bytes.as_slice().into() };
            let written = WrittenPart { part, owners: BTreeSet::new() };
            self.observed.parts.insert(PartRef { namespace, name }, written);
        }
    }

    /// The files of the folder whose index lies at `path` and says `text`, with the parts that it names.
    fn folder_of(
        &self,
        path: &Path,
        text: Result<String, ConfigError>,
        server: &Key,
        wanted: &BTreeMap<String, String>,
        world: &World,
    ) -> Result<Files, StandaloneError> {
        let text = text.map_err(|error| unwritable(path, error))?;
        let mut there = files(path)?.unwrap_or_default();
        there.extend(
            self.observed
                .parts
                .iter()
                .filter(|(named, _)| named.namespace == server.namespace)
                .map(|(named, written)| (named.name.file(), written.part.bytes.to_vec())),
        );
        if let Some(WrittenKeys { keys, .. }) = &self.observed.token_keys {
            let keys = token_keys_to_yaml(keys).map_err(|error| unwritable(path, error))?;
            there.insert(TOKEN_KEYS_FILE.into(), keys.into_bytes());
        }
        let certificates = world.secrets.values().filter_map(|secret| {
            let (chain, key) = (secret.chain.clone()?, secret.key.clone()?);
            let authorities = secret.authorities.clone();
            Some(certificate_files(Some(&Certificate { chain, key, authorities })))
        });
        let store_keys = world.store_keys.values().map(|keys| {
            keys.files().map(|(file, text)| (file.to_owned(), text.as_bytes().to_vec())).collect::<Files>()
        });
        for own in certificates.chain(store_keys) {
            if own.iter().all(|(file, bytes)| wanted.get(file) == Some(&digest(bytes))) {
                there.extend(own);
            }
        }
        there.retain(|file, _| wanted.contains_key(file));
        let index = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        there.insert(index, text.into_bytes());
        Ok(there)
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

    /// Where the keys of the redirect token are kept.
    fn token_keys_path(&self) -> PathBuf {
        self.state.join(TOKEN_KEYS_FILE)
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
        let time = timestamp(now)?;
        if let Some((before, step)) = &self.last
            && listing.is_still(before)
            && served == self.served
            && self.resolver.answers() == self.names
            && !self.observed.token_keys.as_ref().is_some_and(|keys| is_due(keys, time))
        {
            return Ok(Step { changed: false, ..step.clone() });
        }
        self.last = None;
        let mut store = self.store.clone();
        let refused = store.fold(&listing);
        let mut world = World::empty(self.address, time);
        store.populate(&mut world);
        self.served = served;
        self.observed.served = served.by_object(&world);
        world.refused = refused.iter().map(|located| located.problem.clone()).collect();
        world.spare_key = Some(token_key()?);
        world.observed = self.observed.clone();
        let plan = settle(&mut store, &mut world, &mut self.resolver, PATIENCE);
        self.names = Arc::clone(&world.names);
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
        changed |= self.carry_out(plan, &world)?;
        let step = Step { problems, changed, wanted };
        self.last = Some((listing, step.clone()));
        Ok(step)
    }

    /// Carries out the writes of a plan, in their order.
    fn carry_out(&mut self, plan: Plan, world: &World) -> Result<bool, StandaloneError> {
        let changed = !plan.writes.is_empty();
        let mut statuses = Vec::new();
        for write in plan.writes {
            match write {
                // It is written into the folder of each server whose index names it.
                Write::Part(..) => write.apply(&mut self.observed),
                Write::Router(key, index) => {
                    let path = self.router_config();
                    let files = self.folder_of(&path, index.to_yaml(), &key, &index.parts, world)?;
                    write_files(&path, &files)?;
                    self.observed.routers = BTreeMap::from([(key, *index)]);
                }
                Write::Mailbox(key, index) => {
                    let path = self.mailbox_config();
                    let files = self.folder_of(&path, index.to_yaml(), &key, &index.parts, world)?;
                    write_files(&path, &files)?;
                    self.observed.services = BTreeMap::from([(key, *index)]);
                }
                Write::TokenKeys(_, keys) => {
                    let path = self.token_keys_path();
                    let text = key_file::to_yaml(&keys).map_err(|error| unwritable(&path, error))?;
                    replace(&path, text.as_bytes())?;
                    self.observed.token_keys = Some(*keys);
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
/// is made at once. Names that nobody asked for before are waited for, so that nothing is said of them that is
/// over in a moment.
fn settle(store: &mut Store, world: &mut World, resolver: &mut Resolver, patience: Duration) -> Plan {
    world.names = resolver.answers();
    let mut plan = reconcile(world);
    if resolver.want((*plan.names).clone()) {
        resolver.wait(patience);
        world.names = resolver.answers();
        plan = reconcile(world);
    }
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

/// The keys of the redirect token, if there are any yet.
fn read_keys(path: &Path) -> Result<Option<WrittenKeys>, StandaloneError> {
    let unusable = |reason: String| StandaloneError::TokenKeys { path: path.into(), reason };
    read(path)?.map(|text| key_file::from_yaml(&text).map_err(unusable)).transpose()
}
