//! Auto attendants beside each other and beside dial plans.
//!
//! Decides whose a pilot is where two claim it. An auto attendant that loses one keeps the others.

use std::collections::BTreeMap;

use config::{Code, Party};
use crds::Kind;

use crate::dereference::Linked;
use crate::problem::Problem;
use crate::world::{Key, ObjectRef};

/// A pilot leads to one place in its dial plan: an access number of the dial plan stays one, and of two
/// auto attendants the first by name keeps it. What would not be called any more is told.
pub(super) fn pilots(linked: &mut Linked<'_>, problems: &mut Vec<Problem>) {
    let mut keepers: BTreeMap<(&Key, String), ObjectRef> = BTreeMap::new();
    for (plan, lists) in &linked.plan_lists {
        for number in &lists.access_numbers {
            keepers.insert((plan, normal(number)), ObjectRef::new(Kind::UMDialPlan, plan));
        }
    }
    for (key, attendant) in &mut linked.attendants {
        let own = ObjectRef::new(Kind::UMAutoAttendant, key);
        for (index, pilot) in attendant.spec.pilot_identifier_list.iter().enumerate() {
            let place = (attendant.dial_plan, normal(pilot));
            let keeper = keepers.entry(place).or_insert_with(|| own.clone());
            if *keeper == own {
                attendant.pilots.push(pilot);
                continue;
            }
            problems.push(Problem {
                code: Code::NumberTaken,
                object: Some(own.clone()),
                field: format!("spec.pilotIdentifierList[{index}]"),
                value: pilot.clone(),
                rule: format!(
                    "one place for each number of UMDialPlan {}; {keeper} has it already",
                    attendant.dial_plan
                ),
                fix: format!("write another number, or take it from {keeper}"),
                waits_for: None,
            });
        }
    }
}

fn normal(number: &str) -> String {
    Party::from(number).normal().into_owned()
}
