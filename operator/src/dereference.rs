//! Second step: names become objects.
//!
//! Decides which references lead somewhere. An object whose reference leads nowhere is left out
//! until it does, because objects may arrive in any order (decision 3); it is never refused. After
//! this step nobody looks a name up in the world again.

use std::collections::BTreeMap;

use config::Code;
use crds::{
    Kind, UMAutoAttendantSpec, UMCallRouterSpec, UMDialPlanSpec, UMHuntGroupSpec, UMMailboxPolicySpec,
    UMServiceSpec,
};

use crate::hunt_groups::{Ends, LinkedHuntGroup};
use crate::identify::SECRET;
use crate::problem::{Problem, has_unread, is_refused};
use crate::routing::RoutingObjects;
use crate::store_keys::{SECRET_OF_STORE, StoreKeys};
use crate::suggest::nearest;
use crate::world::{Key, ObjectRef, TlsSecret, World};

/// Routing objects but gateways and hunt groups that are sound by themselves, by name.
pub(crate) struct Names<'w> {
    pub(crate) dial_plans: BTreeMap<&'w Key, &'w UMDialPlanSpec>,
    pub(crate) attendants: BTreeMap<&'w Key, &'w UMAutoAttendantSpec>,
    pub(crate) policies: BTreeMap<&'w Key, &'w UMMailboxPolicySpec>,
}

/// Servers that are sound by themselves, by name.
pub(crate) struct ServerNames<'w> {
    pub(crate) routers: BTreeMap<&'w Key, &'w UMCallRouterSpec>,
    pub(crate) services: BTreeMap<&'w Key, &'w UMServiceSpec>,
}

/// Those whose references lead to sound objects, with what those are.
pub(crate) struct Linked<'w> {
    pub(crate) dial_plans: BTreeMap<&'w Key, &'w UMDialPlanSpec>,
    /// What each dial plan may have of its lists, where it has any.
    pub(crate) plan_lists: BTreeMap<&'w Key, PlanLists<'w>>,
    pub(crate) attendants: BTreeMap<&'w Key, LinkedAttendant<'w>>,
    pub(crate) policies: BTreeMap<&'w Key, &'w UMMailboxPolicySpec>,
}

/// Servers whose references lead to Secrets, with those.
pub(crate) struct LinkedServers<'w> {
    pub(crate) routers: BTreeMap<&'w Key, LinkedServer<'w, UMCallRouterSpec>>,
    pub(crate) services: BTreeMap<&'w Key, LinkedServer<'w, UMServiceSpec>>,
}

/// What is in order of the lists of a dial plan.
#[derive(Default)]
pub(crate) struct PlanLists<'w> {
    pub(crate) access_numbers: Vec<&'w str>,
    pub(crate) numbering_plan_formats: Vec<&'w str>,
    pub(crate) equivalent_dial_plans: Vec<&'w str>,
}

/// An auto attendant, its dial plan, and the pilots that it may have.
pub(crate) struct LinkedAttendant<'w> {
    pub(crate) spec: &'w UMAutoAttendantSpec,
    pub(crate) dial_plan: &'w Key,
    pub(crate) pilots: Vec<&'w str>,
}

/// A server and the Secret with its certificate.
pub(crate) struct LinkedServer<'w, S> {
    pub(crate) spec: &'w S,
    pub(crate) secret: Option<&'w TlsSecret>,
    /// The keys of its bucket; a router has none.
    pub(crate) store_keys: Option<&'w StoreKeys>,
}

/// Resolves every reference of `names`, which are of `objects`.
pub(crate) fn dereference<'w>(
    objects: &'w RoutingObjects,
    names: Names<'w>,
    problems: &mut Vec<Problem>,
) -> Linked<'w> {
    let mut links = Links { refused: &objects.refused, problems };
    let attendants = links.attendants(objects, names.attendants, &names.dial_plans);
    let policies = links.policies(objects, names.policies, &names.dial_plans);
    let plan_lists = BTreeMap::new();
    Linked { dial_plans: names.dial_plans, plan_lists, attendants, policies }
}

/// Resolves every reference of the servers in `names`, which are of `world`.
pub(crate) fn dereference_servers<'w>(
    world: &'w World,
    names: ServerNames<'w>,
    problems: &mut Vec<Problem>,
) -> LinkedServers<'w> {
    let mut links = Links { refused: &world.refused, problems };
    let (routers, services) = (names.routers, names.services);
    let routers =
        links.servers(world, Kind::UMCallRouter, routers, |spec| spec.certificate_secret.as_deref());
    let mut services =
        links.servers(world, Kind::UMService, services, |spec| spec.certificate_secret.as_deref());
    links.store_keys(world, &mut services);
    LinkedServers { routers, services }
}

