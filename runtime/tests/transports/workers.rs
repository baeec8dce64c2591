//! Workers, datagrams, notes, deadlines and panics.

use std::io::{Read, Write};
use std::time::Duration;

use crate::echo::{Note, PATIENCE, loopback, message, receive, settings, start, subject, tcp, udp};
use runtime::{ServeError, ServeSettings, Source, serve};
use sip::{Peer, Transport};

fn peer(socket: &std::net::UdpSocket) -> Peer {
    Peer { transport: Transport::Udp, address: socket.local_addr().unwrap(), connection: None }
}

#[test]
fn a_datagram_is_answered() {
    let server = start(&settings());
    let socket = udp(server.addresses().udp.unwrap());
    socket.send(&message("w0 hello", "")).unwrap();
    assert_eq!(subject(&receive(&socket)), "worker=0 life=1 length=66 heard=w0 hello");
}

#[test]
fn each_datagram_of_a_burst_is_answered_by_the_worker_that_it_belongs_to() {
    let server = start(&settings());
    let socket = udp(server.addresses().udp.unwrap());
    let mut expected = Vec::new();
    for number in 0..100 {
        let (sent, owner) = (format!("w{} {number:02}", number % 2), number % 2);
        socket.send(&message(&sent, "")).unwrap();
        expected.push(format!("worker={owner} life=1 length=63 heard={sent}"));
    }
    let mut answers: Vec<_> = (0..100).map(|_| subject(&receive(&socket))).collect();
    answers.sort();
    expected.sort();
    assert_eq!(answers, expected);
}

#[test]
fn a_large_datagram_arrives_whole() {
    let server = start(&settings());
    let socket = udp(server.addresses().udp.unwrap());
    socket.send(&message("w1 large", &"x".repeat(60_000))).unwrap();
    assert_eq!(subject(&receive(&socket)), "worker=1 life=1 length=60070 heard=w1 large");
}

#[test]
fn each_worker_answers_on_its_own_media_port() {
    let server = start(&settings());
    let ports = &server.addresses().media;
    assert_eq!(ports.len(), 2);
    assert_ne!(ports[0], ports[1]);
    for port in ports {
        let socket = udp(*port);
        socket.send(b"rtp").unwrap();
        assert_eq!(receive(&socket), b"rtp");
    }
}

/// A port before two that nobody has.
fn first_of_three_free_ports() -> std::net::SocketAddr {
    loop {
        let held = std::net::UdpSocket::bind(loopback()).unwrap();
        let first = held.local_addr().unwrap();
        let next =
            |step| first.port().checked_add(step).map(|port| std::net::SocketAddr::new(first.ip(), port));
        let free = |address| std::net::UdpSocket::bind(address).is_ok();
        if [1, 2].into_iter().all(|step| next(step).is_some_and(free)) {
            return first;
        }
    }
}

#[test]
fn media_ports_follow_the_first_one_by_worker() {
    let first = first_of_three_free_ports();
    let settings = ServeSettings { media: Some(first), ..ServeSettings::new("echo", 3) };
    let server = serve(&settings, |_| Answering).unwrap();
    let ports: Vec<u16> = server.addresses().media.iter().map(std::net::SocketAddr::port).collect();
    assert_eq!(ports, [first.port(), first.port() + 1, first.port() + 2]);
}

#[test]
fn beyond_the_last_port_there_is_no_media_port() {
    let last = std::net::SocketAddr::new(loopback().ip(), u16::MAX);
    let settings = ServeSettings { media: Some(last), ..ServeSettings::new("echo", 2) };
    let taken = serve(&settings, |_| Answering).unwrap_err();
    assert!(matches!(taken, ServeError::Listen { transport: "media", .. }), "{taken}");
}

#[test]
fn a_note_and_a_deadline_can_send_too() {
    let server = start(&settings());
    let socket = udp(server.addresses().udp.unwrap());
    let notifier = server.notifier();
    assert!(notifier.to(0, Note::Say(peer(&socket), "by note".into())));
    assert_eq!(subject(&receive(&socket)), "by note");
    assert!(notifier.all(|| Note::Alarm(peer(&socket), Duration::from_millis(20))));
    assert_eq!(subject(&receive(&socket)), "alarm");
    assert_eq!(subject(&receive(&socket)), "alarm");
    assert!(!notifier.to(2, Note::Say(peer(&socket), "nobody there".into())));
    server.stop();
    assert!(!notifier.to(0, Note::Say(peer(&socket), "stopped".into())));
}

#[test]
fn a_worker_that_panics_is_restarted_and_the_other_one_does_not_notice() {
    let settings = settings();
    let server = start(&settings);
    let socket = udp(server.addresses().udp.unwrap());
    socket.send(&message("w1 panic", "")).unwrap();
    socket.send(&message("w1 again", "")).unwrap();
    socket.send(&message("w0 other", "")).unwrap();
    let mut answers = [subject(&receive(&socket)), subject(&receive(&socket))];
    answers.sort();
    assert_eq!(
        answers,
        ["worker=0 life=1 length=66 heard=w0 other", "worker=1 life=2 length=66 heard=w1 again"]
    );
    assert_eq!(settings.metrics.restarts(), 1);
    assert!(server.is_live());
}

