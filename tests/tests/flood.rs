//! A flood of noise and of calls from strangers: memory and the log stay bounded, nobody gets more than
//! was sent, and good calls are answered.
//!
//! Decides nothing about speed. How fast the flood is, is a matter of the machine; that it was one is
//! held by what the router has counted.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use umbriel_tests::House;
use umbriel_tests::phone::{Phone, Transport};
use umbriel_tests::site::Site as _;

/// Each flooder sends to the very end.
const FLOODERS: u8 = 2;

/// Good calls that are placed, one after the other, while it lasts.
const CALLS: u64 = 6;

/// Datagrams that make a flood: the router has handled so many of strangers, and dropped them.
const A_FLOOD: u64 = 50_000;

/// Memory that a flood may take for as long as it lasts, KiB. The receive buffers are the kernel's.
const MORE_MEMORY_KIB: u64 = 16 * 1024;

/// Lines of the log that one worker writes in one second about unknown peers, and the one that says how many it
/// left out.
const LINES_PER_SECOND: u64 = 20 + 1;

/// A stranger, and what went between it and the router.
struct Stranger {
    socket: UdpSocket,
    router: SocketAddr,
    sent_bytes: AtomicU64,
    answers: AtomicU64,
    answered_bytes: AtomicU64,
}

impl Stranger {
    fn new(address: Ipv4Addr, router: SocketAddr) -> Self {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let zero = AtomicU64::default;
        Stranger { socket, router, sent_bytes: zero(), answers: zero(), answered_bytes: zero() }
    }

    fn invite(&self, number: u64) -> Vec<u8> {
        let us = self.socket.local_addr().unwrap();
        format!(
            "INVITE sip:{number}@{router} SIP/2.0\r\nVia: SIP/2.0/UDP {us};rport;branch=z9hG4bK{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:probe@{us}>;tag={number}\r\nTo: <sip:{number}@{router}>\r\n\
             Call-ID: stranger-{number}\r\nCSeq: 1 INVITE\r\nContact: <sip:probe@{us}>\r\n\
             User-Agent: friendly-scanner, which tries whatever it finds until somebody answers it\r\n\
             Content-Length: 0\r\n\r\n",
            router = self.router
        )
        .into_bytes()
    }

    /// Noise and INVITEs in turn, as fast as the kernel takes them.
    fn flood(&self, over: &AtomicBool) {
        let noise = [0x80_u8; 172];
        let mut buffer = [0; 65_535];
        let mut number = 0;
        while !over.load(Ordering::Relaxed) {
            number += 1;
            let invite = self.invite(number);
            for bytes in [&noise[..], &invite] {
                if let Ok(length) = self.socket.send_to(bytes, self.router) {
                    self.sent_bytes.fetch_add(length as u64, Ordering::Relaxed);
                }
            }
            while let Ok(length) = self.socket.recv(&mut buffer) {
                assert!(
                    buffer.starts_with(b"SIP/2.0 403 "),
                    "{}",
                    String::from_utf8_lossy(&buffer[..length])
                );
                self.answers.fetch_add(1, Ordering::Relaxed);
                self.answered_bytes.fetch_add(length as u64, Ordering::Relaxed);
            }
        }
    }
}

