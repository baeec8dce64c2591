//! First: each mailbox of a slice by itself and beside its policy.
//!
//! Decides which extensions and addresses it asks for. Refuses to know other mailboxes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use config::{Code, UriType};
use crds::{Kind, SecondaryAddress, UMMailboxSpec};

use super::Slice;
use super::policies::{Named, Plan, Policies, Policy, Reserved};
use crate::dereference::Reference;
use crate::problem::Problem;
use crate::world::{Key, ObjectRef};

/// What the mailboxes of a slice ask for.
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
    pub(super) names: Vec<Name<'d>>,
}

/// One thing by which a mailbox asks to be called.
#[derive(Debug)]
pub(super) struct Name<'d> {
    pub(super) place: Place,
    pub(super) dial_plan: Cow<'d, Key>,
    /// In normal form.
    pub(super) normal: Cow<'d, str>,
}

/// Where that stands in the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Extension(usize),
    SipResourceIdentifier,
    Secondary(usize),
}

impl Place {
    pub(super) fn field(self) -> String {
        match self {
            Place::Extension(index) => format!("spec.extensions[{index}]"),
            Place::SipResourceIdentifier => "spec.sipResourceIdentifier".into(),
            Place::Secondary(index) => format!("spec.secondaryAddresses[{index}].address"),
        }
    }

    /// What stands there.
    pub(super) fn text(self, spec: &UMMailboxSpec) -> &str {
        let text = match self {
            Place::Extension(index) => spec.extensions.get(index),
            Place::SipResourceIdentifier => spec.sip_resource_identifier.as_ref(),
            Place::Secondary(index) => spec.secondary_addresses.get(index).map(|address| &address.address),
        };
        text.map(String::as_str).unwrap_or_default()
    }
}

/// What the policies and dial plans lead to that the mailboxes of a slice name.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Names {
    pub(super) policies: BTreeMap<Key, Named<Arc<Policy>>>,
    pub(super) dial_plans: BTreeMap<Key, Named<Plan>>,
}

impl Names {
    /// What the same names lead to in `policies`.
    pub(super) fn again(&self, policies: &Policies) -> Names {
        Names {
            policies: self.policies.keys().map(|key| (key.clone(), policies.named(key))).collect(),
            dial_plans: self.dial_plans.keys().map(|key| (key.clone(), policies.named_plan(key))).collect(),
        }
    }
}

/// The policies and dial plans that the mailboxes of `slice` name.
pub(super) fn names(slice: &Slice, policies: &Policies) -> Names {
    let mut names = Names::default();
    for (key, object) in slice {
        let policy = key.beside(&object.spec.um_mailbox_policy);
        names.policies.entry(policy).or_insert_with_key(|key| policies.named(key));
        for address in &object.spec.secondary_addresses {
            let plan = key.beside(&address.um_dial_plan);
            names.dial_plans.entry(plan).or_insert_with_key(|key| policies.named_plan(key));
        }
    }
    names
}

/// What the mailboxes of `slice` ask for.
pub(super) fn asked<'d>(slice: &'d Slice, names: &'d Names) -> Asked<'d> {
    let mut asked = Asked::default();
    for (key, object) in slice {
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
    let policy = match names.policies.get(&key.beside(&spec.um_mailbox_policy))? {
        Named::Usable(policy) => &**policy,
        Named::Not(target) => {
            let (kind, name) = (Kind::UMMailboxPolicy.name(), spec.um_mailbox_policy.as_str());
            let reference = Reference { from: named(key), field: "spec.umMailboxPolicy", kind, name };
            problems.push(reference.dangling(target));
            return None;
        }
    };
    let mut asked = Vec::with_capacity(spec.extensions.len());
    for (index, extension) in spec.extensions.iter().enumerate() {
        if extension.len() == policy.plan.naming.digits_in_extension {
            let (place, dial_plan) = (Place::Extension(index), Cow::Borrowed(&policy.dial_plan));
            asked.push(Name { place, dial_plan, normal: Cow::Borrowed(extension) });
        } else {
            problems.push(wrong_length(key, index, extension, policy));
        }
    }
    asked.extend(sip_resource_identifier(key, spec, policy, problems));
    for (index, address) in spec.secondary_addresses.iter().enumerate() {
        asked.extend(secondary_address(key, index, address, names, problems));
    }
    (!asked.is_empty()).then_some(Asking { key, spec, policy, names: asked })
}

/// That calls for this name go elsewhere, if they do. Calls that the user diverted still find the mailbox by
/// it, and so it stays.
pub(super) fn goes_elsewhere(asking: &Asking<'_>, name: &Name<'_>, reserved: &Reserved) -> Option<Problem> {
    let keeper = reserved.get(name.dial_plan.as_ref())?.get(name.normal.as_ref())?;
    let value = name.place.text(asking.spec).to_owned();
    Some(Problem {
        code: Code::NumberTaken,
        object: Some(named(asking.key)),
        field: name.place.field(),
        rule: format!(
            "one place for each number of UMDialPlan {}; {keeper} has it already, and only calls that were \
             diverted reach the mailbox by it",
            name.dial_plan
        ),
        fix: format!("write another one, or take {value} from {keeper}"),
        value,
        waits_for: None,
    })
}

/// What names the user in a dial plan of SIP names or E.164 numbers, and in no other.
fn sip_resource_identifier<'d>(
    key: &Key,
    spec: &UMMailboxSpec,
    policy: &'d Policy,
    problems: &mut Vec<Problem>,
) -> Option<Name<'d>> {
    let (plan, place) = (&policy.dial_plan, Place::SipResourceIdentifier);
    let written = spec.sip_resource_identifier.as_deref();
    match (policy.plan.naming.uri_type, written) {
        (UriType::TelExtn, None) => None,
        (UriType::TelExtn, Some(written)) => {
            let rule = format!("nothing, because UMDialPlan {plan} has uriType TelExtn");
            let fix = "remove it, or name a mailbox policy of another dial plan".into();
            problems.push(unlike_the_plan(key, place.field(), written, rule, fix));
            None
        }
        (uri_type @ (UriType::SipName | UriType::E164), written) => {
            let normal = written.filter(|text| identifies(uri_type, text));
            let normal = normal.and_then(|text| policy.plan.naming.normal(text.into()));
            if normal.is_none() {
                let rule = format!("{}, because UMDialPlan {plan} has uriType {uri_type:?}", form(uri_type));
                let fix = format!("write {}", example(uri_type));
                problems.push(unlike_the_plan(key, place.field(), written.unwrap_or("(nothing)"), rule, fix));
            }
            Some(Name { place, dial_plan: Cow::Borrowed(plan), normal: normal?.into() })
        }
    }
}

