//! What a user or a number that callers dial can be called: digits, or a SIP address.
//!
//! Decides the form, as the rule of a schema and as a check. Refuses to know which form a dial plan asks
//! for.

use crate::rule::Shape;
use crate::violation::{Checks, ViolationCode};

/// The longest SIP address, which is often a mail address at the same time (RFC 5321 §4.5.3.1.3).
pub(crate) const MAX_ADDRESS_CHARS: usize = 254;

/// E.164 numbers have at most 15 digits, private plans a few more.
const MAX_DIGITS: usize = 20;

/// A number or a SIP address. A domain has a letter: what is an address of a host names no user.
pub(crate) const ADDRESS: Shape = Shape {
    rule: "self.matches('^([+]?[0-9]{1,20}|[A-Za-z0-9._+-]+@[A-Za-z0-9.-]*[A-Za-z][A-Za-z0-9.-]*)$')",
    allowed: "1 to 20 digits, with or without a leading \"+\", or a SIP address USER@DOMAIN without \"sip:\"",
    fix: "write a number such as \"+14255550100\", or an address such as alice@contoso.example",
};

/// The schema of one of several in a list.
pub(crate) fn address_schema() -> serde_json::Value {
    serde_json::json!({
        "type": "string",
        "maxLength": MAX_ADDRESS_CHARS,
        "x-kubernetes-validations": ADDRESS.schema(),
    })
}

/// At most `max` of them, each as [`ADDRESS`] says.
pub(crate) fn check_addresses(checks: &mut Checks, field: &str, all: &[String], max: usize) {
    if all.len() > max {
        let (value, rule) = (format!("{} numbers", all.len()), format!("at most {max} numbers"));
        checks.add(ViolationCode::OutOfRange, field, value, rule, "remove those that nobody calls");
    }
    for (index, address) in all.iter().enumerate() {
        checks.shape(&format!("{field}[{index}]"), address, &ADDRESS, is_address(address));
    }
}

/// Whether `text` is one, as [`ADDRESS`] says.
pub(crate) fn is_address(text: &str) -> bool {
    if text.len() > MAX_ADDRESS_CHARS {
        return false;
    }
    let digits = text.strip_prefix('+').unwrap_or(text);
    if (1..=MAX_DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return true;
    }
    let Some((user, domain)) = text.split_once('@') else { return false };
    let fits = |part: &str, others: &[u8]| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
    };
    fits(user, b"._+-") && fits(domain, b".-") && domain.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sip_addresses_are_addresses() {
        for text in ["0", "+14255550100", "12345678901234567890", "alice.a+b@contoso.example", "101@pbx"] {
            assert!(is_address(text), "{text}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        let long = format!("{}@c", "a".repeat(253));
        for text in [
            "",
            "+",
            "1-2",
            "123456789012345678901",
            "alice",
            "@contoso.example",
            "alice@",
            "a@b@c",
            "a b@c",
            "sip:alice@contoso.example",
            "alice@192.0.2.1",
            "alice@[::1]",
            "zoë@contoso.example",
            &long,
        ] {
            assert!(!is_address(text), "{text}");
        }
    }
}
