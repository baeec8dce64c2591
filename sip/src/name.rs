//! The methods and header names that this project acts on.
//!
//! Decides how each is spelled, compact forms included. Refuses to know what any of them means.

use std::fmt;

/// A request's method (RFC 3261 section 7.1 and the extensions that a peer may try on us).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `INVITE`.
    Invite,
    /// `ACK`.
    Ack,
    /// `BYE`.
    Bye,
    /// `CANCEL`.
    Cancel,
    /// `OPTIONS`.
    Options,
    /// `REGISTER`.
    Register,
    /// `PRACK` (RFC 3262).
    Prack,
    /// `UPDATE` (RFC 3311).
    Update,
    /// `INFO` (RFC 6086).
    Info,
    /// `SUBSCRIBE` (RFC 6665).
    Subscribe,
    /// `NOTIFY` (RFC 6665).
    Notify,
    /// `REFER` (RFC 3515).
    Refer,
    /// `MESSAGE` (RFC 3428).
    Message,
    /// `PUBLISH` (RFC 3903).
    Publish,
    /// Any other token.
    Unknown,
}

impl Method {
    /// The method that `text` names. Methods are case-sensitive (RFC 3261 section 7.1).
    #[must_use]
    pub fn read(text: &str) -> Method {
        match text {
            "INVITE" => Method::Invite,
            "ACK" => Method::Ack,
            "BYE" => Method::Bye,
            "CANCEL" => Method::Cancel,
            "OPTIONS" => Method::Options,
            "REGISTER" => Method::Register,
            "PRACK" => Method::Prack,
            "UPDATE" => Method::Update,
            "INFO" => Method::Info,
            "SUBSCRIBE" => Method::Subscribe,
            "NOTIFY" => Method::Notify,
            "REFER" => Method::Refer,
            "MESSAGE" => Method::Message,
            "PUBLISH" => Method::Publish,
            _ => Method::Unknown,
        }
    }

    /// As written on the wire; `UNKNOWN` for a method that has no variant of its own.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Options => "OPTIONS",
            Method::Register => "REGISTER",
            Method::Prack => "PRACK",
            Method::Update => "UPDATE",
            Method::Info => "INFO",
            Method::Subscribe => "SUBSCRIBE",
            Method::Notify => "NOTIFY",
            Method::Refer => "REFER",
            Method::Message => "MESSAGE",
            Method::Publish => "PUBLISH",
            Method::Unknown => "UNKNOWN",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Makes `Name` from one table, so that no spelling can be known to one direction only.
macro_rules! names {
    ($($variant:ident $text:literal $compact:expr,)+) => {
        /// A header's name. Every name that no variant stands for is [`Name::Other`]; its text is
        /// in [`Message::all`](crate::Message::all).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Name {
            /// Any other name.
            Other,
            $(
                #[doc = concat!("`", $text, "`.")]
                $variant,
            )+
        }

        impl Name {
            /// The header that `text` names, in long or compact form (RFC 3261 section 7.3.3), in any
            /// case.
            #[must_use]
            pub fn read(text: &[u8]) -> Name {
                if let [letter] = text {
                    return match letter.to_ascii_lowercase() {
                        $(letter if $compact == Some(letter) => Name::$variant,)+
                        _ => Name::Other,
                    };
                }
                let mut slot = slot_of(text);
                loop {
                    let name = SLOTS[slot];
                    let known = name.as_str().as_bytes();
                    // Most are written as the RFC writes them.
                    if name == Name::Other || text == known || text.eq_ignore_ascii_case(known) {
                        return name;
                    }
                    slot = (slot + 1) % SLOTS.len();
                }
            }

            const KNOWN: &[Name] = &[$(Name::$variant,)+];

            /// How many there are, [`Name::Other`] included.
            pub(crate) const COUNT: usize = Name::KNOWN.len() + 1;

            /// The long form; `other header` for a name that has no variant of its own.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Name::$variant => $text,)+
                    Name::Other => "other header",
                }
            }
        }
    };
}

names! {
    Via "Via" Some(b'v'),
    From "From" Some(b'f'),
    To "To" Some(b't'),
    CallId "Call-ID" Some(b'i'),
    CSeq "CSeq" None,
    Contact "Contact" Some(b'm'),
    MaxForwards "Max-Forwards" None,
    Route "Route" None,
    RecordRoute "Record-Route" None,
    Require "Require" None,
    ProxyRequire "Proxy-Require" None,
    Supported "Supported" Some(b'k'),
    Allow "Allow" None,
    ContentType "Content-Type" Some(b'c'),
    ContentLength "Content-Length" Some(b'l'),
    ContentDisposition "Content-Disposition" None,
    Expires "Expires" None,
    UserAgent "User-Agent" None,
    Server "Server" None,
    Diversion "Diversion" None,
    HistoryInfo "History-Info" None,
    Reason "Reason" None,
    RetryAfter "Retry-After" None,
    Warning "Warning" None,
    Unsupported "Unsupported" None,
    Date "Date" None,
    Subject "Subject" Some(b's'),
}

/// The long forms by [`slot_of`], each in the first slot from its own on that is free; a slot that is free
/// holds [`Name::Other`]. A message has a dozen headers, and most of their names are found at first sight.
const SLOTS: [Name; 128] = {
    let mut slots = [Name::Other; 128];
    let mut at = 0;
    while at < Name::KNOWN.len() {
        let name = Name::KNOWN[at];
        let mut slot = slot_of(name.as_str().as_bytes());
        while !matches!(slots[slot], Name::Other) {
            slot = (slot + 1) % slots.len();
        }
        slots[slot] = name;
        at += 1;
    }
    slots
};

/// Where a name is looked for first: what tells most of them apart are length, first and last letter.
const fn slot_of(text: &[u8]) -> usize {
    match text {
        [first, .., last] => {
            let (first, last) = ((*first | 0x20) as usize, (*last | 0x20) as usize);
            (text.len() * 9 + first * 5 + last * 3) % 128
        }
        [] | [_] => 0,
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_compact_forms_name_the_same_header_in_any_case() {
        for (compact, long, name) in [
            ("v", "VIA", Name::Via),
            ("F", "from", Name::From),
            ("t", "To", Name::To),
            ("I", "call-id", Name::CallId),
            ("m", "CONTACT", Name::Contact),
            ("k", "Supported", Name::Supported),
            ("c", "content-Type", Name::ContentType),
            ("L", "Content-length", Name::ContentLength),
            ("s", "subject", Name::Subject),
        ] {
            assert_eq!(Name::read(compact.as_bytes()), name);
            assert_eq!(Name::read(long.as_bytes()), name);
        }
        assert_eq!(Name::read(b"x"), Name::Other);
        assert_eq!(Name::read(b"X-CallingTelephoneNumber"), Name::Other);
        assert_eq!(Name::read(b""), Name::Other);
    }

    #[test]
    fn methods_are_case_sensitive() {
        assert_eq!(Method::read("INVITE"), Method::Invite);
        assert_eq!(Method::read("invite"), Method::Unknown);
        assert_eq!(Method::Invite.to_string(), "INVITE");
    }
}
