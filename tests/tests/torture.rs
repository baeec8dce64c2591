//! The messages of RFC 4475 and RFC 5118 against a running router, by every transport.
//!
//! Decides nothing about SIP: what each message is answered stands in `docs/torture.md`, which this
//! reads and holds the router to. After each of them a good call is redirected.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

#[path = "../../sip/tests/messages/mod.rs"]
mod messages;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use messages::{Case, Outcome, RFC4475, RFC5118};
use umbriel_tests::site::Site as _;
use umbriel_tests::{House, tls};

/// Whatever is waited for comes well within this, or never.
const PATIENCE: Duration = Duration::from_secs(20);

/// Another worker answers what came before a good call within this, also on a busy machine.
const ANOTHER_WORKER: Duration = Duration::from_millis(200);

/// A good call by UDP is sent again after this, as SIP does.
const REPEAT_AFTER: Duration = Duration::from_millis(500);

/// The ports that the messages name in their topmost Via: that is where their answers go.
const PORTS_IN_VIA: [u16; 5] = [5060, 5050, 5070, 6050, 19823];

/// One row of the table.
struct Row {
    name: String,
    section: String,
    by_datagram: String,
    by_stream: String,
}

fn table() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/torture.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let row = |line: &str| {
        let cells: Vec<_> = line.trim_end_matches('|').split(" | ").map(str::trim).collect();
        let [name, section, by_datagram, by_stream, why] = cells[..] else { panic!("five cells: {line}") };
        assert!(!why.is_empty(), "{name}: a reason");
        Row {
            name: name.trim_end_matches('`').to_owned(),
            section: section.to_owned(),
            by_datagram: by_datagram.to_owned(),
            by_stream: by_stream.to_owned(),
        }
    };
    rows.map(row).collect()
}

/// Every message with its row, in the order of the RFCs.
fn cases() -> Vec<(&'static Case, Row)> {
    let rows = table();
    let cases: Vec<&Case> = RFC4475.iter().chain(&RFC5118).collect();
    let in_table: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.section.as_str())).collect();
    let in_rfcs: Vec<_> = cases.iter().map(|case| (case.name, case.section)).collect();
    assert_eq!(in_table, in_rfcs, "docs/torture.md has every message, in order");
    cases.into_iter().zip(rows).collect()
}

/// A gateway's address of this process, for datagrams: their answers go to ports of its own.
fn datagram_gateway(house: IpAddr) -> IpAddr {
    let IpAddr::V4(house) = house else { panic!("houses have IPv4 addresses") };
    let [net, low, high, _] = house.octets();
    IpAddr::V4(Ipv4Addr::new(net, low, high, 250))
}

fn house() -> House {
    let house = House::builder()
        .file(
            "router.yaml",
            "apiVersion: umbriel.dev/v1alpha1\nkind: UMCallRouter\nmetadata: {name: router}\nspec: {umStartupMode: Dual}\n",
        )
        .start();
    let gateway = datagram_gateway(house.address);
    house.write(
        "datagrams.yaml",
        &format!(
            "apiVersion: umbriel.dev/v1alpha1\nkind: UMIPGateway\nmetadata: {{name: datagrams}}\n\
             spec: {{address: {gateway}}}\n---\n\
             apiVersion: umbriel.dev/v1alpha1\nkind: UMHuntGroup\nmetadata: {{name: datagrams}}\n\
             spec: {{umIPGateway: datagrams, umDialPlan: contoso}}\n"
        ),
    );
    house
}

