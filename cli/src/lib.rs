//! The `umbriel` command as a library: test calls, explain, check and the standalone server.
//!
//! This room decides what a person at a terminal types and sees. It refuses to decide anything
//! about calls, objects or messages: those decisions come from the other rooms and are only shown
//! here. Test calls speak through `rsip` and `webrtc-rtp`, never through our own `sip`.

pub mod call;
pub mod style;