#[test]
fn a_core_that_cannot_be_made_is_tried_again_and_its_neighbour_serves() {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let server = serve(&settings(), move |place| {
        let first = tries.fetch_add(usize::from(place.index == 1), std::sync::atomic::Ordering::Relaxed) == 0;
        assert!(place.index == 0 || !first, "not yet");
        Answering
    })
    .unwrap();
    let socket = udp(server.addresses().udp.unwrap());
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let began = std::time::Instant::now();
    // What comes while there is no core is lost, so the question is repeated as SIP would.
    while began.elapsed() < PATIENCE {
        socket.send(b"w1").unwrap();
        let mut buffer = [0; 16];
        if socket.recv(&mut buffer).is_ok() {
            return;
        }
    }
    panic!("worker 1 never came");
}

struct Answering;

impl runtime::Core for Answering {
    type Note = ();
    fn handle(&mut self, bytes: &[u8], from: Source<'_>, _: runtime::Now, out: &mut runtime::Outbox) {
        out.sip(from.peer, bytes);
    }
    fn handle_note(&mut self, (): (), _: runtime::Now, _: &mut runtime::Outbox) {}
    fn handle_timeout(&mut self, _: runtime::Now, _: &mut runtime::Outbox) {}
    fn deadline(&self) -> Option<std::time::Instant> {
        None
    }
    fn steer(_: &[u8], _: usize) -> Option<usize> {
        Some(1)
    }
}

#[test]
fn a_stopped_server_frees_its_ports() {
    let server = start(&settings());
    let addresses = server.addresses().clone();
    let again = ServeSettings { udp: addresses.udp, tcp: addresses.tcp, ..settings() };
    let taken = serve(&again, |_| Answering).unwrap_err();
    assert!(matches!(taken, ServeError::Listen { transport: "udp", .. }), "{taken}");
    server.stop();
    assert_eq!(start(&again).addresses().udp, addresses.udp);
}

#[test]
fn no_worker_at_all_is_refused() {
    let nobody = ServeSettings { udp: Some(loopback()), ..ServeSettings::new("nobody", 0) };
    assert_eq!(
        serve(&nobody, |_| Answering).unwrap_err().to_string(),
        "start 0 workers: 1 to 256 can be had"
    );
}

/// Says which worker it is; any may take any message.
struct Anyone(usize);

impl runtime::Core for Anyone {
    type Note = ();
    const ANY_WORKER: bool = true;
    fn handle(&mut self, _: &[u8], from: Source<'_>, _: runtime::Now, out: &mut runtime::Outbox) {
        out.sip(from.peer, message(&self.0.to_string(), "").as_slice());
    }
    fn handle_note(&mut self, (): (), _: runtime::Now, _: &mut runtime::Outbox) {}
    fn handle_timeout(&mut self, _: runtime::Now, _: &mut runtime::Outbox) {}
    fn deadline(&self) -> Option<std::time::Instant> {
        None
    }
}

/// Whether the workers have each had as much as the others, within a tenth.
fn are_even(counts: &[u64]) -> bool {
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    least * 10 >= most * 9
}

#[test]
fn datagrams_of_one_peer_and_port_are_spread_over_all_workers() {
    const DATAGRAMS: u64 = 20_000;
    let settings = ServeSettings { udp: Some(loopback()), ..ServeSettings::new("anyone", 4) };
    let server = serve(&settings, |place| Anyone(place.index)).unwrap();
    let socket = udp(server.addresses().udp.unwrap());
    let mut answers = [0; 4];
    for _ in 0..DATAGRAMS / 50 {
        // So few at once that no buffer loses any.
        (0..50).for_each(|_| assert!(socket.send(&message("who", "")).is_ok()));
        (0..50).for_each(|_| answers[subject(&receive(&socket)).parse::<usize>().unwrap()] += 1);
    }
    assert_eq!(settings.metrics.received_by_worker(Transport::Udp), answers);
    assert_eq!(answers.iter().sum::<u64>(), DATAGRAMS);
    assert!(are_even(&answers), "{answers:?}");
}

#[test]
fn connections_of_one_peer_are_spread_over_all_workers() {
    let settings = ServeSettings { tcp: Some(loopback()), ..ServeSettings::new("anyone", 4) };
    let server = serve(&settings, |place| Anyone(place.index)).unwrap();
    let mut streams: Vec<_> = (0..64).map(|_| tcp(server.addresses().tcp.unwrap())).collect();
    for stream in &mut streams {
        for _ in 0..10 {
            stream.write_all(&message("who", "")).unwrap();
            let mut answer = [0; 256];
            assert!(stream.read(&mut answer).unwrap() > 0);
        }
    }
    let counts = settings.metrics.received_by_worker(Transport::Tcp);
    assert_eq!(counts.iter().sum::<u64>(), 640);
    assert!(are_even(&counts), "{counts:?}");
}