/// The hunt groups that lead from a gateway to a dial plan.
pub(crate) fn hunt_groups<'w>(
    ends: &Ends,
    specs: BTreeMap<&'w Key, &'w UMHuntGroupSpec>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<Key, LinkedHuntGroup> {
    let mut links = Links { refused: &ends.refused, problems };
    let mut linked = BTreeMap::new();
    for (key, spec) in specs {
        let gateway = key.beside(&spec.um_ip_gateway);
        let dial_plan = key.beside(&spec.um_dial_plan);
        let is_gateway = ends.gateways.contains_key(&gateway);
        let is_plan = ends.dial_plans.contains(&dial_plan);
        if is_gateway && is_plan {
            let pilot = spec.pilot_identifier.clone();
            linked.insert(key.clone(), LinkedHuntGroup { gateway, dial_plan, pilot });
            continue;
        }
        let from = ObjectRef::new(Kind::UMHuntGroup, key);
        if !is_gateway {
            let kind = Kind::UMIPGateway.name();
            let reference =
                Reference { from: from.clone(), field: "spec.umIPGateway", kind, name: &gateway.name };
            links.dangling(&reference, ends.left_out_gateways.contains_key(&gateway), ends.gateways.keys());
        }
        if !is_plan {
            let exists = ends.left_out_dial_plans.contains(&dial_plan);
            links.no_dial_plan(from, &dial_plan, exists, ends.dial_plans.iter());
        }
    }
    linked
}

/// One field that names another object.
pub(crate) struct Reference<'a> {
    pub(crate) from: ObjectRef,
    pub(crate) field: &'a str,
    pub(crate) kind: &'static str,
    pub(crate) name: &'a str,
}

/// What became of an object that is named and cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// It is there, and something is wrong with it.
    Waits,
    /// There is none; the name that may have been meant, and whether something could not be read.
    Missing {
        /// The nearest name of one that can be used.
        near: Option<String>,
        /// Whether something was written of which nobody can tell which object it is.
        has_unread: bool,
    },
}

impl Target {
    /// What became of `wanted`, which is not among the `candidates` that can be used; `exists` if there
    /// is such an object, and `refused` is what was refused.
    pub(crate) fn of<'k>(
        refused: &[Problem],
        wanted: &ObjectRef,
        exists: bool,
        candidates: impl IntoIterator<Item = &'k Key>,
    ) -> Target {
        if exists || is_refused(refused, wanted) {
            return Target::Waits;
        }
        Target::missing(&wanted.key, candidates, has_unread(refused))
    }

    /// There is no `wanted`, and `candidates` can be used.
    pub(crate) fn missing<'k>(
        wanted: &Key,
        candidates: impl IntoIterator<Item = &'k Key>,
        has_unread: bool,
    ) -> Target {
        let names = candidates.into_iter().filter(|key| key.namespace == wanted.namespace);
        let near = nearest(&wanted.name, names.map(|key| key.name.as_str())).map(str::to_owned);
        Target::Missing { near, has_unread }
    }
}

impl Reference<'_> {
    /// The problem that it leads to nothing that can be used.
    pub(crate) fn dangling(&self, target: &Target) -> Problem {
        let Reference { from, field, kind, name } = self;
        let namespace = &from.key.namespace;
        let object = ObjectRef { kind: (*kind).into(), key: from.key.beside(name) };
        let none = || format!("the name of a {kind} in namespace {namespace}");
        let (rule, fix) = match target {
            Target::Waits => {
                (format!("a {kind} that is ready; {object} exists but is not"), format!("repair {object}"))
            }
            Target::Missing { near: Some(near), .. } => {
                (none(), format!("did you mean {near}? Otherwise add the {object}"))
            }
            Target::Missing { near: None, has_unread: true } => (
                none(),
                format!("repair what cannot be read first: the {object} may stand in it; otherwise add it"),
            ),
            Target::Missing { near: None, has_unread: false } => {
                (none(), format!("add the {object}, or name one that exists"))
            }
        };
        Problem {
            code: Code::DanglingReference,
            object: Some(from.clone()),
            field: (*field).into(),
            value: (*name).into(),
            rule,
            fix,
            waits_for: (*target == Target::Waits).then_some(object),
        }
    }
}

struct Links<'p> {
    refused: &'p [Problem],
    problems: &'p mut Vec<Problem>,
}

