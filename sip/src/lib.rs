//! SIP without sockets or clocks.
//!
//! Decides what bytes on a SIP transport mean and which bytes answer them (RFC 3261, 3264, 6026).
//! Refuses to know sockets, files, threads and the time: bytes, peer and `now` come in; messages
//! to send, events and one deadline go out.

mod call_id;
mod check;
mod dialog;
mod diversion;
mod endpoint;
mod frame;
mod header;
mod host;
mod lex;
mod message;
mod name;
mod name_addr;
mod params;
mod party;
mod peer;
mod phrase;
mod received;
mod reply;
mod scan;
pub mod sdp;
mod start_line;
pub mod transaction;
mod uri;
mod via;
mod write;

pub use call_id::call_id_of;
pub use check::Fault;
pub use diversion::{DivertReason, Diverter, diverter};
pub use endpoint::{
    CallKey, Counters, Ended, Endpoint, EndpointSettings, Event, Refusal, Service, Transmit, WrongState,
    no_reason,
};
pub use frame::{Frame, FrameError, Framer, MAX_HEAD_BYTES};
pub use header::{CSeq, Flaw, HeaderError, MAX_CSEQ, unfold};
pub use host::Host;
pub use lex::MAX_PARAMETERS;
pub use message::Message;
pub use name::{Method, Name};
pub use name_addr::NameAddr;
pub use params::Params;
pub use party::{Party, called, caller};
pub use peer::{ConnectionId, Peer, Transport};
pub use phrase::reason_phrase;
pub use reply::reply_peer;
pub use scan::{MAX_HEADERS, MAX_MESSAGE_BYTES, ScanError, scan, scan_head};
pub use start_line::StartLine;
pub use uri::{Scheme, Uri, UriError};
pub use via::{Rport, Via};
pub use write::{Request, Response};
