//! Fourth step: the files that the servers should read.
//!
//! Decides which files there are and what the indices say. Everything in them was validated, so
//! nothing here can go wrong but a size. A server that cannot be used as it is written keeps the
//! identity that it was last given, and goes on with everybody else's news; a server whose object is
//! gone takes no more calls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use config::parts::{
    CERTIFICATE_FILES, DatabasePart, MailboxIndex, Part, RouterIndex, TOKEN_KEYS_FILE, digest, is_own,
    token_keys_to_yaml,
};
use config::{
    Code, DATABASES, Delivery, MailboxServer, S3, S3Keys, SCHEMA_VERSION, ServerIdentity, ServerStatus,
    Store, TokenKey,
};
use crds::{Kind, MessageStore, UMServiceSpec};

use crate::dereference::LinkedServers;
use crate::directory::{delivery, identity, router_listeners, service_listeners, small};
use crate::exposure::{Place, Ports, place};
use crate::hosting::hosts;
use crate::memory::{Memory, SiteInput};
use crate::problem::Problem;
use crate::routing::Routing;
use crate::store_keys::StoreKeys;
use crate::told::Told;
use crate::translate;
use crate::workloads::{FIRST_MEDIA_PORT, STORE_DIR, media_ports};
use crate::world::{Generations, Key, ObjectRef, PartName, PartRef, TlsSecret, World};
use crate::written::Written;

/// A ConfigMap holds 1 MiB, and its own fields need some of it.
const MAX_CONFIG_MAP_BYTES: usize = 1_000_000;

/// The files that should be there.
pub(crate) struct Wanted {
    pub(crate) parts: BTreeMap<PartRef, Part>,
    /// What the site part of each namespace tells servers.
    pub(crate) sites: BTreeMap<String, Arc<Told>>,
    pub(crate) routers: BTreeMap<Key, Document<RouterIndex>>,
    pub(crate) services: BTreeMap<Key, Document<MailboxIndex>>,
}

/// An index, and whether anybody is served by it.
pub(crate) struct Document<C> {
    /// Its object is gone.
    pub(crate) withdrawn: bool,
    pub(crate) index: C,
}

impl Wanted {
    /// The generations of the indices.
    pub(crate) fn generations(&self) -> Generations {
        let routers = self
            .routers
            .iter()
            .map(|(key, document)| (ObjectRef::new(Kind::UMCallRouter, key), document.index.generation));
        let services = self
            .services
            .iter()
            .map(|(key, document)| (ObjectRef::new(Kind::UMService, key), document.index.generation));
        routers.chain(services).collect()
    }
}

/// The files that follow from `linked`. Without `keys`, which then cannot be read, servers are told to
/// stay with those that they have.
pub(crate) fn build(
    world: &World,
    routing: &Routing,
    linked: &LinkedServers<'_>,
    keys: Option<&[TokenKey]>,
    memory: &mut Memory,
    problems: &mut Vec<Problem>,
) -> Wanted {
    let routers = Written::new(world, &world.observed.routers);
    let router_keys = routers.served(&world.routers, linked.routers.keys().copied());
    let services = services(world, linked);
    let all = router_keys.iter().copied().chain(services.keys());
    let namespaces: BTreeSet<&str> = all.map(|key| key.namespace.as_str()).collect();
    let mut common = Common {
        parts: BTreeMap::new(),
        keys: keys.and_then(|keys| Some(digest(token_keys_to_yaml(keys).ok()?.as_bytes()))),
    };
    let mut sites = BTreeMap::new();
    for namespace in namespaces {
        let within = services.iter().filter(|(key, _)| key.namespace == namespace);
        let servers: Vec<MailboxServer> =
            within.flat_map(|(_, service)| service.servers.iter().cloned()).collect();
        let previous = world.observed.sites.get(namespace).map(|site| site.hosts.as_slice());
        let hosts = hosts_of(&servers, previous.unwrap_or_default());
        let nodes = world.cluster.iter().flat_map(|cluster| cluster.nodes.iter().copied()).collect();
        let routing = routing.sites.get(namespace).cloned().unwrap_or_default();
        let site = memory.site(namespace, SiteInput { routing, nodes, servers, hosts });
        let named = PartRef { namespace: namespace.into(), name: PartName::Site };
        common.put(world, named, site.part.clone(), problems);
        sites.insert(namespace.to_owned(), Arc::clone(&site.told));
        for (number, parts) in memory.mailboxes.parts().enumerate() {
            let named = PartRef { namespace: namespace.into(), name: PartName::Database(number) };
            // A part that is written says so when its last mailbox is gone.
            let part = match parts.get(namespace) {
                Some(part) => part.clone(),
                None if world.observed.parts.contains_key(&named) => DatabasePart::default().to_part().ok(),
                None => continue,
            };
            common.put(world, named, part, problems);
        }
    }
    let routers = router_indices(linked, &routers, &router_keys, &common);
    let services = mailbox_indices(world, linked, services, &common);
    Wanted { parts: common.parts, sites, routers, services }
}

