//! The compiled form of a [`Directory`]: every question that [`route`](crate::route()) asks is one
//! hash lookup, however many gateways, hunt groups or mailboxes there are.
//!
//! Decides which entry answers to which key. Refuses to judge: compiling never fails. A reference
//! to something that does not exist never matches, and of two entries that claim one key the first
//! one has it; whoever writes a directory reports both to the person who wrote them.

use std::cell::OnceCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::party::SipAddress;
use crate::peers::Peers;
use crate::users::Users;
use crate::{
    AutoAttendant, DialPlan, Directory, Gateway, HuntGroup, Mailbox, MailboxRef, MailboxServer, Number,
    Party, ServerIdentity, ServerStatus, StartupMode,
};

/// What calls are decided on, ready to be asked. It never changes; a new document makes a new one.
#[derive(Debug)]
pub struct Table {
    pub(crate) server: OwnServer,
    pub(crate) peers: Peers,
    /// By gateway.
    hunt_groups: Map<String, GatewayHuntGroups>,
    dial_plans: Map<String, Arc<Plan>>,
    users: Users,
    mailboxes: Map<String, Mailbox>,
    servers: Map<String, Server>,
    /// By database; `None` where the directory names a server that it does not have, or none.
    hosts: Vec<Option<Arc<MailboxServer>>>,
    in_service: Vec<Server>,
}

/// What routing needs to know of the server that decides.
#[derive(Debug)]
pub(crate) struct OwnServer {
    pub(crate) name: String,
    pub(crate) status: ServerStatus,
    pub(crate) startup_mode: StartupMode,
    /// Whether it asks peers for a certificate.
    pub(crate) asks_for_certificates: bool,
}

/// Keys come from the configuration and from nobody who calls, so that a quick hash is good enough.
type Map<K, V> = HashMap<K, V, RandomState>;

/// A dial plan.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) dial_plan: DialPlan,
    /// By which its users are found.
    number: u16,
    /// In normal form.
    access_numbers: HashSet<String, RandomState>,
    /// By pilot, in normal form.
    attendants: Map<String, Arc<AutoAttendant>>,
}

#[derive(Debug, Default)]
struct GatewayHuntGroups {
    by_pilot: Map<String, Group>,
    without_pilot: Option<Group>,
}

/// A hunt group and its dial plan.
#[derive(Debug)]
struct Group {
    hunt_group: HuntGroup,
    plan: Arc<Plan>,
}

/// A mailbox server and the hash of its name, which is half of its rendezvous weight.
#[derive(Clone, Debug)]
struct Server {
    server: Arc<MailboxServer>,
    name_hash: u64,
}

impl Table {
    /// Compiles `directory` for the server that will decide by it.
    pub fn compile(directory: &Directory, server: &ServerIdentity) -> Table {
        let dial_plans = compile_dial_plans(&directory.dial_plans, &directory.auto_attendants);
        let servers: Map<String, Server> =
            first_of_each(&directory.mailbox_servers, |server| server.name.clone())
                .into_iter()
                .map(|(name, server)| {
                    let name_hash = stable_hash(&name);
                    (name, Server { server: Arc::new(server), name_hash })
                })
                .collect();
        Table {
            server: OwnServer {
                name: server.name.clone(),
                status: server.status,
                startup_mode: server.startup_mode,
                asks_for_certificates: server
                    .certificate
                    .as_ref()
                    .is_some_and(|own| own.authorities.is_some()),
            },
            peers: Peers::compile(directory),
            hunt_groups: compile_hunt_groups(&directory.hunt_groups, &dial_plans),
            users: compile_users(&directory.mailboxes, &dial_plans),
            mailboxes: first_of_each(&directory.mailboxes, |mailbox| mailbox.name.clone()),
            in_service: servers.values().filter(|server| server.server.in_service).cloned().collect(),
            hosts: directory
                .hosts
                .iter()
                .map(|name| servers.get(name).map(|server| Arc::clone(&server.server)))
                .collect(),
            dial_plans,
            servers,
        }
    }

    /// The gateway that calls from `address`. An IPv4 address in IPv6 clothes
    /// (`::ffff:192.0.2.1`) is the IPv4 address.
    pub fn gateway_at(&self, address: IpAddr) -> Option<&Gateway> {
        self.peers.at(address)
    }

    /// The gateway that has proved one of these names, which are in small letters, or else the one that calls
    /// from `address`.
    fn gateway_of(&self, address: IpAddr, names: &[String]) -> Option<&Gateway> {
        self.peers.named(names).or_else(|| self.peers.at(address))
    }

    /// Whether nobody knows this peer: it is no gateway, and no server of ours.
    pub fn is_stranger(&self, address: IpAddr, names: &[String]) -> bool {
        self.gateway_of(address, names).is_none() && !self.peers.is_server(address)
    }

