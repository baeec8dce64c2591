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

/// The routing objects but gateways and hunt groups that break no rule of their own.
pub(crate) fn check_each<'w>(objects: &'w RoutingObjects, problems: &mut Vec<Problem>) -> Names<'w> {
    Names {
        dial_plans: sound(Kind::UMDialPlan, &objects.dial_plans, |spec| spec.check(), problems),
        attendants: sound(Kind::UMAutoAttendant, objects.attendants.iter(), |spec| spec.check(), problems),
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
pub(crate) fn sound<'w, S: 'w>(
    kind: Kind,
    objects: impl IntoIterator<Item = (&'w Key, &'w Object<S>)>,
    check: impl Fn(&S) -> Vec<Violation>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<&'w Key, &'w S> {
    let sound = objects.into_iter().filter_map(|(key, object)| {
        let violations = check(&object.spec);
        let is_sound = violations.is_empty();
        let problem = |violation| Problem::violation(&ObjectRef::new(kind, key), violation);
        problems.extend(violations.into_iter().map(problem));
        is_sound.then_some((key, &object.spec))
    });
    sound.collect()
}
