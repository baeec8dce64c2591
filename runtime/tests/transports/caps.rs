//! What connections may cost: at each cap nothing happens, and one above is closed, lost and counted.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Instant;

use crate::connections::{Reader, counted, is_closed};
use crate::echo::{PATIENCE, message, start, tcp};
use runtime::Limits;
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
    let empty = message("w0 sized", "").len();
    // Its length is written with five digits instead of one.
    let sized = message("w0 sized", &"x".repeat(bytes - empty - 4));
    assert_eq!(sized.len(), bytes);
    sized
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
    while !{
        let mut again = tcp(address);
        // Closed at once it may not even take what is written.
        again.write_all(&message("w0 again", "")).is_ok() && !is_closed(&again)
    } {
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