/// What the servers of a namespace have in common.
struct Common {
    parts: BTreeMap<PartRef, Part>,
    /// The digest of the keys of the redirect token.
    keys: Option<String>,
}

impl Common {
    /// Puts in a part. One that is too large for the cluster stays as it was, and everything else goes
    /// on.
    fn put(&mut self, world: &World, named: PartRef, part: Option<Part>, problems: &mut Vec<Problem>) {
        let fits = |part: &Part| world.cluster.is_none() || part.bytes.len() <= MAX_CONFIG_MAP_BYTES;
        if let Some(part) = part.as_ref().filter(|part| !fits(part)) {
            let servers = servers_of(world, &named.namespace);
            problems.extend(servers.map(|server| too_large(server, named.name, part)));
        }
        let last = || world.observed.parts.get(&named).map(|written| written.part.clone());
        if let Some(part) = part.filter(fits).or_else(last) {
            self.parts.insert(named, part);
        }
    }

    /// The digest of every file of a generation but the index itself; `own` are those of the server
    /// alone, and `before` is what they were.
    fn digests(
        &self,
        namespace: &str,
        own: BTreeMap<String, String>,
        before: Option<&BTreeMap<String, String>>,
    ) -> BTreeMap<String, String> {
        let shared = self.parts.iter().filter(|(named, _)| named.namespace == namespace);
        let mut digests = own;
        digests.extend(shared.map(|(named, part)| (named.name.file(), part.digest.clone())));
        let keys = self.keys.as_ref().or_else(|| before?.get(TOKEN_KEYS_FILE));
        digests.extend(keys.map(|keys| (TOKEN_KEYS_FILE.to_owned(), keys.clone())));
        digests
    }
}

/// The server objects of a namespace.
pub(crate) fn servers_of<'w>(world: &'w World, namespace: &'w str) -> impl Iterator<Item = ObjectRef> + 'w {
    let routers = world.routers.keys().map(|key| ObjectRef::new(Kind::UMCallRouter, key));
    let services = world.services.keys().map(|key| ObjectRef::new(Kind::UMService, key));
    routers.chain(services).filter(move |server| server.key.namespace == namespace)
}

fn too_large(server: ObjectRef, name: PartName, part: &Part) -> Problem {
    let (what, fix) = match name {
        PartName::Site => ("everything but mailboxes", "remove objects that are not needed"),
        PartName::Database(_) => ("the mailboxes of one database", "remove mailboxes that are not needed"),
    };
    Problem {
        code: Code::PartTooLarge,
        value: format!("{} bytes", part.bytes.len()),
        rule: format!(
            "at most {MAX_CONFIG_MAP_BYTES} bytes, compressed, for {what} ({}), because a ConfigMap holds no more",
            name.file()
        ),
        fix: format!("{fix}, or divide them among namespaces; until then what it said before is served"),
        field: "metadata.namespace".into(),
        object: Some(server),
        waits_for: None,
    }
}

/// A mailbox service as it should be.
struct Service {
    identity: ServerIdentity,
    /// Its servers, as their peers see them.
    servers: Vec<MailboxServer>,
    max_calls_allowed: u32,
    delivery: Delivery,
}

/// The mailbox services as they are written, or else as they were last given.
fn services(world: &World, linked: &LinkedServers<'_>) -> BTreeMap<Key, Service> {
    let observed = Written::new(world, &world.observed.services);
    let keys = observed.served(&world.services, linked.services.keys().copied());
    let service = |key: &Key| {
        let (identity, max_calls_allowed, delivery) = match linked.services.get(key) {
            Some(server) => {
                let spec = server.spec;
                let identity = identity(key, spec.status, spec.um_startup_mode, service_listeners(spec));
                (identity, small(spec.max_calls_allowed), delivery(spec))
            }
            None => {
                let observed = observed.of(key)?;
                (observed.server.clone(), observed.max_calls_allowed, observed.delivery.clone())
            }
        };
        let servers = mailbox_servers(world, key, &identity);
        Some((key.clone(), Service { identity, servers, max_calls_allowed, delivery }))
    };
    keys.into_iter().filter_map(service).collect()
}

