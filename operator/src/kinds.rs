//! [`Kinds`]: what to say about every object but mailboxes.
//!
//! Decides what objects of each kind say of themselves, and that gateways and hunt groups, of which
//! there may be thousands, are compared only if something changed that their statuses follow from.

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::Kind;

use crate::defaults::Defaults;
use crate::dereference::LinkedServers;
use crate::guards::Guards;
use crate::mailboxes::Totals;
use crate::plan::Write;
use crate::problem::Problem;
use crate::routing::{Outcome, Routing};
use crate::settled::Settled;
use crate::shared::{Identity, SLICES, Shared, Sliced, slice};
use crate::status::{Details, Group, Round};
use crate::world::{Awaited, Key, Object, ObjectRef, World};

/// What was said of objects that are no mailboxes.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    /// By the place of the kind in [`Kind::ALL`], by slice; nothing for kinds that are not held in slices.
    settled: [Vec<Option<Settled<Grounds>>>; Kind::ALL.len()],
    /// How many slices were compared for the last plan.
    compared: usize,
}

/// What the statuses of a slice follow from, beside servers and what was said before.
#[derive(Debug, PartialEq)]
struct Grounds {
    objects: Identity,
    outcome: Shared<Outcome>,
    /// Edits that were refused.
    refused: Vec<Problem>,
    /// What is wrong with them because of servers.
    problems: Vec<Problem>,
    /// What was made for them and their statuses do not say yet.
    unsaid: Vec<(ObjectRef, String)>,
}

/// What is known of the objects of a world.
pub(crate) struct About<'a> {
    pub(crate) world: &'a World,
    pub(crate) routing: &'a Routing,
    pub(crate) linked: &'a LinkedServers<'a>,
    pub(crate) totals: &'a Totals,
    pub(crate) defaults: &'a Defaults,
    /// Everything that is wrong with servers, and with others because of them.
    pub(crate) problems: &'a [Problem],
}

impl Kinds {
    /// How many slices were compared for the last plan.
    pub(crate) fn compared(&self) -> usize {
        self.compared
    }

    /// What is to be said of every object but mailboxes, and which of them wait for servers.
    pub(crate) fn statuses(&mut self, about: &About<'_>, round: &Round<'_>) -> (Vec<Write>, Awaited) {
        let About { world, routing, linked, totals, defaults, .. } = about;
        let guards = Guards::of(world, defaults, &routing.users, totals);
        let made = |kind: Kind, key: &Key| defaults.made(world, kind, key).map(String::as_str);
        let of_plan = |key: &Key| Details {
            in_use: Some(guards.of_dial_plan(key)),
            gateways: Some(routing.gateways.get(key).copied().unwrap_or_default()),
            mailboxes: Some(totals.reached(key)),
            default_mailbox_policy: made(Kind::UMDialPlan, key),
            ..Details::default()
        };
        let of_gateway =
            |key: &Key| Details { default_hunt_group: made(Kind::UMIPGateway, key), ..Details::default() };
        let of_policy = |key: &Key| Details {
            in_use: Some(guards.of_policy(key)),
            mailboxes: Some(guards.mailboxes(key)),
            ..Details::default()
        };
        let none = |_: &Key| Details::default();
        self.compared = 0;
        let mut said = Said { kinds: self, about, round, writes: Vec::new(), awaited: Awaited::default() };
        for kind in Kind::ALL {
            let routed =
                |key: &Key| !routing.outcome(kind, 0).is_some_and(|outcome| outcome.left_out.contains(key));
            match kind {
                Kind::UMDialPlan => said.say(kind, &world.dial_plans, routed, of_plan),
                Kind::UMIPGateway => said.say_in_slices(kind, &world.gateways, of_gateway),
                Kind::UMHuntGroup => said.say_in_slices(kind, &world.hunt_groups, none),
                Kind::UMAutoAttendant => said.say_in_slices(kind, &world.attendants, none),
                Kind::UMMailboxPolicy => said.say(kind, &world.policies, routed, of_policy),
                Kind::UMCallRouter => {
                    said.say(kind, &world.routers, |key| linked.routers.contains_key(key), none);
                }
                Kind::UMService => {
                    said.say(kind, &world.services, |key| linked.services.contains_key(key), none);
                }
                // Those have a home of their own.
                Kind::UMMailbox => {}
            }
        }
        (said.writes, said.awaited)
    }
}