    /// In a cluster, the gateway of the network that a server is in belongs to the cluster itself as
    /// much as nodes do. Elsewhere it may be anybody.
    pub fn add_network_gateway(&mut self, address: IpAddr) {
        self.peers.add_network_gateway(address);
    }

    /// The dial plan of this name.
    pub fn dial_plan(&self, name: &str) -> Option<&DialPlan> {
        self.dial_plans.get(name).map(|plan| &plan.dial_plan)
    }

    /// The mailbox of this name.
    pub fn mailbox(&self, name: &str) -> Option<&Mailbox> {
        self.mailboxes.get(name)
    }

    /// The mailbox server of this name.
    pub fn mailbox_server(&self, name: &str) -> Option<&MailboxServer> {
        self.servers.get(name).map(|server| server.server.as_ref())
    }

    /// The mailbox server that hosts this database.
    pub(crate) fn host_of(&self, database: usize) -> Option<&MailboxServer> {
        self.hosts.get(database)?.as_deref()
    }

    /// The hunt group of a gateway whose pilot is `called`, else the gateway's default one; and its dial plan.
    pub(crate) fn hunt_group(&self, gateway: &Gateway, called: Party<'_>) -> Option<(&HuntGroup, &Plan)> {
        let groups = self.hunt_groups.get(&gateway.name)?;
        // Most gateways have no pilots.
        let has_pilots = !groups.by_pilot.is_empty();
        let by_pilot = if has_pilots { by_name(called, |normal| groups.by_pilot.get(normal)) } else { None };
        let group = by_pilot.or(groups.without_pilot.as_ref())?;
        Some((&group.hunt_group, &group.plan))
    }

    /// The mailbox of whom `party` names in the dial plan of this name.
    pub fn mailbox_of(&self, dial_plan: &str, party: Party<'_>) -> Option<&Mailbox> {
        let (mailbox, _) = self.user(self.dial_plans.get(dial_plan)?, party)?;
        self.mailbox(mailbox.name)
    }

    /// The mailbox that `party` names in the dial plan, and the normal form by which it is found.
    pub(crate) fn user(&self, plan: &Plan, party: Party<'_>) -> Option<(MailboxRef<'_>, &str)> {
        let naming = plan.dial_plan.naming();
        let address = naming.address(party).and_then(|address| self.users.get(plan.number, address.as_str()));
        address.or_else(|| self.users.get(plan.number, naming.number(party)?.as_str()))
    }

    /// Whether any mailbox server is in service.
    pub(crate) fn has_server_in_service(&self) -> bool {
        !self.in_service.is_empty()
    }

    /// The server that takes a call for `mailbox`, or for nobody in particular, and the one to try next,
    /// of those that are in service and `can_take` it.
    ///
    /// The host of the mailbox comes first if it is one of them. The others follow by rendezvous hash of the
    /// Call-ID, so that a retransmission gets the same answer from any router (decision 11).
    pub(crate) fn servers(
        &self,
        mailbox: Option<MailboxRef<'_>>,
        call_id: &str,
        can_take: impl Fn(&MailboxServer) -> bool,
    ) -> [Option<&MailboxServer>; 2] {
        let host = mailbox
            .and_then(|mailbox| self.host_of(mailbox.database))
            .filter(|server| server.in_service && can_take(server));
        let call_hash = OnceCell::new();
        let mut best: [Option<(u64, &MailboxServer)>; 2] = [None; 2];
        for candidate in self.in_service.iter().filter(|candidate| can_take(&candidate.server)) {
            if host.is_some_and(|host| std::ptr::eq(host, candidate.server.as_ref())) {
                continue;
            }
            let call_hash = call_hash.get_or_init(|| stable_hash(call_id));
            let rank = (mix(candidate.name_hash ^ call_hash), candidate.server.as_ref());
            if best[0].is_none_or(|first| outranks(rank, first)) {
                best = [Some(rank), best[0]];
            } else if best[1].is_none_or(|second| outranks(rank, second)) {
                best[1] = Some(rank);
            }
        }
        let [first, second] = best.map(|ranked| ranked.map(|(_, server)| server));
        if host.is_some() { [host, first] } else { [first, second] }
    }
}

impl Plan {
    /// The access number that is `called`, in normal form.
    pub(crate) fn access_number(&self, called: Party<'_>) -> Option<&str> {
        if self.access_numbers.is_empty() {
            return None;
        }
        by_name(called, |normal| self.access_numbers.get(normal)).map(String::as_str)
    }

    /// The auto attendant whose pilot is `called`, and that pilot in normal form.
    pub(crate) fn attendant(&self, called: Party<'_>) -> Option<(&AutoAttendant, &str)> {
        if self.attendants.is_empty() {
            return None;
        }
        let found = by_name(called, |normal| self.attendants.get_key_value(normal));
        found.map(|(pilot, attendant)| (attendant.as_ref(), pilot.as_str()))
    }

