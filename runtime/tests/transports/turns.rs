//! How much of one connection is handled before others have their turn.

use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use runtime::{Core, Limits, Now, Outbox, ServeSettings, Source, serve};

use crate::connections::Reader;
use crate::echo::{PATIENCE, loopback, message, receive, subject, tcp, udp};

/// Answers which message it was that came, of all, and before that to `wait` waits.
struct Counting {
    came: usize,
    waits: Sender<()>,
    go_on: Receiver<()>,
}

impl Core for Counting {
    type Note = ();

    fn handle(&mut self, bytes: &[u8], from: Source<'_>, _now: Now, out: &mut Outbox) {
        if subject(bytes) == "wait" {
            self.waits.send(()).unwrap();
            self.go_on.recv_timeout(PATIENCE).unwrap();
        }
        self.came += 1;
        out.sip(from.peer, &message(&self.came.to_string(), ""));
    }

    fn handle_note(&mut self, (): (), _now: Now, _out: &mut Outbox) {}

    fn handle_timeout(&mut self, _now: Now, _out: &mut Outbox) {}

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

#[test]
fn a_connection_that_asks_without_a_break_keeps_nobody_else_waiting() {
    const WITHOUT_A_BREAK: usize = 1_000;
    let ((waits, waiting), (go_on, gone_on)) = (channel(), channel());
    let core = Mutex::new(Some(Counting { came: 0, waits, go_on: gone_on }));
    let settings =
        ServeSettings { udp: Some(loopback()), tcp: Some(loopback()), ..ServeSettings::new("turns", 1) };
    let server = serve(&settings, move |_| core.lock().unwrap().take().unwrap()).unwrap();
    let address = server.addresses().tcp.unwrap();
    let [mut busy, mut other, mut busy_too] = [(); 3].map(|()| tcp(address));
    for stream in [&mut busy, &mut other, &mut busy_too] {
        stream.write_all(&message("?", "")).unwrap();
        Reader::new(stream).next();
    }
    let datagrams = udp(server.addresses().udp.unwrap());

    // What all of them ask lies there when the worker goes on.
    datagrams.send(&message("wait", "")).unwrap();
    waiting.recv_timeout(PATIENCE).unwrap();
    let without_a_break = message("?", "").repeat(WITHOUT_A_BREAK);
    busy.write_all(&without_a_break).unwrap();
    other.write_all(&message("?", "")).unwrap();
    busy_too.write_all(&without_a_break).unwrap();
    datagrams.send(&message("?", "")).unwrap();
    go_on.send(()).unwrap();

    // Each of the busy ones has had its turn once or twice.
    let soon = 1..=4 * Limits::default().messages_per_turn;
    let by_tcp: usize = Reader::new(&other).next().parse().unwrap();
    assert!(soon.contains(&by_tcp), "the {by_tcp}th");
    receive(&datagrams);
    let by_udp: usize = subject(&receive(&datagrams)).parse().unwrap();
    assert!(soon.contains(&by_udp), "the {by_udp}th");
    for stream in [busy, busy_too] {
        let mut answers = Reader::new(stream);
        (0..WITHOUT_A_BREAK).for_each(|_| drop(answers.next()));
    }
}
