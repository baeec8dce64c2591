//! Third: what follows from the mailboxes of one slice.
//!
//! Decides which of them calls can reach, what servers read of them, and what is said about the
//! others. A mailbox loses only the extensions that it cannot have; without any it cannot be reached
//! and is left out.

use std::collections::{BTreeMap, BTreeSet};

use config::parts::{DatabasePart, Part, Piece};
use config::{Code, Mailbox, Owner, UserAddress};

use super::asked::{Asked, Asking, Name, Place, goes_elsewhere, named};
use super::policies::Reserved;
use super::taken::Lost;
use super::{Parts, Slice};
use crate::problem::Problem;
use crate::world::Key;

/// What follows from the mailboxes of one slice.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Everything that is wrong with them.
    pub(crate) problems: Vec<Problem>,
    /// Those that calls cannot reach.
    pub(crate) left_out: BTreeSet<Key>,
    /// How many can be reached in each dial plan.
    pub(crate) counts: BTreeMap<Key, i64>,
    /// What servers of each namespace read; nothing if it cannot be written.
    pub(crate) pieces: BTreeMap<String, Option<Piece>>,
}

/// What follows from what is `asked` where `lost` goes to others, and calls for what is `reserved` too.
pub(super) fn found(slice: &Slice, asked: Asked<'_>, lost: &Lost, reserved: &Reserved) -> Found {
    let mut contents: BTreeMap<&str, DatabasePart> = BTreeMap::new();
    let mut found = Found { problems: asked.problems, ..Found::default() };
    let mut reached = BTreeSet::new();
    for asking in &asked.mailboxes {
        let (key, policy) = (asking.key, asking.policy);
        let (mut extensions, mut addresses) = (Vec::with_capacity(asking.names.len()), Vec::new());
        for name in &asking.names {
            found.problems.extend(goes_elsewhere(asking, name, reserved));
            let keeper = if lost.is_empty() { None } else { lost.get(&(key.clone(), name.place)) };
            if let Some((_, keeper)) = keeper {
                found.problems.push(taken(asking, name, keeper));
                continue;
            }
            let address = name.normal.clone().into_owned();
            match name.place {
                Place::Extension(_) => extensions.push(address),
                Place::SipResourceIdentifier | Place::Secondary(_) => {
                    addresses.push(UserAddress { dial_plan: name.dial_plan.name.clone(), address });
                }
            }
        }
        if extensions.is_empty() && addresses.is_empty() {
            continue;
        }
        reached.insert(key);
        if let Some(count) = found.counts.get_mut(&policy.dial_plan) {
            *count += 1;
        } else {
            found.counts.insert(policy.dial_plan.clone(), 1);
        }
        let owner = Owner {
            display_name: asking.spec.display_name.clone(),
            primary_smtp_address: asking.spec.primary_smtp_address.clone(),
            mailbox_policy: asking.spec.um_mailbox_policy.clone(),
            refuses_anonymous_callers: !asking.spec.anonymous_callers_can_leave_messages,
        };
        let content = contents.entry(&key.namespace).or_default();
        let (name, dial_plan) = (key.name.clone(), policy.dial_plan.name.clone());
        content.owners.insert(name.clone(), owner);
        content.mailboxes.push(Mailbox { name, dial_plan, extensions, addresses });
    }
    if reached.len() < slice.len() {
        found.left_out = slice.keys().filter(|key| !reached.contains(key)).cloned().collect();
    }
    let piece = |(namespace, content): (&str, DatabasePart)| (namespace.into(), content.to_piece().ok());
    found.pieces = contents.into_iter().map(piece).collect();
    found
}

/// The parts of a database, given what follows from each of its slices.
pub(super) fn parts<'f>(slices: impl Iterator<Item = &'f Found>) -> Parts {
    let mut pieces: BTreeMap<&String, Vec<Option<&Piece>>> = BTreeMap::new();
    for (namespace, piece) in slices.flat_map(|found| &found.pieces) {
        pieces.entry(namespace).or_default().push(piece.as_ref());
    }
    let part = |(namespace, pieces): (&String, Vec<Option<&Piece>>)| {
        let pieces: Option<Vec<&Piece>> = pieces.into_iter().collect();
        (namespace.clone(), pieces.map(Part::of))
    };
    pieces.into_iter().map(part).collect()
}

/// Two mailboxes with one extension or address in a dial plan.
fn taken(asking: &Asking<'_>, name: &Name<'_>, keeper: &Key) -> Problem {
    let plan = &name.dial_plan;
    let text = name.place.text(asking.spec);
    let what = match name.place {
        Place::Extension(_) => "extension",
        Place::SipResourceIdentifier | Place::Secondary(_) => "address",
    };
    Problem {
        code: Code::ExtensionTaken,
        object: Some(named(asking.key)),
        field: name.place.field(),
        value: text.into(),
        rule: format!("one mailbox for each {what} of UMDialPlan {plan}; {keeper} has it already"),
        fix: format!("write an {what} that is free, or take {text} from UMMailbox {keeper}"),
        waits_for: None,
    }
}
