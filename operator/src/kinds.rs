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
use crate::shared::{Identity, Shared};
use crate::status::{Details, Group, Round};
use crate::world::{Awaited, Key, Object, ObjectRef, World};

/// What was said of objects that are no mailboxes.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    /// By the place of the kind in [`Kind::ALL`].
    settled: [Option<Settled<Grounds>>; Kind::ALL.len()],
    /// How many of those that may be settled were compared for the last plan.
    compared: usize,
}

/// What the statuses of a kind follow from, beside servers and what was said before.
#[derive(Debug, PartialEq)]
struct Grounds {
    objects: Identity,
    outcome: Shared<Outcome>,
    /// Edits that were refused.
    refused: Vec<Problem>,
    /// What is wrong with them because of servers.
    problems: Vec<Problem>,
    /// What was made for them.
    made: Arc<BTreeMap<ObjectRef, String>>,
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
    /// How many of those that may be settled were compared for the last plan.
    pub(crate) fn compared(&self) -> usize {
        self.compared
    }

    /// What is to be said of every object but mailboxes, and which of them wait for servers.
    pub(crate) fn statuses(&mut self, about: &About<'_>, round: &Round<'_>) -> (Vec<Write>, Awaited) {
        let About { world, routing, linked, totals, defaults, .. } = about;
        let guards = Guards::of(world, defaults, &routing.users, totals);
        let made = |kind: Kind, key: &Key| defaults.made.get(&ObjectRef::new(kind, key)).map(String::as_str);
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
            let left_out = &routing.outcome(kind).left_out;
            let routed = |key: &Key| !left_out.contains(key);
            match kind {
                Kind::UMDialPlan => said.say(kind, &world.dial_plans, routed, of_plan),
                Kind::UMIPGateway => said.say(kind, &world.gateways, routed, of_gateway),
                Kind::UMHuntGroup => said.say(kind, &world.hunt_groups, routed, none),
                Kind::UMAutoAttendant => said.say(kind, &world.attendants, routed, none),
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
    /// the configurations of the servers of their namespace.
    fn say<'d, S: Send + Sync + 'static>(
        &mut self,
        kind: Kind,
        objects: &Shared<BTreeMap<Key, Object<S>>>,
        is_held: impl Fn(&Key) -> bool,
        details: impl Fn(&Key) -> Details<'d>,
    ) {
        let About { world, routing, defaults, problems, .. } = self.about;
        let round = self.round;
        let grounds = Grounds {
            objects: objects.identity(),
            outcome: routing.outcome(kind).clone(),
            refused: of_kind(&world.refused, kind),
            problems: of_kind(problems, kind),
            made: Arc::clone(&defaults.made),
        };
        let now = Settled {
            statuses: world.observed.statuses.of_kind(kind).clone(),
            awaited: world.observed.awaited.of_kind(kind).clone(),
            servers: Arc::clone(round.servers),
            from: grounds,
            waits: false,
        };
        let settled = &mut self.kinds.settled[kind as usize];
        let said = Settled::say(settled, now, |now| {
            let found = now.from.outcome.problems.iter().chain(&now.from.problems);
            let group = Group::new(kind, (&now.statuses, &now.awaited), &now.from.refused, found);
            group.compare(round, objects, is_held, details)
        });
        if follows_from_grounds(kind) {
            self.kinds.compared += usize::from(said.was_compared);
        } else {
            *settled = None;
        }
        self.writes.extend(said.writes);
        *self.awaited.of_kind_mut(kind) = said.awaited;
    }
}

/// Whether the statuses of a kind follow from nothing but [`Grounds`]. Those of dial plans and policies
/// say how many mailboxes there are, and those of servers what their pods say.
fn follows_from_grounds(kind: Kind) -> bool {
    match kind {
        Kind::UMIPGateway | Kind::UMHuntGroup | Kind::UMAutoAttendant => true,
        Kind::UMDialPlan | Kind::UMMailboxPolicy | Kind::UMMailbox | Kind::UMCallRouter | Kind::UMService => {
            false
        }
    }
}

fn of_kind(problems: &[Problem], kind: Kind) -> Vec<Problem> {
    let is = |problem: &&Problem| problem.object.as_ref().is_some_and(|object| object.kind == kind.name());
    problems.iter().filter(is).cloned().collect()
}
