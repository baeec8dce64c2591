//! A worker that fails says so in the log, by its code. In a program of its own, whose log it has to itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate umbriel_runtime as runtime;

#[path = "transports/echo.rs"]
#[allow(dead_code, reason = "only datagrams are sent here")]
mod echo;

use std::io;
use std::sync::{Arc, Mutex};

use echo::{message, receive, settings, start, subject, udp};

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn each_worker_that_fails_is_one_line_of_the_log_with_its_code_and_place() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).init();
    let settings = settings();
    let server = start(&settings);
    let socket = udp(server.addresses().udp.unwrap());
    for text in ["w1 panic", "w1 after"] {
        socket.send(&message(text, "")).unwrap();
    }
    assert!(subject(&receive(&socket)).ends_with("life=2 length=66 heard=w1 after"));
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("\"UM1208\"")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    for part in ["\"level\":\"ERROR\"", "\"server\":\"echo\"", "\"worker\":1"] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    assert_eq!(settings.metrics.restarts(), 1);
}
