//! What an endpoint is told once, and what it counts.

use std::net::IpAddr;

/// Settings of one [`Endpoint`](super::Endpoint). An endpoint is one worker's; several endpoints may
/// share an address.
#[derive(Clone, Debug)]
pub struct EndpointSettings {
    /// Value of `Server` in responses and `User-Agent` in requests.
    pub user_agent: String,
    /// The address that far ends reach us at: host of `Contact` and `Via`.
    pub contact_host: IpAddr,
    /// Port of the UDP socket, if one is open.
    pub udp_port: Option<u16>,
    /// Port of the TCP listener, if one is open.
    pub tcp_port: Option<u16>,
    /// Port of the TLS listener, if one is open.
    pub tls_port: Option<u16>,
    /// What our tags begin with. Letters, digits and `-` only, such as `w3-`.
    pub tag_prefix: String,
    /// Most server transactions at a time. Beyond it an INVITE is answered 503 with `Retry-After`.
    pub max_transactions: usize,
    /// Most calls at a time, ringing and ending ones included. Beyond it an INVITE is answered 503
    /// with `Retry-After`.
    pub max_calls: usize,
    /// Chance: makes tags, branches and keys of this endpoint unlike any other's.
    pub seed: u64,
    /// The value of the `Reason` header (RFC 3326) of a refusal that the endpoint makes by itself,
    /// for its status. [`no_reason`] adds none.
    pub reason: fn(u16) -> Option<&'static str>,
}

/// For [`EndpointSettings::reason`]: refusals carry no `Reason`.
#[must_use]
pub fn no_reason(_status: u16) -> Option<&'static str> {
    None
}

/// Whether the server takes calls: what answers OPTIONS (RFC 3261 section 11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Service {
    /// OPTIONS is answered 200.
    #[default]
    Active,
    /// OPTIONS is answered 503.
    Unavailable {
        /// Value of `Retry-After`, in seconds.
        retry_after_s: u32,
    },
}

/// How often something happened since the endpoint began. Each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams or frames that are no SIP message, or one too broken to answer: dropped.
    pub noise: u64,
    /// Requests answered 400, 416 or 505 because they break the protocol.
    pub malformed: u64,
    /// Requests that came again and were answered or absorbed as before.
    pub retransmissions: u64,
    /// Messages that we sent again because a timer ran out.
    pub resent: u64,
    /// Requests refused for their method or extensions: 405, 420, 501.
    pub unsupported: u64,
    /// In-dialog requests and CANCELs that name nothing that we know: 481.
    pub unknown_dialog: u64,
    /// Requests that reached us twice on two paths: 482.
    pub merged: u64,
    /// In-dialog requests out of order, or while another waits: 491 and 500.
    pub out_of_order: u64,
    /// INVITEs answered 503 because all calls that are allowed stood.
    pub calls_full: u64,
    /// Requests answered 503, or without a transaction, because the table was full.
    pub transactions_full: u64,
    /// ACKs that acknowledge nothing that we know.
    pub stray_acks: u64,
    /// Responses to nothing that we asked.
    pub stray_responses: u64,
    /// Messages of ours whose answer or ACK never came.
    pub given_up: u64,
}
