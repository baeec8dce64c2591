//! Dial plans by what they list, and beside each other.
//!
//! Decides whose an access number is where two of them claim it, and among whom callers are looked for.
//! What cannot be is left out of its list, and the rest of the dial plan stays.

use std::collections::BTreeMap;

use config::{Code, Party};
use crds::Kind;

use crate::dereference::{Linked, Reference, Target};
use crate::problem::Problem;
use crate::routing::RoutingObjects;
use crate::world::{Key, ObjectRef};

/// An access number belongs to one dial plan (spec 1.1): the first by name keeps it, and the other is
/// told.
pub(super) fn access_numbers(linked: &mut Linked<'_>, problems: &mut Vec<Problem>) {
    let mut keepers: BTreeMap<(&str, String), &Key> = BTreeMap::new();
    for (key, spec) in &linked.dial_plans {
        for (index, number) in spec.access_telephone_numbers.iter().enumerate() {
            let normal = Party::from(number.as_str()).normal().into_owned();
            let keeper = *keepers.entry((key.namespace.as_str(), normal)).or_insert(key);
            if keeper == *key {
                linked.plan_lists.entry(key).or_default().access_numbers.push(number);
                continue;
            }
            problems.push(Problem {
                code: Code::AccessNumberTaken,
                object: Some(ObjectRef::new(Kind::UMDialPlan, key)),
                field: format!("spec.accessTelephoneNumbers[{index}]"),
                value: number.clone(),
                rule: format!("one dial plan for each access number; {keeper} has it already"),
                fix: format!("write another number, or take it from UMDialPlan {keeper}"),
                waits_for: None,
            });
        }
    }
}

/// The part of a form that stands for the extension is as long as one (spec 1.1).
pub(super) fn numbering_plan_formats(linked: &mut Linked<'_>, problems: &mut Vec<Problem>) {
    for (key, spec) in &linked.dial_plans {
        let digits = spec.number_of_digits_in_extension;
        for (index, format) in spec.numbering_plan_formats.iter().enumerate() {
            let marks = format.len() - format.trim_end_matches('x').len();
            if i64::try_from(marks).is_ok_and(|marks| marks == digits) {
                linked.plan_lists.entry(key).or_default().numbering_plan_formats.push(format);
                continue;
            }
            problems.push(Problem {
                code: Code::NumberingPlanFormat,
                object: Some(ObjectRef::new(Kind::UMDialPlan, key)),
                field: format!("spec.numberingPlanFormats[{index}]"),
                value: format.clone(),
                rule: format!("{digits} x at the end, as many as numberOfDigitsInExtension says"),
                fix: format!("write the digits before the extension and then {digits} x"),
                waits_for: None,
            });
        }
    }
}

/// Dial plans whose users are known to another one have to be there.
pub(super) fn equivalent_dial_plans(
    objects: &RoutingObjects,
    linked: &mut Linked<'_>,
    problems: &mut Vec<Problem>,
) {
    for (key, spec) in &linked.dial_plans {
        for (index, name) in spec.equivalent_dial_plan_phone_contexts.iter().enumerate() {
            let plan = key.beside(name);
            if linked.dial_plans.contains_key(&plan) {
                linked.plan_lists.entry(key).or_default().equivalent_dial_plans.push(name);
                continue;
            }
            let wanted = ObjectRef::new(Kind::UMDialPlan, &plan);
            let exists = objects.dial_plans.contains_key(&plan);
            let target = Target::of(&objects.refused, &wanted, exists, linked.dial_plans.keys().copied());
            let field = format!("spec.equivalentDialPlanPhoneContexts[{index}]");
            let (from, kind) = (ObjectRef::new(Kind::UMDialPlan, key), Kind::UMDialPlan.name());
            problems.push(Reference { from, field: &field, kind, name }.dangling(&target));
        }
    }
}
