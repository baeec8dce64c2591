//! The torture messages of RFC 4475 and RFC 5118, and what each RFC asks a server to do with them.
//!
//! Decides nothing: the files are `../corpus/`, the outcomes are read from the RFCs.

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is acted on.
    Accepted,
    /// It is refused with this status.
    Answered(u16),
    /// It is dropped without an answer.
    Dropped,
}

use Outcome::{Accepted, Answered, Dropped};

/// One message of an RFC.
pub(crate) struct Case {
    /// The RFC's name for it.
    pub(crate) name: &'static str,
    /// The section of the RFC.
    pub(crate) section: &'static str,
    /// What the RFC asks for.
    pub(crate) outcome: Outcome,
    /// Why.
    pub(crate) because: &'static str,
    file: &'static [u8],
    repair: fn(&[u8]) -> Vec<u8>,
}

impl Case {
    /// The message as it is on the wire.
    pub(crate) fn wire(&self) -> Vec<u8> {
        (self.repair)(self.file)
    }
}

macro_rules! case {
    ($repair:ident, $path:expr, $name:literal, $section:literal, $outcome:expr, $because:literal) => {
        Case {
            name: $name,
            section: $section,
            outcome: $outcome,
            because: $because,
            file: include_bytes!($path),
            repair: $repair,
        }
    };
}

macro_rules! rfc4475 {
    ($name:literal, $($rest:tt)+) => {
        case!(as_archived, concat!("../corpus/rfc4475/", $name, ".dat"), $name, $($rest)+)
    };
}

macro_rules! rfc5118 {
    ($name:literal, $($rest:tt)+) => {
        case!(from_text, concat!("../corpus/rfc5118/", $name), $name, $($rest)+)
    };
}

/// RFC 4475's files are wire bytes, but `baddn` lacks the empty line that ends its headers.
fn as_archived(file: &[u8]) -> Vec<u8> {
    let whole = file.windows(4).any(|bytes| bytes == b"\r\n\r\n");
    if whole { file.to_vec() } else { [file, b"\r\n"].concat() }
}

/// RFC 5118's files are text: LF becomes CRLF, a missing empty line is added, and Content-Length counts
/// the body anew.
fn from_text(file: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(file).expect("text");
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let body = body.replace('\n', "\r\n");
    let (head, _length) = head.rsplit_once("Content-Length: ").unwrap_or((head, ""));
    format!("{}Content-Length: {}\r\n\r\n{body}", head.replace('\n', "\r\n"), body.len()).into_bytes()
}

