//! [`World`]: everything that a plan follows from.
//!
//! Decides what may be known when a plan is made: the objects as they are written, what was
//! observed of earlier plans, and the time. Refuses to know where any of it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use config::parts::{
    MailboxIndex, Part, ReadError, Reader, RouterIndex, SITE_FILE, TOKEN_KEYS_FILE, database_file,
    token_keys_to_yaml,
};
use config::{DATABASES, MailboxConfig, RouterConfig, TokenKey};
use crds::{
    Kind, UMAutoAttendantSpec, UMCallRouterSpec, UMDialPlanSpec, UMHuntGroupSpec, UMIPGatewaySpec,
    UMMailboxPolicySpec, UMMailboxSpec, UMServiceSpec,
};

use crate::defaults::{DefaultObject, DefaultSpec};
use crate::names::Answers;
use crate::plan::Write;
use crate::problem::Problem;
use crate::shared::{PerObject, Shared, Sliced};
use crate::site::Cluster;
use crate::status::ObjectStatus;
use crate::store_keys::StoreKeys;
use crate::told::Told;
use crate::workloads::{WorkloadKind, WorkloadRef};

/// Everything that a plan follows from.
#[derive(Clone, Debug)]
pub struct World {
    /// Numbering plans.
    pub dial_plans: Shared<BTreeMap<Key, Object<UMDialPlanSpec>>>,
    /// Peers that may call us.
    pub gateways: Sliced<Object<UMIPGatewaySpec>>,
    /// Which calls of a gateway belong to which dial plan.
    pub hunt_groups: Sliced<Object<UMHuntGroupSpec>>,
    /// What answers calls for nobody in particular.
    pub attendants: Sliced<Object<UMAutoAttendantSpec>>,
    /// What mailboxes have in common.
    pub policies: Shared<BTreeMap<Key, Object<UMMailboxPolicySpec>>>,
    /// Users.
    pub mailboxes: Sliced<Object<UMMailboxSpec>>,
    /// Servers that redirect calls.
    pub routers: Shared<BTreeMap<Key, Object<UMCallRouterSpec>>>,
    /// Servers that answer calls.
    pub services: Shared<BTreeMap<Key, Object<UMServiceSpec>>>,
    /// Secrets that a server may take its certificate from.
    pub secrets: BTreeMap<Key, TlsSecret>,
    /// Secrets that a mailbox server may take the keys of a bucket from.
    pub store_keys: BTreeMap<Key, StoreKeys>,
    /// Edits that were refused before they came here; the objects above are the last good ones.
    pub refused: Vec<Problem>,
    /// The address of the machine that the servers run on; unspecified in a cluster, where each pod
    /// is told its own.
    pub address: IpAddr,
    /// Where the servers run as pods: their cluster. A world is then one namespace of it.
    pub cluster: Option<Cluster>,
    /// A key that nobody has had before, for when one is needed.
    pub spare_key: Option<TokenKey>,
    /// Why the keys of the redirect token are there and cannot be read, if it is so.
    pub token_trouble: Option<String>,
    /// What was found out about the names that gateways are known by.
    pub names: Arc<Answers>,
    /// What became of earlier plans.
    pub observed: Observed,
    /// The time that a condition which changes now is given.
    pub now: jiff::Timestamp,
}

/// What became of earlier plans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The index of each UMCallRouter as it is written.
    pub routers: BTreeMap<Key, RouterIndex>,
    /// The index of each UMService as it is written.
    pub services: BTreeMap<Key, MailboxIndex>,
    /// The parts that the servers of a namespace share, as they are written.
    pub parts: BTreeMap<PartRef, WrittenPart>,
    /// What the servers of each namespace were told by the site part.
    pub sites: BTreeMap<String, Arc<Told>>,
    /// The keys of the redirect token as they are written.
    pub token_keys: Option<WrittenKeys>,
    /// The objects that run the servers, as they are.
    pub workloads: BTreeMap<WorkloadRef, serde_json::Value>,
    /// The status of each object as it is written.
    pub statuses: PerObject<ObjectStatus>,
    /// What the servers say that they serve.
    pub served: Generations,
    /// What the last plan said of the objects that wait to be served. Whoever does not remember it
    /// loses only time: such objects wait for the newest generation then.
    pub awaited: Awaited,
    /// The object behind which the last plan was cut, if it was.
    pub cut_after: Option<ObjectRef>,
}

/// Objects that wait to be served, and since which generations of configuration they stand there as
/// they are written. Who changes something every moment is served all the same.
pub type Awaited = PerObject<Waits>;

/// How long an object waits already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    /// The generation of the object.
    pub generation: i64,
    /// The first configurations in which it stands.
    pub since: Arc<Generations>,
}

/// One of the parts that the servers of a namespace share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartRef {
    /// The namespace.
    pub namespace: String,
    /// Which part.
    pub name: PartName,
}

/// Which part of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartName {
    /// The mailboxes of one database, by its number.
    Database(usize),
    /// Everything else.
    Site,
}

impl PartName {
    /// Every part that there may be.
    pub fn all() -> impl Iterator<Item = PartName> {
        (0..DATABASES).map(PartName::Database).chain([PartName::Site])
    }

    /// The name of its file.
    pub fn file(self) -> String {
        match self {
            PartName::Database(number) => database_file(number),
            PartName::Site => SITE_FILE.into(),
        }
    }
}

/// A part as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenPart {
    /// Its bytes.
    pub part: Part,
    /// The identities of the server objects that it belongs to.
    pub owners: BTreeSet<String>,
}

/// The keys of the redirect token as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenKeys {
    /// The first signs, all of them verify.
    pub keys: Vec<TokenKey>,
    /// How far their rotation is.
    pub phase: Phase,
    /// Since when.
    pub since: jiff::Timestamp,
    /// The identities of the server objects that they belong to.
    pub owners: BTreeSet<String>,
}

