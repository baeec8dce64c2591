//! Users as requests name them.
//!
//! Decides which header names whom, and what of a URI is the user. Refuses to know whether that user
//! exists.

use std::borrow::Cow;

use crate::host::Host;
use crate::message::Message;
use crate::uri::Uri;

/// A user whom a URI names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party<'a> {
    /// The number or name, decoded, without its parameters.
    pub user: Cow<'a, str>,
    /// The domain that the name belongs to. Empty where the URI has an address or none: that is where
    /// a request goes, and no part of anybody's name.
    pub domain: Cow<'a, str>,
}

impl<'a> Party<'a> {
    /// The user of a URI, if it names one.
    pub(crate) fn of(uri: &Uri<'a>) -> Option<Party<'a>> {
        let domain = match uri.host {
            Some(Host::HostName(name)) => name,
            Some(Host::V4(_) | Host::V6(_)) | None => "",
        };
        Some(Party { user: uri.number()?, domain: Cow::Borrowed(domain) })
    }

    pub(crate) fn into_owned(self) -> Party<'static> {
        Party { user: Cow::Owned(self.user.into_owned()), domain: Cow::Owned(self.domain.into_owned()) }
    }
}

/// Who is called: the user of the Request-URI, else that of To. Nobody where neither names a user.
#[must_use]
pub fn called<'a>(message: &Message<'a>) -> Party<'a> {
    let of_request = message.request_uri().and_then(|uri| Party::of(&uri));
    of_request.or_else(|| Party::of(&message.to().ok()?.uri)).unwrap_or_default()
}

/// Who calls: the user of From. Nobody where it names none.
#[must_use]
pub fn caller<'a>(message: &Message<'a>) -> Party<'a> {
    message.from().ok().and_then(|from| Party::of(&from.uri)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::scan;

    fn parties(uri: &str, to: &str, from: &str) -> [(String, String); 2] {
        let text = format!("INVITE {uri} SIP/2.0\r\nTo: {to}\r\nFrom: {from};tag=a\r\n\r\n");
        let message = scan(text.as_bytes()).unwrap();
        [called(&message), caller(&message)].map(|party| (party.user.into_owned(), party.domain.into_owned()))
    }

    #[test]
    fn the_request_uri_says_who_is_called_and_from_who_calls() {
        let said =
            parties("sip:Alice@Contoso.example:5070;user=ip", "<sip:bob@b>", "\"C\" <sip:%63;x=y@c.example>");
        assert_eq!(
            said,
            [("Alice", "Contoso.example"), ("c", "c.example")].map(|(a, b)| (a.into(), b.into()))
        );
    }

    #[test]
    fn else_to_says_who_is_called() {
        let said = parties("sip:umbriel.example", "<sip:101@pbx.example>", "<sip:pbx.example>");
        assert_eq!(said, [("101", "pbx.example"), ("", "")].map(|(a, b)| (a.into(), b.into())));
    }

    #[test]
    fn an_address_is_no_domain() {
        let said = parties("sip:101@192.0.2.1", "<sip:b@b>", "<tel:+1-425;phone-context=x>");
        assert_eq!(said, [("101", ""), ("+1-425", "")].map(|(a, b)| (a.into(), b.into())));
        let said = parties("sip:101@[2001:db8::1]", "<sip:b@b>", "<sips:1@[::1]:5061>");
        assert_eq!(said, [("101", ""), ("1", "")].map(|(a, b)| (a.into(), b.into())));
    }
}
