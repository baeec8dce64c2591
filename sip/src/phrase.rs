//! The words beside a status.
//!
//! Decides nothing: RFC 3261 section 21 does. They are for people; programs read the number.

/// The reason phrase of a refusal's status. One that is not in the table has the phrase of the hundred
/// that it is in (RFC 3261 section 8.1.3.2).
#[must_use]
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        433 => "Anonymity Disallowed",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        488 => "Not Acceptable Here",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        0..500 => "Bad Request",
        500.. => "Server Internal Error",
    }
}
