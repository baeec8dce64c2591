//! What is wrong, and what only waits for its repair.
//!
//! Decides which problems are told one by one: those that a person has to repair. Objects that
//! lead to a broken one are counted beside it. Refuses to find problems: that is the operator's.

use std::collections::{BTreeMap, BTreeSet};

use operator::{Located, ObjectRef};

use crate::command_check::count;

/// Waiting objects that are named; of the rest only the number is told.
const NAMED: usize = 3;

/// Objects that wait for one repair.
#[derive(Debug, PartialEq)]
pub(crate) struct Waiting {
    /// What is to be repaired.
    pub(crate) cause: ObjectRef,
    /// What leads to it, directly or through others.
    pub(crate) objects: BTreeSet<ObjectRef>,
}

/// The problems that are to be repaired, in their order.
pub(crate) fn causes(problems: &[Located]) -> Vec<&Located> {
    problems.iter().filter(|located| located.problem.waits_for.is_none()).collect()
}

/// What waits for each repair.
pub(crate) fn waiting(problems: &[Located]) -> Vec<Waiting> {
    let leads: BTreeMap<&ObjectRef, &ObjectRef> = problems
        .iter()
        .filter_map(|located| Some((located.problem.object.as_ref()?, located.problem.waits_for.as_ref()?)))
        .collect();
    let mut by_cause: BTreeMap<&ObjectRef, BTreeSet<ObjectRef>> = BTreeMap::new();
    for (object, next) in &leads {
        let mut cause = *next;
        // No way is longer than there are steps, even if it led in a circle.
        for _ in 0..leads.len() {
            let Some(further) = leads.get(cause) else { break };
            cause = further;
        }
        by_cause.entry(cause).or_default().insert((*object).clone());
    }
    by_cause.into_iter().map(|(cause, objects)| Waiting { cause: cause.clone(), objects }).collect()
}

impl std::fmt::Display for Waiting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = self.objects.len();
        let verb = if number == 1 { "waits" } else { "wait" };
        write!(formatter, "{} {verb} for {}: ", count(number, "object"), self.cause)?;
        let named: Vec<String> = self.objects.iter().take(NAMED).map(ToString::to_string).collect();
        formatter.write_str(&named.join(", "))?;
        if number > NAMED {
            write!(formatter, ", and {} more", number - NAMED)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, name: &str) -> ObjectRef {
        ObjectRef { kind: kind.into(), key: operator::Key::new("default", name) }
    }

    fn problem(object: ObjectRef, waits_for: Option<ObjectRef>) -> Located {
        let problem = operator::Problem {
            code: config::Code::DanglingReference,
            object: Some(object),
            field: String::new(),
            value: String::new(),
            rule: String::new(),
            fix: String::new(),
            waits_for,
        };
        Located { file: "a.yaml".into(), line: 1, problem }
    }

    #[test]
    fn what_leads_to_a_broken_object_through_others_waits_for_that_one() {
        let plan = object("UMDialPlan", "contoso");
        let policy = object("UMMailboxPolicy", "staff");
        let mut problems = vec![
            problem(plan.clone(), None),
            problem(policy.clone(), Some(plan.clone())),
            problem(object("UMHuntGroup", "pbx"), Some(plan)),
        ];
        for name in ["alice", "bob", "carol"] {
            problems.push(problem(object("UMMailbox", name), Some(policy.clone())));
        }
        assert_eq!(causes(&problems).len(), 1);
        let waiting = waiting(&problems);
        let [all] = &waiting[..] else { panic!("{waiting:?}") };
        assert_eq!(
            all.to_string(),
            "5 objects wait for UMDialPlan default/contoso: UMHuntGroup default/pbx, \
             UMMailbox default/alice, UMMailbox default/bob, and 2 more"
        );
    }

    #[test]
    fn objects_that_wait_for_each_other_are_told_and_nothing_hangs() {
        let (a, b) = (object("UMHuntGroup", "a"), object("UMHuntGroup", "b"));
        let problems = [problem(a.clone(), Some(b.clone())), problem(b, Some(a))];
        assert_eq!(waiting(&problems).iter().map(|one| one.objects.len()).sum::<usize>(), 2);
    }
}
