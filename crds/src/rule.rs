//! Rules of fields, each written once: as the rule that an API server holds (CEL) and as the texts
//! that a person reads.
//!
//! Decides how a rule reads: the value, what is allowed and the repair, under the code of the
//! mistake, in a cluster as at the terminal. Refuses to know which field has which rule.

use serde_json::{Value as Json, json};

use crate::violation::ViolationCode;

/// What a field says that says nothing.
pub(crate) const NOTHING: &str = "(nothing)";

/// A whole number between two bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) low: i64,
    pub(crate) high: i64,
    /// What is counted; empty where nothing is.
    pub(crate) unit: &'static str,
    /// What the repair proposes.
    pub(crate) example: i64,
}

impl Range {
    /// What is allowed.
    pub(crate) fn allowed(&self) -> String {
        format!("{} to {}{}{}", self.low, self.high, if self.unit.is_empty() { "" } else { " " }, self.unit)
    }

    /// What to write.
    pub(crate) fn fix(&self) -> String {
        let of = if self.unit.is_empty() { String::new() } else { format!(" of {}", self.unit) };
        format!("write a whole number{of} from {} to {}, such as {}", self.low, self.high, self.example)
    }

    /// The rules of the field, for its schema.
    pub(crate) fn schema(&self) -> Json {
        let rule = format!("self >= {} && self <= {}", self.low, self.high);
        json!([cel(&rule, ViolationCode::OutOfRange, "self", &self.allowed(), &self.fix())])
    }
}

/// A text that has to look in a certain way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// What is asked of `self`, in CEL.
    pub(crate) rule: &'static str,
    pub(crate) allowed: &'static str,
    pub(crate) fix: &'static str,
}

impl Shape {
    /// The rules of the field, for its schema.
    pub(crate) fn schema(&self) -> Json {
        json!([self.cel()])
    }

    fn cel(&self) -> Json {
        cel(self.rule, ViolationCode::OutOfRange, "self", self.allowed, self.fix)
    }
}

/// A text or list that may not be empty; how long it may be is for the schema to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotEmpty {
    /// How its emptiness is shown.
    pub(crate) shown: &'static str,
    pub(crate) allowed: &'static str,
    pub(crate) fix: &'static str,
}

impl NotEmpty {
    /// The rules of the field, for its schema.
    pub(crate) fn schema(&self) -> Json {
        json!([cel("size(self) > 0", ViolationCode::OutOfRange, &quoted(self.shown), self.allowed, self.fix)])
    }
}

/// The name of an object, as Kubernetes reads it: labels of lower-case letters, digits and `-`,
/// joined by `.` (RFC 1123).
const NAME_PATTERN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// What a name may be.
pub(crate) const NAME_ALLOWED: &str = "lower-case letters, digits, '-' and '.', at most 253 characters, starting and ending with a letter or digit";

/// What to write where no name is near.
pub(crate) const NAME_FIX: &str = "write a name such as contoso";

/// The rules of a field that names another object.
pub(crate) fn name_schema() -> Json {
    json!([name_rule()])
}

/// The rules of a field that names another object and stays as it was made.
pub(crate) fn fixed_name_schema(object: &str) -> Json {
    json!([name_rule(), fixed_rule("self", object)])
}

fn name_rule() -> Json {
    let near = "self.lowerAscii().replace(' ', '-').replace('_', '-')";
    let fix = format!("{near}.matches('{NAME_PATTERN}') ? 'write ' + {near} : {}", quoted(NAME_FIX));
    json!({
        "rule": format!("self.matches('{NAME_PATTERN}')"),
        "messageExpression": message(ViolationCode::InvalidName, &["self", &fix], NAME_ALLOWED, "%s"),
        "message": plain(ViolationCode::InvalidName, NAME_ALLOWED, NAME_FIX),
    })
}

/// The rules of a number between bounds that stays as it was made.
pub(crate) fn fixed_range_schema(range: &Range, object: &str) -> Json {
    let mut rules = range.schema();
    if let Some(rules) = rules.as_array_mut() {
        rules.push(fixed_rule("self", object));
    }
    rules
}

/// The rules of a switch that stays as it was made.
pub(crate) fn fixed_schema(object: &str) -> Json {
    json!([fixed_rule("self", object)])
}

/// What is allowed where a field stays as `object` was made with it.
pub(crate) fn fixed_allowed(before: &str, object: &str) -> String {
    format!("{before}, as it was made; it cannot change while the {object} exists")
}

/// What to do instead of changing it.
pub(crate) fn fixed_fix(object: &str) -> String {
    format!("put it back, or delete the {object} and make it anew")
}

fn fixed_rule(shown: &str, object: &str) -> Json {
    let before = shown.replace("self", "oldSelf");
    fixed("self == oldSelf", shown, &before, object)
}

/// The rule of an optional field that stays as it was made, for the schema of the group around it:
/// to leave it out is a change too.
pub(crate) fn fixed_optional_rule(field: &str, object: &str) -> Json {
    let shown = |of: &str| format!("(has({of}.{field}) ? {of}.{field} : {})", quoted(NOTHING));
    let (now, before) = (shown("self"), shown("oldSelf"));
    let mut rule = fixed(&format!("{now} == {before}"), &now, &before, object);
    rule["fieldPath"] = format!(".{field}").into();
    rule
}

fn fixed(rule: &str, shown: &str, before: &str, object: &str) -> Json {
    let (allowed, fix) = (fixed_allowed("%s", object), fixed_fix(object));
    json!({
        "rule": rule,
        "messageExpression": message(ViolationCode::Immutable, &[shown, before], &allowed, &fix),
        "message": plain(ViolationCode::Immutable, &fixed_allowed("what it was", object), &fix),
    })
}

/// A rule about `shown`, whose texts are always the same.
pub(crate) fn cel(rule: &str, code: ViolationCode, shown: &str, allowed: &str, fix: &str) -> Json {
    json!({
        "rule": rule,
        "messageExpression": message(code, &[shown], allowed, fix),
        "message": plain(code, allowed, fix),
    })
}

/// A rule of a group that is broken by its field `field`. What is shown is the value, and then what
/// fills the gaps, `%s`, of `allowed`.
pub(crate) fn cel_at(
    field: &str,
    rule: &str,
    code: ViolationCode,
    shown: &[&str],
    [allowed, plainly, fix]: [&str; 3],
) -> Json {
    json!({
        "rule": rule,
        "fieldPath": format!(".{field}"),
        "messageExpression": message(code, shown, allowed, fix),
        "message": plain(code, plainly, fix),
    })
}

/// The message as an expression. `allowed` and `fix` may have gaps, `%s`, for what follows the value
/// in `shown`. One call of `format` is cheap where texts that are put together are not: the API
/// server guesses the length of each.
fn message(code: ViolationCode, shown: &[&str], allowed: &str, fix: &str) -> String {
    let text = format!("{}: value %s; rule {allowed}; fix {fix}", code.id());
    format!("{}.format([{}])", quoted(&text), shown.join(", "))
}

/// What is said where the value cannot be shown, because it has several lines.
fn plain(code: ViolationCode, allowed: &str, fix: &str) -> String {
    format!("{}: rule {allowed}; fix {fix}", code.id())
}

/// A text as a literal of CEL, which is one of JSON.
pub(crate) fn quoted(text: &str) -> String {
    Json::from(text).to_string()
}
