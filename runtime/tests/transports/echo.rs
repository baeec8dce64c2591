//! A core that sends back what it hears, and says who it is.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use runtime::{Core, Now, Outbox, ServeSettings, Server, Source, WorkerPlace, serve};
use sip::Peer;

/// Whatever a test waits for comes well within this, or never.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Answers `worker=I life=L length=B heard=<subject>`, and the names that the peer has proved; a subject with `panic` in it makes it panic, one with
/// `w0` or `w1` belongs to that worker.
pub(crate) struct Echo {
    place: WorkerPlace,
    life: usize,
    alarm: Option<(Instant, Peer)>,
}

pub(crate) enum Note {
    /// Sends a message of this subject.
    Say(Peer, String),
    /// Sends this many messages with a body of so many bytes.
    Pour(Peer, usize, usize),
    /// Sends `alarm` after a while, by the deadline.
    Alarm(Peer, Duration),
}

/// A SIP message of which only the Subject and the body matter.
pub(crate) fn message(subject: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("OPTIONS sip:echo SIP/2.0\r\nSubject: {subject}\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

pub(crate) fn subject(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default().to_owned()
}

impl Core for Echo {
    type Note = Note;

    fn handle(&mut self, bytes: &[u8], from: Source<'_>, _now: Now, out: &mut Outbox) {
        let subject = subject(bytes);
        assert!(!subject.contains("panic"), "asked to");
        let Echo { place: WorkerPlace { index, .. }, life, .. } = self;
        let length = bytes.len();
        let names: String = from.names.iter().map(|name| format!(" {name}")).collect();
        let heard = format!("worker={index} life={life} length={length} heard={subject}{names}");
        out.sip(from.peer, &message(&heard, ""));
    }

    fn handle_media(&mut self, bytes: &[u8], from: SocketAddr, _now: Now, out: &mut Outbox) {
        out.media(from, bytes);
    }

    fn handle_note(&mut self, note: Note, now: Now, out: &mut Outbox) {
        match note {
            Note::Say(peer, subject) => out.sip(peer, &message(&subject, "")),
            Note::Pour(peer, count, bytes) => {
                (0..count).for_each(|_| out.sip(peer, &message("poured", &"x".repeat(bytes))));
            }
            Note::Alarm(peer, after) => self.alarm = Some((now.instant + after, peer)),
        }
    }

    fn handle_timeout(&mut self, _now: Now, out: &mut Outbox) {
        if let Some((_, peer)) = self.alarm.take() {
            out.sip(peer, &message("alarm", ""));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.alarm.map(|(at, _)| at)
    }

    fn steer(bytes: &[u8], _workers: usize) -> Option<usize> {
        let subject = subject(bytes);
        ["w0", "w1"].iter().position(|mark| subject.contains(mark))
    }
}

pub(crate) fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Two workers on UDP, TCP and media ports.
pub(crate) fn settings() -> ServeSettings {
    ServeSettings {
        udp: Some(loopback()),
        tcp: Some(loopback()),
        media: Some(loopback()),
        ..ServeSettings::new("echo", 2)
    }
}

pub(crate) fn start(settings: &ServeSettings) -> Server<Note> {
    let lives: Arc<[AtomicUsize; 2]> = Arc::default();
    serve(settings, move |place| {
        let life = lives[place.index].fetch_add(1, Ordering::Relaxed) + 1;
        Echo { place, life, alarm: None }
    })
    .unwrap()
}

/// A UDP socket that talks to `to` alone.
pub(crate) fn udp(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(loopback()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(to).unwrap();
    socket
}

pub(crate) fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

pub(crate) fn tcp(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}
