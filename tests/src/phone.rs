//! A telephone made of two sockets, for tests that must know when each packet left.
//!
//! Speaks just enough SIP to call through the router over UDP or TCP: INVITE, the ACK to the
//! redirect, the INVITE at its target, ACK, BYE. What it says, and when, is entirely the test's.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::audio::{self, Law};
use crate::site::Site;

/// Bytes of one packet: 20 ms of G.711.
const PACKET: usize = 160;
/// Time of one packet.
const PERIOD: Duration = Duration::from_millis(20);
/// Bytes of an RTP header without additions.
const RTP_HEADER: usize = 12;
/// This many packets of the tone, of 20, have been heard when it is over. A greeting may pause on a
/// busy machine, so that silence alone does not say that it has ended.
const TONE_PACKETS: usize = 10;
/// Nothing heard for this long after them means that the tone is over.
const QUIET: Duration = Duration::from_millis(200);

/// An answer to a request takes no longer than this.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What signalling travels by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A connection to each server.
    Tcp,
}

/// A telephone that is in a call.
#[derive(Debug)]
pub struct Phone {
    sip: Line,
    media: UdpSocket,
    /// Call-ID of the call.
    pub call_id: String,
    target: SocketAddr,
    far_media: SocketAddr,
    request_uri: String,
    /// Header lines of the INVITE at the router, each with its end.
    more: String,
    to: String,
    sound: Vec<u8>,
    sent: usize,
    answered: Instant,
    last_heard: Option<Instant>,
    /// Packets of the tone.
    tone_heard: usize,
    hung_up: bool,
}

impl Phone {
    /// Calls `called` through the router of a site and waits until the call is answered. `seed`
    /// makes the call's identity and sound.
    ///
    /// # Panics
    /// If the call is not answered.
    #[must_use]
    pub fn call(site: &dyn Site, called: &str, seed: u64) -> Phone {
        Phone::dial(site.caller(), site.router(), Transport::Udp, called, seed)
    }

    /// Calls with these header lines, each with its end, in the INVITE at the router; the one at the
    /// mailbox server goes without them.
    ///
    /// # Panics
    /// If the call is not answered.
    #[must_use]
    pub fn call_saying(site: &dyn Site, called: &str, more: &str, seed: u64) -> Phone {
        let mut phone = Phone::new(site.caller(), site.router(), Transport::Udp, called, seed);
        more.clone_into(&mut phone.more);
        phone.follow_the_redirect();
        phone
    }

    /// Calls `called` through `router` from the address `from`.
    ///
    /// # Panics
    /// If the call is not answered.
    #[must_use]
    pub fn dial(from: IpAddr, router: SocketAddr, transport: Transport, called: &str, seed: u64) -> Phone {
        let mut phone = Phone::new(from, router, transport, called, seed);
        phone.follow_the_redirect();
        phone
    }

    fn follow_the_redirect(&mut self) {
        let redirect = self.invite(1);
        self.more.clear();
        assert!(redirect.starts_with("SIP/2.0 302 "), "the router redirects: {redirect}");
        self.request("ACK", 1, &header(&redirect, "To"), "");
        let contact = header(&redirect, "Contact");
        self.request_uri = contact.split(['<', '>']).nth(1).expect("a URI in the Contact").to_owned();
        let host = self.request_uri.split(['@', ';']).nth(1).expect("a host in the URI");
        self.target = host.parse().expect("an address and a port");
        self.sip.follow(self.target);
        self.begin(2);
    }

    /// Calls `called` at a mailbox server, past every router.
    ///
    /// # Panics
    /// If the call is not answered.
    #[must_use]
    pub fn dial_directly(from: IpAddr, server: SocketAddr, called: &str, seed: u64) -> Phone {
        let mut phone = Phone::new(from, server, Transport::Udp, called, seed);
        phone.begin(1);
        phone
    }

    fn new(from: IpAddr, first: SocketAddr, transport: Transport, called: &str, seed: u64) -> Phone {
        let media = UdpSocket::bind((from, 0)).expect("a socket for media");
        media.set_nonblocking(true).expect("non-blocking media");
        Phone {
            sip: Line::open(from, first, transport),
            media,
            call_id: format!("phone-{seed}-{}", std::process::id()),
            target: first,
            far_media: first,
            request_uri: format!("sip:{called}@{first}"),
            more: String::new(),
            to: format!("<sip:{called}@{first}>"),
            sound: audio::noise(Law::Mu, seed, 8000 * 120),
            sent: 0,
            answered: Instant::now(),
            last_heard: None,
            tone_heard: 0,
            hung_up: false,
        }
    }

