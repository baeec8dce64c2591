//! Peers that are not ours: whoever calls, by whatever transport and family of addresses, leaves a message.
//!
//! One table says who calls how, and one what a caller cannot do and why; together they are everything.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use umbriel_tests::audio::{self, Law};
use umbriel_tests::callers::{Baresip, Dialled, LINPHONE, Linphone, Sipp};
use umbriel_tests::kamailio::{KAMAILIO_TLS, Kamailio, Role};
use umbriel_tests::mail::Mail;
use umbriel_tests::site::Site as _;
use umbriel_tests::{House, HouseBuilder, has, skip};

/// Where routers listen for TLS, if nobody says otherwise.
const TLS_PORT: u16 = 5061;

/// Long enough for greeting and tone, and for some seconds after them.
const CALL: Duration = Duration::from_secs(11);

/// Where Kamailio calls from over IPv4.
const KAMAILIO: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 7, 7));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Sipp,
    Baresip,
    Linphone,
    /// Kamailio hands on a call of baresip.
    Proxy,
    /// Kamailio diverts a call of baresip because the user is busy.
    Gateway,
}

const CALLERS: [Caller; 5] =
    [Caller::Sipp, Caller::Baresip, Caller::Linphone, Caller::Proxy, Caller::Gateway];

const TRANSPORTS: [&str; 3] = ["udp", "tcp", "tls"];

/// What a caller cannot do.
struct Hole {
    caller: Caller,
    transport: &'static str,
    reason: &'static str,
    is_still_so: fn() -> bool,
}

const HOLES: [Hole; 1] = [Hole {
    caller: Caller::Sipp,
    transport: "tls",
    reason: "Debian builds sipp without TLS",
    is_still_so: sipp_is_built_without_tls,
}];

fn sipp_is_built_without_tls() -> bool {
    let version = Command::new("sipp").arg("-v").output().unwrap();
    let text = String::from_utf8_lossy(&version.stdout).into_owned();
    text.contains("SIPp v") && !text.contains("TLS")
}

/// Each caller by each transport that it has.
fn ways() -> Vec<(Caller, &'static str)> {
    let all = CALLERS.into_iter().flat_map(|caller| TRANSPORTS.map(|transport| (caller, transport)));
    let is_hole = |way: &(Caller, &str)| HOLES.iter().any(|hole| (hole.caller, hole.transport) == *way);
    all.filter(|way| !is_hole(way)).collect()
}

fn object(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: umbriel.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n")
}

/// A house whose servers listen for TLS too.
fn with_tls() -> HouseBuilder {
    House::builder()
        .file("router.yaml", &object("UMCallRouter", "router", "umStartupMode: Dual"))
        .file("mailbox-server.yaml", &object("UMService", "mailbox", "umStartupMode: Dual"))
}

/// Where the router of a house listens for this transport.
fn router(house: &House, transport: &str) -> SocketAddr {
    let router = house.router();
    if transport == "tls" { SocketAddr::new(router.ip(), TLS_PORT) } else { router }
}

/// One call for 101, as this number.
struct Call {
    caller: Caller,
    transport: &'static str,
    number: String,
    sound: Vec<u8>,
}

impl Call {
    /// Makes it, and gives what the telephone has said.
    fn make(&self, house: &House, kamailio: &Kamailio) -> String {
        let Call { caller, transport, number, sound } = self;
        let dialled =
            Dialled { to: router(house, transport), transport, caller: number, ..Dialled::to(house, "101") };
        let behind = |role| Dialled { to: kamailio.before(role, transport), transport: "udp", ..dialled };
        let baresip = |dialled| Baresip::of(dialled).call(house, sound, CALL);
        match caller {
            Caller::Sipp => {
                let (caller, sound) = (number.clone(), sound.clone());
                let call =
                    Sipp { called: "101", caller, transport, law: Law::Mu, sound, hang_up_after: CALL };
                call.start(house).finish();
                String::new()
            }
            Caller::Baresip => baresip(dialled),
            Caller::Linphone => Linphone { dialled }.call(house, sound, CALL),
            Caller::Proxy => baresip(behind(Role::Proxy)),
            Caller::Gateway => baresip(behind(Role::Gateway)),
        }
    }

