//! [`Routing`]: what follows from the objects that calls are routed by, but mailboxes.
//!
//! Decides what of a world these objects are looked at with, so that what follows from them stands for
//! as long as nothing of that changes. Refuses to know mailboxes and servers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use config::parts::SitePart;
use crds::{
    Kind, UMAutoAttendantSpec, UMDialPlanSpec, UMHuntGroupSpec, UMIPGatewaySpec, UMMailboxPolicySpec,
};

use crate::check::check_each;
use crate::dereference::{Linked, dereference};
use crate::directory::sites;
use crate::guards::Users;
use crate::mailboxes::Policies;
use crate::names::{Answers, Wanted, wanted};
use crate::problem::Problem;
use crate::resolve::{LastGood, told};
use crate::shared::Shared;
use crate::validate::validate_together;
use crate::world::{Key, Object, World};

/// The objects that calls are routed by, but mailboxes, and what was refused: all that [`Routing`]
/// follows from.
#[derive(Debug, PartialEq)]
pub(crate) struct RoutingObjects {
    pub(crate) dial_plans: Shared<BTreeMap<Key, Object<UMDialPlanSpec>>>,
    pub(crate) gateways: Shared<BTreeMap<Key, Object<UMIPGatewaySpec>>>,
    pub(crate) hunt_groups: Shared<BTreeMap<Key, Object<UMHuntGroupSpec>>>,
    pub(crate) attendants: Shared<BTreeMap<Key, Object<UMAutoAttendantSpec>>>,
    pub(crate) policies: Shared<BTreeMap<Key, Object<UMMailboxPolicySpec>>>,
    pub(crate) refused: Vec<Problem>,
    /// What was found out about the names of gateways, and what servers were told of them last.
    pub(crate) names: Arc<Answers>,
    pub(crate) told: LastGood,
}

/// What follows from them.
#[derive(Debug, PartialEq)]
pub(crate) struct Routing {
    /// Everything that is wrong with them, in the order in which it was found.
    pub(crate) problems: Vec<Problem>,
    /// By the place of the kind in [`Kind::ALL`]; nothing for kinds that are none of them.
    outcomes: [Shared<Outcome>; Kind::ALL.len()],
    /// The names that somebody should ask for.
    pub(crate) names: Wanted,
    /// What servers of each namespace read of them.
    pub(crate) sites: BTreeMap<String, Shared<SitePart>>,
    /// What mailboxes need to know of them.
    pub(crate) policies: Shared<Policies>,
    /// How many gateways lead to each dial plan.
    pub(crate) gateways: BTreeMap<Key, i64>,
    /// Which gateways, hunt groups and auto attendants refer to each dial plan.
    pub(crate) users: BTreeMap<Key, Users>,
}

/// What became of the objects of one kind.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Everything that is wrong with them.
    pub(crate) problems: Vec<Problem>,
    /// Those that stand in no configuration.
    pub(crate) left_out: BTreeSet<Key>,
}

impl RoutingObjects {
    /// Those of `world`.
    pub(crate) fn of(world: &World) -> RoutingObjects {
        RoutingObjects {
            dial_plans: world.dial_plans.clone(),
            gateways: world.gateways.clone(),
            hunt_groups: world.hunt_groups.clone(),
            attendants: world.attendants.clone(),
            policies: world.policies.clone(),
            refused: world.refused.clone(),
            names: Arc::clone(&world.names),
            told: told(world),
        }
    }

    /// How many they are.
    pub(crate) fn len(&self) -> usize {
        let leading = self.gateways.len() + self.hunt_groups.len() + self.attendants.len();
        self.dial_plans.len() + leading + self.policies.len()
    }
}

impl Routing {
    /// What follows from `objects`: each is checked, its references are followed, and all are held
    /// beside each other.
    pub(crate) fn of(objects: &RoutingObjects) -> Routing {
        let mut problems = Vec::new();
        let sound = check_each(objects, &mut problems);
        let mut linked = dereference(objects, sound, &mut problems);
        let names = wanted(objects, &linked);
        validate_together(objects, &mut linked, &mut problems);
        Routing {
            names,
            outcomes: outcomes(objects, &linked, &problems),
            sites: sites(&linked).into_iter().map(|(namespace, site)| (namespace, site.into())).collect(),
            policies: Policies::of(objects, &linked).into(),
            gateways: gateways(&linked),
            users: users(objects),
            problems,
        }
    }

    /// What became of the objects of `kind`.
    pub(crate) fn outcome(&self, kind: Kind) -> &Shared<Outcome> {
        &self.outcomes[kind as usize]
    }
}

fn outcomes(
    objects: &RoutingObjects,
    linked: &Linked<'_>,
    problems: &[Problem],
) -> [Shared<Outcome>; Kind::ALL.len()] {
    let mut outcomes = Kind::ALL.map(|_| Outcome::default());
    for problem in problems {
        if let Some(kind) = problem.object.as_ref().and_then(|object| Kind::of(&object.kind)) {
            outcomes[kind as usize].problems.push(problem.clone());
        }
    }
    let mut leave_out = |kind: Kind, left_out: BTreeSet<Key>| outcomes[kind as usize].left_out = left_out;
    leave_out(Kind::UMDialPlan, left_out(&objects.dial_plans, &linked.dial_plans));
    leave_out(Kind::UMIPGateway, left_out(&objects.gateways, &linked.gateways));
    leave_out(Kind::UMHuntGroup, left_out(&objects.hunt_groups, &linked.hunt_groups));
    leave_out(Kind::UMAutoAttendant, left_out(&objects.attendants, &linked.attendants));
    leave_out(Kind::UMMailboxPolicy, left_out(&objects.policies, &linked.policies));
    outcomes.map(Shared::from)
}

/// Those that are in `all` and not in `linked`, which has no others.
fn left_out<A, L>(all: &BTreeMap<Key, A>, linked: &BTreeMap<&Key, L>) -> BTreeSet<Key> {
    if all.len() == linked.len() {
        return BTreeSet::new();
    }
    all.keys().filter(|key| !linked.contains_key(key)).cloned().collect()
}

/// How many gateways lead to each dial plan.
fn gateways(linked: &Linked<'_>) -> BTreeMap<Key, i64> {
    let mut gateways: BTreeMap<&Key, BTreeSet<&Key>> = BTreeMap::new();
    for hunt_group in linked.hunt_groups.values() {
        gateways.entry(hunt_group.dial_plan).or_default().insert(hunt_group.gateway);
    }
    let count = |gateways: BTreeSet<&Key>| i64::try_from(gateways.len()).unwrap_or(i64::MAX);
    gateways.into_iter().map(|(plan, gateways)| (plan.clone(), count(gateways))).collect()
}

/// Which gateways, hunt groups and auto attendants refer to each dial plan, whether it is there or not.
fn users(objects: &RoutingObjects) -> BTreeMap<Key, Users> {
    let mut users: BTreeMap<Key, Users> = BTreeMap::new();
    let mut refers = |from: Kind, key: &Key, dial_plan: &str| {
        users.entry(key.beside(dial_plan)).or_default().add(from, &key.name);
    };
    for (key, gateway) in &objects.gateways {
        if let Some(dial_plan) = &gateway.spec.um_dial_plan {
            refers(Kind::UMIPGateway, key, dial_plan);
        }
    }
    for (key, hunt_group) in &objects.hunt_groups {
        refers(Kind::UMHuntGroup, key, &hunt_group.spec.um_dial_plan);
    }
    for (key, attendant) in &objects.attendants {
        refers(Kind::UMAutoAttendant, key, &attendant.spec.um_dial_plan);
    }
    users
}
