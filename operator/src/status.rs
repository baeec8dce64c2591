//! Fifth step: what to say about each object.
//!
//! Decides the condition `Ready`, whether the object can be used as it is written; `Served` and `InUse`
//! come from who knows them. They say what was observed, never what is hoped, and a condition's time
//! moves only when its status does.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crds::{Condition, ConditionStatus, Kind};
use serde::{Deserialize, Serialize};

use crate::plan::Write;
use crate::problem::Problem;
use crate::served::{Needing, Servers, WAITING};
use crate::world::{Generations, Key, Object, ObjectRef, Waits};

/// Problems that one condition spells out; the others are counted.
const MAX_PROBLEMS_IN_A_MESSAGE: usize = 10;

/// The status of one object, of whatever kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectStatus {
    /// The generation of the object that this status speaks of; 0 for an object that was refused
    /// from the beginning.
    pub observed_generation: i64,
    /// `Ready` and `Served`, and `InUse` where something may refer to it.
    pub conditions: Vec<Condition>,
    /// Since when the servers that need it do not serve it as it is written; `None` while they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<String>,
    /// Gateways that lead to it; only a dial plan has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<i64>,
    /// Users that calls can reach in it, of a dial plan; users that belong to it, of a mailbox
    /// policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailboxes: Option<i64>,
    /// The mailbox policy that was made for it; only a dial plan has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_mailbox_policy: Option<String>,
    /// The hunt group that was made for it; only a gateway has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_hunt_group: Option<String>,
}

impl ObjectStatus {
    /// The condition of this type, if it has one.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }
}

/// What the conditions of all objects follow from.
pub(crate) struct Round<'r> {
    /// The servers that there are.
    pub(crate) servers: &'r Arc<Servers>,
    /// The generations that they have once the plan is carried out.
    pub(crate) wanted: &'r Arc<Generations>,
    /// The time that a condition which changes now is given.
    pub(crate) now: jiff::Timestamp,
}

/// Objects of one kind, and what was said of them.
pub(crate) struct Group<'g> {
    kind: Kind,
    observed: &'g BTreeMap<Key, ObjectStatus>,
    awaited: &'g BTreeMap<Key, Waits>,
    problems: BTreeMap<&'g Key, Vec<&'g Problem>>,
    /// Those of which the newest edit was refused.
    refused: BTreeSet<&'g Key>,
}

/// What is to be said of a group.
#[derive(Default)]
pub(crate) struct Compared {
    /// Only what differs from what was said.
    pub(crate) writes: Vec<Write>,
    /// Those that wait for servers, those that did before as they did.
    pub(crate) awaited: BTreeMap<Key, Waits>,
    /// Whether any of them stands in a configuration and is not served: what servers say next may be
    /// news of it.
    pub(crate) waits: bool,
}

/// What only objects of some kinds say of themselves.
#[derive(Default)]
pub(crate) struct Details<'d> {
    pub(crate) in_use: Option<Statement<'static>>,
    pub(crate) gateways: Option<i64>,
    pub(crate) mailboxes: Option<i64>,
    pub(crate) default_mailbox_policy: Option<&'d str>,
    pub(crate) default_hunt_group: Option<&'d str>,
}

impl<'g> Group<'g> {
    /// Objects of `kind`, what was said of them and which of them wait, given everything that is wrong
    /// with any of them: edits that were refused, and what was found.
    pub(crate) fn new(
        kind: Kind,
        (observed, awaited): (&'g BTreeMap<Key, ObjectStatus>, &'g BTreeMap<Key, Waits>),
        refused: impl IntoIterator<Item = &'g Problem>,
        found: impl IntoIterator<Item = &'g Problem>,
    ) -> Self {
        let mut group =
            Group { kind, observed, awaited, problems: BTreeMap::new(), refused: BTreeSet::new() };
        let key = |problem: &'g Problem| {
            problem.object.as_ref().filter(|object| object.kind == kind.name()).map(|object| &object.key)
        };
        for problem in refused {
            if let Some(key) = key(problem) {
                group.refused.insert(key);
                group.problems.entry(key).or_default().push(problem);
            }
        }
        for problem in found {
            if let Some(key) = key(problem) {
                group.problems.entry(key).or_default().push(problem);
            }
        }
        group
    }

    /// What is to be said of `objects`, which are all of the group; `is_held` are those that stand in
    /// the configurations of the servers of their namespace.
    pub(crate) fn compare<'d, S>(
        &self,
        round: &Round<'_>,
        objects: &BTreeMap<Key, Object<S>>,
        is_held: impl Fn(&Key) -> bool,
        details: impl Fn(&Key) -> Details<'d>,
    ) -> Compared {
        let mut compared = Compared::default();
        // Those that were refused from the beginning. What has no name can have no status.
        let never = self.problems.keys().copied();
        let never: BTreeSet<&Key> =
            never.filter(|key| !objects.contains_key(*key) && !key.name.is_empty()).collect();
        let gone = self.observed.keys().filter(|key| !objects.contains_key(*key) && !never.contains(key));
        compared.writes.extend(gone.map(|key| Write::Forget(ObjectRef::new(self.kind, key))));
        for (key, object) in objects {
            let (generation, is_held) = (object.generation, is_held(key));
            self.say(round, (key, generation, is_held), details(key), &mut compared);
        }
        for key in never {
            self.say(round, (key, 0, false), details(key).of_nobody(), &mut compared);
        }
        compared
    }

    /// What is to be said of one object.
    fn say(
        &self,
        round: &Round<'_>,
        (key, generation, is_held): (&Key, i64, bool),
        details: Details<'_>,
        compared: &mut Compared,
    ) {
        let previous = self.observed.get(key);
        let waits = self.awaited.get(key).filter(|waits| waits.generation == generation);
        let since = waits.map(|waits| &*waits.since);
        let needing = Needing { kind: self.kind, key, generation, is_held, previous, since };
        let served = round.servers.served(&needing, round.now);
        compared.waits |= is_held && needing.already().is_none();
        if served.reason == WAITING {
            let new = || Waits { generation, since: Arc::clone(round.wanted) };
            compared.awaited.insert(key.clone(), waits.cloned().unwrap_or_else(new));
        }
        let problems = self.problems.get(key).map(Vec::as_slice).unwrap_or_default();
        let ready = ready(problems, generation > 0 && self.refused.contains(key));
        let said = Said { generation, ready, served, details };
        if !previous.is_some_and(|previous| said.stands(previous)) {
            let status = said.status(previous, round.now);
            compared.writes.push(Write::Status(ObjectRef::new(self.kind, key), status));
        }
    }
}