/// What names the user in another dial plan.
fn secondary_address<'d>(
    key: &Key,
    index: usize,
    address: &SecondaryAddress,
    names: &Names,
    problems: &mut Vec<Problem>,
) -> Option<Name<'d>> {
    let (plan, place) = (key.beside(&address.um_dial_plan), Place::Secondary(index));
    let naming = match names.dial_plans.get(&plan)? {
        Named::Usable(plan) => plan.naming,
        Named::Not(target) => {
            let field = &format!("spec.secondaryAddresses[{index}].umDialPlan");
            let (kind, name) = (Kind::UMDialPlan.name(), address.um_dial_plan.as_str());
            problems.push(Reference { from: named(key), field, kind, name }.dangling(target));
            return None;
        }
    };
    let normal = naming.normal(address.address.as_str().into());
    if normal.is_none() {
        let digits = naming.digits_in_extension;
        let (rule, fix) = match naming.uri_type {
            UriType::TelExtn => {
                (format!("{digits} digits"), format!("write an extension of {digits} digits"))
            }
            uri_type @ (UriType::SipName | UriType::E164) => {
                (format!("{} or {digits} digits", form(uri_type)), format!("write {}", example(uri_type)))
            }
        };
        let rule = format!("{rule}, because UMDialPlan {plan} has uriType {:?}", naming.uri_type);
        problems.push(unlike_the_plan(key, place.field(), &address.address, rule, fix));
    }
    Some(Name { place, dial_plan: Cow::Owned(plan), normal: normal?.into() })
}

/// Whether `text` can be the one thing that identifies a user in a plan of this type; an extension is
/// written elsewhere.
fn identifies(uri_type: UriType, text: &str) -> bool {
    match uri_type {
        UriType::TelExtn => false,
        UriType::SipName => text.contains('@'),
        UriType::E164 => !text.contains('@'),
    }
}

const fn form(uri_type: UriType) -> &'static str {
    match uri_type {
        UriType::TelExtn => "an extension",
        UriType::SipName => "a SIP address",
        UriType::E164 => "a number of at most 15 digits",
    }
}

const fn example(uri_type: UriType) -> &'static str {
    match uri_type {
        UriType::TelExtn => "an extension",
        UriType::SipName => "the user's SIP address, such as alice@contoso.example",
        UriType::E164 => "the user's number, such as \"+14255550101\"",
    }
}

fn unlike_the_plan(key: &Key, field: String, value: &str, rule: String, fix: String) -> Problem {
    Problem {
        code: Code::AddressForm,
        object: Some(named(key)),
        field,
        value: value.into(),
        rule,
        fix,
        waits_for: None,
    }
}

pub(super) fn named(key: &Key) -> ObjectRef {
    ObjectRef::new(Kind::UMMailbox, key)
}

/// An extension has as many digits as its dial plan says (spec 1.6).
fn wrong_length(key: &Key, index: usize, extension: &str, policy: &Policy) -> Problem {
    let (digits, plan) = (policy.plan.naming.digits_in_extension, &policy.dial_plan);
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
