//! What `umbriel explain` says and what the router answers are the same, call by call.

use std::fs;
use std::net::IpAddr;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use config::parts::{TOKEN_KEYS_FILE, token_keys_from_yaml};
use config::token::verify;
use config::{Call, Decision, Keyring, OfferedAudio, Party, Table, Transport};
use umbriel_tests::wire::{Invite, Wire};
use umbriel_tests::{House, Site as _, house};

/// Random calls over the wire, and how many of them are also put to the program itself.
const CALLS: usize = 10_000;
const ASKED: usize = 200;

/// A second plan, a protected one, pilots, and a gateway in every state.
const SITE: &str = "
apiVersion: umbriel.dev/v1alpha1
kind: UMDialPlan
metadata: {name: fabrikam}
spec: {numberOfDigitsInExtension: 4}
---
apiVersion: umbriel.dev/v1alpha1
kind: UMDialPlan
metadata: {name: vault}
spec: {numberOfDigitsInExtension: 3, voIPSecurity: SIPSecured}
---
apiVersion: umbriel.dev/v1alpha1
kind: UMMailboxPolicy
metadata: {name: fabrikam-staff}
spec: {umDialPlan: fabrikam}
---
apiVersion: umbriel.dev/v1alpha1
kind: UMMailbox
metadata: {name: erin}
spec: {umMailboxPolicy: fabrikam-staff, extensions: ['1010', '1020'], primarySmtpAddress: erin@fabrikam.example}
---
apiVersion: umbriel.dev/v1alpha1
kind: UMIPGateway
metadata: {name: disabled}
spec: {address: 127.0.0.2, status: Disabled}
---
apiVersion: umbriel.dev/v1alpha1
kind: UMIPGateway
metadata: {name: closing}
spec: {address: 127.0.0.3, status: NoNewCalls}
---
apiVersion: umbriel.dev/v1alpha1
kind: UMIPGateway
metadata: {name: branch}
spec: {address: 127.0.0.4}
---
apiVersion: umbriel.dev/v1alpha1
kind: UMHuntGroup
metadata: {name: disabled-default}
spec: {umIPGateway: disabled, umDialPlan: contoso}
---
apiVersion: umbriel.dev/v1alpha1
kind: UMHuntGroup
metadata: {name: closing-default}
spec: {umIPGateway: closing, umDialPlan: contoso}
---
apiVersion: umbriel.dev/v1alpha1
kind: UMHuntGroup
metadata: {name: branch-fabrikam}
spec: {umIPGateway: branch, umDialPlan: fabrikam, pilotIdentifier: '9000'}
---
apiVersion: umbriel.dev/v1alpha1
kind: UMHuntGroup
metadata: {name: branch-vault}
spec: {umIPGateway: branch, umDialPlan: vault, pilotIdentifier: '9001'}
";

/// One random call.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    peer: usize,
    called: &'static str,
    diverting: Option<&'static str>,
}

/// The last one is no gateway.
const PEERS: [&str; 5] = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"];
const STRANGER: usize = 4;

/// So many of the random calls come from a peer that is no gateway, and wait for its answer: it has one in a
/// second.
const STRANGERS_CALLS: usize = 4;

const NUMBERS: [&str; 14] = [
    "101",
    "102",
    "199",
    "1010",
    "1020",
    "9000",
    "9001",
    "1",
    "12345",
    "+101",
    "1-0-1",
    "alice",
    "%31%30%32",
    "0",
];

fn draw(state: &mut u64) -> Drawn {
    let mut next = |limit: usize| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        usize::try_from(*state >> 33).unwrap_or(0) % limit
    };
    // Half of the calls come from the two gateways that take calls.
    let peer = if next(2) == 0 { [0, 3][next(2)] } else { next(STRANGER) };
    let called = NUMBERS[next(NUMBERS.len())];
    let diverting = (next(3) == 0).then(|| NUMBERS[next(NUMBERS.len())]);
    Drawn { peer, called, diverting }
}