/// How far the rotation of the keys of a redirect token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There is one key.
    Steady,
    /// A new key verifies, and the one before signs.
    Introduced,
    /// The new key signs, as soon as a server has heard of it.
    Signing,
    /// The new key signs everywhere; tokens of the one before may still be on their way.
    Retiring,
}

impl Phase {
    /// Every phase, in their order.
    pub const ALL: [Phase; 4] = [Phase::Steady, Phase::Introduced, Phase::Signing, Phase::Retiring];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Steady => "Steady",
            Phase::Introduced => "Introduced",
            Phase::Signing => "Signing",
            Phase::Retiring => "Retiring",
        }
    }
}

impl Observed {
    /// What the router of this object reads, without its certificate.
    ///
    /// # Errors
    /// [`ReadError`], if it is not whole.
    pub fn router_config(&self, key: &Key, keys: &[TokenKey]) -> Result<Option<RouterConfig>, ReadError> {
        let Some(index) = self.routers.get(key) else { return Ok(None) };
        let folder = |file: &str| self.file(&key.namespace, file, keys);
        let reading = Reader::new(|_| Ok(())).router(&index.to_yaml()?, &folder)?;
        Ok(Some(reading.config))
    }

    /// What the mailbox servers of this object read, without their certificate.
    ///
    /// # Errors
    /// [`ReadError`], if it is not whole.
    pub fn mailbox_config(&self, key: &Key, keys: &[TokenKey]) -> Result<Option<MailboxConfig>, ReadError> {
        let Some(index) = self.services.get(key) else { return Ok(None) };
        let folder = |file: &str| self.file(&key.namespace, file, keys);
        let reading = Reader::new(|_| Ok(())).mailbox(&index.to_yaml()?, &folder)?;
        Ok(Some(reading.config))
    }

    /// A file that the servers of a namespace share.
    fn file(&self, namespace: &str, file: &str, keys: &[TokenKey]) -> Option<Vec<u8>> {
        if file == TOKEN_KEYS_FILE {
            return token_keys_to_yaml(keys).ok().map(String::into_bytes);
        }
        let name = PartName::all().find(|name| name.file() == file)?;
        let written = self.parts.get(&PartRef { namespace: namespace.into(), name })?;
        Some(written.part.bytes.to_vec())
    }
}

/// Generations of configuration, by UMCallRouter and UMService: what its servers say that they
/// serve, or what is written for them. One that there is no server of, or that has said nothing, is
/// left out.
pub type Generations = BTreeMap<ObjectRef, u64>;

/// An object as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object<S> {
    /// Grows by one with each change of the spec, beginning with 1.
    pub generation: i64,
    /// What the person wrote.
    pub spec: S,
}

/// Which object of its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// The object `name` in `namespace`.
    pub fn new(namespace: &str, name: &str) -> Key {
        Key { namespace: namespace.into(), name: name.into() }
    }

    /// The object of this name beside this one: references stay in their namespace (decision 3).
    pub(crate) fn beside(&self, name: &str) -> Key {
        Key::new(&self.namespace, name)
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// Which object. The kind is a text, because it may be one that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Its kind, as it is written.
    pub kind: String,
    /// Which of that kind.
    pub key: Key,
}

impl ObjectRef {
    /// The object `key` of `kind`.
    pub fn new(kind: Kind, key: &Key) -> ObjectRef {
        ObjectRef { kind: kind.name().into(), key: key.clone() }
    }
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.kind, self.key)
    }
}

/// What a Secret holds for TLS.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsSecret {
    /// The certificate chain as PEM text (`tls.crt`), if the Secret has one.
    pub chain: Option<String>,
    /// The private key as PEM text (`tls.key`), if the Secret has one.
    pub key: Option<String>,
    /// Who signs the certificates of peers, as PEM text (`ca.crt`), if the Secret says so.
    pub authorities: Option<String>,
}

impl std::fmt::Debug for TlsSecret {
    /// Shows no byte of the key.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TlsSecret(..)")
    }
}

impl World {
    /// A world with nothing in it.
    pub fn empty(address: IpAddr, now: jiff::Timestamp) -> World {
        World {
            dial_plans: Shared::default(),
            gateways: Sliced::default(),
            hunt_groups: Sliced::default(),
            attendants: Sliced::default(),
            policies: Shared::default(),
            mailboxes: Sliced::default(),
            routers: Shared::default(),
            services: Shared::default(),
            secrets: BTreeMap::new(),
            store_keys: BTreeMap::new(),
            refused: Vec::new(),
            address,
            cluster: None,
            spare_key: None,
            token_trouble: None,
            names: Arc::default(),
            observed: Observed::default(),
            now,
        }
    }

    /// The world once this was written.
    pub fn apply(&mut self, write: Write) {
        if let Write::Default(default) = write {
            self.make(*default);
        } else {
            write.apply(&mut self.observed);
        }
    }

    /// Puts an object beside the others that was made for one of them.
    pub(crate) fn make(&mut self, default: DefaultObject) {
        match default.spec {
            DefaultSpec::Policy(spec) => {
                self.policies.insert(default.key, Object { generation: 1, spec });
            }
            DefaultSpec::HuntGroup(spec) => {
                self.hunt_groups.insert(default.key, Object { generation: 1, spec });
            }
        }
    }

    /// The Service of Kubernetes that has this name, if there is one.
    pub(crate) fn service_before(&self, key: &Key) -> Option<&serde_json::Value> {
        self.observed.workloads.get(&WorkloadRef { kind: WorkloadKind::Service, key: key.clone() })
    }
}