fn resident_kib(house: &House) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", house.pid().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// The sum of a counter over its labels that have `label`.
fn counted(house: &House, counter: &str, label: &str) -> u64 {
    let text = house.get("/metrics").unwrap().1;
    let lines = text.lines().filter(|line| line.starts_with(counter) && line.contains(label));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn dropped(house: &House) -> u64 {
    counted(house, "um_router_messages_dropped_total", "unknown_peer")
}

/// Places good calls until the flood was one, and for so many calls at least.
fn call(house: &House) -> u64 {
    let began = Instant::now();
    let mut calls = 0;
    while calls < CALLS || dropped(house) < A_FLOOD {
        assert!(began.elapsed() < Duration::from_secs(60), "{} datagrams are no flood", dropped(house));
        // A datagram that a full buffer loses is no fault of the router; a stream loses nothing.
        let mut phone = Phone::dial(house.caller(), house.router(), Transport::Tcp, "101", calls);
        phone.hang_up();
        calls += 1;
    }
    calls
}

#[test]
fn a_flood_takes_no_memory_and_few_lines_and_good_calls_are_answered() {
    let house = House::builder().start();
    Phone::call(&house, "101", 1_000).hang_up();
    let (before_kib, before_lines) = (resident_kib(&house), house.logged().lines().count() as u64);
    let IpAddr::V4(own) = house.address else { panic!("houses have IPv4 addresses") };
    let [_, low, high, _] = own.octets();
    let strangers: Vec<_> = (0..FLOODERS)
        .map(|number| Stranger::new(Ipv4Addr::new(127, low, high, 240 + number), house.router()))
        .collect();
    let over = AtomicBool::new(false);
    let began = Instant::now();
    let calls = std::thread::scope(|threads| {
        for stranger in &strangers {
            let over = &over;
            threads.spawn(move || stranger.flood(over));
        }
        let calls = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call(&house)));
        over.store(true, Ordering::Relaxed);
        calls
    })
    .unwrap();
    // The clock's seconds that this began and ended in count whole.
    let seconds = began.elapsed().as_secs() + 2;

    // By UDP the first call may have been asked for twice.
    assert!(counted(&house, "um_router_calls_redirected_total", "") > calls);
    for stranger in &strangers {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (answers, bytes) = (read(&stranger.answers), read(&stranger.answered_bytes));
        assert!((1..=seconds).contains(&answers), "{answers} answers in {seconds} s");
        assert!(bytes <= read(&stranger.sent_bytes), "{bytes} bytes");
    }
    let more_kib = resident_kib(&house).saturating_sub(before_kib);
    assert!(more_kib < MORE_MEMORY_KIB, "{more_kib} KiB more");
    // What good calls write, at most ten lines each, stays.
    let lines = house.logged().lines().count() as u64 - before_lines;
    let workers = std::thread::available_parallelism().unwrap().get() as u64;
    let most = seconds * LINES_PER_SECOND * workers + calls * 10;
    assert!(lines <= most, "{lines} lines in {seconds} s by {workers} workers");
}

#[test]
fn strangers_that_are_ignored_get_no_answer_and_a_change_of_mind_is_served() {
    let router = |peers: &str| {
        format!(
            "apiVersion: umbriel.dev/v1alpha1\nkind: UMCallRouter\nmetadata: {{name: router}}\n\
             spec: {{unknownPeers: {peers}}}\n"
        )
    };
    let house = House::builder().file("router.yaml", &router("Ignore")).start();
    let IpAddr::V4(own) = house.address else { panic!("houses have IPv4 addresses") };
    let [_, low, high, _] = own.octets();
    let stranger = Stranger::new(Ipv4Addr::new(127, low, high, 240), house.router());
    let mut number = 0;
    let mut asked = || {
        number += 1;
        stranger.socket.send_to(&stranger.invite(number), stranger.router).unwrap();
    };
    asked();
    umbriel_tests::wait_until("it is dropped", Duration::from_secs(20), || {
        (dropped(&house) == 1).then_some(())
    });
    let mut buffer = [0; 65_535];
    assert!(stranger.socket.recv(&mut buffer).is_err(), "nothing comes back");
    Phone::call(&house, "101", 1).hang_up();
    house.write("router.yaml", &router("Refuse"));
    umbriel_tests::wait_until("strangers are refused", Duration::from_secs(20), || {
        asked();
        std::thread::sleep(Duration::from_millis(50));
        stranger.socket.recv(&mut buffer).is_ok().then_some(())
    });
    assert!(buffer.starts_with(b"SIP/2.0 403 "));
}