/// What is to be said of the kinds that were looked at.
struct Said<'s> {
    kinds: &'s mut Kinds,
    about: &'s About<'s>,
    round: &'s Round<'s>,
    writes: Vec<Write>,
    awaited: Awaited,
}

impl Said<'_> {
    /// Says what is to be said of `objects`, which are all of `kind`; `is_held` are those that stand in
    /// the configurations of the servers of their namespace. Dial plans and policies say how many mailboxes
    /// there are and servers what their pods say, so they are compared each time.
    fn say<'d, S>(
        &mut self,
        kind: Kind,
        objects: &BTreeMap<Key, Object<S>>,
        is_held: impl Fn(&Key) -> bool,
        details: impl Fn(&Key) -> Details<'d>,
    ) {
        let About { world, routing, problems, .. } = self.about;
        let observed = (&**world.observed.statuses.whole(kind), &**world.observed.awaited.whole(kind));
        let outcome = routing.outcome(kind, 0).into_iter().flat_map(|outcome| &outcome.problems);
        let group = Group::new(kind, observed, &world.refused, outcome.chain(*problems));
        let compared = group.compare(self.round, objects, is_held, details);
        self.writes.extend(compared.writes);
        *self.awaited.whole_mut(kind) = compared.awaited.into();
    }

    /// Says what is to be said of `objects`, which are all of `kind`, of which there may be thousands: the
    /// statuses of a slice are compared only if something changed that they follow from.
    fn say_in_slices<'d, S: Send + Sync + 'static>(
        &mut self,
        kind: Kind,
        objects: &Sliced<Object<S>>,
        details: impl Fn(&Key) -> Details<'d>,
    ) {
        let About { world, routing, defaults, problems, .. } = self.about;
        let round = self.round;
        let (mut refused, mut problems) = (by_slice(&world.refused, kind), by_slice(problems, kind));
        let mut unsaid: BTreeMap<usize, Vec<(ObjectRef, String)>> = BTreeMap::new();
        for (object, name) in defaults.unsaid.iter().filter(|(object, _)| object.kind == kind.name()) {
            unsaid.entry(slice(kind, &object.key)).or_default().push((object.clone(), name.clone()));
        }
        let everything_is_right = Shared::default();
        let all_settled = &mut self.kinds.settled[kind as usize];
        all_settled.resize_with(SLICES, || None);
        for ((number, objects), settled) in objects.slices().iter().enumerate().zip(all_settled) {
            let grounds = Grounds {
                objects: objects.identity(),
                outcome: routing.outcome(kind, number).unwrap_or(&everything_is_right).clone(),
                refused: refused.remove(&number).unwrap_or_default(),
                problems: problems.remove(&number).unwrap_or_default(),
                unsaid: unsaid.remove(&number).unwrap_or_default(),
            };
            let now = Settled {
                statuses: world.observed.statuses.sliced(kind).slices()[number].clone(),
                awaited: world.observed.awaited.sliced(kind).slices()[number].clone(),
                servers: Arc::clone(round.servers),
                from: grounds,
                waits: false,
            };
            let said = Settled::say(settled, now, |now| {
                let outcome = &now.from.outcome;
                let found = outcome.problems.iter().chain(&now.from.problems);
                let group = Group::new(kind, (&now.statuses, &now.awaited), &now.from.refused, found);
                group.compare(round, objects, |key| !outcome.left_out.contains(key), &details)
            });
            self.kinds.compared += usize::from(said.was_compared);
            self.writes.extend(said.writes);
            self.awaited.sliced_mut(kind).put(number, said.awaited);
        }
    }
}

/// Those of `problems` that are of objects of `kind`, by slice.
fn by_slice(problems: &[Problem], kind: Kind) -> BTreeMap<usize, Vec<Problem>> {
    let mut by_slice: BTreeMap<usize, Vec<Problem>> = BTreeMap::new();
    for problem in problems {
        if let Some(object) = problem.object.as_ref().filter(|object| object.kind == kind.name()) {
            by_slice.entry(slice(kind, &object.key)).or_default().push(problem.clone());
        }
    }
    by_slice
}
