//! Thousands of peers at once that are slow on purpose, or just there: a good gateway does not notice, what they hold
//! is bounded, and whoever reaches a limit is closed and counted.
//!
//! Decides nothing about speed: how soon a good gateway is answered meanwhile is measured by `make bench`.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use umbriel_tests::House;
use umbriel_tests::phone::{Phone, Transport};
use umbriel_tests::site::Site as _;

/// Slow peers of each kind.
const PEERS: u16 = 1_000;

/// Gateways that read slowly, each by many connections: whoever is no gateway gets one answer in a second.
const SLOW_GATEWAYS: u16 = 4;

/// An answer to a good gateway comes well within this, also on a busy machine.
const AN_ANSWER: Duration = Duration::from_secs(5);

/// Until all slow peers are closed: the longest limit is 10 s.
const UNTIL_CLOSED: Duration = Duration::from_secs(60);

/// Memory that each of them takes at most, KiB.
const A_PEERS_MEMORY_KIB: u64 = 32;

/// What a slow peer does once in a second.
enum Slowness {
    /// Asks for one more answer, and reads a byte.
    Reads,
    /// Writes the next byte of one message.
    Writes,
    /// Nothing: it has not begun its handshake.
    SaysNothing,
}

struct SlowPeer {
    stream: TcpStream,
    slowness: Slowness,
    sent: usize,
}

fn address(net: u16, number: u16) -> Ipv4Addr {
    // Addresses of 127.0 are left to callers.
    let [high, low] = (number + 1).to_be_bytes();
    Ipv4Addr::new(127, 0, u8::try_from(net).unwrap() + high, low)
}

fn slow_gateway(number: u16) -> Ipv4Addr {
    address(150, number % SLOW_GATEWAYS)
}

