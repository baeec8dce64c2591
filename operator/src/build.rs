//! Fourth step: the documents that the servers should read.
//!
//! Decides what of the objects goes where. Everything in it was validated, so nothing here can go
//! wrong. A server that cannot be used as it is written keeps the identity that it was last given,
//! and goes on with everybody else's news; a server whose object is gone takes no more calls.

use std::collections::{BTreeMap, BTreeSet};

use config::{
    CallSettings, Certificate, DATABASES, Delivery, DialPlan, Directory, Gateway, HuntGroup, Listeners,
    Mailbox, MailboxConfig, MailboxServer, Owner, RouterConfig, SCHEMA_VERSION, ServerIdentity, ServerStatus,
    Smtp, database_of,
};
use crds::{Kind, StartupMode, UMCallRouterSpec, UMServiceSpec};

use crate::dereference::Linked;
use crate::exposure::{Place, Ports, place};
use crate::hosting::hosts;
use crate::translate;
use crate::workloads::{FIRST_MEDIA_PORT, media_ports};
use crate::world::{Generations, Key, ObjectRef, TlsSecret, World};
use crate::written::Written;

/// Seconds of a minute: dial plans count calls in minutes, servers in seconds.
const S_PER_MIN: i64 = 60;

/// The documents that should be there, by server object.
pub(crate) struct Wanted {
    pub(crate) routers: BTreeMap<Key, Document<RouterConfig>>,
    pub(crate) services: BTreeMap<Key, Document<MailboxConfig>>,
}

/// A document, and whether anybody is served by it.
pub(crate) struct Document<C> {
    /// Its object is gone.
    pub(crate) withdrawn: bool,
    pub(crate) config: C,
}

impl Wanted {
    /// The generations of the documents.
    pub(crate) fn generations(&self) -> Generations {
        let routers = self
            .routers
            .iter()
            .map(|(key, document)| (ObjectRef::new(Kind::UMCallRouter, key), document.config.generation));
        let services = self
            .services
            .iter()
            .map(|(key, document)| (ObjectRef::new(Kind::UMService, key), document.config.generation));
        routers.chain(services).collect()
    }
}

/// The documents that follow from `linked`.
pub(crate) fn build(world: &World, linked: &Linked<'_>) -> Wanted {
    let services = services(world, linked);
    Wanted { routers: routers(world, linked, &services), services: mailboxes(world, linked, services) }
}

/// A mailbox service as it should be.
struct Service {
    identity: ServerIdentity,
    /// Its servers, as routers see them.
    servers: Vec<MailboxServer>,
    max_calls_allowed: u32,
    delivery: Delivery,
}

