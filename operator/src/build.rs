//! Fourth step: the documents that the servers should read.
//!
//! Decides what of the objects goes where. Everything in it was validated, so nothing here can go
//! wrong. A server that cannot be used as it is written keeps the identity that it was last given,
//! and goes on with everybody else's news; a server whose object is gone takes no more calls.

use std::collections::BTreeMap;
use std::net::IpAddr;

use config::{
    CallSettings, Certificate, Delivery, DialPlan, Directory, Gateway, HuntGroup, Listeners, Mailbox,
    MailboxConfig, MailboxServer, Owner, RouterConfig, SCHEMA_VERSION, ServerIdentity, ServerStatus, Smtp,
};
use crds::{Kind, StartupMode, UMCallRouterSpec, UMServiceSpec};

use crate::dereference::Linked;
use crate::translate;
use crate::world::{Key, Object, ObjectRef, Served, TlsSecret, World};

/// Seconds of a minute: dial plans count calls in minutes, servers in seconds.
const S_PER_MIN: i64 = 60;

/// The documents that should be there.
pub(crate) struct Wanted {
    pub(crate) router: Option<Document<RouterConfig>>,
    pub(crate) mailbox: Option<Document<MailboxConfig>>,
}

/// A document and whose objects are in it.
pub(crate) struct Document<C> {
    /// The namespace whose objects it holds; `None` for a server that was withdrawn.
    pub(crate) namespace: Option<String>,
    pub(crate) config: C,
}

impl Wanted {
    /// The generations of the documents.
    pub(crate) fn generations(&self) -> Served {
        Served {
            router: self.router.as_ref().map(|document| document.config.generation),
            mailbox: self.mailbox.as_ref().map(|document| document.config.generation),
        }
    }
}

/// The documents that follow from `linked`.
pub(crate) fn build(world: &World, linked: &Linked<'_>) -> Wanted {
    let service = service(world, linked);
    Wanted { router: router(world, linked, service.as_ref()), mailbox: mailbox(world, linked, service) }
}

/// The mailbox server as it should be, and the namespace that it belongs to.
struct Service {
    namespace: String,
    identity: ServerIdentity,
    /// Whether there is one to answer calls.
    is_there: bool,
    max_calls_allowed: u32,
    delivery: Delivery,
}

/// The mailbox server as it is written, or else as it was last given.
fn service(world: &World, linked: &Linked<'_>) -> Option<Service> {
    if let Some((key, server)) = linked.services.iter().next() {
        let spec = server.spec;
        let listeners = service_listeners(spec);
        let identity = identity(world, key, spec.status, spec.um_startup_mode, listeners, server.secret);
        let (address, is_there) = place(world, key);
        return Some(Service {
            namespace: key.namespace.clone(),
            is_there,
            identity: ServerIdentity { address, ..identity },
            max_calls_allowed: small(spec.max_calls_allowed),
            delivery: delivery(spec),
        });
    }
    let observed = world.observed.mailbox.as_ref()?;
    let (namespace, identity) = last_good(&world.services, &observed.server)?;
    let (max_calls_allowed, delivery) = (observed.max_calls_allowed, observed.delivery.clone());
    let (address, is_there) = place(world, &Key::new(&namespace, &identity.name));
    let identity = ServerIdentity { address, ..identity };
    Some(Service { namespace, identity, is_there, max_calls_allowed, delivery })
}

/// Where the mailbox server is, and whether there is one: on one machine always, in a cluster as
/// soon as its pod takes calls.
fn place(world: &World, key: &Key) -> (IpAddr, bool) {
    let Some(cluster) = &world.cluster else { return (world.address, true) };
    cluster.place(&ObjectRef::new(Kind::UMService, key)).unwrap_or((world.address, false))
}

fn router(world: &World, linked: &Linked<'_>, service: Option<&Service>) -> Option<Document<RouterConfig>> {
    let observed = world.observed.router.as_ref();
    let own = linked.routers.iter().next().map(|(key, server)| {
        let spec = server.spec;
        let listeners = router_listeners(spec);
        let identity = identity(world, key, spec.status, spec.um_startup_mode, listeners, server.secret);
        (key.namespace.clone(), identity)
    });
    let last = || last_good(&world.routers, &observed?.server);
    let Some((namespace, server)) = own.or_else(last) else {
        return observed.map(|config| {
            let mut config = config.clone();
            withdraw(&mut config.server, &mut config.generation);
            Document { namespace: None, config }
        });
    };
    let mut config = RouterConfig {
        schema_version: SCHEMA_VERSION,
        generation: observed.map_or(0, |config| config.generation),
        server,
        token_keys: world.token_keys.clone(),
        directory: directory(linked, &namespace, service),
    };
    if observed != Some(&config) {
        config.generation += 1;
    }
    Some(Document { namespace: Some(namespace), config })
}

fn mailbox(world: &World, linked: &Linked<'_>, service: Option<Service>) -> Option<Document<MailboxConfig>> {
    let observed = world.observed.mailbox.as_ref();
    let Some(service) = service else {
        return observed.map(|config| {
            let mut config = config.clone();
            withdraw(&mut config.server, &mut config.generation);
            Document { namespace: None, config }
        });
    };
    let directory = directory(linked, &service.namespace, Some(&service));
    let Service { namespace, identity, is_there: _, max_calls_allowed, delivery } = service;
    let mut config = MailboxConfig {
        schema_version: SCHEMA_VERSION,
        generation: observed.map_or(0, |config| config.generation),
        server: identity,
        max_calls_allowed,
        token_keys: world.token_keys.clone(),
        directory,
        calls: calls(linked, &namespace),
        owners: owners(linked, &namespace),
        delivery,
    };
    if observed != Some(&config) {
        config.generation += 1;
    }
    Some(Document { namespace: Some(namespace), config })
}

/// Who a server is, from its object.
fn identity(
    world: &World,
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
        address: world.address,
        status: translate::server_status(status),
        startup_mode: translate::startup_mode(mode),
        listeners,
        certificate,
    }
}

/// The identity that a server was last given, if its object is still there.
fn last_good<S>(
    objects: &BTreeMap<Key, Object<S>>,
    observed: &ServerIdentity,
) -> Option<(String, ServerIdentity)> {
    let key = objects.keys().find(|key| key.name == observed.name)?;
    Some((key.namespace.clone(), observed.clone()))
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
fn directory(linked: &Linked<'_>, namespace: &str, service: Option<&Service>) -> Directory {
    let within = |key: &&&Key| key.namespace == namespace;
    // One machine has at most one mailbox server; it is the host of every mailbox.
    let service = service.filter(|service| service.namespace == namespace);
    let mailbox_servers: Vec<MailboxServer> = service.map(mailbox_server).into_iter().collect();
    let host = mailbox_servers.first().map(|server| server.name.clone()).unwrap_or_default();
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
        server: host.clone(),
    });
    Directory {
        gateways: gateways.collect(),
        hunt_groups: hunt_groups.collect(),
        dial_plans: dial_plans.collect(),
        mailboxes: mailboxes.collect(),
        mailbox_servers,
    }
}

/// A mailbox server as routers see it.
fn mailbox_server(service: &Service) -> MailboxServer {
    let ServerIdentity { name, address, status, listeners, .. } = &service.identity;
    MailboxServer {
        name: name.clone(),
        address: *address,
        listeners: *listeners,
        in_service: service.is_there && *status == ServerStatus::Enabled,
    }
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
