//! Where the response to a request goes.
//!
//! Decides the far end of a response by RFC 3261 section 18.2.2 and RFC 3581. Refuses to send.

use std::net::SocketAddr;

use crate::{Message, Peer, Rport, Transport};

/// The port of a transport where none is written (RFC 3261 section 19.1.2).
pub(crate) const fn default_port(transport: Transport) -> u16 {
    match transport {
        Transport::Udp | Transport::Tcp => 5060,
        Transport::Tls => 5061,
    }
}

/// Where the response to `request` goes that `peer` sent: to the source address, and there to the
/// source port if the topmost `Via` of a datagram has `rport` (RFC 3581 section 4), else to the port
/// that it names. On a stream it takes the connection of the request, and the address is for the case
/// that this is gone.
///
/// `maddr` is not followed: a response goes only to where its request came from.
#[must_use]
pub fn reply_peer(request: &Message<'_>, peer: Peer) -> Peer {
    let Ok(via) = request.top_via() else {
        return peer;
    };
    if peer.transport == Transport::Udp && via.rport != Rport::Absent {
        return peer;
    }
    let port = via.port.unwrap_or(default_port(peer.transport));
    Peer { address: SocketAddr::new(peer.address.ip(), port), ..peer }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConnectionId, scan};

    fn replied(via: &str, transport: Transport) -> String {
        let text = format!("OPTIONS sip:a@192.0.2.9 SIP/2.0\r\nVia: {via};branch=z9hG4bK1\r\n\r\n");
        let connection = transport.is_reliable().then_some(ConnectionId(3));
        let peer = Peer { transport, address: "192.0.2.1:1024".parse().unwrap(), connection };
        let reply = reply_peer(&scan(text.as_bytes()).unwrap(), peer);
        assert_eq!(reply.connection, connection);
        reply.address.to_string()
    }

    #[test]
    fn rfc_3261_section_18_2_2_a_response_goes_to_the_source_address_and_the_port_in_via() {
        assert_eq!(replied("SIP/2.0/UDP 198.51.100.7:5070", Transport::Udp), "192.0.2.1:5070");
        assert_eq!(replied("SIP/2.0/UDP pbx.example.com", Transport::Udp), "192.0.2.1:5060");
        assert_eq!(replied("SIP/2.0/UDP 192.0.2.1;maddr=203.0.113.9", Transport::Udp), "192.0.2.1:5060");
    }

    #[test]
    fn rfc_3581_section_4_rport_sends_the_response_to_the_source_port() {
        assert_eq!(replied("SIP/2.0/UDP 10.0.0.1:5060;rport", Transport::Udp), "192.0.2.1:1024");
    }

    #[test]
    fn on_a_stream_the_response_keeps_the_connection_and_knows_where_to_open_another() {
        assert_eq!(replied("SIP/2.0/TCP 10.0.0.1:5070", Transport::Tcp), "192.0.2.1:5070");
        assert_eq!(replied("SIP/2.0/TCP 10.0.0.1;rport", Transport::Tcp), "192.0.2.1:5060");
        assert_eq!(replied("SIP/2.0/TLS 10.0.0.1", Transport::Tls), "192.0.2.1:5061");
    }
}