fn options(transport: &str, number: usize) -> String {
    format!(
        "OPTIONS sip:umbriel.example SIP/2.0\r\nVia: SIP/2.0/{transport} pbx.example;rport;branch=z9hG4bK{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:pbx.example>;tag=f\r\nTo: <sip:umbriel.example>\r\n\
         Call-ID: {number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

impl SlowPeer {
    fn connect(from: Ipv4Addr, to: SocketAddr, slowness: Slowness) -> Self {
        let stream = connect(from, to);
        stream.set_nonblocking(true).unwrap();
        SlowPeer { stream, slowness, sent: 0 }
    }

    /// One second of it. What the router closed stays closed.
    fn go_on(&mut self, questions: &str) {
        match self.slowness {
            Slowness::SaysNothing => (),
            Slowness::Writes => {
                let rest = &questions.as_bytes()[self.sent..=self.sent];
                self.sent += self.stream.write(rest).unwrap_or_default();
            }
            Slowness::Reads => {
                let one = &questions.as_bytes()[self.sent..][..options("TCP", 0).len()];
                self.sent += self.stream.write(one).unwrap();
                // Whether there is one makes no difference.
                let _one_byte = self.stream.read(&mut [0; 1]);
            }
        }
    }
}

fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_send_buffer_size(4096).unwrap();
    socket.bind(&SocketAddrV4::new(from, 0).into()).unwrap();
    socket.connect_timeout(&to.into(), AN_ANSWER).unwrap();
    socket.into()
}

fn slow_peers(house: &House) -> Vec<SlowPeer> {
    let (clear, protected) = (house.router(), SocketAddr::new(house.address, 5061));
    let of = |number| {
        [
            SlowPeer::connect(slow_gateway(number), clear, Slowness::Reads),
            SlowPeer::connect(address(160, number), clear, Slowness::Writes),
            SlowPeer::connect(address(170, number), protected, Slowness::SaysNothing),
        ]
    };
    (0..PEERS).flat_map(of).collect()
}

/// The gateway that is not slow.
struct GoodGateway {
    datagrams: UdpSocket,
    stream: TcpStream,
    asked: usize,
}

impl GoodGateway {
    fn new(house: &House) -> Self {
        let datagrams = UdpSocket::bind((house.caller(), 0)).unwrap();
        datagrams.connect(house.router()).unwrap();
        datagrams.set_read_timeout(Some(AN_ANSWER)).unwrap();
        let stream = TcpStream::connect(house.router()).unwrap();
        stream.set_read_timeout(Some(AN_ANSWER)).unwrap();
        GoodGateway { datagrams, stream, asked: 0 }
    }

    /// Asks by UDP and by TCP, and has both answers in time.
    fn ask(&mut self) {
        let mut buffer = [0; 4096];
        let number = self.asked;
        self.asked += 1;
        self.datagrams.send(options("UDP", number).as_bytes()).unwrap();
        let length = self.datagrams.recv(&mut buffer).expect("an answer by UDP in time");
        check(&buffer[..length], number);
        self.stream.write_all(options("TCP", number).as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let length = self.stream.read(&mut buffer).expect("an answer by TCP in time");
            assert_ne!(length, 0, "the good connection stays open");
            answer.extend_from_slice(&buffer[..length]);
        }
        check(&answer, number);
    }
}

fn check(answer: &[u8], number: usize) {
    let answer = String::from_utf8_lossy(answer);
    assert!(answer.starts_with("SIP/2.0 200 OK\r\n"), "{answer}");
    assert!(answer.contains(&format!("Call-ID: {number}\r\n")), "{answer}");
}

/// How many connections the router has closed for one of these reasons.
fn closed(house: &House, reasons: &[&str]) -> u64 {
    let metrics = house.get("/metrics").unwrap().1;
    let of_router = "um_sip_connections_closed_total{server=\"router\",";
    let lines = metrics.lines().filter(|line| line.starts_with(of_router));
    let wanted = |line: &&str| reasons.iter().any(|reason| line.contains(&format!("reason=\"{reason}\"")));
    lines.filter(wanted).map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn most_resident_kib(house: &House) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", house.pid().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn house() -> House {
    let object = |kind: &str, name: &str, spec: &str| {
        format!(
            "---\napiVersion: umbriel.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        )
    };
    let gateways: String = (0..SLOW_GATEWAYS)
        .map(|number| {
            let name = format!("slow-{number}");
            let plan = format!("{{umIPGateway: {name}, umDialPlan: contoso}}");
            object("UMIPGateway", &name, &format!("{{address: {}}}", slow_gateway(number)))
                + &object("UMHuntGroup", &name, &plan)
        })
        .collect();
    House::builder()
        .file("router.yaml", &object("UMCallRouter", "router", "{umStartupMode: Dual}"))
        .file("slow.yaml", &gateways)
        .start()
}

#[test]
fn a_good_gateway_does_not_notice_three_thousand_slow_peers_and_they_are_closed_at_their_limits() {
    runtime::raise_open_files();
    let house = house();
    let mut good = GoodGateway::new(&house);
    good.ask();
    let before_kib = most_resident_kib(&house);
    let questions: String = (0..2 * UNTIL_CLOSED.as_secs()).map(|_| options("TCP", 0)).collect();

    let mut slow = slow_peers(&house);
    let began = Instant::now();
    let mut seconds = 0;
    let of = |reasons: &[&str]| closed(&house, reasons);
    let all_closed = || [&["slow_message"], &["handshake"]].iter().all(|why| of(*why) >= u64::from(PEERS));
    while !all_closed() {
        assert!(
            began.elapsed() < UNTIL_CLOSED,
            "slow_message {}, handshake {}",
            of(&["slow_message"]),
            of(&["handshake"])
        );
        if began.elapsed() >= Duration::from_secs(seconds) {
            seconds += 1;
            slow.iter_mut().for_each(|peer| peer.go_on(&questions));
        }
        (0..10).for_each(|_| good.ask());
    }
    let more_kib = most_resident_kib(&house) - before_kib;
    assert!(more_kib < u64::from(3 * PEERS) * A_PEERS_MEMORY_KIB, "{more_kib} KiB more");
    assert_eq!(closed(&house, &["cap", "peer_cap", "malformed", "slow_reader", "memory"]), 0);
    let ended = |peer: &mut SlowPeer| match peer.stream.read(&mut [0; 4096]) {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    };
    slow.retain(|peer| !matches!(peer.slowness, Slowness::Reads));
    assert!(slow.iter_mut().all(ended), "who is closed is told");
    good.ask();
}

/// Connections of strangers that a router takes: docs/limits.md.
const STRANGERS: u16 = 3_072;

#[test]
fn a_gateway_calls_though_strangers_have_all_the_connections_that_they_may_have() {
    runtime::raise_open_files();
    let house = House::builder().start();
    // One peer may have 1,024.
    let stranger = |number: u16| connect(address(180, number % 4), house.router());
    let strangers: Vec<_> = (0..STRANGERS).map(stranger).collect();
    let refused: Vec<_> = (0..10).map(stranger).collect();
    umbriel_tests::wait_until("strangers have all that they may have", AN_ANSWER, || {
        (closed(&house, &["stranger_cap"]) == 10).then_some(())
    });
    for seed in 0..3 {
        Phone::dial(house.caller(), house.router(), Transport::Tcp, "101", seed).hang_up();
    }
    assert_eq!(closed(&house, &["cap", "peer_cap", "stranger_cap"]), 10);
    drop((strangers, refused));
}
