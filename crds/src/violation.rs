//! What an object says about itself that cannot be.
//!
//! Decides the shape of a violation and the checks that several kinds share. The bounds are
//! constants beside each field, used here and in the schema, so that there is one of each.
//! Refuses to know any other object.

use std::fmt::Display;

use crate::rule::{NAME_ALLOWED, NAME_FIX, Range, Shape, fixed_allowed, fixed_fix};

/// Longest name of an object (a DNS subdomain, RFC 1123 as Kubernetes reads it).
pub(crate) const MAX_NAME_CHARS: usize = 253;

/// Longest e-mail address (RFC 5321 §4.5.3.1.3: a path of 256 octets less its angle brackets).
pub(crate) const MAX_EMAIL_CHARS: usize = 254;

/// An address with one `@` and something without spaces or angle brackets on both sides.
pub(crate) const EMAIL: Shape = Shape {
    rule: "self.matches(r'^[^@<>\\s]+@[^@<>\\s]+$')",
    allowed: "an e-mail address of at most 254 characters",
    fix: "write an address such as alice@contoso.example",
};

/// One rule that one field breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, from the root of the object: `spec.extensions[1]`.
    pub field: String,
    /// What it says.
    pub value: String,
    /// What it may say.
    pub rule: String,
    /// What to write instead.
    pub fix: String,
    /// Which kind of mistake it is.
    pub code: ViolationCode,
}

/// The kind of mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViolationCode {
    /// The value is outside of what is allowed.
    OutOfRange,
    /// A recording may last longer than the call that it is made in.
    DurationOrder,
    /// One server asks for the same port twice.
    PortConflict,
    /// The name is not one that Kubernetes accepts.
    InvalidName,
    /// The field stays as the object was made with it.
    Immutable,
}

impl ViolationCode {
    /// Every kind of mistake.
    pub const ALL: [ViolationCode; 5] = [
        ViolationCode::OutOfRange,
        ViolationCode::InvalidName,
        ViolationCode::Immutable,
        ViolationCode::DurationOrder,
        ViolationCode::PortConflict,
    ];

    /// The code that the operator gives it, as messages of an API server show it.
    pub const fn id(self) -> &'static str {
        match self {
            ViolationCode::OutOfRange => "UM1006",
            ViolationCode::InvalidName => "UM1007",
            ViolationCode::Immutable => "UM1009",
            ViolationCode::DurationOrder => "UM1017",
            ViolationCode::PortConflict => "UM1021",
        }
    }
}

/// Whether `name` can be the name of an object, at `field`.
pub fn check_name(field: &str, name: &str) -> Option<Violation> {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let fits = name.len() <= MAX_NAME_CHARS && name.split('.').all(label);
    (!fits).then(|| Violation {
        field: field.into(),
        value: name.into(),
        rule: NAME_ALLOWED.into(),
        fix: match suggest_name(name) {
            Some(name) => format!("write {name}"),
            None => NAME_FIX.into(),
        },
        code: ViolationCode::InvalidName,
    })
}

/// The nearest name that would be accepted.
fn suggest_name(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let text: String =
        lower.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }).collect();
    let text: String = text.trim_matches('-').chars().take(MAX_NAME_CHARS).collect();
    let text = text.trim_end_matches('-');
    (!text.is_empty()).then(|| text.into())
}

/// Gathers the violations of one object.
#[derive(Default)]
pub(crate) struct Checks(Vec<Violation>);

impl Checks {
    /// A whole number within `range`.
    pub(crate) fn range(&mut self, field: &str, value: i64, range: &Range) {
        if !(range.low..=range.high).contains(&value) {
            self.add(ViolationCode::OutOfRange, field, value, range.allowed(), range.fix());
        }
    }

    /// A field of `object` that stays as it was made.
    pub(crate) fn fixed(&mut self, field: &str, before: &str, now: &str, object: &str) {
        if before != now {
            let allowed = fixed_allowed(before, object);
            self.add(ViolationCode::Immutable, field, now, allowed, fixed_fix(object));
        }
    }

    /// A text of this shape, if it `fits`.
    pub(crate) fn shape(&mut self, field: &str, value: &str, shape: &Shape, fits: bool) {
        if !fits {
            self.add(ViolationCode::OutOfRange, field, value, shape.allowed, shape.fix);
        }
    }

    /// At most `max` characters, and at least one.
    pub(crate) fn length(&mut self, field: &str, value: &str, max: usize) {
        let chars = value.chars().count();
        if (1..=max).contains(&chars) {
            return;
        }
        let value = if chars == 0 { String::from("\"\"") } else { format!("{chars} characters") };
        let fix = if chars == 0 {
            "write a text, or leave the field out".into()
        } else {
            format!("shorten it to {max}")
        };
        self.add(ViolationCode::OutOfRange, field, value, format!("1 to {max} characters"), fix);
    }

    /// The name of another object.
    pub(crate) fn reference(&mut self, field: &str, value: &str) {
        self.0.extend(check_name(field, value));
    }

    /// An e-mail address, as [`EMAIL`] and [`MAX_EMAIL_CHARS`] say.
    pub(crate) fn email(&mut self, field: &str, value: &str) {
        let part = |part: &str| {
            !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c == '<' || c == '>')
        };
        let fits = value.chars().count() <= MAX_EMAIL_CHARS
            && value.split('@').count() == 2
            && value.split('@').all(part);
        self.shape(field, value, &EMAIL, fits);
    }

    /// Anything else.
    pub(crate) fn add(
        &mut self,
        code: ViolationCode,
        field: &str,
        value: impl Display,
        rule: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.0.push(Violation {
            field: field.into(),
            value: value.to_string(),
            rule: rule.into(),
            fix: fix.into(),
            code,
        });
    }

    /// All of them.
    pub(crate) fn into_violations(self) -> Vec<Violation> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_kubernetes_accepts_is_accepted() {
        for name in ["contoso", "a", "7", "pbx-2.munich"] {
            assert_eq!(check_name("metadata.name", name), None, "{name}");
        }
    }

    #[test]
    fn a_name_that_kubernetes_refuses_is_refused_with_the_nearest_that_fits() {
        let fix = |name| check_name("metadata.name", name).map(|violation| violation.fix);
        assert_eq!(fix("Alice Archer"), Some("write alice-archer".into()));
        assert_eq!(fix("-x-"), Some("write x".into()));
        assert_eq!(fix(""), Some("write a name such as contoso".into()));
        assert_eq!(fix("münchen"), Some("write m-nchen".into()));
        assert!(fix(&"x".repeat(254)).is_some());
    }

    #[test]
    fn a_number_outside_of_its_range_names_the_range() {
        let mut checks = Checks::default();
        let idle = Range { low: 2, high: 10, unit: "seconds", example: 5 };
        checks.range("spec.recordingIdleTimeout", 99, &idle);
        checks.range("spec.recordingIdleTimeout", 2, &idle);
        assert_eq!(
            checks.into_violations(),
            [Violation {
                field: "spec.recordingIdleTimeout".into(),
                value: "99".into(),
                rule: "2 to 10 seconds".into(),
                fix: "write a whole number of seconds from 2 to 10, such as 5".into(),
                code: ViolationCode::OutOfRange,
            }]
        );
    }

    #[test]
    fn an_address_without_a_domain_is_refused() {
        for (address, fits) in
            [("alice@contoso.example", true), ("alice", false), ("a@b@c", false), ("a b@c", false)]
        {
            let mut checks = Checks::default();
            checks.email("spec.primarySmtpAddress", address);
            assert_eq!(checks.into_violations().is_empty(), fits, "{address}");
        }
    }
}
