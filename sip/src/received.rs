//! What the topmost `Via` of a response gains (RFC 3261 section 18.2.1, RFC 3581 section 4).
//!
//! Decides how `received` and `rport` tell a client behind an address translator where it was seen.
//! Refuses to send; that is `reply`.

use crate::lex::{find_open, trim};
use crate::peer::Peer;
use crate::via::{Rport, Via};
use crate::write::{push, push_decimal};

/// Writes the value of the first Via header with `received` and `rport` filled into its first hop, which is
/// `via`. A hop that needs neither, or cannot be read, is copied as it came.
pub(crate) fn push_top_via(out: &mut Vec<u8>, value: &str, via: Option<Via<'_>>, peer: &Peer) {
    let Some(via) = via else {
        out.extend_from_slice(value.as_bytes());
        return;
    };
    // A socket that serves both families gives IPv4 peers mapped addresses, which nobody wrote.
    let address = peer.address.ip().to_canonical();
    let asked = via.rport == Rport::Asked;
    let needed = asked || via.host.ip() != Some(address);
    if !via.has_received && !needed {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    let (hop, others) = value.split_at(find_open(value, b',').unwrap_or(value.len()));
    let front = hop.find(';').map_or(hop, |at| &hop[..at]);
    out.extend_from_slice(trim(front).as_bytes());
    for part in via.params.parts() {
        let name = trim(part.split_once('=').map_or(part, |(name, _)| name));
        if name.eq_ignore_ascii_case("received") {
            continue;
        }
        out.push(b';');
        out.extend_from_slice(part.as_bytes());
        if asked && name.eq_ignore_ascii_case("rport") {
            out.push(b'=');
            push_decimal(out, peer.address.port());
        }
    }
    if needed {
        push(out, format_args!(";received={address}"));
    }
    out.extend_from_slice(others.as_bytes());
}

#[cfg(test)]
mod tests {
    use crate::peer::{Peer, Transport};
    use crate::scan::scan;
    use crate::write::Response;

    /// The topmost Via of the answer to a request that came with `via` from `address`.
    fn via_back(via: &str, address: &str) -> String {
        let text = format!("OPTIONS sip:a@b SIP/2.0\r\nv: {via}\r\n\r\n");
        let peer = Peer { transport: Transport::Udp, address: address.parse().unwrap(), connection: None };
        let mut out = Vec::new();
        Response::to(&scan(text.as_bytes()).unwrap(), &peer, 200, "OK", &mut out).finish();
        let answer = String::from_utf8(out).unwrap();
        let via = answer.strip_prefix("SIP/2.0 200 OK\r\nVia: ").unwrap();
        via.strip_suffix("\r\nContent-Length: 0\r\n\r\n").unwrap().to_owned()
    }

    #[test]
    fn a_via_that_names_its_sender_comes_back_as_it_was() {
        for via in [
            "SIP/2.0/UDP 192.0.2.1",
            "SIP / 2.0/UDP 192.0.2.1:5070 ;  branch=z9hG4bK1\r\n ;x , SIP/2.0/TCP a;rport",
        ] {
            assert_eq!(via_back(via, "192.0.2.1:9"), via);
        }
        assert_eq!(via_back("SIP/2.0/UDP 192.0.2.1", "[::ffff:192.0.2.1]:9"), "SIP/2.0/UDP 192.0.2.1");
        assert_eq!(via_back("SIP/2.0/UDP [2001:db8::1]", "[2001:db8::1]:9"), "SIP/2.0/UDP [2001:db8::1]");
    }

    #[test]
    fn rfc_3261_section_18_2_1_a_via_that_names_another_gains_received() {
        assert_eq!(
            via_back("SIP/2.0/UDP a.example;branch=b", "192.0.2.1:9"),
            "SIP/2.0/UDP a.example;branch=b;received=192.0.2.1"
        );
        assert_eq!(
            via_back("SIP/2.0/UDP 10.0.0.1, SIP/2.0/UDP c", "192.0.2.1:9"),
            "SIP/2.0/UDP 10.0.0.1;received=192.0.2.1, SIP/2.0/UDP c"
        );
        assert_eq!(via_back("SIP/2.0/UDP a", "[2001:db8::1]:9"), "SIP/2.0/UDP a;received=2001:db8::1");
    }

    #[test]
    fn rfc_3581_section_4_rport_is_filled_in_and_received_with_it() {
        assert_eq!(
            via_back("SIP/2.0/UDP 192.0.2.1;rport ;branch=b", "192.0.2.1:99"),
            "SIP/2.0/UDP 192.0.2.1;rport=99;branch=b;received=192.0.2.1"
        );
        assert_eq!(
            via_back("SIP/2.0/UDP 192.0.2.1;rport=7", "192.0.2.1:99"),
            "SIP/2.0/UDP 192.0.2.1;rport=7"
        );
    }

    #[test]
    fn a_received_that_the_sender_made_up_goes() {
        assert_eq!(
            via_back("SIP/2.0/UDP 192.0.2.1;received=10.0.0.1;branch=b", "192.0.2.1:9"),
            "SIP/2.0/UDP 192.0.2.1;branch=b"
        );
        assert_eq!(
            via_back("SIP/2.0/UDP a;Received=10.0.0.1", "192.0.2.1:9"),
            "SIP/2.0/UDP a;received=192.0.2.1"
        );
    }

    #[test]
    fn a_via_that_cannot_be_read_comes_back_as_it_was() {
        assert_eq!(via_back("SIP/2.0/UDP a;;rport", "192.0.2.1:9"), "SIP/2.0/UDP a;;rport");
    }
}
