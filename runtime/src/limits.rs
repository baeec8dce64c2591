//! What a server may cost.
//!
//! Decides the caps of connections, each by name. docs/limits.md has all caps with what becomes of whoever reaches
//! one, and a test holds it equal to them.

use std::time::Duration;

/// The caps of one server. Whatever is reached is counted.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, in and out; one more is closed at once.
    pub connections: usize,
    /// Connections of one peer at once: an IPv4 address, or the 64 bits before those that an IPv6 peer chooses by
    /// itself (RFC 4291 section 2.5.4). One more is closed at once.
    pub connections_per_peer: usize,
    /// Of all connections, those of peers that are not known: see [`KnownPeers`](crate::KnownPeers). One more is
    /// closed at once, and the others are kept for those who are.
    pub stranger_connections: usize,
    /// Where strangers have all theirs, TLS connections whose peers may prove who they are, each for as long as its
    /// handshake takes. One more is closed at once.
    pub proving_connections: usize,
    /// Of those, one peer's.
    pub proving_connections_per_peer: usize,
    /// Messages and keep-alives of one connection that are handled before others have their turn. At 10 µs each
    /// less than a millisecond.
    pub messages_per_turn: usize,
    /// A TLS handshake must be done within this.
    pub handshake_timeout: Duration,
    /// A new connection must bring its first whole message within this.
    pub first_message_timeout: Duration,
    /// A message that has begun must be complete within this.
    pub message_timeout: Duration,
    /// A connection on which nothing comes is closed after this. Longer than the longest call, 120
    /// minutes, so that its BYE still finds the connection.
    pub idle_timeout: Duration,
    /// A message of ours must be taken within this.
    pub write_timeout: Duration,
    /// A connection that we open must be open within this.
    pub connect_timeout: Duration,
    /// Bytes that wait to be written to one connection; a message more is lost.
    pub unsent_bytes: usize,
    /// Bytes that all connections together hold: messages whose rest has not come, and what waits to be written.
    /// A connection that would hold one more is closed, and a message for it is lost.
    pub held_bytes: usize,
    /// Of those, bytes that connections of peers hold that are not known.
    pub stranger_bytes: usize,
    /// A UDP port that was given up is heard for so long: until a call that began there is over.
    pub former_port: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 4096,
            connections_per_peer: 1024,
            stranger_connections: 3072,
            proving_connections: 256,
            proving_connections_per_peer: 8,
            messages_per_turn: 64,
            handshake_timeout: Duration::from_secs(5),
            first_message_timeout: Duration::from_secs(30),
            message_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(125 * 60),
            write_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            unsent_bytes: 256 * 1024,
            held_bytes: 64 * 1024 * 1024,
            stranger_bytes: 48 * 1024 * 1024,
            former_port: Duration::from_secs(125 * 60),
        }
    }
}
