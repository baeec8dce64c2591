//! The router with its file and its sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use config::{Certificate, Code};
use router::{Dropped, Server, ServerPaths, StartError};
use runtime::admin::Component;
use runtime::metrics::{SharedRegistry, lock, registry, text};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

use crate::fixture::{COMPANY, header, invite, status, write_folder};

/// Whatever a test waits for comes well within this, or never.
const PATIENCE: Duration = Duration::from_secs(20);

/// A question that got no answer is asked again after this; on loopback that hardly happens.
const REPEAT_AFTER: Duration = Duration::from_secs(2);

/// A router of two workers, with its folder.
struct House {
    server: Server,
    config: PathBuf,
    registry: SharedRegistry,
    _folder: tempfile::TempDir,
}

fn paths(config: PathBuf) -> ServerPaths {
    ServerPaths { config, address: [127, 0, 0, 1].into() }
}

fn house(config_text: &str) -> House {
    house_with(config_text, None)
}

fn house_with(config_text: &str, certificate: Option<Certificate>) -> House {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("router.yaml");
    write_folder(&config, config_text, certificate);
    let registry = registry();
    let server = Server::start(&paths(config.clone()), 2, &mut lock(&registry)).unwrap();
    House { server, config, registry, _folder: folder }
}

impl House {
    fn replace_config(&self, config_text: &str) {
        write_folder(&self.config, config_text, None);
    }

    fn udp(&self) -> UdpSocket {
        udp(self.server.addresses().udp.unwrap())
    }
}

fn udp(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(REPEAT_AFTER)).unwrap();
    socket.connect(to).unwrap();
    socket
}

/// Asks by UDP, again and again as SIP does, until there is an answer.
fn ask(socket: &UdpSocket, asked: &str) -> String {
    let here = socket.local_addr().unwrap().to_string();
    let asked = asked.replace("192.0.2.1:5060", &here);
    let mut buffer = vec![0; 65_536];
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        socket.send(asked.as_bytes()).unwrap();
        if let Ok(length) = socket.recv(&mut buffer) {
            return String::from_utf8(buffer[..length].to_vec()).unwrap();
        }
    }
    panic!("no answer");
}

fn until(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < PATIENCE, "never came true");
        std::thread::yield_now();
    }
}

/// The company at another generation, with the mailbox server at another address.
fn moved(generation: u64, address: &str) -> String {
    COMPANY.replace("generation: 7", &format!("generation: {generation}")).replace("192.0.2.11", address)
}

#[test]
fn it_redirects_over_udp_and_tcp_and_counts() {
    let house = house(COMPANY);
    let by_udp = ask(&house.udp(), &invite("101", ""));
    assert!(header(&by_udp, "Contact")[0].starts_with("<sip:101@192.0.2.11:5062;transport=udp;"), "{by_udp}");
    let mut stream = TcpStream::connect(house.server.addresses().tcp.unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(invite("101", "").replace("SIP/2.0/UDP", "SIP/2.0/TCP").as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0; 1];
        stream.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    let by_tcp = String::from_utf8(answer).unwrap();
    assert!(header(&by_tcp, "Contact")[0].starts_with("<sip:101@192.0.2.11:5062;transport=tcp;"), "{by_tcp}");
    assert!(house.server.addresses().tls.is_some());
    let counted = text(&house.registry).unwrap();
    assert!(counted.contains("um_router_calls_redirected_total 2"), "{counted}");
    assert!(
        counted.contains("um_sip_messages_received_total{server=\"router\",transport=\"tcp\"} 1"),
        "{counted}"
    );
}

#[test]
fn noise_moves_nothing() {
    let house = house(COMPANY);
    let socket = house.udp();
    socket.send(b"\x80\x00noise").unwrap();
    socket.send(&[0xff; 1400]).unwrap();
    assert_eq!(status(&ask(&socket, &invite("101", ""))), "SIP/2.0 302 Moved Temporarily");
    until(|| house.server.counters().dropped(Dropped::Noise) == 2);
    assert!(house.server.live());
}

#[test]
fn a_configuration_is_swapped_under_a_flood_and_no_answer_is_wrong() {
    let house = house(&moved(1, "192.0.2.20"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let flood = || {
            let mut answers = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                // A socket of its own, so that no late answer to the question before is taken for it.
                let socket = house.udp();
                // What is served when the answer is made lies between what is before and after.
                let before = house.server.generation();
                let answer = ask(&socket, &invite("101", ""));
                let after = house.server.generation();
                let contact = header(&answer, "Contact")[0];
                let fits =
                    |generation| contact.starts_with(&format!("<sip:101@192.0.2.{}:5062;", 19 + generation));
                assert!((before..=after).any(fits), "{contact} between {before} and {after}");
                answers += 1;
            }
            answers
        };
        let floods = [threads.spawn(flood), threads.spawn(flood)];
        for generation in 2..=6 {
            house.replace_config(&moved(generation, &format!("192.0.2.{}", 19 + generation)));
            until(|| house.server.generation() == generation);
        }
        stop.store(true, Ordering::Relaxed);
        for flood in floods {
            assert!(flood.join().unwrap() > 5);
        }
    });
    let counters = house.server.counters();
    assert_eq!(counters.received(), counters.redirected());
}

