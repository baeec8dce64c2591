//! Fifth step: what to say about each object.
//!
//! Decides the conditions `Ready`, whether the object can be used as it is written, and `Served`,
//! whether every server that needs it says that it serves it and calls were answered then; `InUse`
//! comes from the guards. They say what was observed, never what is hoped, and a condition's time
//! moves only when its status does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use config::ServerStatus;
use crds::{Condition, ConditionStatus, Kind};
use serde::{Deserialize, Serialize};

use crate::build::Wanted;
use crate::defaults::Defaults;
use crate::dereference::Linked;
use crate::guards::Guards;
use crate::problem::Problem;
use crate::world::{Awaited, Generations, Key, ObjectRef, Waits, World};

/// The reason of an object that stands in the configuration of each server, and is not served by all.
const WAITING: &str = "Waiting";

/// Problems that one condition spells out; the others are counted.
const MAX_PROBLEMS_IN_A_MESSAGE: usize = 10;

/// The status of one object, of whatever kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectStatus {
    /// The generation of the object that this status speaks of; 0 for an object that was refused
    /// from the beginning.
    pub observed_generation: i64,
    /// `Ready` and `Served`, and `InUse` where something may refer to it.
    pub conditions: Vec<Condition>,
    /// Since when the servers that need it do not serve it as it is written; `None` while they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<String>,
    /// Gateways that lead to it; only a dial plan has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<i64>,
    /// Users that calls can reach in it, of a dial plan; users that belong to it, of a mailbox
    /// policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailboxes: Option<i64>,
    /// The mailbox policy that was made for it; only a dial plan has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_mailbox_policy: Option<String>,
    /// The hunt group that was made for it; only a gateway has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_hunt_group: Option<String>,
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
    defaults: &Defaults,
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
    let guards = Guards::of(world, defaults);
    generations
        .into_iter()
        .map(|(object, generation)| {
            let problems = of_object.get(&object).map(Vec::as_slice).unwrap_or_default();
            let previous = world.observed.statuses.get(&object);
            let waits = world.observed.awaited.get(&object).filter(|waits| waits.generation == generation);
            let since = waits.map(|waits| &*waits.since);
            let served = servers.served(&object, generation, previous, since, world.now);
            let is_served = served.status == ConditionStatus::True;
            let statements = [
                Some(ready(problems, generation > 0 && refused.contains(&object))),
                Some(served),
                guards.in_use(&object).filter(|_| generation > 0),
            ];
            let conditions = statements.into_iter().flatten();
            let conditions =
                conditions.map(|statement| statement.condition(world.now, generation, previous)).collect();
            let mut status =
                ObjectStatus { observed_generation: generation, conditions, ..ObjectStatus::default() };
            status.waiting_since = (!is_served).then(|| waiting_since(previous, generation, world.now));
            let made = defaults.made.get(&object).cloned();
            match Kind::of(&object.kind) {
                Some(Kind::UMDialPlan) => {
                    (status.gateways, status.mailboxes) = counts.take(&object);
                    status.default_mailbox_policy = made;
                }
                Some(Kind::UMIPGateway) => status.default_hunt_group = made,
                Some(Kind::UMMailboxPolicy) => status.mailboxes = Some(guards.mailboxes(&object.key)),
                Some(Kind::UMHuntGroup | Kind::UMMailbox | Kind::UMCallRouter | Kind::UMService) | None => {}
            }
            (object, status)
        })
        .collect()
}

/// The objects that wait for servers, those that did before as they did.
pub(crate) fn awaited(
    statuses: &BTreeMap<ObjectRef, ObjectStatus>,
    before: &Awaited,
    wanted: &Generations,
) -> Awaited {
    let waiting = statuses.iter().filter(|(_, status)| {
        status.condition("Served").is_some_and(|condition| condition.reason == WAITING)
    });
    let since = Arc::new(wanted.clone());
    let waits = |(object, status): (&ObjectRef, &ObjectStatus)| {
        let generation = status.observed_generation;
        let same = before.get(object).filter(|waits| waits.generation == generation);
        let new = || Waits { generation, since: Arc::clone(&since) };
        (object.clone(), same.cloned().unwrap_or_else(new))
    };
    waiting.map(waits).collect()
}