/// The servers of a mailbox service: on one machine the one that is named after it, in a cluster
/// its pods, each as soon as it is known where callers reach it.
fn mailbox_servers(world: &World, key: &Key, identity: &ServerIdentity) -> Vec<MailboxServer> {
    let server = |name: &str, place: Place, ready: bool| MailboxServer {
        name: name.into(),
        address: place.address,
        listeners: place.ports.listeners,
        media_ports: place.ports.media,
        in_service: ready && identity.status == ServerStatus::Enabled,
    };
    let Some(cluster) = &world.cluster else {
        let ports = Ports { listeners: identity.listeners, media: Vec::new() };
        return vec![server(&identity.name, Place { address: world.address, ports }, true)];
    };
    let exposure = world.services.get(key).map(|service| service.spec.exposure).unwrap_or_default();
    let ports = Ports { listeners: identity.listeners, media: media_ports() };
    let pods = cluster.instances(&ObjectRef::new(Kind::UMService, key)).iter();
    let place = |pod| place(exposure, pod, &ports, world.service_before(&key.beside(&pod.name))).ok();
    pods.filter_map(|pod| Some(server(&pod.name, place(pod)?, pod.ready))).collect()
}

/// Who hosts each database. While nobody is in service everybody may host, so that nothing moves
/// because all of them start at once.
fn hosts_of(servers: &[MailboxServer], previous: &[String]) -> Vec<String> {
    let names = |in_service: bool| -> BTreeSet<&str> {
        let servers = servers.iter().filter(|server| server.in_service || !in_service);
        servers.map(|server| server.name.as_str()).collect()
    };
    let in_service = names(true);
    let may_host = if in_service.is_empty() { names(false) } else { in_service };
    hosts(previous, &may_host, DATABASES)
}

fn router_indices(
    linked: &LinkedServers<'_>,
    observed: &Written<'_, RouterIndex>,
    keys: &[&Key],
    common: &Common,
) -> BTreeMap<Key, Document<RouterIndex>> {
    let document = |key: &&Key| {
        let before = observed.of(key);
        let (server, unknown_peers, certificate) = match linked.routers.get(*key) {
            Some(server) => {
                let spec = server.spec;
                let identity = identity(key, spec.status, spec.um_startup_mode, router_listeners(spec));
                (identity, translate::unknown_peers(spec.unknown_peers), certificate_digests(server.secret))
            }
            None => (before?.server.clone(), before?.unknown_peers, last_own(&before?.parts)),
        };
        let mut index = RouterIndex {
            schema_version: SCHEMA_VERSION,
            generation: before.map_or(0, |index| index.generation),
            server,
            unknown_peers,
            parts: common.digests(&key.namespace, certificate, before.map(|before| &before.parts)),
        };
        if before != Some(&index) {
            index.generation += 1;
        }
        Some(((*key).clone(), Document { withdrawn: false, index }))
    };
    let mut documents: BTreeMap<_, _> = keys.iter().filter_map(document).collect();
    if let Some((key, index)) = observed.last.filter(|_| documents.is_empty()) {
        let mut index = index.clone();
        withdraw(&mut index.server, &mut index.generation);
        documents.insert(key.clone(), Document { withdrawn: true, index });
    }
    documents
}

