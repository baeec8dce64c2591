//! How a refusal is written: status, phrase and headers.
//!
//! Decides what a peer reads (decision 9): the stable code and a sentence in `Reason` (RFC 3326).
//! Refuses to know why a call is refused.

use std::sync::LazyLock;

use config::Code;
use sip::Refusal;

use crate::admission::Refused;
use crate::negotiation::SDP;

/// What the endpoint refuses by itself. Its 503 is the one for OPTIONS while the server is out of
/// service.
const BY_THE_ENDPOINT: [Code; 8] = [
    Code::MalformedRequest,
    Code::MethodNotAllowed,
    Code::UnsupportedScheme,
    Code::BadExtension,
    Code::NoSuchDialog,
    Code::MethodUnknown,
    Code::ServerNotInService,
    Code::VersionNotSupported,
];

/// The value of `Reason` in a refusal that the endpoint makes by itself.
pub(crate) fn endpoint_reason(status: u16) -> Option<&'static str> {
    static REASONS: LazyLock<[(u16, String); 8]> = LazyLock::new(|| {
        BY_THE_ENDPOINT.map(|code| {
            let status = code.sip_status();
            (status, format!("SIP;cause={status};text=\"{code}\""))
        })
    });
    REASONS.iter().find(|(of, _)| *of == status).map(|(_, reason)| reason.as_str())
}

/// The value of a `Reason` header with our code. The text must be fit for a quoted string.
pub(crate) fn reason_header(code: Code, text: &str) -> String {
    format!("SIP;cause={};text=\"{code}: {text}\"", code.sip_status())
}

/// Hands on a refusal with its headers: `Reason`, and what its status asks for.
pub(crate) fn with_headers(refused: &Refused, send: impl FnOnce(Refusal<'_>)) {
    let reason = reason_header(refused.code, &refused.text);
    let retry_after = refused.code.retry_after_s().map(|seconds| seconds.to_string());
    let mut headers = vec![("Reason", reason.as_str())];
    headers.extend(retry_after.as_deref().map(|seconds| ("Retry-After", seconds)));
    if refused.code == Code::UnsupportedMediaType {
        // RFC 3261 section 21.4.13.
        headers.push(("Accept", SDP));
    }
    let status = refused.code.sip_status();
    send(Refusal { status, reason: sip::reason_phrase(status), headers: &headers });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_endpoint_refuses_carries_its_code_too() {
        assert_eq!(endpoint_reason(405), Some("SIP;cause=405;text=\"UM1113 MethodNotAllowed\""));
        assert_eq!(endpoint_reason(482), None);
    }
}
