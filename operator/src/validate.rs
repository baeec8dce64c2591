//! Third step: objects beside each other.
//!
//! Decides who keeps what two objects claim: the first by name, so that the answer is the same
//! after every restart. What the other loses is as little as possible: an extension, not the
//! mailbox. Refuses to know references; those were resolved before.

mod attendants;
mod dial_plans;
mod exposure;
mod gateways;
mod servers;
mod stores;

use crate::dereference::{Linked, LinkedServers};
use crate::problem::Problem;
use crate::routing::RoutingObjects;
use crate::world::World;

pub(crate) use gateways::{
    MAX_GATEWAYS_PER_DIAL_PLAN, gateway_addresses, gateways_per_dial_plan, gateways_without_hunt_group,
    pilots,
};

/// Leaves in `linked` what can be served together, and reports the rest.
pub(crate) fn validate_together(
    objects: &RoutingObjects,
    linked: &mut Linked<'_>,
    problems: &mut Vec<Problem>,
) {
    dial_plans::access_numbers(linked, problems);
    dial_plans::numbering_plan_formats(linked, problems);
    dial_plans::equivalent_dial_plans(objects, linked, problems);
    attendants::pilots(linked, problems);
}

/// Leaves in `linked` the servers that can run together, and reports the rest.
pub(crate) fn validate_servers(world: &World, linked: &mut LinkedServers<'_>, problems: &mut Vec<Problem>) {
    servers::certificates(linked, problems);
    stores::stores(world, linked, problems);
    if world.cluster.is_some() {
        servers::names_of_pods(linked, problems);
        exposure::ports(linked, problems);
        exposure::awaited(world, linked, problems);
    } else {
        servers::one_server_of_each_kind(linked, problems);
        servers::ports(linked, problems);
    }
    servers::missing_servers(world, problems);
}
