//! What workers and connections send to a worker.
//!
//! Decides what goes with a message that another worker handles. Refuses to know what is in it.

use std::net::SocketAddr;
use std::sync::Arc;

use sip::Peer;

use crate::tls::Shown;

/// What workers and connections send to a worker.
pub(crate) enum Mail {
    /// A message for its core.
    Message(Letter),
    /// A new connection, for the worker that has the fewest.
    Connection(std::net::TcpStream, SocketAddr, Option<Arc<Shown>>),
}

/// A message for another worker.
pub(crate) struct Letter {
    pub(crate) bytes: Vec<u8>,
    pub(crate) peer: Peer,
    /// The names that the peer has proved by its certificate.
    pub(crate) names: Arc<[String]>,
    /// The UDP port that it came by, if that was given up since.
    pub(crate) former: Option<u16>,
}