fn mailbox_indices(
    world: &World,
    linked: &LinkedServers<'_>,
    services: BTreeMap<Key, Service>,
    common: &Common,
) -> BTreeMap<Key, Document<MailboxIndex>> {
    let observed = Written::new(world, &world.observed.services);
    let document = |(key, service): (Key, Service)| {
        let before = observed.of(&key);
        let own = match linked.services.get(&key) {
            Some(server) => {
                let mut own = certificate_digests(server.secret);
                own.extend(server.store_keys.map(StoreKeys::digests).unwrap_or_default());
                own
            }
            None => before.map(|before| last_own(&before.parts)).unwrap_or_default(),
        };
        let mut index = MailboxIndex {
            schema_version: SCHEMA_VERSION,
            generation: before.map_or(0, |index| index.generation),
            server: service.identity,
            first_media_port: world.cluster.as_ref().map(|_| FIRST_MEDIA_PORT),
            max_calls_allowed: service.max_calls_allowed,
            delivery: service.delivery,
            store: store(linked.services.get(&key).map(|server| server.spec), before),
            parts: common.digests(&key.namespace, own, before.map(|before| &before.parts)),
        };
        if before != Some(&index) {
            index.generation += 1;
        }
        (key, Document { withdrawn: false, index })
    };
    let mut documents: BTreeMap<_, _> = services.into_iter().map(document).collect();
    if let Some((key, index)) = observed.last.filter(|_| documents.is_empty()) {
        let mut index = index.clone();
        withdraw(&mut index.server, &mut index.generation);
        documents.insert(key.clone(), Document { withdrawn: true, index });
    }
    documents
}

/// Where a server stores messages: in a cluster its pod has the claim at a fixed place.
fn store(spec: Option<&UMServiceSpec>, before: Option<&MailboxIndex>) -> Store {
    let Some(spec) = spec else { return before.map(|index| index.store.clone()).unwrap_or_default() };
    match &spec.store {
        Some(MessageStore { s3: Some(s3), .. }) => Store::S3(S3 {
            bucket: s3.bucket.clone(),
            endpoint: s3.endpoint.clone(),
            region: s3.region.clone(),
            // They have files of their own.
            keys: S3Keys::default(),
        }),
        Some(MessageStore { claim_name: Some(_), .. }) => Store::Folder(STORE_DIR.into()),
        Some(MessageStore { claim_name: None, s3: None }) | None => Store::Own,
    }
}

/// The digests of a certificate's files, as far as the Secret has them.
fn certificate_digests(secret: Option<&TlsSecret>) -> BTreeMap<String, String> {
    let Some(secret) = secret else { return BTreeMap::new() };
    let files = CERTIFICATE_FILES.into_iter().zip([&secret.chain, &secret.key, &secret.authorities]);
    files.filter_map(|(file, text)| Some((file.into(), digest(text.as_ref()?.as_bytes())))).collect()
}

/// The files of its own that a server was last given.
fn last_own(parts: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let own = parts.iter().filter(|(file, _)| is_own(file));
    own.map(|(file, digest)| (file.clone(), digest.clone())).collect()
}

/// A server whose object is gone takes no more calls. Its index stays, or it would go on with the
/// last one that it read.
fn withdraw(server: &mut ServerIdentity, generation: &mut u64) {
    if server.status != ServerStatus::Disabled {
        server.status = ServerStatus::Disabled;
        *generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::site::Cluster;
    use crate::world::{Object, WrittenPart};

    fn part(bytes: usize) -> Part {
        let bytes = vec![7; bytes];
        Part { digest: digest(&bytes), bytes: bytes.into() }
    }

    #[test]
    fn a_part_that_no_config_map_holds_stays_as_it_was_and_every_server_is_told() {
        let mut world = World::empty(IpAddr::from([0, 0, 0, 0]), jiff::Timestamp::UNIX_EPOCH);
        world.cluster = Some(Cluster::default());
        let spec = serde_json::from_value(serde_json::json!({})).unwrap();
        world.routers.insert(Key::new("default", "main"), Object { generation: 1, spec });
        let named = PartRef { namespace: "default".into(), name: PartName::Database(7) };
        let mut common = Common { parts: BTreeMap::new(), keys: None };
        let mut put = |world: &World, bytes: usize| {
            let mut problems = Vec::new();
            common.put(world, named.clone(), Some(part(bytes)), &mut problems);
            (common.parts.remove(&named).map(|part| part.bytes.len()), problems)
        };
        assert_eq!(put(&world, 1_000_000), (Some(1_000_000), vec![]));
        let (kept, problems) = put(&world, 1_000_001);
        assert_eq!((kept, problems.len(), problems[0].code), (None, 1, Code::PartTooLarge));
        assert_eq!(problems[0].object, servers_of(&world, "default").next());
        let written = WrittenPart { part: part(3), owners: BTreeSet::new() };
        world.observed.parts.insert(named.clone(), written);
        assert_eq!(put(&world, 1_000_001).0, Some(3));
        // A disk holds any.
        world.cluster = None;
        assert_eq!(put(&world, 1_000_001), (Some(1_000_001), vec![]));
    }
}
