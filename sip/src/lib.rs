//! SIP without sockets or clocks.
//!
//! Decides what bytes on a SIP transport mean and which bytes answer them (RFC 3261, 3264, 6026).
//! Refuses to know sockets, files, threads and the time: bytes, peer and `now` come in; messages
//! to send, events and one deadline go out.

mod endpoint;
mod peer;
pub mod transaction;

pub use endpoint::{
    CallKey, Counters, Ended, Endpoint, EndpointSettings, Event, Refusal, Service, Transmit, WrongState,
    no_reason,
};
pub use peer::{ConnectionId, Peer, Transport};
