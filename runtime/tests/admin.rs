//! The admin port, over a real socket.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate umbriel_runtime as runtime;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use runtime::admin::{Component, serve};
use runtime::metrics::{ServeMetrics, lock, registry};

/// Serves generation 7, or is full.
struct Part {
    full: AtomicBool,
    failed: AtomicBool,
}

impl Component for Part {
    fn name(&self) -> &str {
        "router"
    }
    fn live(&self) -> bool {
        !self.failed.load(Ordering::Relaxed)
    }
    fn ready(&self) -> Result<(), String> {
        if self.full.load(Ordering::Relaxed) { Err("is full".into()) } else { Ok(()) }
    }
    fn generation(&self) -> u64 {
        7
    }
}

/// The status line's number and the body.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: umbriel\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn it_says_who_lives_who_serves_and_which_generation() {
    let part = Arc::new(Part { full: AtomicBool::new(false), failed: AtomicBool::new(false) });
    let registry = registry();
    ServeMetrics::new().register(&mut lock(&registry), "router");
    let component: Arc<dyn Component> = part.clone();
    let admin = serve(([127, 0, 0, 1], 0).into(), registry, vec![component]).unwrap();
    let ask = |path| get(admin.address(), path);

    assert_eq!(ask("/livez"), (200, "router ok\n".into()));
    assert_eq!(ask("/readyz"), (200, "router ok\n".into()));
    assert_eq!(ask("/generation"), (200, "router 7\n".into()));
    let (status, metrics) = ask("/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("um_worker_restarts_total{server=\"router\"} 0"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"));
    assert_eq!(ask("/elsewhere").0, 404);

    part.full.store(true, Ordering::Relaxed);
    assert_eq!(ask("/readyz"), (503, "router is full\n".into()));
    assert_eq!(ask("/livez").0, 200);
    part.failed.store(true, Ordering::Relaxed);
    assert_eq!(ask("/livez"), (503, "router has failed\n".into()));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = serve(address, registry(), Vec::new()).unwrap_err();
    assert_eq!(error.address, address);
    assert!(error.to_string().starts_with(&format!("open admin port {address}: ")), "{error}");
}
