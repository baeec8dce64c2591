//! Refusals: status, code and words.
//!
//! Decides which stable code answers what is wrong with a request, and the headers that go with its
//! status. What is wrong with a call, [`config::route`] has decided before.

use std::borrow::Cow;
use std::fmt::{self, Write};

use config::{Code, Refusal};
use runtime::log::Number;
use sip::{Fault, Response, ScanError};

use crate::router::ALLOW;

/// Why a request is refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: Code,
    /// The value, the rule and the next step; fit for a quoted string.
    pub(crate) text: Cow<'static, str>,
    /// The text for logs, where it holds a number.
    pub(crate) redacted: Option<String>,
    /// Option tags that are not supported, for 420.
    pub(crate) unsupported: Option<String>,
}

impl Refused {
    pub(crate) fn new(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Refused { code, text: text.into(), redacted: None, unsupported: None }
    }

    /// A request that cannot be acted on at all.
    pub(crate) fn fault(fault: Fault) -> Self {
        let code = match fault {
            Fault::Version => Code::VersionNotSupported,
            Fault::Scheme => Code::UnsupportedScheme,
            Fault::Method => Code::MethodUnknown,
            Fault::Line
            | Fault::RequestUri(_)
            | Fault::RequestUriHeaders
            | Fault::Header(_)
            | Fault::CSeqMethod
            | Fault::Kind => Code::MalformedRequest,
        };
        Refused::new(code, fault.to_string())
    }

    /// Bytes that are a request as far as its headers go.
    pub(crate) fn unreadable(error: ScanError) -> Self {
        let code = match error {
            ScanError::TooManyHeaders => Code::MessageTooLarge,
            ScanError::RepeatedContentLength
            | ScanError::ContentLength
            | ScanError::BodyCutShort { .. }
            | ScanError::Empty
            | ScanError::TooLong
            | ScanError::StartLine
            | ScanError::Unterminated
            | ScanError::BareLineEnd => Code::MalformedRequest,
        };
        Refused::new(code, error.to_string())
    }

    /// A call that has no route.
    pub(crate) fn call(refusal: &Refusal<'_>) -> Self {
        let redacted = refusal.text_with(|number| Number(number).to_string());
        Refused { redacted: Some(redacted), ..Refused::new(refusal.code, refusal.text()) }
    }

    /// A router that takes no calls just now.
    pub(crate) fn not_in_service(text: &'static str) -> Self {
        Refused::new(Code::ServerNotInService, text)
    }

    /// Extensions that the request requires and nobody here knows.
    pub(crate) fn unsupported(tags: String) -> Self {
        let text = "no extension can be required here; leave out Require";
        Refused { unsupported: Some(tags), ..Refused::new(Code::BadExtension, text) }
    }

    /// Adds the headers of the status and of the code to a response: `Reason` (RFC 3326), and those
    /// that RFC 3261 section 21 asks for with 405, 420 and 503.
    pub(crate) fn headers<'m, 'a, 'o>(
        &self,
        mut response: Response<'m, 'a, 'o>,
        scratch: &mut String,
    ) -> Response<'m, 'a, 'o> {
        if self.code == Code::MethodNotAllowed {
            response = response.header("Allow", ALLOW);
        }
        if let Some(tags) = &self.unsupported {
            response = response.header("Unsupported", tags);
        }
        if let Some(seconds) = self.code.retry_after_s() {
            response = response.header("Retry-After", write_to(scratch, format_args!("{seconds}")));
        }
        let (status, code) = (self.code.sip_status(), self.code);
        // A quote or backslash would end or bend the quoted string (RFC 3261 section 25.1).
        let text = self.text.replace(['"', '\\'], "'");
        let reason = format_args!("SIP;cause={status};text=\"{code}: {text}\"");
        response.header("Reason", write_to(scratch, reason))
    }
}

fn write_to<'s>(scratch: &'s mut String, text: fmt::Arguments<'_>) -> &'s str {
    scratch.clear();
    // Writing to a String cannot fail.
    let _written = scratch.write_fmt(text);
    scratch
}
