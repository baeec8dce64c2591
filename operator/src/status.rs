//! Fifth step: what to say about each object.
//!
//! Decides the two conditions: `Ready`, whether the object can be used as it is written, and
//! `Served`, whether every server that needs it says that it serves it. Both say what was
//! observed, never what is hoped, and a condition's time moves only when its status does.

use std::collections::{BTreeMap, BTreeSet};

use crds::{Condition, ConditionStatus, Kind};
use serde::{Deserialize, Serialize};

use crate::build::Wanted;
use crate::dereference::Linked;
use crate::problem::Problem;
use crate::world::{Key, ObjectRef, World};

/// Problems that one condition spells out; the others are counted.
const MAX_PROBLEMS_IN_A_MESSAGE: usize = 10;

/// The status of one object, of whatever kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectStatus {
    /// The generation of the object that this status speaks of; 0 for an object that was refused
    /// from the beginning.
    pub observed_generation: i64,
    /// `Ready` and `Served`.
    pub conditions: Vec<Condition>,
    /// Gateways that lead to it; only a dial plan has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<i64>,
    /// Users that calls can reach in it; only a dial plan has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailboxes: Option<i64>,
}

impl ObjectStatus {
    /// The condition of this type, if it has one.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }
}

/// The status of every object, and of those that were refused from the beginning.
pub(crate) fn statuses(
    world: &World,
    linked: &Linked<'_>,
    wanted: &Wanted,
    problems: &[Problem],
) -> BTreeMap<ObjectRef, ObjectStatus> {
    let mut of_object: BTreeMap<&ObjectRef, Vec<&Problem>> = BTreeMap::new();
    for problem in problems {
        if let Some(object) = &problem.object {
            of_object.entry(object).or_default().push(problem);
        }
    }
    let mut generations: BTreeMap<ObjectRef, i64> =
        of_object.keys().filter(|object| has_status(object)).map(|object| ((*object).clone(), 0)).collect();
    generations.extend(world.objects());
    let refused: BTreeSet<&ObjectRef> =
        world.refused.iter().filter_map(|problem| problem.object.as_ref()).collect();
    let servers = Servers::of(world, linked, wanted);
    let mut counts = Counts::of(linked);
    generations
        .into_iter()
        .map(|(object, generation)| {
            let problems = of_object.get(&object).map(Vec::as_slice).unwrap_or_default();
            let previous = world.observed.statuses.get(&object);
            let conditions = [
                ready(problems, generation > 0 && refused.contains(&object)),
                servers.served(&object, generation, previous),
            ];
            let conditions =
                conditions.map(|statement| statement.condition(world.now, generation, previous)).into();
            let (gateways, mailboxes) = counts.take(&object);
            (object, ObjectStatus { observed_generation: generation, conditions, gateways, mailboxes })
        })
        .collect()
}

/// Whether an object of this kind and name can have a status at all.
fn has_status(object: &ObjectRef) -> bool {
    Kind::of(&object.kind).is_some() && !object.key.name.is_empty()
}

/// A condition without its times.
struct Statement {
    type_: &'static str,
    status: ConditionStatus,
    reason: String,
    message: String,
}

impl Statement {
    fn condition(self, now: jiff::Timestamp, generation: i64, previous: Option<&ObjectStatus>) -> Condition {
        let previous = previous.and_then(|status| status.condition(self.type_));
        let last_transition_time = match previous {
            Some(previous) if previous.status == self.status => previous.last_transition_time.clone(),
            Some(_) | None => now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        };
        Condition {
            type_: self.type_.into(),
            status: self.status,
            reason: self.reason,
            message: self.message,
            observed_generation: generation,
            last_transition_time,
        }
    }
}

/// Whether an object can be used; `retained` is one whose newest edit was refused.
fn ready(problems: &[&Problem], retained: bool) -> Statement {
    let Some(first) = problems.first() else {
        return Statement {
            type_: "Ready",
            status: ConditionStatus::True,
            reason: "Accepted".into(),
            message: "Everything that it says can be used.".into(),
        };
    };
    let shown = problems.iter().take(MAX_PROBLEMS_IN_A_MESSAGE).map(|problem| problem.sentence());
    let mut message = shown.collect::<Vec<_>>().join("\n");
    if problems.len() > MAX_PROBLEMS_IN_A_MESSAGE {
        message += &format!("\nand {} more", problems.len() - MAX_PROBLEMS_IN_A_MESSAGE);
    }
    if retained {
        message += "\nthe version before this edit goes on being used";
    }
    Statement { type_: "Ready", status: ConditionStatus::False, reason: first.code.name().into(), message }
}

/// What the servers of one server object have and say.
struct Server<'w> {
    /// Which server object.
    key: &'w Key,
    wanted: u64,
    serves: Option<u64>,
}

/// The server objects that there are, and what stands in their configurations.
struct Servers<'w> {
    routers: Vec<Server<'w>>,
    services: Vec<Server<'w>>,
    linked: &'w Linked<'w>,
}

