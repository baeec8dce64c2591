//! SIP as raw text over UDP, for what no well-behaved caller would send.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// An INVITE is repeated after this (RFC 3261 section 17.1.1.1, T1), because datagrams may be lost and a peer that
/// is no gateway is answered once in a second.
const REPEAT_AFTER: Duration = Duration::from_millis(500);

/// An answer that has not come within this will not.
const PATIENCE: Duration = Duration::from_secs(5);

/// A socket that says exactly what a test wants said.
#[derive(Debug)]
pub struct Wire {
    socket: UdpSocket,
    server: SocketAddr,
}

/// An INVITE with nothing unusual in it.
#[derive(Clone, Debug)]
pub struct Invite<'a> {
    /// User part of Request-URI and To.
    pub called: &'a str,
    /// User part of the Diversion header, if there is one.
    pub diverting: Option<&'a str>,
    /// Call-ID, from which branch and tag are made.
    pub call_id: &'a str,
}

impl Wire {
    /// A socket at `from` that talks to `server`.
    ///
    /// # Panics
    /// If the address cannot be bound.
    #[must_use]
    pub fn new(from: IpAddr, server: SocketAddr) -> Wire {
        let socket = UdpSocket::bind((from, 0)).expect("a UDP socket");
        Wire { socket, server }
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// If the socket refuses.
    pub fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.server).expect("sent");
    }

    /// The next datagram, or nothing within five seconds.
    ///
    /// # Panics
    /// If the socket refuses.
    #[must_use]
    pub fn receive(&self) -> Option<String> {
        self.receive_within(PATIENCE)
    }

    fn receive_within(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time)).expect("a timeout");
        let mut buffer = [0; 65_535];
        let (length, _) = self.socket.recv_from(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Sends an INVITE, again and again until it is answered, and gives the final response.
    ///
    /// # Panics
    /// If no final response comes within five seconds.
    #[must_use]
    pub fn invite(&self, invite: &Invite<'_>) -> String {
        self.ask(&self.text(invite), invite.call_id)
    }

    /// Sends a request, again and again until it is answered, and gives the final response to its call.
    ///
    /// # Panics
    /// The same.
    #[must_use]
    pub fn ask(&self, request: &str, call_id: &str) -> String {
        let ours = format!("\r\nCall-ID: {call_id}\r\n");
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < PATIENCE, "no answer to the request: {request}");
            self.send(request.as_bytes());
            let sent = Instant::now();
            while let Some(left) = REPEAT_AFTER.checked_sub(sent.elapsed()).filter(|left| !left.is_zero()) {
                let Some(response) = self.receive_within(left) else { break };
                if response.contains(&ours) && !response.starts_with("SIP/2.0 1") {
                    return response;
                }
            }
        }
    }

    /// The final response to an INVITE that is sent again until there is one, as RFC 3261 §17.1.1.2 has it.
    ///
    /// # Panics
    /// If there is none after 15.5 s.
    #[must_use]
    pub fn insist(&self, invite: &Invite<'_>) -> String {
        let text = self.text(invite).replace(";branch=", ";rport;branch=");
        for pause in [500, 1_000, 2_000, 4_000, 8_000].map(Duration::from_millis) {
            self.send(text.as_bytes());
            self.socket.set_read_timeout(Some(pause)).expect("a timeout");
            while let Some(response) = self.receive() {
                if !response.starts_with("SIP/2.0 1") {
                    return response;
                }
            }
        }
        panic!("no answer to {}", invite.call_id)
    }

    /// The text of an INVITE from this socket.
    ///
    /// # Panics
    /// If the socket has no address.
    #[must_use]
    pub fn text(&self, invite: &Invite<'_>) -> String {
        let Invite { called, diverting, call_id } = invite;
        let (us, server) = (self.socket.local_addr().expect("an address"), self.server);
        let diversion = diverting
            .map_or(String::new(), |user| format!("Diversion: <sip:{user}@{us}>;reason=no-answer\r\n"));
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n",
            ip = us.ip()
        );
        format!(
            "INVITE sip:{called}@{server} SIP/2.0\r\nVia: SIP/2.0/UDP {us};branch=z9hG4bK{call_id}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:200@{us}>;tag=f{call_id}\r\nTo: <sip:{called}@{server}>\r\n\
             Call-ID: {call_id}\r\nCSeq: 1 INVITE\r\nContact: <sip:200@{us}>\r\n{diversion}\
             Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{sdp}",
            length = sdp.len()
        )
    }
}