/// The mailbox services as they are written, or else as they were last given.
fn services(world: &World, linked: &Linked<'_>) -> BTreeMap<Key, Service> {
    let observed = Written::new(world, &world.observed.services);
    let keys = observed.served(&world.services, linked.services.keys().copied());
    let service = |key: &Key| {
        let (identity, max_calls_allowed, delivery) = match (linked.services.get(key), observed.of(key)) {
            (Some(server), _) => {
                let spec = server.spec;
                let listeners = service_listeners(spec);
                let identity = identity(key, spec.status, spec.um_startup_mode, listeners, server.secret);
                (identity, small(spec.max_calls_allowed), delivery(spec))
            }
            (None, observed) => {
                let observed = observed?;
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

fn routers(
    world: &World,
    linked: &Linked<'_>,
    services: &BTreeMap<Key, Service>,
) -> BTreeMap<Key, Document<RouterConfig>> {
    let observed = Written::new(world, &world.observed.routers);
    let keys = observed.served(&world.routers, linked.routers.keys().copied());
    let document = |key: &Key| {
        let before = observed.of(key);
        let server = match linked.routers.get(key) {
            Some(server) => {
                let spec = server.spec;
                let listeners = router_listeners(spec);
                identity(key, spec.status, spec.um_startup_mode, listeners, server.secret)
            }
            None => before?.server.clone(),
        };
        let mut config = RouterConfig {
            schema_version: SCHEMA_VERSION,
            generation: before.map_or(0, |config| config.generation),
            server,
            token_keys: world.token_keys.clone(),
            directory: directory(world, linked, &key.namespace, services),
        };
        if before != Some(&config) {
            config.generation += 1;
        }
        Some((key.clone(), Document { withdrawn: false, config }))
    };
    let mut documents: BTreeMap<_, _> = keys.into_iter().filter_map(document).collect();
    if documents.is_empty()
        && let Some((key, config)) = observed.last
    {
        let mut config = config.clone();
        withdraw(&mut config.server, &mut config.generation);
        documents.insert(key.clone(), Document { withdrawn: true, config });
    }
    documents
}

fn mailboxes(
    world: &World,
    linked: &Linked<'_>,
    services: BTreeMap<Key, Service>,
) -> BTreeMap<Key, Document<MailboxConfig>> {
    let observed = Written::new(world, &world.observed.services);
    let directories: Vec<Directory> =
        services.keys().map(|key| directory(world, linked, &key.namespace, &services)).collect();
    let document = |((key, service), directory): ((Key, Service), Directory)| {
        let before = observed.of(&key);
        let mut config = MailboxConfig {
            schema_version: SCHEMA_VERSION,
            generation: before.map_or(0, |config| config.generation),
            server: service.identity,
            first_media_port: world.cluster.as_ref().map(|_| FIRST_MEDIA_PORT),
            max_calls_allowed: service.max_calls_allowed,
            token_keys: world.token_keys.clone(),
            directory,
            calls: calls(linked, &key.namespace),
            owners: owners(linked, &key.namespace),
            delivery: service.delivery,
            store: config::Store::Own,
        };
        if before != Some(&config) {
            config.generation += 1;
        }
        (key, Document { withdrawn: false, config })
    };
    let mut documents: BTreeMap<_, _> = services.into_iter().zip(directories).map(document).collect();
    if documents.is_empty()
        && let Some((key, config)) = observed.last
    {
        let mut config = config.clone();
        withdraw(&mut config.server, &mut config.generation);
        documents.insert(key.clone(), Document { withdrawn: true, config });
    }
    documents
}

/// Who a server is, from its object.
fn identity(
    key: &Key,
    status: crds::ServerStatus,
    mode: StartupMode,
    listeners: Listeners,
    secret: Option<&TlsSecret>,
) -> ServerIdentity {
    let certificate = secret
        .and_then(|secret| Some(Certificate { chain: secret.chain.clone()?, key: secret.key.clone()? }));
    ServerIdentity {
        name: key.name.clone(),
        status: translate::server_status(status),
        startup_mode: translate::startup_mode(mode),
        listeners,
        certificate,
    }
}

/// A server whose object is gone takes no more calls. Its document stays, or it would go on with
/// the last one that it read.
fn withdraw(server: &mut ServerIdentity, generation: &mut u64) {
    if server.status != ServerStatus::Disabled {
        server.status = ServerStatus::Disabled;
        *generation += 1;
    }
}

/// Everything that calls of a namespace are decided on.
fn directory(
    world: &World,
    linked: &Linked<'_>,
    namespace: &str,
    services: &BTreeMap<Key, Service>,
) -> Directory {
    let within = |key: &&&Key| key.namespace == namespace;
    let services = services.iter().filter(|(key, _)| key.namespace == namespace);
    let mailbox_servers: Vec<MailboxServer> =
        services.flat_map(|(_, service)| service.servers.iter().cloned()).collect();
    let hosts = hosts_of(&mailbox_servers, previous_hosts(world, namespace));
    let gateways = linked.gateways.iter().filter(|(key, _)| within(key)).map(|(key, gateway)| Gateway {
        name: key.name.clone(),
        address: gateway.address,
        status: translate::gateway_status(gateway.spec.status),
    });
    let hunt_groups =
        linked.hunt_groups.iter().filter(|(key, _)| within(key)).map(|(key, hunt_group)| HuntGroup {
            name: key.name.clone(),
            gateway: hunt_group.gateway.name.clone(),
            pilot: hunt_group.spec.pilot_identifier.clone(),
            dial_plan: hunt_group.dial_plan.name.clone(),
        });
    let dial_plans = linked.dial_plans.iter().filter(|(key, _)| within(key)).map(|(key, spec)| DialPlan {
        name: key.name.clone(),
        number_of_digits_in_extension: small(spec.number_of_digits_in_extension),
        voip_security: translate::voip_security(spec.voip_security),
    });
    let mailboxes = linked.mailboxes.iter().filter(|(key, _)| within(key)).map(|(key, mailbox)| Mailbox {
        name: key.name.clone(),
        dial_plan: mailbox.plan_key.name.clone(),
        extensions: mailbox.extensions.iter().map(|(_, extension)| (*extension).into()).collect(),
    });
    // As they are read again: by database.
    let mut mailboxes: Vec<Mailbox> = mailboxes.collect();
    mailboxes.sort_by_key(|mailbox| database_of(&mailbox.name));
    Directory {
        gateways: gateways.collect(),
        cluster: world.cluster.iter().flat_map(|cluster| cluster.nodes.iter().copied()).collect(),
        hunt_groups: hunt_groups.collect(),
        dial_plans: dial_plans.collect(),
        mailboxes,
        mailbox_servers,
        hosts,
    }
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

/// Who hosted each database of a namespace until now.
fn previous_hosts<'w>(world: &'w World, namespace: &str) -> &'w [String] {
    let services = world.observed.services.iter().map(|(key, config)| (key, &config.directory));
    let routers = world.observed.routers.iter().map(|(key, config)| (key, &config.directory));
    let mut known = services.chain(routers).filter(|(key, _)| key.namespace == namespace);
    known.next().map(|(_, directory)| directory.hosts.as_slice()).unwrap_or_default()
}

fn calls(linked: &Linked<'_>, namespace: &str) -> BTreeMap<String, CallSettings> {
    let plans = linked.dial_plans.iter().filter(|(key, _)| key.namespace == namespace);
    plans
        .map(|(key, spec)| {
            let settings = CallSettings {
                language: translate::language(spec.default_language),
                max_call_duration_s: small(spec.max_call_duration * S_PER_MIN),
                max_recording_duration_s: small(spec.max_recording_duration * S_PER_MIN),
                recording_idle_timeout_s: small(spec.recording_idle_timeout),
            };
            (key.name.clone(), settings)
        })
        .collect()
}

fn owners(linked: &Linked<'_>, namespace: &str) -> BTreeMap<String, Owner> {
    let mailboxes = linked.mailboxes.iter().filter(|(key, _)| key.namespace == namespace);
    mailboxes
        .map(|(key, mailbox)| {
            let owner = Owner {
                display_name: mailbox.spec.display_name.clone(),
                primary_smtp_address: mailbox.spec.primary_smtp_address.clone(),
                voice_mail_text: mailbox.policy.voice_mail_text.clone(),
            };
            (key.name.clone(), owner)
        })
        .collect()
}

fn delivery(spec: &UMServiceSpec) -> Delivery {
    let smtp = spec.smtp.as_ref().map(|smtp| Smtp {
        host: smtp.host.clone(),
        port: small(smtp.port),
        from: smtp.from.clone(),
        security: translate::smtp_security(smtp.security),
    });
    Delivery { smtp }
}

/// The ports that a router listens on in its mode (decision 6).
pub(crate) fn router_listeners(spec: &UMCallRouterSpec) -> Listeners {
    listeners(
        spec.um_startup_mode,
        spec.sip_udp_listening_port,
        spec.sip_tcp_listening_port,
        spec.sip_tls_listening_port,
    )
}

/// The ports that a mailbox server listens on in its mode (decision 6).
pub(crate) fn service_listeners(spec: &UMServiceSpec) -> Listeners {
    listeners(
        spec.um_startup_mode,
        spec.sip_udp_listening_port,
        spec.sip_tcp_listening_port,
        spec.sip_tls_listening_port,
    )
}

fn listeners(mode: StartupMode, udp: i64, tcp: i64, tls: i64) -> Listeners {
    let (plain, secure) = match mode {
        StartupMode::TCP => (true, false),
        StartupMode::TLS => (false, true),
        StartupMode::Dual => (true, true),
    };
    Listeners {
        udp: plain.then(|| small(udp)),
        tcp: plain.then(|| small(tcp)),
        tls: secure.then(|| small(tls)),
    }
}

/// A number in the smaller type that the servers read. Its range was checked; what would not fit
/// becomes 0.
fn small<T: TryFrom<i64> + Default>(number: i64) -> T {
    T::try_from(number).unwrap_or_default()
}