    /// Whether there is an auto attendant that can be called.
    pub(crate) fn has_attendants(&self) -> bool {
        !self.attendants.is_empty()
    }
}

/// The hash that routers and mailbox servers of any version share: SipHash-1-3 with a zero key.
/// It spreads load and hides nothing.
pub(crate) fn stable_hash(text: &str) -> u64 {
    siphasher::sip::SipHasher13::new().hash(text.as_bytes())
}

/// Spreads the combination of two hashes over all bits (the finalizer of SplitMix64).
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Whether the first weighs more; the name decides between equal weights.
fn outranks(one: (u64, &MailboxServer), other: (u64, &MailboxServer)) -> bool {
    (one.0, &one.1.name) > (other.0, &other.1.name)
}

fn first_of_each<K: Eq + std::hash::Hash, V: Clone>(items: &[V], key: impl Fn(&V) -> K) -> Map<K, V> {
    let mut map = Map::with_capacity_and_hasher(items.len(), RandomState::default());
    for item in items {
        if let Entry::Vacant(vacant) = map.entry(key(item)) {
            vacant.insert(item.clone());
        }
    }
    map
}

/// More dial plans than can be counted are not found.
fn compile_dial_plans(plans: &[DialPlan], attendants: &[AutoAttendant]) -> Map<String, Arc<Plan>> {
    let mut attendants = compile_attendants(attendants);
    let normal = |number: &String| Party::from(number.as_str()).normal().into_owned();
    let mut compiled = Map::default();
    for (number, plan) in (0..u16::MAX).zip(plans) {
        let access_numbers = plan.access_numbers.iter().map(normal).collect();
        let entry = compiled.entry(plan.name.clone());
        entry.or_insert_with(|| {
            let attendants = attendants.remove(&plan.name).unwrap_or_default();
            Arc::new(Plan { dial_plan: plan.clone(), number, access_numbers, attendants })
        });
    }
    compiled
}

/// The auto attendants of each dial plan, by pilot in normal form.
fn compile_attendants(attendants: &[AutoAttendant]) -> Map<String, Map<String, Arc<AutoAttendant>>> {
    let mut compiled: Map<String, Map<String, Arc<AutoAttendant>>> = Map::default();
    for attendant in attendants {
        let shared = Arc::new(attendant.clone());
        let of_plan = compiled.entry(attendant.dial_plan.clone()).or_default();
        for pilot in &attendant.pilots {
            let key = Party::from(pilot.as_str()).normal().into_owned();
            of_plan.entry(key).or_insert_with(|| Arc::clone(&shared));
        }
    }
    compiled
}

fn compile_hunt_groups(
    groups: &[HuntGroup],
    plans: &Map<String, Arc<Plan>>,
) -> Map<String, GatewayHuntGroups> {
    let mut compiled: Map<String, GatewayHuntGroups> = Map::default();
    for hunt_group in groups {
        let Some(plan) = plans.get(&hunt_group.dial_plan) else { continue };
        let group = || Group { hunt_group: hunt_group.clone(), plan: Arc::clone(plan) };
        let of_gateway = compiled.entry(hunt_group.gateway.clone()).or_default();
        match &hunt_group.pilot {
            Some(pilot) => {
                let key = Party::from(pilot.as_str()).normal().into_owned();
                of_gateway.by_pilot.entry(key).or_insert_with(group);
            }
            None => {
                of_gateway.without_pilot.get_or_insert_with(group);
            }
        }
    }
    compiled
}

/// What `find` knows of a party by the name that a person wrote: a number by its digits, anybody else by
/// their address, or else by the user alone.
fn by_name<T>(party: Party<'_>, find: impl Fn(&str) -> Option<T>) -> Option<T> {
    match Number::parse(party.user) {
        Some(number) => find(number.as_str()),
        None => SipAddress::of(party).and_then(|address| find(address.as_str())).or_else(|| find(party.user)),
    }
}

fn compile_users(mailboxes: &[Mailbox], plans: &Map<String, Arc<Plan>>) -> Users {
    let mut users = Users::with_capacity(mailboxes.len());
    for mailbox in mailboxes {
        let extensions = mailbox.extensions.iter().map(|extension| (&mailbox.dial_plan, extension));
        let addresses = mailbox.addresses.iter().map(|address| (&address.dial_plan, &address.address));
        for (plan, text) in extensions.chain(addresses) {
            let Some(plan) = plans.get(plan) else { continue };
            if let Some(normal) = plan.dial_plan.naming().normal(text.as_str().into()) {
                users.add(plan.number, &normal, &mailbox.name);
            }
        }
    }
    users.shrink();
    users
}