/// Since when an object waits to be served in this generation.
fn waiting_since(previous: Option<&ObjectStatus>, generation: i64, now: jiff::Timestamp) -> String {
    let same = previous.filter(|status| status.observed_generation == generation);
    let since = same.and_then(|status| status.waiting_since.clone());
    since.unwrap_or_else(|| now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

/// Whether an object of this kind and name can have a status at all.
fn has_status(object: &ObjectRef) -> bool {
    Kind::of(&object.kind).is_some() && !object.key.name.is_empty()
}

/// A condition without its times.
pub(crate) struct Statement {
    pub(crate) type_: &'static str,
    pub(crate) status: ConditionStatus,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Statement {
    fn condition(self, now: jiff::Timestamp, generation: i64, previous: Option<&ObjectStatus>) -> Condition {
        let previous = previous.and_then(|status| status.condition(self.type_));
        let last_transition_time = match previous {
            Some(previous) if previous.status == self.status => previous.last_transition_time.clone(),
            // After a clock that went back, nothing turned before it turned the last time.
            Some(Condition { last_transition_time: before, .. })
                if before.parse::<jiff::Timestamp>().is_ok_and(|before| before > now) =>
            {
                before.clone()
            }
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
    /// How many servers it runs that say what they serve.
    running: usize,
    /// Whether it runs a server at all.
    is_present: bool,
    /// Whether its servers should take calls.
    is_enabled: bool,
    /// Whether one of them does.
    takes_calls: bool,
}

/// The server objects that there are, and what stands in their configurations.
struct Servers<'w> {
    routers: Vec<Server<'w>>,
    services: Vec<Server<'w>>,
    linked: &'w Linked<'w>,
}

impl<'w> Servers<'w> {
    fn of(world: &World, linked: &'w Linked<'w>, wanted: &'w Wanted) -> Servers<'w> {
        let server = |kind: Kind, key: &'w Key, wanted: u64, status: ServerStatus| {
            let object = ObjectRef::new(kind, key);
            let serves = world.observed.served.get(&object).copied();
            // On one machine there is one server, and it is asked when it runs.
            let cluster = world.cluster.as_ref();
            Server {
                key,
                wanted,
                serves,
                running: cluster.map_or(1, |cluster| cluster.running(&object)),
                is_present: cluster.is_none_or(|cluster| cluster.present(&object) > 0),
                is_enabled: status == ServerStatus::Enabled,
                takes_calls: cluster.is_none_or(|cluster| cluster.ready(&object) > 0),
            }
        };
        // A server that was withdrawn serves nobody.
        let routers = wanted.routers.iter().filter(|(_, document)| !document.withdrawn);
        let services = wanted.services.iter().filter(|(_, document)| !document.withdrawn);
        Servers {
            routers: routers
                .map(|(key, document)| {
                    let index = &document.index;
                    server(Kind::UMCallRouter, key, index.generation, index.server.status)
                })
                .collect(),
            services: services
                .map(|(key, document)| {
                    let index = &document.index;
                    server(Kind::UMService, key, index.generation, index.server.status)
                })
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

    fn served(
        &self,
        object: &ObjectRef,
        generation: i64,
        previous: Option<&ObjectStatus>,
        since: Option<&Generations>,
        now: jiff::Timestamp,
    ) -> Statement {
        let already = previous.and_then(|status| status.condition("Served")).filter(|condition| {
            condition.status == ConditionStatus::True && condition.observed_generation == generation
        });
        let Some(kind) = Kind::of(&object.kind) else {
            return statement(ConditionStatus::False, "LeftOut", "There is no such kind.".into());
        };
        let needs_router = !matches!(kind, Kind::UMMailboxPolicy | Kind::UMService);
        let needs_service = kind != Kind::UMCallRouter;
        let routers = (Kind::UMCallRouter, self.routers.as_slice());
        let services = (Kind::UMService, self.services.as_slice());
        let needed: Vec<_> = [needs_router.then_some(routers), needs_service.then_some(services)]
            .into_iter()
            .flatten()
            .collect();
        let missing = |(of, servers)| self.missing(of, servers, object, already.is_some());
        // Who takes calls stands in the next generation: nobody waits for an earlier one before.
        let behind = |(of, servers)| self.behind(of, servers, object, since, already.is_some());
        let is_missing = needed.iter().copied().find_map(missing);
        if let Some(why) = is_missing.or_else(|| needed.iter().copied().find_map(behind)) {
            return why;
        }
        // What was said when it came to be served stands.
        let message = already.map_or_else(
            || {
                let of = |(of, servers): (Kind, &[Server<'_>])| {
                    let needing = servers.iter().filter(|server| server.serves_for(of, kind, &object.key));
                    (of, needing.map(|server| server.running).sum())
                };
                let counts: Vec<(Kind, usize)> = needed.iter().copied().map(of).collect();
                serving(&counts, waited_ms(previous, generation, now))
            },
            |condition| condition.message.clone(),
        );
        statement(ConditionStatus::True, "Serving", message)
    }

    /// Why an object is not served by the server objects of kind `of`, if none of them can.
    fn missing(
        &self,
        of: Kind,
        servers: &[Server<'_>],
        object: &ObjectRef,
        already: bool,
    ) -> Option<Statement> {
        let (kind, key) = (Kind::of(&object.kind)?, &object.key);
        let name = server_name(of);
        if servers.is_empty() {
            let message = format!("There is no {of} to serve it.");
            return Some(statement(ConditionStatus::False, "NoServer", message));
        }
        let needing = || servers.iter().filter(|server| server.serves_for(of, kind, key));
        if needing().next().is_none() || !self.hold(kind, key) {
            let message = format!("It is not in the configuration of the {name}.");
            return Some(statement(ConditionStatus::False, "LeftOut", message));
        }
        let enabled = || needing().filter(|server| server.is_enabled);
        let nobody_takes_calls = enabled().next().is_some() && !enabled().any(|server| server.takes_calls);
        (nobody_takes_calls && !stands(already, kind, of)).then(|| {
            let message = format!("It waits for a {name} to take calls.");
            statement(ConditionStatus::False, "NotReady", message)
        })
    }

    /// Why an object is not served by the server objects of kind `of`, if one of them is late.
    fn behind(
        &self,
        of: Kind,
        servers: &[Server<'_>],
        object: &ObjectRef,
        since: Option<&Generations>,
        already: bool,
    ) -> Option<Statement> {
        let (kind, key) = (Kind::of(&object.kind)?, &object.key);
        if stands(already, kind, of) {
            return None;
        }
        let needing = || servers.iter().filter(|server| server.serves_for(of, kind, key));
        // One without servers keeps nobody waiting, unless nobody else has any.
        let all_absent = needing().all(|server| !server.is_present);
        needing().filter(|server| all_absent || server.is_present).find_map(|server| {
            let name = server_name(of);
            let name = if servers.len() > 1 { format!("{name} {}", server.key.name) } else { name.into() };
            let first = since.and_then(|since| since.get(&ObjectRef::new(of, server.key)).copied());
            let first = first.unwrap_or(server.wanted);
            match server.serves {
                None => {
                    let message = format!("The {name} has not said what it serves.");
                    Some(statement(ConditionStatus::Unknown, "ServerSilent", message))
                }
                // What else changed since does not make it less served.
                Some(serves) if !(first..=server.wanted).contains(&serves) && !already => {
                    let message = format!("It waits for the {name} to serve generation {first}.");
                    Some(statement(ConditionStatus::False, WAITING, message))
                }
                Some(_) => None,
            }
        })
    }
}

/// Whether it stands that an object of `kind` is served by servers of kind `of`, which `already` did.
/// They go on, whatever changes beside it: one that starts anew has all of it before it takes calls.
/// Of those who fall silent or take no calls only the object of the server itself tells, or all
/// objects would tell it.
fn stands(already: bool, kind: Kind, of: Kind) -> bool {
    already && kind != of
}

impl Server<'_> {
    /// Whether this server object, of kind `of`, is one that the object `key` of `kind` needs.
    fn serves_for(&self, of: Kind, kind: Kind, key: &Key) -> bool {
        if kind == of { self.key == key } else { self.key.namespace == key.namespace }
    }
}

/// How messages call a server of this kind.
fn server_name(of: Kind) -> &'static str {
    if of == Kind::UMCallRouter { "call router" } else { "mailbox server" }
}

/// That an object is served by so many servers, and how long that took, if that is known.
fn serving(counts: &[(Kind, usize)], waited_ms: Option<i64>) -> String {
    let number = |(of, count): &(Kind, usize)| {
        format!("{count} {}{}", server_name(*of), if *count == 1 { "" } else { "s" })
    };
    let servers = counts.iter().map(number).collect::<Vec<_>>().join(" and ");
    let verb = if counts.iter().map(|(_, count)| count).sum::<usize>() == 1 { "serves" } else { "serve" };
    match waited_ms {
        Some(ms) => format!("{servers} {verb} it, for which it waited {ms} ms."),
        None => format!("{servers} {verb} it."),
    }
}

/// How long an object has waited to be served in this generation, milliseconds.
fn waited_ms(previous: Option<&ObjectStatus>, generation: i64, now: jiff::Timestamp) -> Option<i64> {
    let same = previous.filter(|status| status.observed_generation == generation)?;
    let since: jiff::Timestamp = same.waiting_since.as_ref()?.parse().ok()?;
    Some((now.as_millisecond() - since.as_millisecond()).max(0))
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

    /// Gateways and mailboxes of a dial plan.
    fn take(&mut self, object: &ObjectRef) -> (Option<i64>, Option<i64>) {
        let (gateways, mailboxes) = self.0.remove(object).unwrap_or_default();
        (Some(i64::try_from(gateways.len()).unwrap_or(i64::MAX)), Some(mailboxes))
    }
}
