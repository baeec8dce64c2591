//! The call router: an INVITE in, a 302 or a refusal out.
//!
//! Decides how a SIP request is answered by [`config::route`], and in which words. Refuses to keep
//! anything of a call: every answer is a function of the request, its peer, the configuration and
//! the clock's two-minute window, so that a retransmission gets the very same bytes from any worker
//! and any router that has the same configuration. Refuses to know media.

mod answer;
mod budget;
mod counters;
mod refuse;
mod router;
mod server;
mod snapshot;
mod strangers;

pub use budget::{CALL_LINES_PER_SECOND, STRANGER_LINES_PER_SECOND};
pub use counters::{Counters, Dropped};
pub use router::{ALLOW, Router, State};
pub use server::{ListenError, Server, ServerPaths, StartError};
pub use snapshot::Snapshot;
pub use strangers::MAX_STRANGERS;
