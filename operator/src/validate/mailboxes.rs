//! Mailboxes beside each other and beside their dial plan.
//!
//! Decides who has an extension. A mailbox loses only the extensions that it cannot have; without
//! any it cannot be reached and is left out.

use std::collections::BTreeMap;

use config::Code;
use crds::Kind;

use crate::dereference::Linked;
use crate::problem::Problem;
use crate::world::{Key, ObjectRef};

/// An extension has as many digits as its dial plan says (spec 1.6).
pub(super) fn extension_lengths(linked: &mut Linked<'_>, problems: &mut Vec<Problem>) {
    for (key, mailbox) in &mut linked.mailboxes {
        let digits = mailbox.plan.number_of_digits_in_extension;
        let plan = &mailbox.plan_key;
        mailbox.extensions.retain(|(index, extension)| {
            let fits = i64::try_from(extension.len()).is_ok_and(|length| length == digits);
            if !fits {
                problems.push(Problem {
                    code: Code::ExtensionLength,
                    object: Some(ObjectRef::new(Kind::UMMailbox, key)),
                    field: format!("spec.extensions[{index}]"),
                    value: (*extension).into(),
                    rule: format!("{digits} digits, as numberOfDigitsInExtension of UMDialPlan {plan} says"),
                    fix: format!("write an extension of {digits} digits"),
                    waits_for: None,
                });
            }
            fits
        });
    }
    linked.mailboxes.retain(|_, mailbox| !mailbox.extensions.is_empty());
}

/// Two mailboxes with one extension in a dial plan: the first by name keeps it (spec 1.10 rule 8).
pub(super) fn extensions_taken(linked: &mut Linked<'_>, problems: &mut Vec<Problem>) {
    let mut keepers: BTreeMap<(Key, &str), &Key> = BTreeMap::new();
    for (key, mailbox) in &mut linked.mailboxes {
        let plan = mailbox.plan_key.clone();
        mailbox.extensions.retain(|(index, extension)| {
            let keeper = *keepers.entry((plan.clone(), *extension)).or_insert(key);
            if keeper == *key {
                return true;
            }
            problems.push(Problem {
                code: Code::ExtensionTaken,
                object: Some(ObjectRef::new(Kind::UMMailbox, key)),
                field: format!("spec.extensions[{index}]"),
                value: (*extension).into(),
                rule: format!("one mailbox for each extension of UMDialPlan {plan}; {keeper} has it already"),
                fix: format!("write an extension that is free, or take {extension} from UMMailbox {keeper}"),
                waits_for: None,
            });
            false
        });
    }
    linked.mailboxes.retain(|_, mailbox| !mailbox.extensions.is_empty());
}