/// What became of a call: the status and either the mailbox or the code.
fn expected(table: &Table, call: &Drawn) -> (u16, String) {
    let called = call.called.replace("%31%30%32", "102");
    let diverting = call.diverting.map(|user| user.replace("%31%30%32", "102"));
    let call = Call {
        peer: PEERS[call.peer].parse().expect("an address"),
        names: &[],
        transport: Transport::Udp,
        called: called.as_str().into(),
        diverting: diverting.as_deref().map(Party::from),
        audio: OfferedAudio { clear: true, encrypted: false },
        call_id: "explain",
    };
    match config::explain(table, &call).1 {
        Decision::Accept(route) => {
            (302, route.purpose.mailbox().map_or_else(String::new, |mailbox| mailbox.name.to_owned()))
        }
        Decision::Refuse(refusal) => (refusal.code.sip_status(), refusal.code.id().to_owned()),
    }
}

/// The router's own word on whose mailbox a call is for: the token of its redirect.
fn mailbox(answer: &str, keys: &Keyring) -> String {
    let token = answer.split(";um=").nth(1).and_then(|rest| rest.split('>').next()).expect("a token");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    let call_id = answer.lines().find_map(|line| line.strip_prefix("Call-ID: ")).expect("a Call-ID");
    verify(keys, token, call_id.trim(), now.as_secs()).expect("a token of this house").mailbox.into_owned()
}

#[test]
fn explain_and_the_wire_agree_on_ten_thousand_random_calls() {
    let house = House::builder().file("more.yaml", SITE).start();
    let router =
        operator::preview(house.folder(), house.address, SystemTime::now(), &[]).router.expect("a router");
    let table = Table::compile(&router.directory, &router.server);
    let wires = PEERS.map(|peer| Wire::new(peer.parse::<IpAddr>().expect("an address"), house.router()));

    let mut state = 0x5EED;
    let mut calls: Vec<Drawn> = (0..CALLS).map(|_| draw(&mut state)).collect();
    calls.iter_mut().take(STRANGERS_CALLS).for_each(|call| call.peer = STRANGER);
    let answers: Vec<String> = calls
        .iter()
        .enumerate()
        .map(|(number, call)| {
            let invite =
                Invite { called: call.called, diverting: call.diverting, call_id: &format!("c{number}") };
            wires[call.peer].invite(&invite)
        })
        .collect();
    let redirects = answers.iter().filter(|answer| answer.starts_with("SIP/2.0 302 ")).count();
    assert!(
        redirects > CALLS / 20 && redirects < CALLS * 19 / 20,
        "calls of both fates: {redirects} redirects"
    );

    let keys = house.state().join("config/router").join(TOKEN_KEYS_FILE);
    let keys = token_keys_from_yaml(&fs::read_to_string(keys).expect("the keys")).expect("usable keys");
    let keys = Keyring::new(&keys).expect("usable keys");
    for (call, answer) in calls.iter().zip(&answers) {
        let (status, what) = expected(&table, call);
        assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{call:?}: {status} {what}, not {answer}");
        if status == 302 {
            assert_eq!(mailbox(answer, &keys), what, "{call:?}");
        } else {
            assert!(answer.contains(&format!("text=\"{what} ")), "{call:?}: {what}, not {answer}");
        }
    }
    for (call, answer) in calls.iter().zip(&answers).take(ASKED) {
        the_program_says_the_same(&house, call, answer);
    }
}

/// `umbriel explain -o json` gives the status that the wire gave, and ends with 0 only for a redirect.
fn the_program_says_the_same(house: &House, call: &Drawn, answer: &str) {
    let mut program = Command::new(house::umbriel());
    program.args([
        "explain",
        &call.called.replace("%31%30%32", "102"),
        "--from",
        PEERS[call.peer],
        "-o",
        "json",
    ]);
    program.arg("--in").arg(house.folder());
    if let Some(user) = call.diverting {
        program.args(["--diversion", &user.replace("%31%30%32", "102")]);
    }
    let output = program.output().expect("umbriel runs");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    let status = said["outcome"]["status"].as_u64().expect("a status");
    assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{call:?}: {said}\n{answer}");
    assert_eq!(output.status.success(), status == 302, "{call:?}: {said}");
}
