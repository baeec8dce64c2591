//! [`Naming`]: how the users of a dial plan are named.
//!
//! Decides which numbers and addresses can be those of a user, and their normal form. Refuses to know
//! whether anybody has them.

use crate::party::SipAddress;
use crate::{DialPlan, Number, Party, UriType};

/// The most digits of an international number (ITU-T E.164 section 6.1).
const MAX_E164_DIGITS: usize = 15;

/// How the users of a dial plan are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Naming {
    /// By what, beside their extension.
    pub uri_type: UriType,
    /// Length of every extension.
    pub digits_in_extension: usize,
}

impl DialPlan {
    /// How its users are named.
    pub fn naming(&self) -> Naming {
        let digits_in_extension = usize::from(self.number_of_digits_in_extension);
        Naming { uri_type: self.uri_type, digits_in_extension }
    }
}

impl Naming {
    /// The normal form of `party`, if a user of the dial plan can be named so.
    pub fn normal(self, party: Party<'_>) -> Option<String> {
        match self.address(party) {
            Some(address) => Some(address.as_str().to_owned()),
            None => self.number(party).map(|number| number.as_str().to_owned()),
        }
    }

    /// Whether a user of the dial plan can be named so. Allocates nothing.
    pub(crate) fn has(self, party: Party<'_>) -> bool {
        self.address(party).is_some() || self.number(party).is_some()
    }

    /// Users have SIP addresses in plans of SIP names alone.
    pub(crate) fn address(self, party: Party<'_>) -> Option<SipAddress> {
        match self.uri_type {
            UriType::SipName => SipAddress::of(party),
            UriType::TelExtn | UriType::E164 => None,
        }
    }

    /// A number of a plan has exactly as many digits as the plan's extensions; in a plan of E.164 numbers
    /// it may be one of those.
    pub(crate) fn number(self, party: Party<'_>) -> Option<Number> {
        let number = Number::parse(party.user)?;
        let may_be_e164 = match self.uri_type {
            UriType::E164 => number.len() <= MAX_E164_DIGITS,
            UriType::TelExtn | UriType::SipName => false,
        };
        (number.len() == self.digits_in_extension || may_be_e164).then_some(number)
    }
}
