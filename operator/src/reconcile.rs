//! The one verb: [`reconcile`], and [`Reconciler`], which remembers.
//!
//! Decides the order of the steps, and that only differences are written. Every step is pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use config::Code;
use config::parts::TOKEN_KEYS_FILE;

use crate::build::{Wanted, build, servers_of};
use crate::check::check_servers;
use crate::defaults::defaults;
use crate::dereference::dereference_servers;
use crate::kinds::About;
use crate::memory::{Effort, Memory};
use crate::plan::{MAX_STATUSES, PartWrite, Plan, Write};
use crate::problem::Problem;
use crate::rotation::rotate;
use crate::served::Servers;
use crate::status::Round;
use crate::turn::Turn;
use crate::validate::validate_servers;
use crate::workloads::{TOKEN_SECRET, Workload, WorkloadRef, stale, workloads};
use crate::world::{PartName, World, WrittenKeys};
use crds::Kind;

/// What should be written in this world, and what is wrong in it.
///
/// Total: whatever the objects say, there is a plan, and what is wrong with one of them is a
/// problem of that one. A world in which the plan already holds gets a plan without writes, and
/// after any number of a plan's writes the next plan finishes the rest.
pub fn reconcile(world: &World) -> Plan {
    Reconciler::default().reconcile(world)
}

/// [`reconcile`] with a memory: it says the same, sooner.
#[derive(Debug, Default)]
pub struct Reconciler {
    memory: Memory,
}

impl Reconciler {
    /// What should be written in this world, and what is wrong in it.
    pub fn reconcile(&mut self, world: &World) -> Plan {
        plan(world, &mut self.memory)
    }

    /// What the last plan took to be made.
    pub fn effort(&self) -> Effort {
        self.memory.effort()
    }
}

fn plan(world: &World, memory: &mut Memory) -> Plan {
    let mut problems = Vec::new();
    let routing = memory.routing(world);
    let names = check_servers(world, &mut problems);
    let mut linked = dereference_servers(world, names, &mut problems);
    validate_servers(world, &mut linked, &mut problems);
    memory.mailboxes.look(world, &routing.policies, &routing.reserved);
    let keys = token_keys(world, &mut problems);
    let known = keys.as_ref().map(|keys| keys.keys.as_slice());
    let wanted = build(world, &routing, &linked, known, memory, &mut problems);
    let defaults = defaults(world);
    let generations = Arc::new(wanted.generations());
    let servers = Arc::new(Servers::of(world, &wanted));
    let round = Round { servers: &servers, wanted: &generations, now: world.now };
    let about = About {
        world,
        routing: &routing,
        linked: &linked,
        totals: memory.mailboxes.totals(),
        defaults: &defaults,
        problems: &problems,
    };
    let (of_others, mut awaited) = memory.kinds.statuses(&about, &round);
    let limit = if world.cluster.is_some() { MAX_STATUSES } else { usize::MAX };
    let after = world.observed.cut_after.as_ref();
    let (statuses, cut_after) = Turn::of(limit, after, of_others, |slices, room| {
        memory.mailboxes.statuses(world, &round, (slices, room), awaited.sliced_mut(Kind::UMMailbox))
    });
    let others = problems.into_iter();
    let mut problems: Vec<Problem> = world.refused.iter().chain(&routing.problems).cloned().collect();
    problems.extend(others);
    problems.extend(memory.mailboxes.found().flat_map(|found| found.problems.iter().cloned()));
    let workloads = world.cluster.as_ref().map(|cluster| workloads(cluster, &linked)).unwrap_or_default();
    let stale = stale(&world.observed.workloads, &workloads);
    let mut writes = differences(world, keys, wanted, (workloads, stale));
    writes.extend(statuses);
    writes.extend(defaults.missing.into_iter().map(|default| Write::Default(Box::new(default))));
    let names = routing.names.clone();
    Plan { writes, problems, wanted: Arc::unwrap_or_clone(generations), awaited, names, cut_after }
}

/// The keys of the redirect token as they should be written; `None` where there are none to write.
/// Keys that are there and cannot be read are not replaced: calls that are on their way would be
/// refused.
fn token_keys(world: &World, problems: &mut Vec<Problem>) -> Option<WrittenKeys> {
    let Some(why) = &world.token_trouble else {
        let nobody = world.routers.is_empty() && world.services.is_empty();
        return if nobody { None } else { rotate(world) };
    };
    let namespaces = world.routers.keys().chain(world.services.keys()).map(|key| key.namespace.as_str());
    let namespaces: BTreeSet<&str> = namespaces.collect();
    for server in namespaces.into_iter().flat_map(|namespace| servers_of(world, namespace)) {
        problems.push(Problem {
            code: Code::TokenKeysUnusable,
            object: Some(server),
            field: "metadata.namespace".into(),
            value: format!("Secret {TOKEN_SECRET}"),
            rule: format!("a Secret with the keys of the redirect token in {TOKEN_KEYS_FILE}; {why}"),
            fix: "restore what it was; or delete it, and a new key is made: calls that are being redirected \
                  at that moment are refused"
                .into(),
            waits_for: None,
        });
    }
    None
}

/// The writes that turn what is observed into what is wanted.
fn differences(
    world: &World,
    keys: Option<WrittenKeys>,
    wanted: Wanted,
    (workloads, stale): (Vec<Workload>, Vec<WorkloadRef>),
) -> Vec<Write> {
    let observed = &world.observed;
    let mut writes = Vec::new();
    if let Some(keys) = keys.filter(|keys| observed.token_keys.as_ref() != Some(keys)) {
        let namespace = world.routers.keys().chain(world.services.keys()).map(|key| &key.namespace).next();
        writes.extend(namespace.map(|namespace| Write::TokenKeys(namespace.clone(), Box::new(keys))));
    }
    let owners: BTreeSet<String> =
        world.cluster.iter().flat_map(|cluster| cluster.servers().map(|(_, uid)| uid.clone())).collect();
    for (named, part) in wanted.parts {
        let written = observed.parts.get(&named);
        if written.is_some_and(|written| written.part.digest == part.digest && written.owners == owners) {
            continue;
        }
        let site = wanted.sites.get(&named.namespace).filter(|_| named.name == PartName::Site).cloned();
        writes.push(Write::Part(named, Box::new(PartWrite { part, site, owners: owners.clone() })));
    }
    for (key, document) in wanted.services {
        if observed.services.get(&key) != Some(&document.index) {
            writes.push(Write::Mailbox(key, Box::new(document.index)));
        }
    }
    for (key, document) in wanted.routers {
        if observed.routers.get(&key) != Some(&document.index) {
            writes.push(Write::Router(key, Box::new(document.index)));
        }
    }
    let differs = |workload: &Workload| {
        let live = observed.workloads.get(&workload.object);
        !live.is_some_and(|live| workload.stands_in(live))
    };
    writes.extend(workloads.into_iter().filter(differs).map(|workload| Write::Workload(Box::new(workload))));
    writes.extend(stale.into_iter().map(Write::Remove));
    writes
}
