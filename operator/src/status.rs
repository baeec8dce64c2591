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

/// What one server has and says.
struct Server {
    /// How messages call it.
    name: &'static str,
    wanted: u64,
    serves: Option<u64>,
    /// The objects in its document.
    holds: BTreeSet<ObjectRef>,
}

/// The servers that there are.
struct Servers {
    router: Option<Server>,
    mailbox: Option<Server>,
}

impl Servers {
    fn of(world: &World, linked: &Linked<'_>, wanted: &Wanted) -> Servers {
        let served = world.observed.served;
        // A server that was withdrawn serves nobody.
        let router = wanted.router.as_ref().filter(|document| document.namespace.is_some()).map(|document| {
            let mut holds = directory_objects(linked, document.namespace.as_deref());
            holds.extend(linked.routers.keys().map(|key| ObjectRef::new(Kind::UMCallRouter, key)));
            Server { name: "call router", wanted: document.config.generation, serves: served.router, holds }
        });
        let mailbox =
            wanted.mailbox.as_ref().filter(|document| document.namespace.is_some()).map(|document| {
                let namespace = document.namespace.as_deref();
                let mut holds = directory_objects(linked, namespace);
                holds.extend(linked.services.keys().map(|key| ObjectRef::new(Kind::UMService, key)));
                let policies = linked.policies.keys().filter(|key| Some(key.namespace.as_str()) == namespace);
                holds.extend(policies.map(|key| ObjectRef::new(Kind::UMMailboxPolicy, key)));
                Server {
                    name: "mailbox server",
                    wanted: document.config.generation,
                    serves: served.mailbox,
                    holds,
                }
            });
        Servers { router, mailbox }
    }

    /// The servers that an object of this kind reaches.
    fn needed_by(&self, kind: Kind) -> [(&'static str, Option<&Server>); 2] {
        let router = ("UMCallRouter", self.router.as_ref());
        let mailbox = ("UMService", self.mailbox.as_ref());
        match kind {
            Kind::UMDialPlan | Kind::UMIPGateway | Kind::UMHuntGroup | Kind::UMMailbox => [router, mailbox],
            Kind::UMMailboxPolicy | Kind::UMService => [mailbox, mailbox],
            Kind::UMCallRouter => [router, router],
        }
    }

    fn served(&self, object: &ObjectRef, generation: i64, previous: Option<&ObjectStatus>) -> Statement {
        let statement = |status, reason: &str, message: String| Statement {
            type_: "Served",
            status,
            reason: reason.into(),
            message,
        };
        let needed = Kind::of(&object.kind).map(|kind| self.needed_by(kind));
        let already = previous.and_then(|status| status.condition("Served")).is_some_and(|condition| {
            condition.status == ConditionStatus::True && condition.observed_generation == generation
        });
        for (kind, server) in needed.into_iter().flatten() {
            let Some(server) = server else {
                return statement(
                    ConditionStatus::False,
                    "NoServer",
                    format!("There is no {kind} to serve it."),
                );
            };
            let name = server.name;
            if !server.holds.contains(object) {
                let message = format!("It is not in the configuration of the {name}.");
                return statement(ConditionStatus::False, "LeftOut", message);
            }
            let Some(serves) = server.serves else {
                let message = format!("The {name} has not said what it serves.");
                return statement(ConditionStatus::Unknown, "ServerSilent", message);
            };
            // What else changed since does not make it less served.
            if serves != server.wanted && !already {
                let message = format!("It waits for the {name} to serve generation {}.", server.wanted);
                return statement(ConditionStatus::False, "Waiting", message);
            }
        }
        statement(ConditionStatus::True, "Serving", "Every server that needs it serves it.".into())
    }
}

/// The objects that both documents hold.
fn directory_objects(linked: &Linked<'_>, namespace: Option<&str>) -> BTreeSet<ObjectRef> {
    let Some(namespace) = namespace else { return BTreeSet::new() };
    let of = |kind, keys: Vec<&Key>| {
        let within = keys.into_iter().filter(|key| key.namespace == namespace);
        within.map(|key| ObjectRef::new(kind, key)).collect::<Vec<_>>()
    };
    let mut objects = BTreeSet::new();
    objects.extend(of(Kind::UMDialPlan, linked.dial_plans.keys().copied().collect()));
    objects.extend(of(Kind::UMIPGateway, linked.gateways.keys().copied().collect()));
    objects.extend(of(Kind::UMHuntGroup, linked.hunt_groups.keys().copied().collect()));
    objects.extend(of(Kind::UMMailbox, linked.mailboxes.keys().copied().collect()));
    objects
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
