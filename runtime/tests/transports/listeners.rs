//! Ports and certificates that change while a server runs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use runtime::tls::{Shown, self_signed, server_config};
use runtime::{Listen, ServeSettings};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sip::Transport;

use crate::echo::{PATIENCE, loopback, message, settings, start, subject, tcp};

/// Threads that shake hands, and how often the certificate changes meanwhile.
const CLIENTS: usize = 4;
const CERTIFICATES: usize = 50;

/// An address of loopback that is free just now.
fn free() -> SocketAddr {
    TcpListener::bind(loopback()).unwrap().local_addr().unwrap()
}

fn shown() -> (Arc<Shown>, RootCertStore) {
    let (chain, key) = self_signed("echo", [127, 0, 0, 1].into()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()).unwrap();
    (Shown::new(server_config(&chain, &key, None).unwrap()), roots)
}

/// What is heard of one message.
fn ask(stream: &mut (impl Read + Write), text: &str) -> String {
    stream.write_all(&message(text, "")).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0; 1];
        stream.read_exact(&mut byte).unwrap();
        answer.extend_from_slice(&byte);
    }
    subject(&answer)
}

/// What is heard of one datagram, and from where.
fn ask_by_udp(socket: &UdpSocket, to: SocketAddr, text: &str) -> (String, SocketAddr) {
    socket.send_to(&message(text, ""), to).unwrap();
    let mut answer = [0; 1024];
    let (length, from) = socket.recv_from(&mut answer).unwrap();
    (subject(&answer[..length]), from)
}

fn udp() -> UdpSocket {
    let socket = UdpSocket::bind(loopback()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn protected(to: SocketAddr, roots: &RootCertStore) -> StreamOwned<ClientConnection, TcpStream> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), tcp(to))
}

#[test]
fn connections_go_on_while_every_port_changes_and_the_old_ones_are_closed() {
    let (shown, roots) = shown();
    let mut server = start(&ServeSettings { tls: Some((loopback(), Arc::clone(&shown))), ..settings() });
    let before = server.addresses().clone();
    let mut plain = tcp(before.tcp.unwrap());
    let mut secret = protected(before.tls.unwrap(), &roots);
    assert_eq!(ask(&mut plain, "w0 before"), "worker=0 life=1 length=67 heard=w0 before");
    assert_eq!(ask(&mut secret, "w1 before"), "worker=1 life=1 length=67 heard=w1 before");

    let (new_udp, new_tcp, new_tls) = (free(), free(), free());
    server.listen(&Listen { udp: Some(new_udp), tcp: Some(new_tcp), tls: Some((new_tls, shown)) }).unwrap();
    let after = server.addresses();
    assert_eq!((after.udp, after.tcp, after.tls), (Some(new_udp), Some(new_tcp), Some(new_tls)));
    assert_eq!(after.media, before.media);
    assert_eq!(ask(&mut plain, "w1 after"), "worker=1 life=1 length=66 heard=w1 after");
    assert_eq!(ask(&mut secret, "w0 after"), "worker=0 life=1 length=66 heard=w0 after");
    assert!(ask(&mut tcp(new_tcp), "w0 new").ends_with("heard=w0 new"));
    assert!(ask(&mut protected(new_tls, &roots), "w1 new").ends_with("heard=w1 new"));
    assert!(TcpStream::connect(before.tcp.unwrap()).is_err());
    assert!(TcpStream::connect(before.tls.unwrap()).is_err());
}

#[test]
fn a_udp_port_that_is_given_up_is_heard_and_answered_by_whichever_worker_owns_the_message() {
    let mut server = start(&settings());
    let (before, after) = (server.addresses().udp.unwrap(), free());
    server.listen(&Listen { udp: Some(after), ..Listen::default() }).unwrap();
    let socket = udp();
    for (port, text) in [(before, "w0 bye"), (before, "w1 bye"), (after, "w0 new"), (after, "w1 new")] {
        let (heard, from) = ask_by_udp(&socket, port, text);
        assert!(heard.ends_with(&format!("heard={text}")), "{heard}");
        assert_eq!(from, port, "{text}");
    }
    // And back again: the port is ours, not taken.
    server.listen(&Listen { udp: Some(before), ..Listen::default() }).unwrap();
    assert_eq!(ask_by_udp(&socket, before, "w1 back").1, before);
    assert_eq!(server.addresses().tcp, None);
}