    /// Has the call answered by whom it is sent to now.
    fn begin(&mut self, sequence: u32) {
        let answer = self.invite(sequence);
        assert!(answer.starts_with("SIP/2.0 200 "), "the mailbox server answers: {answer}");
        self.to = header(&answer, "To");
        self.far_media = far_media(&answer);
        let to = self.to.clone();
        self.request("ACK", sequence, &to, "");
        self.answered = Instant::now();
    }

    /// Speaks until the greeting and its tone have been heard to their end.
    ///
    /// # Panics
    /// If that takes more than thirty seconds.
    pub fn speak_through_the_greeting(&mut self) {
        let limit = Instant::now() + Duration::from_secs(30);
        while self.tone_heard < TONE_PACKETS || self.last_heard.is_none_or(|at| at.elapsed() < QUIET) {
            assert!(Instant::now() < limit, "the greeting does not end");
            self.speak(PERIOD);
        }
    }

    /// Speaks for a while, on an absolute schedule.
    pub fn speak(&mut self, length: Duration) {
        let end = Instant::now() + length;
        while Instant::now() < end {
            let due = self.answered + PERIOD * u32::try_from(self.sent).expect("a short call");
            std::thread::sleep(due.saturating_duration_since(Instant::now()).min(PERIOD));
            if Instant::now() >= due {
                self.send_packet();
            }
            self.listen();
        }
    }

    /// Hangs up and waits for the answer.
    ///
    /// # Panics
    /// If the BYE is not answered with 200.
    pub fn hang_up(&mut self) {
        let to = self.to.clone();
        self.request("BYE", 3, &to, "");
        let answer = self.final_response(3);
        assert!(answer.starts_with("SIP/2.0 200 "), "the BYE is answered: {answer}");
        self.hung_up = true;
    }

    /// Where the router sent the call, which is where it was answered.
    #[must_use]
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// Where the answer asks for media; media from anywhere else is not listened to.
    #[must_use]
    pub fn far_media(&self) -> SocketAddr {
        self.far_media
    }

    /// Everything that was said, in order.
    #[must_use]
    pub fn said(&self) -> &[u8] {
        &self.sound[..self.sent * PACKET]
    }

    /// How much had been said at an instant, in samples.
    #[must_use]
    pub fn said_at(&self, at: Instant) -> usize {
        let packets = at.saturating_duration_since(self.answered).as_millis() / PERIOD.as_millis();
        usize::try_from(packets).map_or(self.sent, |packets| packets.min(self.sent)) * PACKET
    }

    fn send_packet(&mut self) {
        let number = u32::try_from(self.sent).expect("a short call");
        let mut packet = vec![0x80, 0];
        packet.extend_from_slice(&number.to_be_bytes()[2..]);
        packet.extend_from_slice(&(number * 160).to_be_bytes());
        packet.extend_from_slice(&0x00C0_FFEE_u32.to_be_bytes());
        packet.extend_from_slice(&self.sound[self.sent * PACKET..][..PACKET]);
        // A server that was killed refuses packets; the test looks at what it had taken before.
        let _ = self.media.send_to(&packet, self.far_media);
        self.sent += 1;
    }

    fn listen(&mut self) {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = self.media.recv_from(&mut buffer) {
            if from == self.far_media {
                self.last_heard = Some(Instant::now());
                self.tone_heard += usize::from(is_tone(&buffer[..length]));
            }
        }
    }

    fn invite(&mut self, sequence: u32) -> String {
        let media = self.media.local_addr().expect("an address");
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n\
             a=rtpmap:0 PCMU/8000\r\n",
            ip = media.ip(),
            port = media.port()
        );
        self.request("INVITE", sequence, &self.to.clone(), &sdp);
        self.final_response(sequence)
    }

    fn request(&mut self, method: &str, sequence: u32, to: &str, sdp: &str) {
        let (us, protocol) = self.sip.name();
        let (call_id, uri) = (&self.call_id, &self.request_uri);
        let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let more = if method == "INVITE" { self.more.as_str() } else { "" };
        // The ACK to a refusal or redirect has the branch of its INVITE (RFC 3261 17.1.1.3), and a new
        // one to a 200; a branch of the sequence number alone is right for the first and harmless for the second.
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{protocol} {us};branch=z9hG4bK{call_id}-{sequence}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:200@{us}>;tag=phone\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {sequence} {method}\r\nContact: <sip:200@{us};transport={protocol}>\r\n{more}{kind}Content-Length: {length}\r\n\r\n{sdp}",
            length = sdp.len()
        );
        self.sip.send(&text, self.target);
    }

    fn final_response(&mut self, sequence: u32) -> String {
        loop {
            let text = self.sip.receive();
            let ours = header(&text, "CSeq").starts_with(&format!("{sequence} "));
            if ours && text.starts_with("SIP/2.0 ") && !text.starts_with("SIP/2.0 1") {
                return text;
            }
        }
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        if !self.hung_up && !std::thread::panicking() {
            // Whoever still listens is told; nobody waits for the answer.
            let to = self.to.clone();
            self.request("BYE", 3, &to, "");
        }
    }
}

