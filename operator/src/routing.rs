//! [`Routing`]: what follows from the objects that calls are routed by, but mailboxes.
//!
//! Decides what of a world these objects are looked at with, so that what follows from them stands for
//! as long as nothing of that changes. Refuses to know mailboxes and servers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crds::{
    Kind, UMAutoAttendantSpec, UMDialPlanSpec, UMHuntGroupSpec, UMIPGatewaySpec, UMMailboxPolicySpec,
};

use crate::check::check_each;
use crate::dereference::{Linked, dereference};
use crate::directory::{RoutingSite, sites};
use crate::gateways::{GatewayAnswers, GatewayMemory, GatewayObjects, Gateways};
use crate::guards::Users;
use crate::hunt_groups::{Ends, HuntGroupMemory, HuntGroupObjects, HuntGroups};
use crate::mailboxes::{Policies, Reserved, reserved};
use crate::memory::Memo;
use crate::names::{Answers, Wanted};
use crate::problem::Problem;
use crate::resolve::{LastGood, told};
use crate::shared::{Shared, Sliced, slice};
use crate::validate::validate_together;
use crate::world::{Key, Object, World};

/// The objects that calls are routed by, but mailboxes, and what was refused: all that [`Routing`]
/// follows from.
#[derive(Debug, PartialEq)]
pub(crate) struct RoutingObjects {
    pub(crate) dial_plans: Shared<BTreeMap<Key, Object<UMDialPlanSpec>>>,
    pub(crate) gateways: Sliced<Object<UMIPGatewaySpec>>,
    pub(crate) hunt_groups: Sliced<Object<UMHuntGroupSpec>>,
    pub(crate) attendants: Sliced<Object<UMAutoAttendantSpec>>,
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
    /// By the place of the kind in [`Kind::ALL`].
    outcomes: [Outcomes; Kind::ALL.len()],
    /// The names that somebody should ask for.
    pub(crate) names: Shared<Wanted>,
    /// What servers of each namespace read of them.
    pub(crate) sites: BTreeMap<String, Shared<RoutingSite>>,
    /// What mailboxes need to know of them.
    pub(crate) policies: Shared<Policies>,
    pub(crate) reserved: Shared<Reserved>,
    /// How many gateways lead to each dial plan.
    pub(crate) gateways: BTreeMap<Key, i64>,
    /// Which gateways, hunt groups and auto attendants refer to each dial plan.
    pub(crate) users: BTreeMap<Key, Users>,
}

/// What became of the objects of one kind, by slice; all of them are one where they are not held in slices.
/// Nothing for a slice in which everything is as it should be.
pub(crate) type Outcomes = BTreeMap<usize, Shared<Outcome>>;

/// What became of the objects of one slice.
#[derive(Clone, Debug, Default, PartialEq)]
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
}

/// What followed from the routing objects of an earlier world.
#[derive(Debug, Default)]
pub(crate) struct RoutingMemory {
    whole: Memo<RoutingObjects, Routing>,
    gateways: GatewayMemory,
    hunt_groups: HuntGroupMemory,
    /// How many objects were looked at for the last plan.
    looked_at: usize,
}

impl RoutingMemory {
    /// What follows from `objects`.
    pub(crate) fn of(&mut self, objects: RoutingObjects) -> Shared<Routing> {
        let RoutingMemory { whole, gateways, hunt_groups, looked_at } = self;
        *looked_at = 0;
        whole.of(objects, |objects| {
            *looked_at += objects.dial_plans.len() + objects.attendants.len() + objects.policies.len();
            let mut problems = Vec::new();
            let sound = check_each(objects, &mut problems);
            let mut linked = dereference(objects, sound, &mut problems);
            validate_together(objects, &mut linked, &mut problems);
            let answers = GatewayAnswers { names: Arc::clone(&objects.names), told: objects.told.clone() };
            let all_gateways = GatewayObjects { objects: objects.gateways.clone(), answers };
            let found = gateways.look(&all_gateways);
            let all_hunt_groups = all_hunt_groups(objects, &linked, found);
            let routing =
                Routing::of(objects, &linked, (found, hunt_groups.look(&all_hunt_groups)), problems);
            *looked_at += gateways.looked_at + hunt_groups.looked_at;
            routing
        })
    }