impl Links<'_> {
    fn attendants<'w>(
        &mut self,
        objects: &RoutingObjects,
        attendants: BTreeMap<&'w Key, &'w UMAutoAttendantSpec>,
        dial_plans: &BTreeMap<&'w Key, &'w UMDialPlanSpec>,
    ) -> BTreeMap<&'w Key, LinkedAttendant<'w>> {
        let mut linked = BTreeMap::new();
        for (key, spec) in attendants {
            let dial_plan = key.beside(&spec.um_dial_plan);
            if let Some((dial_plan, _)) = dial_plans.get_key_value(&dial_plan) {
                linked.insert(key, LinkedAttendant { spec, dial_plan, pilots: Vec::new() });
            } else {
                let (from, exists) =
                    (ObjectRef::new(Kind::UMAutoAttendant, key), objects.dial_plans.contains_key(&dial_plan));
                self.no_dial_plan(from, &dial_plan, exists, dial_plans.keys().copied());
            }
        }
        linked
    }

    fn policies<'w>(
        &mut self,
        objects: &RoutingObjects,
        policies: BTreeMap<&'w Key, &'w UMMailboxPolicySpec>,
        dial_plans: &BTreeMap<&'w Key, &'w UMDialPlanSpec>,
    ) -> BTreeMap<&'w Key, &'w UMMailboxPolicySpec> {
        let mut linked = BTreeMap::new();
        for (key, spec) in policies {
            let dial_plan = key.beside(&spec.um_dial_plan);
            if dial_plans.contains_key(&dial_plan) {
                linked.insert(key, spec);
            } else {
                let from = ObjectRef::new(Kind::UMMailboxPolicy, key);
                let exists = objects.dial_plans.contains_key(&dial_plan);
                self.no_dial_plan(from, &dial_plan, exists, dial_plans.keys().copied());
            }
        }
        linked
    }

    fn no_dial_plan<'k>(
        &mut self,
        from: ObjectRef,
        wanted: &Key,
        exists: bool,
        dial_plans: impl Iterator<Item = &'k Key>,
    ) {
        let kind = Kind::UMDialPlan.name();
        let reference = Reference { from, field: "spec.umDialPlan", kind, name: &wanted.name };
        self.dangling(&reference, exists, dial_plans);
    }

    fn servers<'w, S>(
        &mut self,
        world: &'w World,
        kind: Kind,
        servers: BTreeMap<&'w Key, &'w S>,
        secret_of: impl Fn(&'w S) -> Option<&'w str>,
    ) -> BTreeMap<&'w Key, LinkedServer<'w, S>> {
        let mut linked = BTreeMap::new();
        for (key, spec) in servers {
            let Some(name) = secret_of(spec) else {
                linked.insert(key, LinkedServer { spec, secret: None, store_keys: None });
                continue;
            };
            if let Some(secret) = world.secrets.get(&key.beside(name)) {
                linked.insert(key, LinkedServer { spec, secret: Some(secret), store_keys: None });
            } else {
                let from = ObjectRef::new(kind, key);
                let reference = Reference { from, field: "spec.certificateSecret", kind: "Secret", name };
                self.dangling(&reference, false, world.secrets.keys());
            }
        }
        linked
    }

    /// Finds the keys of buckets; leaves out servers whose Secret is not there.
    fn store_keys<'w>(
        &mut self,
        world: &'w World,
        services: &mut BTreeMap<&'w Key, LinkedServer<'w, UMServiceSpec>>,
    ) {
        services.retain(|key, server| {
            let Some(bucket) = server.spec.store.as_ref().and_then(|store| store.s3.as_ref()) else {
                return true;
            };
            let name = bucket.secret_name.as_str();
            server.store_keys = world.store_keys.get(&key.beside(name));
            if server.store_keys.is_none() {
                let from = ObjectRef::new(Kind::UMService, key);
                // In a folder any Secret will do, and one that was refused is known by its kind.
                let kind = if world.cluster.is_some() { SECRET_OF_STORE } else { SECRET };
                let reference = Reference { from, field: "spec.store.s3.secretName", kind, name };
                self.dangling(&reference, false, world.store_keys.keys());
            }
            server.store_keys.is_some()
        });
    }

    /// Reports a reference that leads to nothing that can be used.
    fn dangling<'k>(
        &mut self,
        reference: &Reference<'_>,
        exists: bool,
        candidates: impl IntoIterator<Item = &'k Key>,
    ) {
        let wanted =
            ObjectRef { kind: reference.kind.into(), key: reference.from.key.beside(reference.name) };
        let target = Target::of(self.refused, &wanted, exists, candidates);
        self.problems.push(reference.dangling(&target));
    }
}
