//! The text of an endpoint's responses.
//!
//! Decides which headers each carries. Refuses to know why it is sent.

use super::{CallKey, Refusal, identity::Identity};
use crate::{Message, Peer, Response};

/// The methods that are served (RFC 3261 section 20.5).
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS";
/// What sessions are described in.
const SDP: &str = "application/sdp";
/// Room for the status line and the headers that a response has beside those of its request.
const OWN_HEADERS_BYTES: usize = 512;

/// A response that stands in the dialog of a call, or makes it.
pub(super) struct DialogReply<'r> {
    pub(super) call: CallKey,
    pub(super) secure: bool,
    pub(super) status: u16,
    pub(super) reason: &'r str,
    pub(super) sdp: Option<&'r str>,
}

impl Identity {
    /// `100 Trying`, which has no tag (RFC 3261 section 8.2.6).
    pub(super) fn trying(request: &Message<'_>, peer: &Peer) -> Vec<u8> {
        let mut out = buffer(request, 0);
        let mut response = Response::to(request, peer, 100, "Trying", &mut out);
        if let Some(timestamp) = request.header_named("Timestamp") {
            response = response.header("Timestamp", timestamp);
        }
        response.finish();
        out
    }

    /// `200 OK` to a request that needs no more than that.
    pub(super) fn plain_ok(&self, request: &Message<'_>, peer: &Peer, tag: &str) -> Vec<u8> {
        let mut out = buffer(request, 0);
        let response = Response::to(request, peer, 200, "OK", &mut out).to_tag(tag);
        response.header("Server", &self.settings.user_agent).finish();
        out
    }

    /// `200 OK` to OPTIONS (RFC 3261 section 11.2).
    pub(super) fn capabilities(&self, request: &Message<'_>, peer: &Peer, tag: &str) -> Vec<u8> {
        let mut out = buffer(request, 0);
        Response::to(request, peer, 200, "OK", &mut out)
            .to_tag(tag)
            .header("Allow", ALLOW)
            .header("Accept", SDP)
            .header("Server", &self.settings.user_agent)
            .finish();
        out
    }

    /// 180 or 200 to an INVITE (RFC 3261 section 12.1.1).
    pub(super) fn dialog_reply(
        &self,
        request: &Message<'_>,
        peer: &Peer,
        reply: &DialogReply<'_>,
    ) -> Vec<u8> {
        let sdp = reply.sdp.unwrap_or_default();
        let mut out = buffer(request, sdp.len());
        let mut response = Response::to(request, peer, reply.status, reply.reason, &mut out)
            .to_tag(&self.tag(reply.call))
            .record_route()
            .header("Contact", &self.contact(peer.transport, reply.secure))
            .header("Allow", ALLOW)
            .header("Server", &self.settings.user_agent);
        if reply.sdp.is_some() {
            response = response.body(SDP, sdp.as_bytes());
        }
        response.finish();
        out
    }

    /// A refusal in the user's words.
    pub(super) fn refusal(
        &self,
        request: &Message<'_>,
        peer: &Peer,
        tag: &str,
        refusal: &Refusal<'_>,
    ) -> Vec<u8> {
        let mut out = buffer(request, 0);
        let mut response =
            Response::to(request, peer, refusal.status.clamp(300, 699), refusal.reason, &mut out).to_tag(tag);
        for (name, value) in refusal.headers {
            response = response.header(name, value);
        }
        response.header("Server", &self.settings.user_agent).finish();
        out
    }

    /// A refusal that the endpoint makes by itself: with the `Reason` that its settings supply.
    pub(super) fn own_refusal(
        &self,
        request: &Message<'_>,
        peer: &Peer,
        tag: &str,
        refusal: &Refusal<'_>,
    ) -> Vec<u8> {
        let mut headers = refusal.headers.to_vec();
        headers.extend((self.settings.reason)(refusal.status).map(|reason| ("Reason", reason)));
        self.refusal(request, peer, tag, &Refusal { headers: &headers, ..*refusal })
    }
}

fn buffer(request: &Message<'_>, body_bytes: usize) -> Vec<u8> {
    let request_head_bytes = request.bytes().len() - request.body().len();
    Vec::with_capacity(request_head_bytes + OWN_HEADERS_BYTES + body_bytes)
}