#[test]
fn a_configuration_that_cannot_be_read_changes_nothing_and_is_named() {
    let house = house(COMPANY);
    house.replace_config(&COMPANY.replace("generation: 7", "generation: eight"));
    until(|| house.server.problem().is_some());
    assert_eq!(house.server.generation(), 7);
    assert_eq!(house.server.ready(), Ok(()));
    assert_eq!(status(&ask(&house.udp(), &invite("101", ""))), "SIP/2.0 302 Moved Temporarily");
    house.replace_config(&moved(9, "192.0.2.11"));
    until(|| house.server.generation() == 9);
    assert_eq!(house.server.problem(), None);
}

#[test]
fn other_ports_in_the_configuration_become_other_listeners() {
    let house = house(COMPANY);
    let before = house.server.addresses();
    house.replace_config(&moved(8, "192.0.2.11").replace("tcp: 0, tls: 0", "tls: 0"));
    until(|| house.server.addresses().tcp.is_none());
    assert_eq!(house.server.generation(), 8);
    assert_eq!(status(&ask(&house.udp(), &invite("101", ""))), "SIP/2.0 302 Moved Temporarily");
    assert!(TcpStream::connect(before.tcp.unwrap()).is_err());
}

#[test]
fn an_edit_that_keeps_a_port_and_changes_the_others_takes_it_over() {
    let house = house(COMPANY);
    let port = house.server.addresses().udp.unwrap().port();
    house.replace_config(
        &moved(8, "192.0.2.11").replace("{udp: 0, tcp: 0, tls: 0}", &format!("{{udp: {port}}}")),
    );
    until(|| house.server.addresses().tcp.is_none());
    assert_eq!(house.server.addresses().udp.unwrap().port(), port);
    assert_eq!(status(&ask(&house.udp(), &invite("101", ""))), "SIP/2.0 302 Moved Temporarily");
    assert_eq!(house.server.problem(), None);
}

/// One INVITE over TLS, by a client that trusts this chain alone.
fn ask_by_tls(to: SocketAddr, trusted_chain: &str) -> std::io::Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted_chain.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let session = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = rustls::StreamOwned::new(session, stream);
    stream.write_all(invite("101", "").replace("SIP/2.0/UDP", "SIP/2.0/TLS").as_bytes())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => answer.extend_from_slice(&buffer[..length]),
        }
    }
    Ok(String::from_utf8(answer).unwrap())
}

fn made() -> Certificate {
    let (chain, key) = runtime::tls::self_signed("router", [127, 0, 0, 1].into()).unwrap();
    Certificate { chain, key, authorities: None }
}

