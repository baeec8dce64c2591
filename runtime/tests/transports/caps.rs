//! What connections may cost: at each cap nothing happens, and one above is closed, lost and counted.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::connections::{Reader, counted, is_closed, mutual_tls, outward, tls_over};
use crate::echo::{Note, PATIENCE, loopback, message, start, tcp};
use runtime::{KnownPeers, Limits, ServeSettings};
use socket2::{Domain, Socket, Type};

/// Whether one connection is counted as closed for this reason, a moment after it is.
fn is_counted(counters: impl Fn() -> String, reason: &str) -> bool {
    let line = format!("um_sip_connections_closed_total{{server=\"echo\",reason=\"{reason}\"}} 1\n");
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if counters().contains(&line) {
            return true;
        }
    }
    false
}

/// A connection from an address of our own choice.
fn tcp_from(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

fn is_served(stream: &mut TcpStream) -> bool {
    stream.write_all(&message("w0 served", "")).unwrap();
    Reader::new(stream).next().ends_with("w0 served")
}

/// A message of so many bytes.
fn sized(bytes: usize) -> Vec<u8> {
    let body = bytes - message("w0 sized", "").len();
    // Its length is written with more digits than that of an empty one.
    let sized = message("w0 sized", &"x".repeat(body + 1 - body.to_string().len()));
    assert_eq!(sized.len(), bytes);
    sized
}

/// Waits until this connection is let in, and answered.
fn is_let_in(mut stream: impl Read + Write) -> bool {
    // Closed at once it may not even take what is written.
    stream.write_all(&message("w0 again", "")).is_ok() && !is_closed(&mut stream)
}

#[test]
fn one_peer_has_so_many_connections_and_another_one_has_its_own() {
    let (settings, counters) = counted(Limits { connections_per_peer: 2, ..Limits::default() });
    let server = start(&settings);
    let address = server.addresses().tcp.unwrap();
    let mut kept = [tcp(address), tcp(address)];
    assert!(kept.iter_mut().all(is_served));
    assert!(is_closed(tcp(address)));
    assert!(is_counted(&counters, "peer_cap"), "{}", counters());
    let mut other = tcp_from([127, 0, 0, 2].into(), address);
    assert!(is_served(&mut other));
    assert!(kept.iter_mut().all(is_served));

    let [first, _second] = kept;
    drop(first);
    let began = Instant::now();
    while !is_let_in(tcp(address)) {
        assert!(began.elapsed() < PATIENCE, "the place of a connection that is gone is free again");
    }
}

#[test]
fn a_message_of_64_kib_less_one_byte_is_answered_and_one_byte_more_closes_its_connection() {
    let (settings, counters) = counted(Limits::default());
    let server = start(&settings);
    let address = server.addresses().tcp.unwrap();
    let mut stream = tcp(address);
    stream.write_all(&sized(65_535)).unwrap();
    assert_eq!(Reader::new(&mut stream).next(), "worker=0 life=1 length=65535 heard=w0 sized");
    // It is closed once the head says how long the message is, so that not all of it may be taken.
    let written = stream.write_all(&sized(65_536));
    assert!(written.is_ok() || written.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    assert!(is_closed(stream));
    assert!(is_counted(&counters, "malformed"), "{}", counters());
}

#[test]
fn a_head_of_16_kib_is_answered_and_one_byte_more_closes_its_connection() {
    let (settings, counters) = counted(Limits::default());
    let server = start(&settings);
    let address = server.addresses().tcp.unwrap();
    let head = |bytes: usize| {
        let subject = "w0 ".to_owned() + &"x".repeat(bytes - message("w0 ", "").len());
        let head = message(&subject, "");
        assert_eq!(head.len(), bytes);
        head
    };
    let mut stream = tcp(address);
    stream.write_all(&head(16_384)).unwrap();
    assert!(Reader::new(&mut stream).next().starts_with("worker=0 life=1 length=16384 "));
    stream.write_all(&head(16_385)).unwrap();
    assert!(is_closed(stream));
    assert!(is_counted(&counters, "malformed"), "{}", counters());
}

#[test]
fn all_connections_hold_so_many_bytes_and_who_brings_one_more_is_closed() {
    let (settings, counters) = counted(Limits { held_bytes: 1_000, ..Limits::default() });
    // With one worker no answer is on its way between two, where it would be held for a moment.
    let server = start(&ServeSettings { workers: 1, ..settings });
    let address = server.addresses().tcp.unwrap();
    let whole = sized(601);
    // The answer to a message says that what came behind it is held; `None` if it was too much.
    let begin = |held: usize| {
        let mut stream = tcp(address);
        stream.write_all(&[&message("w0 before", ""), &whole[..held]].concat()).unwrap();
        (!is_closed(&stream)).then(|| {
            assert!(Reader::new(&mut stream).next().ends_with("w0 before"));
            stream
        })
    };
    let mut first = begin(600).unwrap();
    let mut second = begin(400).unwrap();
    second.write_all(&whole[400..401]).unwrap();
    assert!(is_closed(second));
    assert!(is_counted(&counters, "memory"), "{}", counters());
    // What it held is free again a moment after it is closed.
    let began = Instant::now();
    let _third = std::iter::repeat_with(|| begin(400))
        .take_while(|_| began.elapsed() < PATIENCE)
        .find_map(|stream| stream)
        .unwrap();
    // What completes a message is no longer held.
    first.write_all(&whole[600..]).unwrap();
    assert_eq!(Reader::new(&mut first).next(), "worker=0 life=1 length=601 heard=w0 sized");
    assert!(begin(600).is_some());
}

/// The address that a gateway calls from.
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

#[test]
fn a_gateway_is_served_though_strangers_have_all_the_connections_that_they_may_have() {
    let limits = Limits { connections: 3, stranger_connections: 2, ..Limits::default() };
    let (settings, counters) = counted(limits);
    let known = KnownPeers::new(|address, _| address == GATEWAY);
    let server = start(&ServeSettings { known, ..settings });
    let address = server.addresses().tcp.unwrap();
    let mut strangers = [tcp(address), tcp(address)];
    assert!(strangers.iter_mut().all(is_served));
    assert!(is_closed(tcp(address)));
    assert!(is_counted(&counters, "stranger_cap"), "{}", counters());
    assert!(is_served(&mut tcp_from(GATEWAY, address)));
    assert!(strangers.iter_mut().all(is_served));

    // Whoever leaves makes room for another stranger, and not for two.
    let [first, _second] = strangers;
    drop(first);
    let began = Instant::now();
    let mut third = tcp(address);
    while !is_let_in(&third) {
        assert!(began.elapsed() < PATIENCE, "the place of a connection that is gone is free again");
        third = tcp(address);
    }
    assert!(is_closed(tcp(address)));
}

#[test]
fn a_gateway_that_its_certificate_names_is_served_though_strangers_have_all_connections() {
    let limits = Limits { stranger_connections: 1, proving_connections: 2, ..Limits::default() };
    let (settings, counters) = counted(limits);
    let (shown, nameless, named) = mutual_tls();
    let known = KnownPeers::new(|_, names| names.iter().any(|name| name == "sbc.example.com"));
    let server = start(&ServeSettings { known, tls: Some((loopback(), shown)), ..settings });
    let address = server.addresses().tls.unwrap();
    let mut stranger = tcp(server.addresses().tcp.unwrap());
    assert!(is_served(&mut stranger));
    // It may shake hands, but proves nothing.
    assert!(!is_let_in(tls_over(nameless, tcp(address))));
    assert!(is_counted(&counters, "stranger_cap"), "{}", counters());
    let mut gateway = tls_over(named, tcp(address));
    gateway.write_all(&message("w0 served", "")).unwrap();
    assert!(Reader::new(&mut gateway).next().contains("heard=w0 served sbc.example.com"));
    assert!(is_served(&mut stranger));
}

#[test]
fn strangers_leave_memory_to_gateways() {
    let limits = Limits { held_bytes: 1_000, stranger_bytes: 600, ..Limits::default() };
    let (settings, counters) = counted(limits);
    let known = KnownPeers::new(|address, _| address == GATEWAY);
    let server = start(&ServeSettings { workers: 1, known, ..settings });
    let address = server.addresses().tcp.unwrap();
    let whole = sized(401);
    let mut stranger = tcp(address);
    stranger.write_all(&[&message("w0 before", ""), &sized(601)[..600]].concat()).unwrap();
    assert!(Reader::new(&mut stranger).next().ends_with("w0 before"));
    let mut another = tcp(address);
    another.write_all(&whole[..1]).unwrap();
    assert!(is_closed(another));
    assert!(is_counted(&counters, "memory"), "{}", counters());
    let mut gateway = tcp_from(GATEWAY, address);
    gateway.write_all(&[&message("w0 before", ""), &whole[..400]].concat()).unwrap();
    let mut answers = Reader::new(gateway.try_clone().unwrap());
    assert!(answers.next().ends_with("w0 before"));
    gateway.write_all(&whole[400..]).unwrap();
    assert!(answers.next().ends_with("w0 sized"));
}

/// What a peer that reads nothing is given: much more than the kernel keeps for it.
const MUCH_BYTES: usize = 64 * 1024 * 1024;

fn impatient() -> Limits {
    Limits { write_timeout: Duration::from_millis(50), ..Limits::default() }
}

#[test]
fn a_peer_that_asks_and_does_not_read_its_answers_is_closed() {
    let (settings, counters) = counted(impatient());
    let server = start(&ServeSettings { workers: 1, ..settings });
    let mut stream = tcp(server.addresses().tcp.unwrap());
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    // The answer is as long as the question.
    let question = message(&format!("w0 {}", "x".repeat(16_000)), "");
    let mut asked = (0..MUCH_BYTES / question.len()).map(|_| stream.write_all(&question));
    let refused = asked.find_map(Result::err).map(|error| error.kind());
    assert!(matches!(refused, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)), "{refused:?}");
    assert!(is_counted(&counters, "slow_reader"), "{}", counters());
}

#[test]
fn a_peer_that_does_not_read_what_it_is_told_is_closed() {
    let (settings, counters) =
        counted(Limits { unsent_bytes: 2 * MUCH_BYTES, held_bytes: 2 * MUCH_BYTES, ..impatient() });
    let server = start(&settings);
    let listener = TcpListener::bind(loopback()).unwrap();
    let peer = outward(listener.local_addr().unwrap());
    assert!(server.notifier().to(0, Note::Pour(peer, MUCH_BYTES / 10_000, 10_000)));
    let (_unread, _) = listener.accept().unwrap();
    assert!(is_counted(&counters, "slow_reader"), "{}", counters());
}
