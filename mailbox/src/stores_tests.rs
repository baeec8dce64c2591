//! Several stores one after the other, and S3 servers that do what none should.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use config::{S3, S3Keys};

use super::*;
use crate::fixtures::id;

/// A server that gives each request the same answer.
fn server(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            // The probe's text ends each request.
            while !request.ends_with(b"{}\n") {
                match stream.read(&mut buffer).unwrap() {
                    0 => break,
                    length => request.extend_from_slice(&buffer[..length]),
                }
            }
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

fn bucket(endpoint: &str) -> config::Store {
    let keys = S3Keys {
        access_key_id: "AKIAEXAMPLE".into(),
        secret_access_key: "wJalrXUtnFEMI".into(),
        authorities: None,
    };
    let (bucket, region) = ("messages".to_owned(), "us-east-1".to_owned());
    config::Store::S3(S3 { bucket, endpoint: Some(endpoint.to_owned()), region, keys })
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn trouble(wanted: &config::Store) -> String {
    let folder = tempfile::tempdir().unwrap();
    let stores = Stores::open(folder.path()).unwrap();
    run(stores.probe(wanted));
    stores.trouble().unwrap()
}

#[test]
fn a_server_that_writes_over_what_is_there_is_found_out() {
    let address = server("HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(
        trouble(&bucket(&format!("http://{address}"))),
        "the message store s3://messages writes over objects that are there: it ignores If-None-Match"
    );
}

#[test]
fn a_server_that_is_not_there_is_named_with_the_reason() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = trouble(&bucket(&format!("http://{address}")));
    assert_eq!(said, "the message store s3://messages cannot be reached: Connection refused (os error 111)");
}

#[test]
fn a_server_whose_certificate_nobody_vouches_for_is_not_used() {
    let (chain, key) = runtime::tls::self_signed("s3.example", [127, 0, 0, 1].into()).unwrap();
    let tls = runtime::tls::server_config(&chain, &key, None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut connection = rustls::ServerConnection::new(Arc::clone(&tls)).unwrap();
            // The handshake fails, as it should.
            let _ = connection.complete_io(&mut stream.unwrap());
        }
    });
    let said = trouble(&bucket(&format!("https://{address}")));
    assert!(said.contains("cannot be reached: invalid peer certificate: "), "{said}");
    let config::Store::S3(mut s3) = bucket(&format!("https://{address}")) else { unreachable!() };
    s3.keys.authorities = Some("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".into());
    let said = trouble(&config::Store::S3(s3));
    assert!(said.contains("fails: ") && said.contains("ca.crt: "), "{said}");
}

#[test]
fn what_was_stored_elsewhere_before_is_still_read() {
    let folder = tempfile::tempdir().unwrap();
    let stores = Stores::open(&folder.path().join("own")).unwrap();
    let at = ("alice", id(1), Object::Audio);
    let shared = config::Store::Folder(folder.path().join("shared"));
    run(stores.create(&config::Store::Own, at, Bytes::from_static(b"own"))).unwrap();
    assert_eq!(run(stores.read(&shared, at)).unwrap(), "own");
    assert!(!run(stores.has(&shared, at)).unwrap());
    run(stores.create(&shared, at, Bytes::from_static(b"shared"))).unwrap();
    assert_eq!(run(stores.read(&shared, at)).unwrap(), "shared");
    assert_eq!(run(stores.read(&config::Store::Own, at)).unwrap(), "own");
    assert_eq!(stores.trouble(), None);
}

#[test]
fn a_folder_that_cannot_be_used_is_used_once_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let stores = Stores::open(&folder.path().join("own")).unwrap();
    let path = folder.path().join("claim");
    fs::write(&path, "not a folder").unwrap();
    let shared = config::Store::Folder(path.clone());
    run(stores.probe(&shared));
    let said = stores.trouble().unwrap();
    assert!(said.starts_with(&format!("the message store {} fails: ", path.display())), "{said}");
    assert_eq!((stores.failures(), stores.recoveries()), (1, 0));
    fs::remove_file(&path).unwrap();
    run(stores.probe(&shared));
    assert_eq!((stores.trouble(), stores.recoveries()), (None, 1));
    assert!(path.join("_umbriel/probe.json").is_file());
}