impl<'w> Servers<'w> {
    fn of(world: &World, linked: &'w Linked<'w>, wanted: &'w Wanted) -> Servers<'w> {
        let server = |kind: Kind, key: &'w Key, wanted: u64| {
            let serves = world.observed.served.get(&ObjectRef::new(kind, key)).copied();
            Server { key, wanted, serves }
        };
        // A server that was withdrawn serves nobody.
        let routers = wanted.routers.iter().filter(|(_, document)| !document.withdrawn);
        let services = wanted.services.iter().filter(|(_, document)| !document.withdrawn);
        Servers {
            routers: routers
                .map(|(key, document)| server(Kind::UMCallRouter, key, document.config.generation))
                .collect(),
            services: services
                .map(|(key, document)| server(Kind::UMService, key, document.config.generation))
                .collect(),
            linked,
        }
    }

    /// Whether an object stands in the configurations of the servers of its namespace.
    fn hold(&self, kind: Kind, key: &Key) -> bool {
        let linked = self.linked;
        match kind {
            Kind::UMDialPlan => linked.dial_plans.contains_key(key),
            Kind::UMIPGateway => linked.gateways.contains_key(key),
            Kind::UMHuntGroup => linked.hunt_groups.contains_key(key),
            Kind::UMMailboxPolicy => linked.policies.contains_key(key),
            Kind::UMMailbox => linked.mailboxes.contains_key(key),
            Kind::UMCallRouter => linked.routers.contains_key(key),
            Kind::UMService => linked.services.contains_key(key),
        }
    }

    fn served(&self, object: &ObjectRef, generation: i64, previous: Option<&ObjectStatus>) -> Statement {
        let already = previous.and_then(|status| status.condition("Served")).is_some_and(|condition| {
            condition.status == ConditionStatus::True && condition.observed_generation == generation
        });
        let serving =
            || statement(ConditionStatus::True, "Serving", "Every server that needs it serves it.".into());
        let Some(kind) = Kind::of(&object.kind) else { return serving() };
        let needs_router = !matches!(kind, Kind::UMMailboxPolicy | Kind::UMService);
        let needs_service = kind != Kind::UMCallRouter;
        let routers =
            needs_router.then(|| self.missing(Kind::UMCallRouter, &self.routers, kind, &object.key, already));
        let services = || {
            needs_service.then(|| self.missing(Kind::UMService, &self.services, kind, &object.key, already))
        };
        routers.flatten().or_else(|| services().flatten()).unwrap_or_else(serving)
    }

    /// Why an object is not served by the server objects of kind `of`, if it is not.
    fn missing(
        &self,
        of: Kind,
        servers: &[Server<'_>],
        kind: Kind,
        key: &Key,
        already: bool,
    ) -> Option<Statement> {
        let name = if of == Kind::UMCallRouter { "call router" } else { "mailbox server" };
        if servers.is_empty() {
            let message = format!("There is no {of} to serve it.");
            return Some(statement(ConditionStatus::False, "NoServer", message));
        }
        let needs_it = |server: &&Server<'_>| {
            if kind == of { server.key == key } else { server.key.namespace == key.namespace }
        };
        let mut needing = servers.iter().filter(needs_it).peekable();
        if needing.peek().is_none() || !self.hold(kind, key) {
            let message = format!("It is not in the configuration of the {name}.");
            return Some(statement(ConditionStatus::False, "LeftOut", message));
        }
        needing.find_map(|server| {
            let name = if servers.len() > 1 { format!("{name} {}", server.key.name) } else { name.into() };
            match server.serves {
                None => {
                    let message = format!("The {name} has not said what it serves.");
                    Some(statement(ConditionStatus::Unknown, "ServerSilent", message))
                }
                // What else changed since does not make it less served.
                Some(serves) if serves != server.wanted && !already => {
                    let message = format!("It waits for the {name} to serve generation {}.", server.wanted);
                    Some(statement(ConditionStatus::False, "Waiting", message))
                }
                Some(_) => None,
            }
        })
    }
}

fn statement(status: ConditionStatus, reason: &str, message: String) -> Statement {
    Statement { type_: "Served", status, reason: reason.into(), message }
}

/// What the status of a dial plan counts.
struct Counts(BTreeMap<ObjectRef, (BTreeSet<Key>, i64)>);

impl Counts {
    fn of(linked: &Linked<'_>) -> Counts {
        let mut counts: BTreeMap<ObjectRef, (BTreeSet<Key>, i64)> = BTreeMap::new();
        for hunt_group in linked.hunt_groups.values() {
            let plan = ObjectRef::new(Kind::UMDialPlan, &hunt_group.dial_plan);
            counts.entry(plan).or_default().0.insert(hunt_group.gateway.clone());
        }
        for mailbox in linked.mailboxes.values() {
            counts.entry(ObjectRef::new(Kind::UMDialPlan, &mailbox.plan_key)).or_default().1 += 1;
        }
        Counts(counts)
    }

    /// Gateways and mailboxes of `object`, if it is a dial plan.
    fn take(&mut self, object: &ObjectRef) -> (Option<i64>, Option<i64>) {
        if Kind::of(&object.kind) != Some(Kind::UMDialPlan) {
            return (None, None);
        }
        let (gateways, mailboxes) = self.0.remove(object).unwrap_or_default();
        (Some(i64::try_from(gateways.len()).unwrap_or(i64::MAX)), Some(mailboxes))
    }
}
