//! Who calls, as far as it can be told.
//!
//! Decides when a caller is anonymous, and when a caller is a user of ours, who is then shown by name and
//! can be answered. Refuses to know whose mailbox the call is for.

use config::{CallSettings, Owner, Party};
use sip::Message;

use crate::served::Served;

/// The domain of callers who want to be nobody (RFC 3323 section 4.1.1.3).
const ANONYMOUS_DOMAIN: &str = "anonymous.invalid";

/// What is known of a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The number or name in From, if it is shown.
    pub(crate) number: Option<String>,
    /// The display name of the mailbox of a user of ours, else the name that is shown.
    pub(crate) name: Option<String>,
    /// The mail address of a user of ours.
    pub(crate) address: Option<String>,
}

/// Who calls the dial plan of these settings.
pub(crate) fn caller(
    served: &Served,
    dial_plan: &str,
    settings: &CallSettings,
    invite: &Message<'_>,
) -> Caller {
    let party = sip::caller(invite);
    if party.user.is_empty() || party.domain.eq_ignore_ascii_case(ANONYMOUS_DOMAIN) {
        return Caller::default();
    }
    let shown = invite.from().ok().and_then(|from| from.display_name()).and_then(presented);
    let Some(number) = presented(party.user.clone()) else {
        return Caller { name: shown, ..Caller::default() };
    };
    let user = Party { user: &party.user, domain: &party.domain };
    let owner = owner(served, dial_plan, settings, user);
    Caller {
        number: Some(number),
        name: owner.and_then(|owner| owner.display_name.clone()).or(shown),
        address: owner.map(|owner| owner.primary_smtp_address.clone()),
    }
}

/// The user of ours whom `party` names, in the dial plan that was called or in one beside it.
fn owner<'s>(
    served: &'s Served,
    dial_plan: &str,
    settings: &CallSettings,
    party: Party<'_>,
) -> Option<&'s Owner> {
    let others = settings.equivalent_dial_plans.iter().map(String::as_str);
    std::iter::once(dial_plan).chain(others).find_map(|plan| {
        let formats =
            served.config.calls.get(plan).map(|settings| settings.numbering_plan_formats.as_slice());
        let mailbox = served.table.mailbox_of(plan, party).or_else(|| {
            let number = config::Number::parse(party.user)?;
            let extensions = formats?.iter().filter_map(|format| extension(format, number.as_str()));
            extensions.into_iter().find_map(|extension| served.table.mailbox_of(plan, extension.into()))
        })?;
        served.config.owners.get(&mailbox.name)
    })
}

/// The end of a number that has this form: its digits, and as many more as the form has `x`.
fn extension<'n>(format: &str, number: &'n str) -> Option<&'n str> {
    let format = format.strip_prefix('+').unwrap_or(format);
    let digits = format.trim_end_matches('x');
    number.strip_prefix(digits).filter(|extension| extension.len() == format.len() - digits.len())
}

/// A name or number that the caller shows (RFC 3323 section 4.1.1.3).
fn presented(shown: std::borrow::Cow<'_, str>) -> Option<String> {
    (!shown.is_empty() && !shown.eq_ignore_ascii_case("anonymous")).then(|| shown.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_a_form_ends_in_an_extension() {
        assert_eq!(extension("1425555xxx", "1425555101"), Some("101"));
        assert_eq!(extension("+1425555xxx", "1425555101"), Some("101"));
        assert_eq!(extension("xxx", "101"), Some("101"));
        for number in ["14255550101", "142555510", "1425556101", "101", ""] {
            assert_eq!(extension("1425555xxx", number), None, "{number}");
        }
    }
}
