//! First step: each object by itself.
//!
//! Decides which objects but mailboxes can be used as far as they alone can tell. The rules are those of
//! `crds`; a cluster's API server and the folder refuse such objects before they come here, and this step
//! keeps the plan total where something else did not.

use std::collections::BTreeMap;

use crds::{Kind, Violation};

use crate::dereference::{Names, ServerNames};
use crate::problem::Problem;
use crate::routing::RoutingObjects;
use crate::world::{Key, Object, ObjectRef, World};

/// The routing objects that break no rule of their own.
pub(crate) fn check_each<'w>(objects: &'w RoutingObjects, problems: &mut Vec<Problem>) -> Names<'w> {
    Names {
        dial_plans: sound(Kind::UMDialPlan, &objects.dial_plans, |spec| spec.check(), problems),
        gateways: sound(Kind::UMIPGateway, &objects.gateways, |spec| spec.check(), problems),
        hunt_groups: sound(Kind::UMHuntGroup, &objects.hunt_groups, |spec| spec.check(), problems),
        attendants: sound(Kind::UMAutoAttendant, &objects.attendants, |spec| spec.check(), problems),
        policies: sound(Kind::UMMailboxPolicy, &objects.policies, |spec| spec.check(), problems),
    }
}

/// The servers that break no rule of their own.
pub(crate) fn check_servers<'w>(world: &'w World, problems: &mut Vec<Problem>) -> ServerNames<'w> {
    ServerNames {
        routers: sound(Kind::UMCallRouter, &world.routers, |spec| spec.check(), problems),
        services: sound(Kind::UMService, &world.services, |spec| spec.check(), problems),
    }
}

/// The objects of one kind for which `check` finds nothing.
fn sound<'w, S>(
    kind: Kind,
    objects: &'w BTreeMap<Key, Object<S>>,
    check: impl Fn(&S) -> Vec<Violation>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<&'w Key, &'w S> {
    let mut sound = BTreeMap::new();
    for (key, object) in objects {
        let violations = check(&object.spec);
        if violations.is_empty() {
            sound.insert(key, &object.spec);
        }
        let problem = |violation| Problem::violation(&ObjectRef::new(kind, key), violation);
        problems.extend(violations.into_iter().map(problem));
    }
    sound
}
