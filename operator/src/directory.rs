//! What stands in an index and in the parts: the words of the objects in those of the servers.
//!
//! Decides what of each object goes where. Everything in it was validated, so nothing here can go
//! wrong. Refuses to know which files there are and what stood in them before.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use config::parts::SitePart;
use config::{
    AutoAttendant, CallSettings, Delivery, DialPlan, Directory, Listeners, MailboxPolicy, ServerIdentity,
    Smtp,
};
use crds::{StartupMode, UMCallRouterSpec, UMServiceSpec};

use crate::dereference::Linked;
use crate::shared::{SLICES, Shared};
use crate::translate;
use crate::world::Key;

/// Seconds of a minute: dial plans count calls in minutes, servers in seconds.
const S_PER_MIN: i64 = 60;

/// Who a server is, from its object.
pub(crate) fn identity(
    key: &Key,
    status: crds::ServerStatus,
    mode: StartupMode,
    listeners: Listeners,
) -> ServerIdentity {
    ServerIdentity {
        name: key.name.clone(),
        status: translate::server_status(status),
        startup_mode: translate::startup_mode(mode),
        listeners,
        certificate: None,
    }
}

/// What servers of a namespace decide calls on, and how they conduct them, but mailboxes and other servers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RoutingSite {
    /// Everything but gateways and hunt groups.
    pub(crate) head: SitePart,
    /// Those, of which there may be thousands.
    pub(crate) gateways: Division,
    pub(crate) hunt_groups: Division,
}

/// Into how many documents the gateways of a namespace are divided, and its hunt groups: few enough that each is
/// worth compressing by itself, and enough that a change of one costs a millisecond.
const DIVISIONS: usize = 32;

/// Documents of one namespace, by number.
pub(crate) type Division = BTreeMap<usize, Shared<SitePart>>;

/// Documents with what there may be thousands of, by namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Documents(BTreeMap<String, Division>);

impl Documents {
    /// The slices that stand in one document with this one.
    pub(crate) const fn slices_beside(slice: usize) -> Range<usize> {
        let first = slice - slice % (SLICES / DIVISIONS);
        first..first + SLICES / DIVISIONS
    }

    /// Writes what stands in the documents of the slices from `first`, each object as `put` says.
    pub(crate) fn write<'o, O>(
        &mut self,
        first: usize,
        objects: impl Iterator<Item = (&'o Key, O)>,
        put: impl Fn(&mut Directory, O),
    ) {
        let number = first / (SLICES / DIVISIONS);
        let mut written: BTreeMap<&str, SitePart> = BTreeMap::new();
        for (key, object) in objects {
            put(&mut written.entry(&key.namespace).or_default().directory, object);
        }
        self.0.values_mut().for_each(|documents| drop(documents.remove(&number)));
        for (namespace, document) in written {
            self.0.entry(namespace.to_owned()).or_default().insert(number, document.into());
        }
        self.0.retain(|_, documents| !documents.is_empty());
    }
}

/// What servers of each namespace decide calls on.
pub(crate) fn sites(
    linked: &Linked<'_>,
    gateways: &Documents,
    hunt_groups: &Documents,
) -> BTreeMap<String, RoutingSite> {
    // Hunt groups lead to a dial plan beside them.
    let plans = linked.dial_plans.keys().map(|key| key.namespace.as_str());
    let namespaces: BTreeSet<&str> = gateways.0.keys().map(String::as_str).chain(plans).collect();
    let site = |namespace: &str| RoutingSite {
        head: head(linked, namespace),
        gateways: gateways.0.get(namespace).cloned().unwrap_or_default(),
        hunt_groups: hunt_groups.0.get(namespace).cloned().unwrap_or_default(),
    };
    namespaces.into_iter().map(|namespace| (namespace.to_owned(), site(namespace))).collect()
}

/// Everything but gateways and hunt groups.
fn head(linked: &Linked<'_>, namespace: &str) -> SitePart {
    let within = |key: &&&Key| key.namespace == namespace;
    let dial_plans = linked.dial_plans.iter().filter(|(key, _)| within(key)).map(|(key, spec)| DialPlan {
        name: key.name.clone(),
        number_of_digits_in_extension: small(spec.number_of_digits_in_extension),
        uri_type: translate::uri_type(spec.uri_type),
        voip_security: translate::voip_security(spec.voip_security),
        access_numbers: owned(linked.plan_lists.get(key).map(|lists| &lists.access_numbers)),
    });
    let attendants = linked.attendants.iter().filter(|(key, _)| within(key));
    let auto_attendants = attendants.map(|(key, attendant)| AutoAttendant {
        name: key.name.clone(),
        dial_plan: attendant.dial_plan.name.clone(),
        pilots: owned(Some(&attendant.pilots)),
        status: translate::attendant_status(attendant.spec.status),
    });
    let calls = linked.dial_plans.iter().filter(|(key, _)| within(key)).map(|(key, spec)| {
        let lists = linked.plan_lists.get(key);
        let settings = CallSettings {
            language: translate::language(spec.default_language),
            max_call_duration_s: small(spec.max_call_duration * S_PER_MIN),
            max_recording_duration_s: small(spec.max_recording_duration * S_PER_MIN),
            recording_idle_timeout_s: small(spec.recording_idle_timeout),
            numbering_plan_formats: owned(lists.map(|lists| &lists.numbering_plan_formats)),
            equivalent_dial_plans: owned(lists.map(|lists| &lists.equivalent_dial_plans)),
        };
        (key.name.clone(), settings)
    });
    let directory = Directory {
        dial_plans: dial_plans.collect(),
        auto_attendants: auto_attendants.collect(),
        ..Directory::default()
    };
    let policies = linked.policies.iter().filter(|(key, _)| within(key)).filter_map(|(key, spec)| {
        let voice_mail_text = Some(spec.voice_mail_text.clone()?);
        Some((key.name.clone(), MailboxPolicy { voice_mail_text }))
    });
    SitePart { directory, calls: calls.collect(), policies: policies.collect() }
}

fn owned(texts: Option<&Vec<&str>>) -> Vec<String> {
    texts.into_iter().flatten().map(|text| (*text).to_owned()).collect()
}

/// How messages leave the servers of a mailbox service.
pub(crate) fn delivery(spec: &UMServiceSpec) -> Delivery {
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
pub(crate) fn small<T: TryFrom<i64> + Default>(number: i64) -> T {
    T::try_from(number).unwrap_or_default()
}