#[test]
fn a_udp_port_that_was_given_up_is_closed_when_its_time_is_over() {
    let mut given = settings();
    given.limits.former_port = std::time::Duration::from_millis(50);
    let mut server = start(&given);
    let before = server.addresses().udp.unwrap();
    server.listen(&Listen::default()).unwrap();
    let until = std::time::Instant::now() + PATIENCE;
    while UdpSocket::bind(before).is_err() {
        assert!(std::time::Instant::now() < until, "the port is still open");
        std::thread::yield_now();
    }
}

#[test]
fn tcp_and_tls_can_change_ports_with_each_other() {
    let (shown, roots) = shown();
    let mut server = start(&ServeSettings { tls: Some((loopback(), Arc::clone(&shown))), ..settings() });
    let before = server.addresses().clone();
    let mut kept = tcp(before.tcp.unwrap());
    assert!(ask(&mut kept, "w0 before").ends_with("before"));
    let listen = Listen { udp: before.udp, tcp: before.tls, tls: Some((before.tcp.unwrap(), shown)) };
    server.listen(&listen).unwrap();
    assert!(ask(&mut kept, "w1 after").ends_with("after"));
    assert!(ask(&mut tcp(before.tls.unwrap()), "w0 new").ends_with("new"));
    assert!(ask(&mut protected(before.tcp.unwrap(), &roots), "w0 new").ends_with("new"));
}

#[test]
fn where_one_port_cannot_be_had_all_stay_as_they_were() {
    let mut server = start(&settings());
    let before = server.addresses().clone();
    let taken = TcpListener::bind(loopback()).unwrap();
    let listen = Listen { udp: Some(free()), tcp: Some(taken.local_addr().unwrap()), tls: None };
    let error = server.listen(&listen).unwrap_err().to_string();
    assert!(error.starts_with(&format!("listen on tcp {}: ", taken.local_addr().unwrap())), "{error}");
    assert_eq!(server.addresses(), &before);
    assert!(ask(&mut tcp(before.tcp.unwrap()), "w0 still").ends_with("still"));
    assert_eq!(ask_by_udp(&udp(), before.udp.unwrap(), "w1 still").1, before.udp.unwrap());
    // Once it is free it can be had.
    drop(taken);
    server.listen(&listen).unwrap();
    assert_eq!(server.addresses().tcp, listen.tcp);
}

#[test]
fn no_handshake_fails_while_certificates_change() {
    let certificates: Vec<_> = (0..CERTIFICATES).map(|_| shown()).collect();
    let mut roots = RootCertStore::empty();
    certificates.iter().for_each(|(_, one)| roots.roots.extend(one.roots.iter().cloned()));
    let shown = Shown::new(certificates[0].0.config());
    let settings = ServeSettings { tls: Some((loopback(), Arc::clone(&shown))), ..settings() };
    let server = start(&settings);
    let to = server.addresses().tls.unwrap();
    let mut kept = protected(to, &roots);
    assert!(ask(&mut kept, "w0 first").ends_with("first"));
    let (done, shaken) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        // A handshake that fails ends the test here.
                        assert!(ask(&mut protected(to, &roots), "w1 hands").ends_with("hands"));
                        shaken.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for (next, _) in &certificates[1..] {
            let before = shaken.load(Ordering::Relaxed);
            shown.show(next.config());
            // Each is shown to every client.
            while shaken.load(Ordering::Relaxed) < before + CLIENTS
                && !clients.iter().any(|c| c.is_finished())
            {
                std::thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(shaken.load(Ordering::Relaxed) >= CLIENTS * (CERTIFICATES - 1));
    assert!(ask(&mut kept, "w0 last").ends_with("last"));
    let messages = settings.metrics.received(Transport::Tls);
    assert_eq!(messages, shaken.load(Ordering::Relaxed) as u64 + 2);
}
