//! Where a message came from and how an answer goes back.

use std::net::SocketAddr;

/// How SIP messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP (RFC 3261 section 18).
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl Transport {
    /// Whether a message that was sent has arrived unless the connection broke, so that nothing is
    /// retransmitted (RFC 3261 section 17).
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        match self {
            Transport::Udp => false,
            Transport::Tcp | Transport::Tls => true,
        }
    }

    /// As written in `Via`: `UDP`, `TCP`, `TLS`.
    #[must_use]
    pub const fn via(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }

    /// As written in a URI's `transport` parameter: `udp`, `tcp`, `tls`.
    #[must_use]
    pub const fn uri_parameter(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }
}

/// One connection of a connection-oriented transport, unique in a process for its lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

/// The far end of a SIP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// How the message travelled.
    pub transport: Transport,
    /// The far end's address and port.
    pub address: SocketAddr,
    /// The connection that it came by. `None` on UDP, and for a message of ours that needs a
    /// connection which does not exist yet. A message of ours that names one goes by it while it is
    /// open, and else by a new one to the address.
    pub connection: Option<ConnectionId>,
}