    /// The message is what was said, and says what the caller said of it.
    fn is(&self, mail: &Mail, said: &str) {
        let Call { caller, transport, sound, .. } = self;
        let data = &mail.audio.data;
        assert!(data.len() >= 8000, "{caller:?} by {transport}: {} samples\n{said}", data.len());
        assert!(audio::find(sound, data).is_some(), "{caller:?} by {transport}: one piece of it\n{said}");
        let diverted = String::from_utf8_lossy(&mail.raw).contains("Diverted:  busy");
        assert_eq!(diverted, *caller == Caller::Gateway, "{caller:?} by {transport}");
    }
}

/// What the mailbox server has had by this transport.
fn messages_by(house: &House, transport: &str) -> usize {
    let (_, metrics) = house.get("/metrics").unwrap();
    let name = format!(r#"um_sip_messages_received_total{{server="mailbox",transport="{transport}"}} "#);
    metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

/// Everybody calls at once; `first` is the number of the first caller.
fn everybody_leaves_a_message(house: &House, kamailio: &Kamailio, first: u16) {
    let call = |(number, (caller, transport)): (u16, (Caller, &'static str))| Call {
        caller,
        transport,
        number: number.to_string(),
        sound: audio::noise(Law::Mu, u64::from(number), 8000 * 30),
    };
    let calls: Vec<Call> = (first..).zip(ways()).map(call).collect();
    let said: Vec<String> = std::thread::scope(|scope| {
        let making: Vec<_> =
            calls.iter().map(|call| scope.spawn(move || call.make(house, kamailio))).collect();
        making.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let mails = house.wait_for_mails(calls.len());
    assert_eq!(mails.len(), calls.len(), "{}", kamailio.log());
    for (call, said) in calls.iter().zip(&said) {
        let mail = mails.iter().find(|mail| mail.caller == call.number);
        call.is(mail.unwrap_or_else(|| panic!("{:?} by {}: {said}", call.caller, call.transport)), said);
    }
    let log = house.logged();
    assert_eq!(log.matches(r#""event":"redirected""#).count(), calls.len(), "{log}");
    assert_eq!(log.matches(r#""event":"refused""#).count(), 0, "{log}");
    // Each went on as it came: INVITE, ACK and BYE. By UDP some may have been repeated.
    for transport in TRANSPORTS {
        let expected = 3 * calls.iter().filter(|call| call.transport == transport).count();
        let seen = messages_by(house, transport);
        let fits = if transport == "udp" { seen >= expected } else { seen == expected };
        assert!(fits, "{seen} messages by {transport}, of {expected}");
    }
}

fn has_everybody(test: &str) -> bool {
    ["sipp", "baresip", LINPHONE, "kamailio", KAMAILIO_TLS].iter().all(|program| has(program, test))
}

#[test]
fn what_a_caller_cannot_do_is_still_so() {
    for Hole { caller, transport, reason, is_still_so } in HOLES {
        if has("sipp", "what_a_caller_cannot_do_is_still_so") {
            assert!(is_still_so(), "{caller:?} by {transport} is left out because {reason}, which is over");
        }
    }
    assert_eq!(ways().len() + HOLES.len(), CALLERS.len() * TRANSPORTS.len());
}

#[test]
fn everybody_leaves_a_message_over_ipv4() {
    if !has_everybody("everybody_leaves_a_message_over_ipv4") {
        return;
    }
    let gateway = object("UMIPGateway", "proxy", &format!("address: {KAMAILIO}, umDialPlan: contoso"));
    let house = with_tls().file("proxy.yaml", &gateway).start();
    let kamailio = Kamailio::start(&house, TLS_PORT, KAMAILIO);
    everybody_leaves_a_message(&house, &kamailio, 200);
    // What Kamailio hands on is its own call, not that of the telephone behind it. For a connection the system picks
    // the address that it comes from, which is that of the telephones: those by UDP show it.
    let log = house.logged();
    let redirected = log.lines().filter(|line| line.contains(r#""event":"redirected""#));
    let handed_on = redirected.filter(|line| line.contains(r#""gateway":"proxy""#)).count();
    assert_eq!(handed_on, 2, "{log}");
}

#[test]
fn everybody_leaves_a_message_over_ipv6_where_a_prefix_is_the_gateway() {
    let test = "everybody_leaves_a_message_over_ipv6_where_a_prefix_is_the_gateway";
    let own = IpAddr::V6(Ipv6Addr::LOCALHOST);
    if UdpSocket::bind((own, 0)).is_err() {
        return skip(test, "this machine has no IPv6");
    }
    if !has_everybody(test) {
        return;
    }
    let gateway = object("UMIPGateway", "pbx", "address: '::/127'");
    let house = with_tls().address(own).file("gateway.yaml", &gateway).start();
    let kamailio = Kamailio::start(&house, TLS_PORT, own);
    everybody_leaves_a_message(&house, &kamailio, 230);
}

/// A house with a dial plan that asks for this.
fn protected(security: &str) -> House {
    let plan = format!("numberOfDigitsInExtension: 3, voIPSecurity: {security}");
    with_tls().file("dialplan.yaml", &object("UMDialPlan", "contoso", &plan)).start()
}

/// What baresip prints of a call for 101 that it makes by TLS.
fn call_by_tls(house: &House, encrypts: bool, sound: &[u8]) -> String {
    let to = router(house, "tls");
    let dialled = Dialled { to, transport: "tls", ..Dialled::to(house, "101") };
    Baresip { encrypts, ..Baresip::of(dialled) }.call(house, sound, CALL)
}

/// The only message is one piece of what was said.
fn the_only_message_is(house: &House, sound: &[u8], text: &str) {
    let mails = house.wait_for_mails(1);
    assert!(mails[0].audio.data.len() >= 8000, "{} samples\n{text}", mails[0].audio.data.len());
    assert!(audio::find(sound, &mails[0].audio.data).is_some(), "it is one piece of what was said\n{text}");
}

#[test]
fn a_call_by_tls_leaves_a_message_where_the_dial_plan_asks_for_it() {
    let test = "a_call_by_tls_leaves_a_message_where_the_dial_plan_asks_for_it";
    if !has("baresip", test) {
        return;
    }
    let house = protected("SIPSecured");
    let sound = audio::noise(Law::Mu, 31, 8000 * 30);
    let text = call_by_tls(&house, false, &sound);
    assert!(text.contains("Call established"), "{text}");
    the_only_message_is(&house, &sound, &text);
    // It came by the protected port of each server, and in the clear it does not come at all.
    let log = house.logged();
    assert!(log.contains(r#""event":"redirected""#) && log.contains(r#""mailbox":"alice""#), "{log}");
    let text = Baresip::of(Dialled::to(&house, "101")).call(&house, &sound, CALL);
    assert!(text.contains("session closed: 403 Forbidden"), "{text}");
    assert!(house.logged().contains(r#""code":"UM1108""#));
}

#[test]
fn where_the_dial_plan_asks_for_it_audio_is_encrypted_and_in_the_clear_it_is_refused() {
    let test = "where_the_dial_plan_asks_for_it_audio_is_encrypted_and_in_the_clear_it_is_refused";
    if !has("baresip", test) {
        return;
    }
    let house = protected("Secured");
    let sound = audio::noise(Law::Mu, 32, 8000 * 30);
    let text = call_by_tls(&house, true, &sound);
    assert!(text.contains("Call established"), "{text}");
    the_only_message_is(&house, &sound, &text);
    let text = call_by_tls(&house, false, &sound);
    assert!(text.contains("session closed: 488 Not Acceptable Here"), "{text}");
    assert!(house.logged().contains(r#""code":"UM1130""#), "{}", house.logged());
}