#[test]
fn a_call_over_tls_stays_on_tls_and_a_new_certificate_is_shown_from_then_on() {
    let (first, second) = (made(), made());
    let house = house_with(COMPANY, Some(first.clone()));
    let tls = || house.server.addresses().tls.unwrap();
    let answer = ask_by_tls(tls(), &first.chain).unwrap();
    assert!(header(&answer, "Contact")[0].starts_with("<sip:101@192.0.2.11:5063;transport=tls;"), "{answer}");
    let before = tls();
    write_folder(&house.config, &moved(8, "192.0.2.11"), Some(second.clone()));
    until(|| house.server.generation() == 8);
    assert!(ask_by_tls(tls(), &second.chain).is_ok());
    assert!(ask_by_tls(tls(), &first.chain).is_err());
    assert_eq!(tls(), before);
}

#[test]
fn a_certificate_that_is_not_the_one_that_the_index_names_keeps_no_news_back() {
    let (first, second) = (made(), made());
    let house = house_with(COMPANY, Some(first.clone()));
    write_folder(&house.config, &moved(8, "192.0.2.11"), Some(second.clone()));
    until(|| house.server.generation() == 8);
    // Somebody put something else in its place, and then the directory changes.
    std::fs::write(house.config.with_file_name("tls.crt"), "no certificate").unwrap();
    let index = std::fs::read_to_string(&house.config).unwrap();
    let index = index.replace("generation: 8", "generation: 9").replace("Enabled", "Disabled");
    std::fs::write(house.config.with_file_name("next"), index).unwrap();
    std::fs::rename(house.config.with_file_name("next"), &house.config).unwrap();
    until(|| house.server.generation() == 9);
    assert!(ask_by_tls(house.server.addresses().tls.unwrap(), &second.chain).is_ok());
    until(|| house.server.problem().is_some());
    let problem = house.server.problem().unwrap();
    assert!(problem.ends_with("tls.crt is not the one that the index names"), "{problem}");
    // A restart takes what lies there, as far as it can be used.
    std::fs::write(house.config.with_file_name("tls.crt"), &first.chain).unwrap();
    std::fs::write(house.config.with_file_name("tls.key"), &first.key).unwrap();
    let again = Server::start(&paths(house.config), 1, &mut lock(&registry())).unwrap();
    assert!(ask_by_tls(again.addresses().tls.unwrap(), &first.chain).is_ok());
}

#[test]
fn a_folder_that_is_half_written_is_served_once_it_is_whole() {
    let house = house(COMPANY);
    let parts = tempfile::tempdir().unwrap();
    write_folder(&parts.path().join("router.yaml"), &moved(8, "192.0.2.99"), None);
    let copy = |name: &str| {
        let next = house.config.with_file_name("next");
        std::fs::copy(parts.path().join(name), &next).unwrap();
        std::fs::rename(next, house.config.with_file_name(name)).unwrap();
    };
    copy("router.yaml");
    until(|| house.server.problem().is_some());
    let problem = house.server.problem().unwrap();
    assert!(problem.ends_with("site.json.gz is not the one that the index names"), "{problem}");
    assert_eq!((house.server.generation(), house.server.ready()), (7, Ok(())));
    assert!(ask(&house.udp(), &invite("101", "")).contains("@192.0.2.11:5062"));
    copy("site.json.gz");
    until(|| house.server.generation() == 8);
    assert!(ask(&house.udp(), &invite("101", "")).contains("@192.0.2.99:5062"));
    until(|| house.server.problem().is_none());
}

#[test]
fn a_port_that_cannot_be_had_leaves_the_listeners_before() {
    let house = house(COMPANY);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let before = house.server.addresses();
    house.replace_config(&moved(8, "192.0.2.99").replace("tcp: 0", &format!("tcp: {port}")));
    until(|| house.server.problem().is_some());
    assert!(house.server.problem().unwrap().starts_with(&format!("listen on tcp 127.0.0.1:{port}: ")));
    let remark = house.server.remark().unwrap();
    assert!(
        remark.starts_with(&format!("UM1205 PortUnavailable: listen on tcp 127.0.0.1:{port}: ")),
        "{remark}"
    );
    assert_eq!(house.server.addresses(), before);
    // Calls are answered by the new generation, which is not served in all respects.
    assert_eq!(house.server.generation(), 7);
    assert!(ask(&house.udp(), &invite("101", "")).contains("@192.0.2.99:5062"));
    assert_eq!(house.server.ready(), Ok(()));
    // The port becomes free, and nobody has to say so.
    drop(taken);
    until(|| house.server.generation() == 8);
    assert_eq!(house.server.problem(), None);
    assert_eq!(house.server.addresses().tcp.unwrap().port(), port);
}