    /// How many objects were looked at for the last plan.
    pub(crate) fn looked_at(&self) -> usize {
        self.looked_at
    }
}

/// All hunt groups, and what they lead from and to.
fn all_hunt_groups(objects: &RoutingObjects, linked: &Linked<'_>, gateways: &Gateways) -> HuntGroupObjects {
    let plans = objects.dial_plans.keys().cloned();
    let (dial_plans, left_out_dial_plans) = plans.partition(|key| linked.dial_plans.contains_key(key));
    let ends = Ends {
        gateways: gateways.kept.clone(),
        left_out_gateways: gateways.left_out.clone(),
        dial_plans,
        left_out_dial_plans,
        refused: objects.refused.clone(),
    };
    HuntGroupObjects { objects: objects.hunt_groups.clone(), ends }
}

impl Routing {
    /// What follows from `objects`, given what follows from gateways and hunt groups.
    fn of(
        objects: &RoutingObjects,
        linked: &Linked<'_>,
        (gateways, hunt_groups): (&Gateways, &HuntGroups),
        mut problems: Vec<Problem>,
    ) -> Routing {
        problems.extend(gateways.problems.iter().chain(&hunt_groups.problems).cloned());
        let sites = sites(linked, &gateways.documents, &hunt_groups.documents);
        Routing {
            names: gateways.names.clone(),
            outcomes: outcomes(objects, linked, (gateways, hunt_groups), &problems),
            sites: sites.into_iter().map(|(namespace, site)| (namespace, site.into())).collect(),
            policies: Policies::of(objects, linked).into(),
            reserved: reserved(linked).into(),
            gateways: hunt_groups.gateways.clone(),
            users: users(objects, gateways, hunt_groups),
            problems,
        }
    }

    /// What became of the objects of one slice of `kind`.
    pub(crate) fn outcome(&self, kind: Kind, slice: usize) -> Option<&Shared<Outcome>> {
        self.outcomes[kind as usize].get(&slice)
    }
}

fn outcomes(
    objects: &RoutingObjects,
    linked: &Linked<'_>,
    (gateways, hunt_groups): (&Gateways, &HuntGroups),
    problems: &[Problem],
) -> [Outcomes; Kind::ALL.len()] {
    let mut outcomes = Kind::ALL.map(|_| Outcomes::new());
    for problem in problems {
        let Some(object) = &problem.object else { continue };
        if let Some(kind) = Kind::of(&object.kind) {
            let outcome = outcomes[kind as usize].entry(slice(kind, &object.key)).or_default();
            outcome.problems.push(problem.clone());
        }
    }
    let mut leave_out = |kind: Kind, left_out: Vec<&Key>| {
        for key in left_out {
            let outcome = outcomes[kind as usize].entry(slice(kind, key)).or_default();
            outcome.left_out.insert(key.clone());
        }
    };
    leave_out(Kind::UMDialPlan, left_out(objects.dial_plans.keys(), &linked.dial_plans));
    leave_out(Kind::UMMailboxPolicy, left_out(objects.policies.keys(), &linked.policies));
    leave_out(Kind::UMAutoAttendant, left_out(objects.attendants.keys(), &linked.attendants));
    leave_out(Kind::UMIPGateway, gateways.left_out.keys().collect());
    leave_out(Kind::UMHuntGroup, hunt_groups.left_out.keys().collect());
    outcomes
}

/// Those of `all` that are not in `linked`.
fn left_out<'o, L>(all: impl Iterator<Item = &'o Key>, linked: &BTreeMap<&Key, L>) -> Vec<&'o Key> {
    all.filter(|key| !linked.contains_key(key)).collect()
}

/// Which gateways, hunt groups and auto attendants refer to each dial plan, whether it is there or not.
fn users(objects: &RoutingObjects, gateways: &Gateways, hunt_groups: &HuntGroups) -> BTreeMap<Key, Users> {
    let mut users = gateways.users.clone();
    for (plan, others) in &hunt_groups.users {
        users.entry(plan.clone()).or_default().merge(others);
    }
    for (key, attendant) in objects.attendants.iter() {
        let plan = key.beside(&attendant.spec.um_dial_plan);
        users.entry(plan).or_default().add(Kind::UMAutoAttendant, &key.name);
    }
    users
}
