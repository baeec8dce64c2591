//! Test calls: a caller of our own, who speaks SIP through `rsip` and media through `webrtc-rtp`.
//!
//! Decides how one call is carried out from its [`CallPlan`] to its [`CallReport`]. Refuses to
//! know our servers' own SIP: two implementations meet at every test call, and neither can hide
//! the other's mistakes.
//!
//! ```text
//! plan -> agent (which message follows which) -> wire (UDP, TCP) -> router, mailbox server
//!              \-> media (20 ms packets, beep) -> RTP socket ----> mailbox server
//!         journal (what happened) -> report -> ladder
//! ```

mod agent;
pub mod audio;
mod beep;
mod journal;
pub mod ladder;
mod media;
mod message;
mod place;
mod plan;
mod report;
mod sdp;
mod wire;

pub use plan::{CallPlan, Codec, Ending, Speak, Transport};
pub use report::{CallReport, EndedBy, MediaCounts, Outcome, Party, Step, StepKind, Timings};

pub(crate) use place::place_until;
pub use place::{PlaceError, place};
