//! Users as calls name them, and the one normal form of what they are called.
//!
//! Decides when two ways of naming a user are the same one (decision 8): numbers by their digits, SIP
//! addresses by user and domain in any case. Refuses to know which users there are.

use std::borrow::Cow;

use crate::Number;

/// The longest SIP address, bytes: that of a mail address (RFC 5321 section 4.5.3.1.3), which it often
/// is at the same time.
pub const MAX_ADDRESS_BYTES: usize = 254;

/// A user as a call names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Party<'a> {
    /// The number or name.
    pub user: &'a str,
    /// The domain of the name; empty where the call names none.
    pub domain: &'a str,
}

impl<'a> From<&'a str> for Party<'a> {
    /// `user@domain`, or a user alone.
    fn from(text: &'a str) -> Self {
        let (user, domain) = text.rsplit_once('@').unwrap_or((text, ""));
        Party { user, domain }
    }
}

impl<'a> Party<'a> {
    /// The normal form, which every tool shows: the digits of a number; of anybody else `user@domain`,
    /// and the user alone where the call names no domain.
    pub fn normal(&self) -> Cow<'a, str> {
        if let Some(number) = Number::parse(self.user) {
            return Cow::Owned(number.as_str().to_owned());
        }
        match SipAddress::of(*self) {
            Some(address) => Cow::Owned(address.as_str().to_owned()),
            None => Cow::Borrowed(self.user),
        }
    }
}

/// A SIP address in normal form: `user@domain` in small letters.
///
/// RFC 3261 section 19.1.4 tells users apart by case. Nobody who gives people addresses does, and a
/// message for `Alice@contoso.example` is meant for `alice@contoso.example`.
#[derive(Clone, Copy)]
pub(crate) struct SipAddress {
    bytes: [u8; MAX_ADDRESS_BYTES],
    length: u8,
}

impl SipAddress {
    /// The address of `party`. `None` where its user or its domain is empty, and for one with more than
    /// [`MAX_ADDRESS_BYTES`]. Allocates nothing.
    pub(crate) fn of(party: Party<'_>) -> Option<SipAddress> {
        let Party { user, domain } = party;
        let length = user.len().checked_add(domain.len())?.checked_add(1)?;
        let mut bytes = [0; MAX_ADDRESS_BYTES];
        let used = bytes.get_mut(..length).filter(|_| !user.is_empty() && !domain.is_empty())?;
        let written = user.bytes().chain([b'@']).chain(domain.bytes());
        for (place, byte) in used.iter_mut().zip(written) {
            *place = byte.to_ascii_lowercase();
        }
        Some(SipAddress { bytes, length: u8::try_from(length).ok()? })
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        // Small letters for large ones of ASCII: what was text is text.
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> String {
        Party::from(text).normal().into_owned()
    }

    #[test]
    fn a_number_is_its_digits_wherever_it_is_said_to_be() {
        for text in ["+1 (425) 555-0101", "14255550101@pbx.example", "1.425.555.0101;ext=7@x"] {
            assert_eq!(normal(text), "14255550101");
        }
    }

    #[test]
    fn anybody_else_is_a_user_of_a_domain_in_small_letters() {
        assert_eq!(normal("Alice.Archer@Contoso.EXAMPLE"), "alice.archer@contoso.example");
        assert_eq!(normal("Zoë@contoso.example"), "zoë@contoso.example");
        assert_eq!(normal("VoiceMail"), "VoiceMail");
        assert_eq!(normal("a@b@c"), "a@b@c");
        assert_eq!(normal(""), "");
    }

    #[test]
    fn an_address_has_a_user_a_domain_and_at_most_254_bytes() {
        let address = |text: &str| SipAddress::of(text.into()).map(|address| address.as_str().to_owned());
        assert_eq!(address("alice"), None);
        assert_eq!(address("@contoso.example"), None);
        assert_eq!(address("alice@"), None);
        let long = format!("{}@c", "a".repeat(252));
        assert_eq!(address(&long), Some(long.clone()));
        assert_eq!(address(&format!("a{long}")), None);
    }
}
