//! First: each mailbox of a database by itself and beside its policy.
//!
//! Decides which extensions it asks for. Refuses to know other mailboxes.

use std::collections::BTreeMap;

use config::Code;
use crds::{Kind, UMMailboxSpec};

use super::Database;
use super::policies::{Named, Policies, Policy};
use crate::dereference::Reference;
use crate::problem::Problem;
use crate::world::{Key, ObjectRef};

/// What the mailboxes of a database ask for.
#[derive(Debug, Default)]
pub(super) struct Asked<'d> {
    /// What is wrong with each by itself.
    pub(super) problems: Vec<Problem>,
    /// Those that ask for an extension that they may have, by name.
    pub(super) mailboxes: Vec<Asking<'d>>,
}

/// What one mailbox asks for.
#[derive(Debug)]
pub(super) struct Asking<'d> {
    pub(super) key: &'d Key,
    pub(super) spec: &'d UMMailboxSpec,
    pub(super) policy: &'d Policy,
    /// The extensions, each with its place in the spec.
    pub(super) extensions: Vec<(usize, &'d str)>,
}

/// What the policies lead to that the mailboxes of a database name.
pub(super) type Names = BTreeMap<Key, Named>;

/// The policies that the mailboxes of `database` name.
pub(super) fn names(database: &Database, policies: &Policies) -> Names {
    let mut names = Names::new();
    for (key, object) in database {
        let policy = key.beside(&object.spec.um_mailbox_policy);
        names.entry(policy).or_insert_with_key(|key| policies.named(key));
    }
    names
}

/// What the mailboxes of `database` ask for.
pub(super) fn asked<'d>(database: &'d Database, names: &'d Names) -> Asked<'d> {
    let mut asked = Asked::default();
    for (key, object) in database {
        asked.mailboxes.extend(asking(key, &object.spec, names, &mut asked.problems));
    }
    asked
}

/// What the mailbox `key` asks for, if it may have anything; what is wrong with it goes to `problems`.
pub(super) fn asking<'d>(
    key: &'d Key,
    spec: &'d UMMailboxSpec,
    names: &'d Names,
    problems: &mut Vec<Problem>,
) -> Option<Asking<'d>> {
    let violations = spec.check();
    if !violations.is_empty() {
        let object = named(key);
        problems.extend(violations.into_iter().map(|violation| Problem::violation(&object, violation)));
        return None;
    }
    let policy = match names.get(&key.beside(&spec.um_mailbox_policy))? {
        Named::Usable(policy) => &**policy,
        Named::Not(target) => {
            let (kind, name) = (Kind::UMMailboxPolicy.name(), spec.um_mailbox_policy.as_str());
            let reference = Reference { from: named(key), field: "spec.umMailboxPolicy", kind, name };
            problems.push(reference.dangling(target));
            return None;
        }
    };
    let mut extensions = Vec::with_capacity(spec.extensions.len());
    for (index, extension) in spec.extensions.iter().enumerate() {
        if i64::try_from(extension.len()).is_ok_and(|length| length == policy.digits_in_extension) {
            extensions.push((index, extension.as_str()));
        } else {
            problems.push(wrong_length(key, index, extension, policy));
        }
    }
    (!extensions.is_empty()).then_some(Asking { key, spec, policy, extensions })
}

pub(super) fn named(key: &Key) -> ObjectRef {
    ObjectRef::new(Kind::UMMailbox, key)
}

/// An extension has as many digits as its dial plan says (spec 1.6).
fn wrong_length(key: &Key, index: usize, extension: &str, policy: &Policy) -> Problem {
    let (digits, plan) = (policy.digits_in_extension, &policy.dial_plan);
    Problem {
        code: Code::ExtensionLength,
        object: Some(named(key)),
        field: format!("spec.extensions[{index}]"),
        value: extension.into(),
        rule: format!("{digits} digits, as numberOfDigitsInExtension of UMDialPlan {plan} says"),
        fix: format!("write an extension of {digits} digits"),
        waits_for: None,
    }
}
