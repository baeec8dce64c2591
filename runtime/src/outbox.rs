//! What a core wants sent, collected in one buffer.
//!
//! Decides nothing: whatever was put in is sent in order when the core returns, SIP before media.
//! The buffer is kept from one event to the next, so that a busy worker does not allocate.

use std::net::SocketAddr;
use std::ops::Range;

use sip::{Peer, Transport};

/// Messages and packets that a core wants sent.
#[derive(Debug, Default)]
pub struct Outbox {
    buffer: Vec<u8>,
    sip: Vec<(Peer, Range<usize>)>,
    media: Vec<(SocketAddr, Range<usize>)>,
}

/// A place in an [`Outbox`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    bytes: usize,
    sip: usize,
    media: usize,
}

impl Outbox {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Outbox::default()
    }

    /// Sends one whole SIP message to a peer: by its connection if it names one, otherwise by a
    /// connection to its address, which is opened if need be (not on TLS, where nothing vouches for
    /// the far end of a connection that we would open).
    pub fn sip(&mut self, peer: Peer, message: &[u8]) {
        self.sip_with(peer, |buffer| buffer.extend_from_slice(message));
    }

    /// Like [`Outbox::sip`], for a message that is written in place; nothing is sent if `write` adds
    /// no byte. It must only append.
    pub fn sip_with(&mut self, peer: Peer, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.buffer.len();
        write(&mut self.buffer);
        if self.buffer.len() > start {
            self.sip.push((peer, start..self.buffer.len()));
        }
    }

    /// Sends one media packet from the worker's media port.
    pub fn media(&mut self, to: SocketAddr, packet: &[u8]) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(packet);
        self.media.push((to, start..self.buffer.len()));
    }

    /// The SIP messages, in order.
    pub fn sip_messages(&self) -> impl Iterator<Item = (Peer, &[u8])> {
        self.sip.iter().map(|(peer, range)| (*peer, &self.buffer[range.clone()]))
    }

    /// The media packets, in order.
    pub fn media_packets(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.media.iter().map(|(to, range)| (*to, &self.buffer[range.clone()]))
    }

    /// The SIP messages that leave as datagrams, each a range of [`Outbox::bytes`], in order.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, Range<usize>)> {
        let udp = self.sip.iter().filter(|(peer, _)| peer.transport == Transport::Udp);
        udp.map(|(peer, range)| (peer.address, range.clone()))
    }

    /// The SIP messages that leave by streams, in order.
    pub(crate) fn stream_messages(&self) -> impl Iterator<Item = (Peer, &[u8])> {
        self.sip_messages().filter(|(peer, _)| peer.transport != Transport::Udp)
    }

    /// The buffer.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// What is in it so far.
    pub(crate) fn mark(&self) -> Mark {
        Mark { bytes: self.buffer.len(), sip: self.sip.len(), media: self.media.len() }
    }

    /// Forgets what was put in since.
    pub(crate) fn forget_since(&mut self, mark: Mark) {
        self.buffer.truncate(mark.bytes);
        self.sip.truncate(mark.sip);
        self.media.truncate(mark.media);
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sip.is_empty() && self.media.is_empty()
    }

    /// Forgets everything, and keeps the buffer.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.sip.clear();
        self.media.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_out_in_order_and_an_empty_message_is_none() {
        let peer =
            Peer { transport: Transport::Udp, address: ([127, 0, 0, 1], 5060).into(), connection: None };
        let mut outbox = Outbox::new();
        outbox.sip(peer, b"one");
        outbox.media(([127, 0, 0, 1], 4000).into(), b"rtp");
        outbox.sip_with(peer, |_| ());
        outbox.sip_with(peer, |buffer| buffer.extend_from_slice(b"two"));
        assert_eq!(outbox.sip_messages().map(|(_, bytes)| bytes).collect::<Vec<_>>(), [b"one", b"two"]);
        assert_eq!(outbox.media_packets().map(|(_, bytes)| bytes).collect::<Vec<_>>(), [b"rtp"]);
        outbox.clear();
        assert!(outbox.is_empty());
    }
}
