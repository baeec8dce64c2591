//! The one verb: [`reconcile`].
//!
//! Decides the order of the steps, and that only differences are written. Every step is pure.

use std::collections::BTreeMap;

use crate::build::{Wanted, build};
use crate::check::check_each;
use crate::defaults::defaults;
use crate::dereference::dereference;
use crate::plan::{Plan, Write};
use crate::problem::Problem;
use crate::status::{ObjectStatus, awaited, statuses};
use crate::validate::validate_together;
use crate::workloads::{Workload, WorkloadRef, holds, stale, workloads};
use crate::world::{ObjectRef, Observed, World};

/// What should be written in this world, and what is wrong in it.
///
/// Total: whatever the objects say, there is a plan, and what is wrong with one of them is a
/// problem of that one. A world in which the plan already holds gets a plan without writes, and
/// after any number of a plan's writes the next plan finishes the rest.
pub fn reconcile(world: &World) -> Plan {
    let mut problems = world.refused.clone();
    let names = check_each(world, &mut problems);
    let mut linked = dereference(world, names, &mut problems);
    validate_together(world, &mut linked, &mut problems);
    let wanted = build(world, &linked);
    let defaults = defaults(world);
    let statuses = statuses(world, &linked, &wanted, &defaults, &problems);
    let workloads = world.cluster.as_ref().map(|cluster| workloads(cluster, &linked)).unwrap_or_default();
    let stale = stale(&world.observed.workloads, &workloads);
    let mut plan = differences(&world.observed, wanted, (workloads, stale), statuses, problems);
    plan.writes.extend(defaults.missing.into_iter().map(|default| Write::Default(Box::new(default))));
    plan
}

/// The writes that turn what is observed into what is wanted.
fn differences(
    observed: &Observed,
    wanted: Wanted,
    (workloads, stale): (Vec<Workload>, Vec<WorkloadRef>),
    statuses: BTreeMap<ObjectRef, ObjectStatus>,
    problems: Vec<Problem>,
) -> Plan {
    let generations = wanted.generations();
    let awaited = awaited(&statuses, &observed.awaited, &generations);
    let mut writes = Vec::new();
    for (key, document) in wanted.services {
        if observed.services.get(&key) != Some(&document.config) {
            writes.push(Write::Mailbox(key, Box::new(document.config)));
        }
    }
    for (key, document) in wanted.routers {
        if observed.routers.get(&key) != Some(&document.config) {
            writes.push(Write::Router(key, Box::new(document.config)));
        }
    }
    let differs = |workload: &Workload| {
        let live = observed.workloads.get(&workload.object);
        !live.is_some_and(|live| holds(live, &workload.manifest))
    };
    writes.extend(workloads.into_iter().filter(differs).map(|workload| Write::Workload(Box::new(workload))));
    writes.extend(stale.into_iter().map(Write::Remove));
    let gone = observed.statuses.keys().filter(|object| !statuses.contains_key(object));
    writes.extend(gone.map(|object| Write::Forget(object.clone())));
    let changed =
        statuses.into_iter().filter(|(object, status)| observed.statuses.get(object) != Some(status));
    writes.extend(changed.map(|(object, status)| Write::Status(object, status)));
    Plan { writes, problems, wanted: generations, awaited }
}