impl Details<'_> {
    /// The same of an object that was never there: nobody can refer to it.
    fn of_nobody(self) -> Self {
        Details { in_use: None, ..self }
    }
}

/// Since when an object waits to be served in this generation.
fn waiting_since(previous: Option<&ObjectStatus>, generation: i64, now: jiff::Timestamp) -> String {
    let same = previous.filter(|status| status.observed_generation == generation);
    let since = same.and_then(|status| status.waiting_since.clone());
    since.unwrap_or_else(|| now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

/// A condition without its times.
pub(crate) struct Statement<'s> {
    pub(crate) type_: &'static str,
    pub(crate) status: ConditionStatus,
    pub(crate) reason: &'static str,
    pub(crate) message: Cow<'s, str>,
}

impl Statement<'_> {
    /// Whether a condition says so, of this generation.
    fn is(&self, condition: &Condition, generation: i64) -> bool {
        condition.observed_generation == generation
            && condition.status == self.status
            && condition.type_ == self.type_
            && condition.reason == self.reason
            && condition.message == self.message
    }

    fn condition(self, now: jiff::Timestamp, generation: i64, previous: Option<&ObjectStatus>) -> Condition {
        let previous = previous.and_then(|status| status.condition(self.type_));
        let last_transition_time = match previous {
            Some(previous) if previous.status == self.status => previous.last_transition_time.clone(),
            // After a clock that went back, nothing turned before it turned the last time.
            Some(Condition { last_transition_time: before, .. })
                if before.parse::<jiff::Timestamp>().is_ok_and(|before| before > now) =>
            {
                before.clone()
            }
            Some(_) | None => now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        };
        Condition {
            type_: self.type_.into(),
            status: self.status,
            reason: self.reason.into(),
            message: self.message.into(),
            observed_generation: generation,
            last_transition_time,
        }
    }
}

/// What there is to say of one object.
struct Said<'s> {
    generation: i64,
    ready: Statement<'s>,
    served: Statement<'s>,
    details: Details<'s>,
}

impl Said<'_> {
    fn is_served(&self) -> bool {
        self.served.status == ConditionStatus::True
    }

    /// Whether that is what was said before: most of it is, and is not even put together.
    fn stands(&self, previous: &ObjectStatus) -> bool {
        let conditions = [Some(&self.ready), Some(&self.served), self.details.in_use.as_ref()];
        let mut known = previous.conditions.iter();
        let same = conditions
            .into_iter()
            .flatten()
            .all(|statement| known.next().is_some_and(|condition| statement.is(condition, self.generation)));
        let Details { gateways, mailboxes, default_mailbox_policy, default_hunt_group, .. } = &self.details;
        same && known.next().is_none()
            && previous.observed_generation == self.generation
            && previous.waiting_since.is_none() == self.is_served()
            && (previous.gateways, previous.mailboxes) == (*gateways, *mailboxes)
            && previous.default_mailbox_policy.as_deref() == *default_mailbox_policy
            && previous.default_hunt_group.as_deref() == *default_hunt_group
    }

    /// The status that says so.
    fn status(self, previous: Option<&ObjectStatus>, now: jiff::Timestamp) -> ObjectStatus {
        let waiting_since = (!self.is_served()).then(|| waiting_since(previous, self.generation, now));
        let Said { generation, ready, served, details } = self;
        let statements = [Some(ready), Some(served), details.in_use];
        let conditions = statements.into_iter().flatten();
        let conditions = conditions.map(|statement| statement.condition(now, generation, previous));
        ObjectStatus {
            observed_generation: generation,
            conditions: conditions.collect(),
            waiting_since,
            gateways: details.gateways,
            mailboxes: details.mailboxes,
            default_mailbox_policy: details.default_mailbox_policy.map(str::to_owned),
            default_hunt_group: details.default_hunt_group.map(str::to_owned),
        }
    }
}

/// Whether an object can be used; `retained` is one whose newest edit was refused.
fn ready(problems: &[&Problem], retained: bool) -> Statement<'static> {
    let Some(first) = problems.first() else {
        return Statement {
            type_: "Ready",
            status: ConditionStatus::True,
            reason: "Accepted",
            message: "Everything that it says can be used.".into(),
        };
    };
    let shown = problems.iter().take(MAX_PROBLEMS_IN_A_MESSAGE).map(|problem| problem.sentence());
    let mut message = shown.collect::<Vec<_>>().join("\n");
    if problems.len() > MAX_PROBLEMS_IN_A_MESSAGE {
        message += &format!("\nand {} more", problems.len() - MAX_PROBLEMS_IN_A_MESSAGE);
    }
    if retained {
        message += "\nthe version before this edit goes on being used";
    }
    Statement {
        type_: "Ready",
        status: ConditionStatus::False,
        reason: first.code.name(),
        message: message.into(),
    }
}