/// Whether an RTP packet has the tone, whose 1000 Hz repeat after eight samples, as neither silence
/// nor speech does.
fn is_tone(packet: &[u8]) -> bool {
    let Some(sound) = packet.get(RTP_HEADER..).filter(|sound| sound.len() == PACKET) else { return false };
    sound.windows(9).all(|window| window[0] == window[8]) && sound.iter().any(|byte| *byte != sound[0])
}

/// What signalling goes through.
#[derive(Debug)]
enum Line {
    Udp(UdpSocket),
    /// The connection, and what came by it that was not read yet.
    Tcp(TcpStream, Vec<u8>),
}

impl Line {
    fn open(from: IpAddr, to: SocketAddr, transport: Transport) -> Line {
        match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind((from, 0)).expect("a socket for signalling");
                socket.set_read_timeout(Some(ANSWER_LIMIT)).expect("a timeout");
                Line::Udp(socket)
            }
            Transport::Tcp => {
                let stream = TcpStream::connect_timeout(&to, ANSWER_LIMIT).expect("a connection");
                stream.set_read_timeout(Some(ANSWER_LIMIT)).expect("a timeout");
                Line::Tcp(stream, Vec::new())
            }
        }
    }

    /// A connection leads to one server; a redirect leads to another.
    fn follow(&mut self, target: SocketAddr) {
        if let Line::Tcp(stream, _) = self {
            let from = stream.local_addr().expect("an address").ip();
            *self = Line::open(from, target, Transport::Tcp);
        }
    }

    fn name(&self) -> (SocketAddr, &'static str) {
        match self {
            Line::Udp(socket) => (socket.local_addr().expect("an address"), "UDP"),
            Line::Tcp(stream, _) => (stream.local_addr().expect("an address"), "TCP"),
        }
    }

    fn send(&mut self, text: &str, to: SocketAddr) {
        match self {
            Line::Udp(socket) => assert_eq!(socket.send_to(text.as_bytes(), to).expect("sent"), text.len()),
            Line::Tcp(stream, _) => stream.write_all(text.as_bytes()).expect("sent"),
        }
    }

    /// The next message.
    fn receive(&mut self) -> String {
        let mut buffer = [0; 65_535];
        match self {
            Line::Udp(socket) => {
                let (length, _) = socket.recv_from(&mut buffer).expect("an answer");
                String::from_utf8_lossy(&buffer[..length]).into_owned()
            }
            Line::Tcp(stream, rest) => loop {
                let text = String::from_utf8_lossy(rest).into_owned();
                if let Some((head, _)) = text.split_once("\r\n\r\n") {
                    let body: usize = header(head, "Content-Length").parse().unwrap_or_default();
                    let length = head.len() + 4 + body;
                    if text.len() >= length {
                        rest.drain(..length);
                        return text[..length].to_owned();
                    }
                }
                let read = stream.read(&mut buffer).expect("an answer");
                assert!(read > 0, "the server closed the connection");
                rest.extend_from_slice(&buffer[..read]);
            },
        }
    }
}

/// The value of a header, empty where there is none.
fn header(message: &str, name: &str) -> String {
    let start = format!("{name}: ");
    let line = message.split("\r\n").find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_default().trim().to_owned()
}

/// Where the session description of an answer wants media.
fn far_media(answer: &str) -> SocketAddr {
    let ip = answer.split("c=IN IP4 ").nth(1).and_then(|rest| rest.split("\r\n").next()).expect("a c= line");
    let port = answer.split("m=audio ").nth(1).and_then(|rest| rest.split(' ').next()).expect("an m= line");
    SocketAddr::new(ip.parse().expect("an address"), port.parse().expect("a port"))
}