/// RFC 4475, in its order.
pub(crate) const RFC4475: [Case; 49] = [
    rfc4475!(
        "wsinv",
        "3.1.1.1",
        Accepted,
        "white space and folds everywhere, compact names, an unknown header"
    ),
    rfc4475!(
        "intmeth",
        "3.1.1.2",
        Answered(501),
        "well-formed in every odd character; its method is one that nobody knows"
    ),
    rfc4475!("esc01", "3.1.1.3", Accepted, "escapes in the user part and in parameters"),
    rfc4475!("escnull", "3.1.1.4", Accepted, "an escaped NUL is an ordinary octet of the user part"),
    rfc4475!(
        "esc02",
        "3.1.1.5",
        Answered(501),
        "percent signs in a method and in names are no escapes; the method is unknown"
    ),
    rfc4475!("lwsdisp", "3.1.1.6", Accepted, "no white space between display name and bracket"),
    rfc4475!("longreq", "3.1.1.7", Accepted, "long values are no fault"),
    rfc4475!("dblreq", "3.1.1.8", Accepted, "what follows the first message of a datagram is left out"),
    rfc4475!("semiuri", "3.1.1.9", Accepted, "semicolons belong to the user part"),
    rfc4475!("transports", "3.1.1.10", Accepted, "transports that we do not speak may stand in Via"),
    rfc4475!("mpart01", "3.1.1.11", Accepted, "a multipart body with octets that are no text"),
    rfc4475!("unreason", "3.1.1.12", Accepted, "a reason phrase in UTF-8"),
    rfc4475!("noreason", "3.1.1.13", Accepted, "an empty reason phrase"),
    rfc4475!("badinv01", "3.1.2.1", Answered(400), "empty parameters and values in Via and Contact"),
    rfc4475!("clerr", "3.1.2.2", Answered(400), "Content-Length is larger than the datagram"),
    rfc4475!("ncl", "3.1.2.3", Answered(400), "Content-Length is negative"),
    rfc4475!("scalar02", "3.1.2.4", Answered(400), "CSeq and Max-Forwards are out of range"),
    rfc4475!("scalarlg", "3.1.2.5", Dropped, "a response whose CSeq is out of range answers nothing of ours"),
    rfc4475!("quotbal", "3.1.2.6", Answered(400), "the quote in To never closes"),
    rfc4475!("ltgtruri", "3.1.2.7", Answered(400), "angle brackets around the Request-URI"),
    rfc4475!("lwsruri", "3.1.2.8", Answered(400), "white space within the Request-URI"),
    rfc4475!("lwsstart", "3.1.2.9", Answered(400), "more than one space in the request line"),
    rfc4475!("trws", "3.1.2.10", Answered(400), "white space behind the request line"),
    rfc4475!("escruri", "3.1.2.11", Answered(400), "headers in the Request-URI"),
    rfc4475!("baddate", "3.1.2.12", Accepted, "the zone of Date is wrong, and nothing of ours reads Date"),
    rfc4475!("regbadct", "3.1.2.13", Answered(400), "a Contact with headers and no angle brackets"),
    rfc4475!("badaspec", "3.1.2.14", Answered(400), "white space within the angle brackets of To"),
    rfc4475!("baddn", "3.1.2.15", Answered(400), "display names that need quotes and have none"),
    rfc4475!("badvers", "3.1.2.16", Answered(505), "a version that nobody speaks"),
    rfc4475!("mismatch01", "3.1.2.17", Answered(400), "CSeq names another method"),
    rfc4475!(
        "mismatch02",
        "3.1.2.18",
        Answered(501),
        "CSeq names another method, and the request's is unknown, which weighs more"
    ),
    rfc4475!("bigcode", "3.1.2.19", Dropped, "a status of ten digits is no response"),
    rfc4475!(
        "badbranch",
        "3.2.1",
        Accepted,
        "a branch that is the magic cookie alone is matched as RFC 2543 matches"
    ),
    rfc4475!("insuf", "3.3.1", Answered(400), "From, To and Call-ID are missing"),
    rfc4475!("unkscm", "3.3.2", Answered(416), "the Request-URI's scheme is unknown"),
    rfc4475!("novelsc", "3.3.3", Answered(416), "the Request-URI's scheme is known, but not for requests"),
    rfc4475!("unksm2", "3.3.4", Accepted, "unknown schemes in From and To are for those who look users up"),
    rfc4475!("bext01", "3.3.5", Answered(420), "Require names what nobody supports"),
    rfc4475!("invut", "3.3.6", Accepted, "an unknown type of body is for the session to refuse, by 415"),
    rfc4475!("regaut01", "3.3.7", Accepted, "an unknown scheme of Authorization is ignored"),
    rfc4475!("multi01", "3.3.8", Answered(400), "headers that may stand once stand twice"),
    rfc4475!("mcl01", "3.3.9", Answered(400), "two values of Content-Length"),
    rfc4475!(
        "bcast",
        "3.3.10",
        Accepted,
        "a second Via that is a broadcast address is for the transaction to drop"
    ),
    rfc4475!(
        "zeromf",
        "3.3.11",
        Accepted,
        "Max-Forwards of zero is for proxies to refuse, not for the end of the way"
    ),
    rfc4475!(
        "cparam01",
        "3.3.12",
        Accepted,
        "a parameter behind a Contact without angle brackets is Contact's"
    ),
    rfc4475!("cparam02", "3.3.13", Accepted, "a parameter within the angle brackets is the URI's"),
    rfc4475!("regescrt", "3.3.14", Accepted, "escaped headers in a Contact with angle brackets"),
    rfc4475!("sdp01", "3.3.15", Accepted, "that Accept excludes SDP is for the session to refuse, by 406"),
    rfc4475!("inv2543", "3.4.1", Accepted, "RFC 2543 had no branch, tag or Max-Forwards"),
];

/// RFC 5118, in its order.
pub(crate) const RFC5118: [Case; 12] = [
    rfc5118!("ipv6-good", "4.1", Accepted, "an IPv6 reference as Request-URI"),
    rfc5118!("ipv6-bad", "4.2", Answered(400), "an IPv6 address without brackets"),
    rfc5118!(
        "port-ambiguous",
        "4.3",
        Accepted,
        "what could be a port is part of the address, as it stands within the brackets"
    ),
    rfc5118!("port-unambiguous", "4.4", Accepted, "a port behind the brackets"),
    rfc5118!(
        "via-received-param-with-delim",
        "4.5",
        Accepted,
        "received with brackets, as RFC 3261's grammar has it not"
    ),
    rfc5118!("via-received-param-no-delim", "4.5", Accepted, "received without brackets"),
    rfc5118!("ipv6-in-sdp", "4.6", Accepted, "IPv6 addresses in the body"),
    rfc5118!("mult-ip-in-header", "4.7", Accepted, "hops of both address families in Via"),
    rfc5118!("mult-ip-in-sdp", "4.8", Accepted, "both address families in the body"),
    rfc5118!("ipv4-mapped-ipv6", "4.9", Accepted, "IPv4 addresses mapped into IPv6"),
    rfc5118!(
        "ipv6-bug-abnf-3-colons",
        "4.10",
        Accepted,
        "three colons, which RFC 3261's grammar made people write"
    ),
    rfc5118!("ipv6-correct-abnf-2-colons", "4.10", Accepted, "the same address as it should be"),
];
