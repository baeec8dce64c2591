//! TCP and TLS connections.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use crate::echo::{Note, PATIENCE, loopback, message, settings, start, subject, tcp};
use runtime::metrics::{ServeMetrics, lock, registry, text};
use runtime::{Limits, ServeSettings, tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sip::{Peer, Transport};

/// Reads messages without a body, one by one.
pub(crate) struct Reader<S> {
    pub(crate) stream: S,
    read: Vec<u8>,
}

impl<S: Read> Reader<S> {
    pub(crate) fn new(stream: S) -> Self {
        Reader { stream, read: Vec::new() }
    }

    /// The subject of the next message.
    pub(crate) fn next(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let message: Vec<_> = self.read.drain(..end + 4).collect();
                return subject(&message);
            }
            let mut buffer = [0; 4096];
            let length = self.stream.read(&mut buffer).unwrap();
            assert_ne!(length, 0, "the connection was closed");
            self.read.extend_from_slice(&buffer[..length]);
        }
    }
}

/// Whether the far end has closed, rather than said something.
pub(crate) fn is_closed(mut stream: impl Read) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(length) => length == 0,
        // By TLS the end has to be announced, which who closes at once does not.
        Err(error) => {
            matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::UnexpectedEof)
        }
    }
}

#[test]
fn a_message_that_comes_byte_by_byte_is_answered_once_it_is_whole() {
    let server = start(&settings());
    let mut stream = tcp(server.addresses().tcp.unwrap());
    for byte in message("w0 drip", "v=0") {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(Reader::new(stream).next(), "worker=0 life=1 length=68 heard=w0 drip");
}

#[test]
fn several_messages_in_one_write_are_answered_over_the_same_connection_whichever_worker_owns_them() {
    let server = start(&settings());
    let mut stream = tcp(server.addresses().tcp.unwrap());
    let all: Vec<u8> =
        ["w0 a", "w1 b", "w0 c", "w1 d"].iter().flat_map(|text| message(text, "body")).collect();
    stream.write_all(&all).unwrap();
    let mut reader = Reader::new(stream);
    let mut answers: Vec<_> = (0..4).map(|_| reader.next()).collect();
    answers.sort();
    assert_eq!(
        answers,
        [
            "worker=0 life=1 length=66 heard=w0 a",
            "worker=0 life=1 length=66 heard=w0 c",
            "worker=1 life=1 length=66 heard=w1 b",
            "worker=1 life=1 length=66 heard=w1 d",
        ]
    );
}

#[test]
fn a_thousand_messages_in_a_row_are_all_answered() {
    let server = start(&settings());
    let mut stream = tcp(server.addresses().tcp.unwrap());
    let mut reader = Reader::new(stream.try_clone().unwrap());
    let writing = std::thread::spawn(move || {
        for number in 0..1000 {
            stream.write_all(&message(&format!("w{} flood", number % 2), "")).unwrap();
        }
    });
    for _ in 0..1000 {
        assert!(reader.next().ends_with(" flood"));
    }
    writing.join().unwrap();
}

/// TCP repeats nothing, so an answer that is lost here is lost for good.
#[test]
fn no_answer_of_many_busy_connections_is_lost_though_all_workers_have_full_queues() {
    const CONNECTIONS: usize = 32;
    const MESSAGES: usize = 400;
    let server = start(&settings());
    let address = server.addresses().tcp.unwrap();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            std::thread::spawn(move || {
                let stream = tcp(address);
                let mut sending = stream.try_clone().unwrap();
                let all: Vec<u8> =
                    (0..MESSAGES).flat_map(|number| message(&format!("w{}", number % 2), "")).collect();
                let sender = std::thread::spawn(move || sending.write_all(&all).unwrap());
                let mut answers = Reader::new(stream);
                (0..MESSAGES).for_each(|_| drop(answers.next()));
                sender.join().unwrap();
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
}

#[test]
fn a_keep_alive_of_two_line_ends_is_answered_by_one() {
    let server = start(&settings());
    let mut stream = tcp(server.addresses().tcp.unwrap());
    stream.write_all(b"\r\n\r\n").unwrap();
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"\r\n");
}

#[test]
fn a_message_that_is_not_complete_in_time_closes_its_connection() {
    let limits = Limits { message_timeout: Duration::from_millis(50), ..Limits::default() };
    let server = start(&ServeSettings { limits, ..settings() });
    let mut stream = tcp(server.addresses().tcp.unwrap());
    stream.write_all(b"OPTIONS sip:echo SIP/2.0\r\nSub").unwrap();
    assert!(is_closed(stream));
}

#[test]
fn a_connection_that_never_says_anything_is_closed() {
    let limits = Limits { first_message_timeout: Duration::from_millis(50), ..Limits::default() };
    let server = start(&ServeSettings { limits, ..settings() });
    assert!(is_closed(tcp(server.addresses().tcp.unwrap())));
}

#[test]
fn what_cannot_be_cut_into_messages_closes_its_connection() {
    let (settings, registry) = counted(Limits::default());
    let server = start(&settings);
    let mut stream = tcp(server.addresses().tcp.unwrap());
    stream.write_all(b"OPTIONS sip:echo SIP/2.0\r\nSubject: no length\r\n\r\n").unwrap();
    assert!(is_closed(stream));
    drop(server);
    assert!(registry().contains("um_sip_connections_closed_total{server=\"echo\",reason=\"malformed\"} 1"));
}

#[test]
fn messages_before_what_is_no_sip_are_answered_and_the_connection_is_closed_then() {
    let server = start(&settings());
    let mut stream = tcp(server.addresses().tcp.unwrap());
    let all = [message("w1 good", ""), message("w0 good", ""), b"no SIP at all\r\n\r\n".to_vec()].concat();
    stream.write_all(&all).unwrap();
    let mut reader = Reader::new(stream);
    let mut answers = [reader.next(), reader.next()];
    answers.sort();
    assert_eq!(
        answers,
        ["worker=0 life=1 length=65 heard=w0 good", "worker=1 life=1 length=65 heard=w1 good"]
    );
    assert!(is_closed(reader.stream));
}

/// Settings whose counters can be read as text.
pub(crate) fn counted(limits: Limits) -> (ServeSettings, impl Fn() -> String) {
    let metrics = ServeMetrics::new();
    let registry = registry();
    metrics.register(&mut lock(&registry), "echo");
    (ServeSettings { limits, metrics, ..settings() }, move || text(&registry).unwrap())
}

#[test]
fn one_connection_more_than_there_may_be_is_closed_and_the_others_go_on() {
    let (settings, counters) = counted(Limits { connections: 2, ..Limits::default() });
    let server = start(&settings);
    let address = server.addresses().tcp.unwrap();
    let mut kept: Vec<_> = (0..2).map(|_| tcp(address)).collect();
    for stream in &mut kept {
        stream.write_all(&message("w0 in", "")).unwrap();
        assert!(Reader::new(stream).next().ends_with("w0 in"));
    }
    assert!(is_closed(tcp(address)));
    assert!(counters().contains("um_sip_connections_closed_total{server=\"echo\",reason=\"cap\"} 1"));
    kept[0].write_all(&message("w1 still", "")).unwrap();
    assert!(Reader::new(&kept[0]).next().ends_with("w1 still"));
}

#[test]
fn a_peer_that_does_not_read_loses_what_is_over_the_cap_and_that_is_counted() {
    let (settings, counters) = counted(Limits { unsent_bytes: 64 * 1024, ..Limits::default() });
    let server = start(&settings);
    // The test itself is the server here, so that the connection belongs to the worker it tells.
    let listener = TcpListener::bind(loopback()).unwrap();
    let peer = outward(listener.local_addr().unwrap());
    assert!(server.notifier().to(0, Note::Pour(peer, 10, 10_000)));
    let (stream, _) = listener.accept().unwrap();
    server.stop();
    let mut all = Vec::new();
    (&stream).read_to_end(&mut all).unwrap();
    let whole = all.windows(6).filter(|six| six == b"poured").count();
    assert_eq!(whole, 6);
    let text = counters();
    assert!(
        text.contains("um_sip_messages_lost_total{server=\"echo\",reason=\"peer_too_slow\"} 4"),
        "{text}"
    );
}

pub(crate) fn outward(address: SocketAddr) -> Peer {
    Peer { transport: Transport::Tcp, address, connection: None }
}

#[test]
fn a_message_without_a_connection_opens_one_and_the_next_uses_it() {
    let server = start(&settings());
    let listener = TcpListener::bind(loopback()).unwrap();
    let peer = outward(listener.local_addr().unwrap());
    assert!(server.notifier().to(1, Note::Say(peer, "first".into())));
    assert!(server.notifier().to(1, Note::Say(peer, "second".into())));
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = Reader::new(stream.try_clone().unwrap());
    assert_eq!((reader.next(), reader.next()), ("first".to_owned(), "second".to_owned()));
    // What comes back over it is heard, too.
    (&stream).write_all(&message("w0 back", "")).unwrap();
    assert_eq!(reader.next(), "worker=0 life=1 length=65 heard=w0 back");
}

#[test]
fn a_panic_does_not_close_connections() {
    let server = start(&settings());
    let mut stream = tcp(server.addresses().tcp.unwrap());
    for text in ["w0 panic", "w1 panic", "w0 alive", "w1 alive"] {
        stream.write_all(&message(text, "")).unwrap();
    }
    let mut reader = Reader::new(stream);
    let mut answers = [reader.next(), reader.next()];
    answers.sort();
    assert_eq!(
        answers,
        ["worker=0 life=2 length=66 heard=w0 alive", "worker=1 life=2 length=66 heard=w1 alive"]
    );
}

fn tls_settings() -> (ServeSettings, rustls::ClientConfig) {
    let (chain, key) = tls::self_signed("echo", [127, 0, 0, 1].into()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let shown = tls::Shown::new(tls::server_config(&chain, &key, None).unwrap());
    (ServeSettings { tls: Some((loopback(), shown)), ..settings() }, client)
}

pub(crate) fn tls_over<S: Read + Write>(
    client: rustls::ClientConfig,
    stream: S,
) -> rustls::StreamOwned<rustls::ClientConnection, S> {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    rustls::StreamOwned::new(rustls::ClientConnection::new(Arc::new(client), name).unwrap(), stream)
}

/// What the two workers answer by one TLS connection, in order.
fn ask_both_workers(client: rustls::ClientConfig, to: SocketAddr, subject: &str) -> [String; 2] {
    let mut stream = tls_over(client, tcp(to));
    for worker in ["w0", "w1"] {
        stream.write_all(&message(&format!("{worker}{subject}"), "")).unwrap();
    }
    stream.flush().unwrap();
    let mut reader = Reader::new(stream);
    let mut answers = [reader.next(), reader.next()];
    answers.sort();
    answers
}

#[test]
fn tls_carries_messages_of_both_workers() {
    let (settings, client) = tls_settings();
    let server = start(&settings);
    assert_eq!(
        ask_both_workers(client, server.addresses().tls.unwrap(), " secret"),
        ["worker=0 life=1 length=67 heard=w0 secret", "worker=1 life=1 length=67 heard=w1 secret"]
    );
    assert_eq!(settings.metrics.received(Transport::Tls), 2);
}

/// What a server shows that asks for certificates, a client that shows none, and one that shows that it is
/// `SBC.example.com`.
pub(crate) fn mutual_tls() -> (Arc<tls::Shown>, rustls::ClientConfig, rustls::ClientConfig) {
    let (chain, key) = tls::self_signed("echo", [127, 0, 0, 1].into()).unwrap();
    let (client_chain, client_key) = tls::self_signed("SBC.example.com", [127, 0, 0, 1].into()).unwrap();
    let shown = tls::Shown::new(tls::server_config(&chain, &key, Some(&client_chain)).unwrap());
    let client = || {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(Arc::new(tls::authorities(&chain).unwrap()))
    };
    let certificate = vec![CertificateDer::from_pem_slice(client_chain.as_bytes()).unwrap()];
    let client_key = PrivateKeyDer::from_pem_slice(client_key.as_bytes()).unwrap();
    let named = client().with_client_auth_cert(certificate, client_key).unwrap();
    (shown, client().with_no_client_auth(), named)
}

#[test]
fn every_worker_is_told_which_names_a_client_certificate_proves() {
    let (shown, _, client) = mutual_tls();
    let server = start(&ServeSettings { tls: Some((loopback(), shown)), ..settings() });
    assert_eq!(
        ask_both_workers(client, server.addresses().tls.unwrap(), ""),
        [
            "worker=0 life=1 length=60 heard=w0 sbc.example.com",
            "worker=1 life=1 length=60 heard=w1 sbc.example.com"
        ]
    );
}

#[test]
fn what_is_no_tls_is_closed() {
    let (settings, _) = tls_settings();
    let server = start(&settings);
    let mut stream = tcp(server.addresses().tls.unwrap());
    stream.write_all(&message("in the clear", "")).unwrap();
    // An alert may come before the end.
    let mut all = Vec::new();
    let ended = stream.read_to_end(&mut all);
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    assert!(!all.starts_with(b"OPTIONS"));
}

#[test]
fn a_handshake_that_does_not_end_closes_its_connection() {
    let (mut settings, _) = tls_settings();
    settings.limits.handshake_timeout = Duration::from_millis(50);
    let server = start(&settings);
    assert!(is_closed(tcp(server.addresses().tls.unwrap())));
}