#[test]
fn an_edit_that_asks_for_the_ports_before_again_leaves_nothing_to_complain_about() {
    let house = house(COMPANY);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    house.replace_config(&moved(8, "192.0.2.11").replace("tcp: 0", &format!("tcp: {port}")));
    until(|| house.server.problem().is_some());
    house.replace_config(&moved(9, "192.0.2.11"));
    until(|| house.server.generation() == 9);
    assert_eq!(house.server.problem(), None);
}

#[test]
fn a_connection_goes_on_while_other_ports_and_its_own_change() {
    let house = house(COMPANY);
    let before = house.server.addresses();
    let mut stream = TcpStream::connect(before.tcp.unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut ask = || {
        stream.write_all(invite("101", "").replace("SIP/2.0/UDP", "SIP/2.0/TCP").as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0; 1];
            stream.read_exact(&mut byte).unwrap();
            answer.extend_from_slice(&byte);
        }
        status(&String::from_utf8(answer).unwrap()).to_owned()
    };
    assert_eq!(ask(), "SIP/2.0 302 Moved Temporarily");
    let [udp, tcp] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    house.replace_config(&moved(8, "192.0.2.11").replace("udp: 0", &format!("udp: {udp}")));
    until(|| house.server.generation() == 8);
    assert_eq!(house.server.addresses().udp.unwrap().port(), udp);
    assert_eq!(house.server.addresses().tcp, before.tcp);
    assert_eq!(ask(), "SIP/2.0 302 Moved Temporarily");
    house.replace_config(&moved(9, "192.0.2.11").replace("tcp: 0", &format!("tcp: {tcp}")));
    until(|| house.server.generation() == 9);
    assert!(TcpStream::connect(before.tcp.unwrap()).is_err());
    assert_eq!(ask(), "SIP/2.0 302 Moved Temporarily");
}

#[test]
fn no_probe_of_a_router_fails_while_it_drains_and_one_that_is_stopped_is_gone() {
    let house = house(COMPANY);
    let socket = house.udp();
    assert_eq!(house.server.ready(), Ok(()));
    house.server.drain();
    assert_eq!(house.server.ready(), Ok(()));
    assert!(house.server.live());
    assert_eq!(house.server.remark().as_deref(), Some("is draining"));
    assert_eq!(status(&ask(&socket, &invite("101", ""))), "SIP/2.0 503 Service Unavailable");
    assert_eq!(house.server.counters().rejected(Code::ServerNotInService), 1);
    let tcp = house.server.addresses().tcp.unwrap();
    house.server.stop();
    assert_eq!(house.server.ready(), Err("is stopped".to_owned()));
    assert!(TcpStream::connect(tcp).is_err());
}

#[test]
fn a_disabled_router_says_so_and_is_not_ready() {
    let house = house(&COMPANY.replace("status: Enabled\n  startup", "status: Disabled\n  startup"));
    assert_eq!(house.server.ready(), Err("status is Disabled".to_owned()));
    assert!(house.server.live());
}

#[test]
fn it_does_not_start_without_a_configuration_or_without_its_ports() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths(folder.path().join("router.yaml"));
    let missing = Server::start(&paths, 1, &mut lock(&registry())).unwrap_err();
    assert!(matches!(missing, StartError::Config(_)), "{missing}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    write_folder(&paths.config, &COMPANY.replace("tcp: 0", &format!("tcp: {port}")), None);
    let taken = Server::start(&paths, 1, &mut lock(&registry())).unwrap_err();
    assert!(matches!(taken, StartError::Listen(_)), "{taken}");
}