/// An INVITE that is redirected, with an identity of its own.
fn good_call(transport: &str, identity: &str) -> String {
    format!(
        "INVITE sip:101@umbriel.example SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1;rport;branch=z9hG4bK{identity}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:200@pbx.example>;tag=f\r\nTo: <sip:101@umbriel.example>\r\n\
         Call-ID: {identity}\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    )
}

/// What an answer is, as the table writes it.
fn written(answer: &str) -> String {
    let status = answer.split(' ').nth(1).unwrap_or_default();
    let code = answer.split_once("text=\"").map(|(_, text)| text.split(' ').next().unwrap_or_default());
    code.map_or(status.to_owned(), |code| format!("{status} {code}"))
}

fn is_of(answer: &str, identity: &str) -> bool {
    answer.contains(&format!("Call-ID: {identity}\r\n"))
}

fn listed(answers: &[String]) -> String {
    if answers.is_empty() {
        return "no answer".to_owned();
    }
    answers.iter().map(|answer| written(answer)).collect::<Vec<_>>().join(", ")
}

/// The sockets of a gateway that sends datagrams.
struct Datagrams {
    sockets: Vec<UdpSocket>,
    router: SocketAddr,
}

impl Datagrams {
    fn new(gateway: IpAddr, router: SocketAddr) -> Self {
        let socket = |port: &u16| {
            let socket = UdpSocket::bind((gateway, *port)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        Datagrams { sockets: PORTS_IN_VIA.iter().map(socket).collect(), router }
    }

    fn heard(&self) -> Vec<String> {
        let mut buffer = [0; 65_535];
        let mut heard = Vec::new();
        for socket in &self.sockets {
            while let Ok(length) = socket.recv(&mut buffer) {
                heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
        }
        heard
    }

    /// Sends a message and then a good call. Chance gives each of them to a worker of its own, so that
    /// the answer to the message may come a little after that to the call.
    fn outcome(&self, bytes: &[u8], identity: &str) -> String {
        self.sockets[0].send_to(bytes, self.router).unwrap();
        let call = good_call("UDP", identity);
        let mut answers = Vec::new();
        let began = Instant::now();
        let mut sent: Option<Instant> = None;
        let mut redirected: Option<Instant> = None;
        loop {
            assert!(began.elapsed() < PATIENCE, "{identity}: a good call is not answered");
            if sent.is_none_or(|at| at.elapsed() > REPEAT_AFTER) {
                self.sockets[0].send_to(call.as_bytes(), self.router).unwrap();
                sent = Some(Instant::now());
            }
            let (good, others): (Vec<_>, Vec<_>) =
                self.heard().into_iter().partition(|answer| is_of(answer, identity));
            // An earlier good call may have been repeated and so answered twice.
            answers.extend(others.into_iter().filter(|answer| !answer.contains("Call-ID: good-")));
            for good in good {
                assert!(good.starts_with("SIP/2.0 302 "), "{identity}: {good}");
                redirected.get_or_insert_with(Instant::now);
            }
            if redirected.is_some_and(|at| at.elapsed() > ANOTHER_WORKER) {
                return listed(&answers);
            }
            std::thread::yield_now();
        }
    }
}

/// A connection of a gateway, in the clear or not.
trait Line: Read + Write {
    fn end(&mut self);
}

impl Line for TcpStream {
    fn end(&mut self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Line for tls::Stream {
    fn end(&mut self) {
        self.conn.send_close_notify();
        self.flush().unwrap();
    }
}

/// Opens connections to the router.
type Open<'a> = dyn Fn() -> Box<dyn Line> + 'a;

fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Reads answers until the good call is redirected; whether the connection was closed instead.
fn read(line: &mut dyn Line, identity: &str) -> (Vec<String>, bool) {
    let (mut waiting, mut answers) = (Vec::new(), Vec::new());
    let mut buffer = [0; 65_535];
    loop {
        match line.read(&mut buffer) {
            Ok(0) => return (answers, true),
            Ok(length) => waiting.extend_from_slice(&buffer[..length]),
            Err(error) => {
                let ends = [std::io::ErrorKind::ConnectionReset, std::io::ErrorKind::UnexpectedEof];
                assert!(ends.contains(&error.kind()), "{identity}: neither an answer nor an end: {error}");
                return (answers, true);
            }
        }
        // Line ends between messages of a stream are a keep-alive, which is answered by one.
        while waiting.starts_with(b"\r\n") {
            waiting.drain(..2);
        }
        // No answer of a router has a body.
        while let Some(end) = waiting.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let answer: Vec<u8> = waiting.drain(..end + 4).collect();
            let answer = String::from_utf8_lossy(&answer).into_owned();
            if is_of(&answer, identity) {
                assert!(answer.starts_with("SIP/2.0 302 "), "{identity}: {answer}");
                return (answers, false);
            }
            answers.push(answer);
        }
    }
}

/// Sends a message and then a good call over one connection. Where the message ends the connection,
/// or takes what follows for its body, the good call goes over the next one.
fn outcome(open: &Open<'_>, transport: &str, bytes: &[u8], identity: &str, waits: bool) -> String {
    let call = good_call(transport, identity);
    let mut line = open();
    line.write_all(bytes).unwrap();
    if waits {
        line.end();
    } else {
        // A connection that is closed already takes no more.
        let _closed = line.write_all(call.as_bytes());
    }
    let (answers, closed) = read(line.as_mut(), identity);
    if !closed {
        return listed(&answers);
    }
    let mut next = open();
    next.write_all(call.as_bytes()).unwrap();
    let (before, gone) = read(next.as_mut(), identity);
    assert!(before.is_empty() && !gone, "{identity}: a good call over another connection");
    let end = if waits { "waits" } else { "closed" };
    if answers.is_empty() { end.to_owned() } else { format!("{}, {end}", listed(&answers)) }
}

#[test]
fn every_message_has_its_outcome_over_udp_tcp_and_tls_and_a_good_call_follows() {
    let house = house();
    let router = house.router();
    let protected = SocketAddr::new(router.ip(), 5061);
    let datagrams = Datagrams::new(datagram_gateway(house.address), router);
    let by_tcp = || Box::new(tcp(router)) as Box<dyn Line>;
    let by_tls = || Box::new(tls::protect(tcp(protected), protected).unwrap()) as Box<dyn Line>;
    umbriel_tests::wait_until("both gateways are served", PATIENCE, || {
        datagrams.sockets[0].send_to(good_call("UDP", "good-0").as_bytes(), router).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        datagrams.heard().iter().any(|answer| answer.starts_with("SIP/2.0 302 ")).then_some(())
    });
    let mut wrong = Vec::new();
    for (case, row) in cases() {
        let bytes = case.wire();
        let waits = row.by_stream == "waits";
        let identity = |transport: &str| format!("good-{}-{transport}", case.name);
        let found = [
            datagrams.outcome(&bytes, &identity("udp")),
            outcome(&by_tcp, "TCP", &bytes, &identity("tcp"), waits),
            outcome(&by_tls, "TLS", &bytes, &identity("tls"), waits),
        ];
        if found != [&row.by_datagram, &row.by_stream, &row.by_stream].map(String::as_str) {
            wrong.push(format!(
                "{} {}: {found:?}, and the table says {} and {}",
                case.name, case.section, row.by_datagram, row.by_stream
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What the RFC asks for is said twice: for a reader of messages in `sip/tests/messages`, and for a
/// router in the table. A status that the reader gives is what the router sends, too.
#[test]
fn the_table_gives_what_each_rfc_asks_for() {
    for (case, row) in cases() {
        let router = row.by_datagram.as_str();
        let fits = match case.outcome {
            Outcome::Answered(status) => router.starts_with(&status.to_string()),
            Outcome::Dropped => router == "no answer",
            // Neither malformed nor too new for us, whatever becomes of the call.
            Outcome::Accepted => {
                !["400", "416", "420", "501", "505", "513"].iter().any(|no| router.starts_with(no))
            }
        };
        assert!(
            fits,
            "{} {}: {router}, {:?} because {}",
            case.name, case.section, case.outcome, case.because
        );
    }
}
