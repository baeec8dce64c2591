//! Whether each object is served: the condition `Served`.
//!
//! Decides when every server that needs an object says that it serves it as it is written, and
//! calls were answered then. Refuses to know when that is written.

use std::borrow::Cow;
use std::collections::BTreeSet;

use config::ServerStatus;
use crds::{Condition, ConditionStatus, Kind};

use crate::build::Wanted;
use crate::status::{ObjectStatus, Statement};
use crate::world::{Generations, Key, ObjectRef, World};

/// The reason of an object that stands in the configuration of each server, and is not served by all.
pub(crate) const WAITING: &str = "Waiting";

/// What the servers of one server object have and say.
#[derive(Debug, PartialEq)]
struct Server {
    /// Which server object.
    key: Key,
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
#[derive(Debug, PartialEq)]
pub(crate) struct Servers {
    routers: Vec<Server>,
    services: Vec<Server>,
}

/// An object that servers may need.
#[derive(Clone, Copy)]
pub(crate) struct Needing<'o> {
    pub(crate) kind: Kind,
    pub(crate) key: &'o Key,
    pub(crate) generation: i64,
    /// Whether it stands in the configurations of the servers of its namespace.
    pub(crate) is_held: bool,
    /// What was said of it last.
    pub(crate) previous: Option<&'o ObjectStatus>,
    /// The first configurations in which it stands as it is written, if that was noted.
    pub(crate) since: Option<&'o Generations>,
}

impl<'o> Needing<'o> {
    /// The condition that says that it is served as it is written, if it is there.
    pub(crate) fn already(&self) -> Option<&'o Condition> {
        self.previous.and_then(|status| status.condition("Served")).filter(|condition| {
            condition.status == ConditionStatus::True && condition.observed_generation == self.generation
        })
    }
}

impl Servers {
    /// Those that read what is `wanted`.
    pub(crate) fn of(world: &World, wanted: &Wanted) -> Servers {
        let server = |kind: Kind, key: &Key, wanted: u64, status: ServerStatus| {
            let object = ObjectRef::new(kind, key);
            let serves = world.observed.served.get(&object).copied();
            // On one machine there is one server, and it is asked when it runs.
            let cluster = world.cluster.as_ref();
            Server {
                key: key.clone(),
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
        }
    }

    /// Whether they stand where `others` do: whatever they say, it is the same for an object that is
    /// served already or stands in no configuration, unless it is that of a server.
    pub(crate) fn stand_as(&self, others: &Servers) -> bool {
        let namespaces = |servers: &Servers| -> [BTreeSet<String>; 2] {
            [&servers.routers, &servers.services]
                .map(|servers| servers.iter().map(|server| server.key.namespace.clone()).collect())
        };
        namespaces(self) == namespaces(others)
    }

    /// Whether an object is served, and by how many.
    pub(crate) fn served<'o>(&self, object: &Needing<'o>, now: jiff::Timestamp) -> Statement<'o> {
        let Needing { kind, key, generation, previous, .. } = *object;
        let already = object.already();
        let routers = (Kind::UMCallRouter, self.routers.as_slice());
        let services = (Kind::UMService, self.services.as_slice());
        let both = [routers, services];
        let needed = match kind {
            Kind::UMMailboxPolicy | Kind::UMService => &both[1..],
            Kind::UMCallRouter => &both[..1],
            Kind::UMDialPlan
            | Kind::UMIPGateway
            | Kind::UMHuntGroup
            | Kind::UMAutoAttendant
            | Kind::UMMailbox => &both[..],
        };
        let missing = |(of, servers): &(Kind, &[Server])| Servers::missing(*of, servers, object);
        // Who takes calls stands in the next generation: nobody waits for an earlier one before.
        let behind = |(of, servers): &(Kind, &[Server])| Servers::behind(*of, servers, object);
        if let Some(why) = needed.iter().find_map(missing).or_else(|| needed.iter().find_map(behind)) {
            return why;
        }
        // What was said when it came to be served stands.
        let message = already.map_or_else(
            || {
                let of = |(of, servers): &(Kind, &[Server])| {
                    let needing = servers.iter().filter(|server| server.serves_for(*of, kind, key));
                    (*of, needing.map(|server| server.running).sum())
                };
                let counts: Vec<(Kind, usize)> = needed.iter().map(of).collect();
                Cow::Owned(serving(&counts, waited_ms(previous, generation, now)))
            },
            |condition| Cow::Borrowed(condition.message.as_str()),
        );
        statement(ConditionStatus::True, "Serving", message)
    }

    /// Why an object is not served by the server objects of kind `of`, if none of them can.
    fn missing(of: Kind, servers: &[Server], object: &Needing<'_>) -> Option<Statement<'static>> {
        let (kind, key, already) = (object.kind, object.key, object.already().is_some());
        let name = server_name(of);
        if servers.is_empty() {
            let message = format!("There is no {of} to serve it.");
            return Some(statement(ConditionStatus::False, "NoServer", message.into()));
        }
        let needing = || servers.iter().filter(|server| server.serves_for(of, kind, key));
        if needing().next().is_none() || !object.is_held {
            let message = format!("It is not in the configuration of the {name}.");
            return Some(statement(ConditionStatus::False, "LeftOut", message.into()));
        }
        let enabled = || needing().filter(|server| server.is_enabled);
        let nobody_takes_calls = enabled().next().is_some() && !enabled().any(|server| server.takes_calls);
        (nobody_takes_calls && !stands(already, kind, of)).then(|| {
            let message = format!("It waits for a {name} to take calls.");
            statement(ConditionStatus::False, "NotReady", message.into())
        })
    }

    /// Why an object is not served by the server objects of kind `of`, if one of them is late.
    fn behind(of: Kind, servers: &[Server], object: &Needing<'_>) -> Option<Statement<'static>> {
        let (kind, key, already) = (object.kind, object.key, object.already().is_some());
        if stands(already, kind, of) {
            return None;
        }
        let needing = || servers.iter().filter(|server| server.serves_for(of, kind, key));
        // One without servers keeps nobody waiting, unless nobody else has any.
        let all_absent = needing().all(|server| !server.is_present);
        needing().filter(|server| all_absent || server.is_present).find_map(|server| {
            let name = server_name(of);
            let name = if servers.len() > 1 { format!("{name} {}", server.key.name) } else { name.into() };
            let first = object.since.and_then(|since| since.get(&ObjectRef::new(of, &server.key)).copied());
            let first = first.unwrap_or(server.wanted);
            match server.serves {
                None => {
                    let message = format!("The {name} has not said what it serves.");
                    Some(statement(ConditionStatus::Unknown, "ServerSilent", message.into()))
                }
                // What else changed since does not make it less served.
                Some(serves) if !(first..=server.wanted).contains(&serves) && !already => {
                    let message = format!("It waits for the {name} to serve generation {first}.");
                    Some(statement(ConditionStatus::False, WAITING, message.into()))
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

impl Server {
    /// Whether this server object, of kind `of`, is one that the object `key` of `kind` needs.
    fn serves_for(&self, of: Kind, kind: Kind, key: &Key) -> bool {
        if kind == of { self.key == *key } else { self.key.namespace == key.namespace }
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

fn statement<'o>(status: ConditionStatus, reason: &'static str, message: Cow<'o, str>) -> Statement<'o> {
    Statement { type_: "Served", status, reason, message }
}
