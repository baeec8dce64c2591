//! Which mailbox server takes a call, and which is tried next.

use std::collections::BTreeMap;

use config::{Call, Decision, Directory, Listeners, MailboxServer, Table, Transport, route};

use crate::contoso::{PBX, call, directory, outcome, server};

/// A directory with this many mailbox servers, of which those in `stopped` are not in service.
fn servers(count: usize, stopped: &[usize]) -> Directory {
    let mut directory = directory();
    let first = directory.mailbox_servers[0].clone();
    directory.mailbox_servers = (1..=count)
        .map(|n| MailboxServer {
            name: format!("mailbox-{n}"),
            in_service: !stopped.contains(&n),
            ..first.clone()
        })
        .collect();
    directory
}

/// The names of the first and the second choice for a call to alice, whose host is mailbox-1.
fn choice(directory: &Directory, call_id: &str) -> (String, Option<String>) {
    let table = Table::compile(directory, &server());
    match route(&table, &Call { call_id, ..call(PBX, "101") }) {
        Decision::Accept(route) => {
            (route.server.name.clone(), route.sibling.map(|server| server.name.clone()))
        }
        Decision::Refuse(refusal) => panic!("{}", refusal.text()),
    }
}

#[test]
fn the_host_comes_first_and_is_never_its_own_sibling() {
    for n in 0..200 {
        let (first, second) = choice(&servers(5, &[]), &format!("call-{n}"));
        assert_eq!(first, "mailbox-1");
        assert_ne!(second.unwrap(), "mailbox-1");
    }
}

#[test]
fn a_single_server_has_no_sibling() {
    assert_eq!(choice(&servers(1, &[]), "call"), ("mailbox-1".to_owned(), None));
    assert_eq!(choice(&servers(3, &[1, 3]), "call"), ("mailbox-2".to_owned(), None));
}

#[test]
fn without_any_server_in_service_the_call_is_refused() {
    for directory in [servers(0, &[]), servers(2, &[1, 2])] {
        let table = Table::compile(&directory, &server());
        assert_eq!(outcome(&table, &call(PBX, "101")), "UM1111 NoMailboxServer");
    }
}

#[test]
fn a_mailbox_whose_host_is_unknown_is_served_by_any_server() {
    let mut directory = servers(3, &[]);
    directory.hosts = vec!["gone".to_owned(); 32];
    let (first, second) = choice(&directory, "call");
    assert_ne!(Some(first), second);
}

/// Servers of different versions must agree, and mailboxes must never move. These were computed apart
/// from our code, by SipHash-1-3 with a zero key.
#[test]
fn a_mailbox_is_in_the_same_database_in_every_version() {
    let names = ["alice", "bob", "carol", "dave", "ada", "user-1", "user-2", ""];
    assert_eq!(names.map(config::database_of), [1, 10, 2, 27, 29, 0, 23, 12]);
    assert_eq!(config::DATABASES, 32);
}

#[test]
fn mailboxes_are_spread_evenly_over_the_databases() {
    let mut counts = [0; 32];
    for n in 0..32_000 {
        counts[config::database_of(&format!("user-{n}"))] += 1;
    }
    assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
}

#[test]
fn a_mailbox_is_hosted_by_the_server_of_its_database_and_by_no_other() {
    let mut directory = servers(5, &[]);
    directory.hosts[1] = "mailbox-4".to_owned();
    assert_eq!(choice(&directory, "call").0, "mailbox-4");
    directory.hosts[2] = "mailbox-5".to_owned();
    assert_eq!(choice(&directory, "call").0, "mailbox-4", "database 2 is not that of alice");
}

/// Routers of different versions must agree, so the choice is part of what we promise. These were
/// computed apart from our code, by SipHash-1-3 with a zero key and the finalizer of SplitMix64.
#[test]
fn the_choice_among_siblings_is_the_same_in_every_version() {
    let choices = ["a", "b", "c", "d", "e", "f"].map(|call_id| choice(&servers(5, &[1]), call_id).0);
    assert_eq!(choices, ["mailbox-4", "mailbox-5", "mailbox-5", "mailbox-2", "mailbox-5", "mailbox-5"]);
}

#[test]
fn calls_are_spread_evenly_over_the_siblings() {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let directory = servers(5, &[1]);
    for n in 0..2000 {
        *counts.entry(choice(&directory, &format!("{n}@192.0.2.10")).0).or_default() += 1;
    }
    assert_eq!(counts.len(), 4);
    assert!(counts.values().all(|count| (400..600).contains(count)), "{counts:?}");
}

#[test]
fn a_server_that_stops_moves_only_its_own_calls_and_each_to_its_sibling() {
    for n in 0..500 {
        let call_id = format!("{n}@192.0.2.10");
        let before = choice(&servers(5, &[1]), &call_id);
        let after = choice(&servers(5, &[1, 3]), &call_id);
        let expected = if before.0 == "mailbox-3" { before.1.unwrap() } else { before.0 };
        assert_eq!(after.0, expected, "{call_id}");
    }
}

#[test]
fn the_order_in_which_servers_are_listed_does_not_matter() {
    let directory = servers(6, &[2]);
    let mut reversed = directory.clone();
    reversed.mailbox_servers.reverse();
    for n in 0..100 {
        assert_eq!(choice(&directory, &n.to_string()), choice(&reversed, &n.to_string()));
    }
}

const BOARD: &str = "0101";
const BOARD_PILOT: &str = "+14255550100";

/// What becomes of a protected call to carol, whose host is mailbox-1, if these of three servers
/// listen for TLS.
fn protected(with_tls: &[usize]) -> String {
    let mut directory = servers(3, &[]);
    for (index, server) in directory.mailbox_servers.iter_mut().enumerate() {
        server.listeners.tls = with_tls.contains(&(index + 1)).then_some(5063);
    }
    let table = Table::compile(&directory, &server());
    let call = call(PBX, BOARD_PILOT);
    let call = Call { transport: Transport::Tls, diverting: Some(BOARD.into()), call_id: "a", ..call };
    match route(&table, &call) {
        Decision::Accept(route) => {
            let names = [Some(route.server), route.sibling].into_iter().flatten();
            names.map(|server| server.name.as_str()).collect::<Vec<_>>().join(", then ")
        }
        Decision::Refuse(refusal) => format!("{} {}", refusal.code, refusal.text()),
    }
}

#[test]
fn a_protected_call_goes_only_to_servers_that_listen_for_tls() {
    assert_eq!(protected(&[1, 3]), "mailbox-1, then mailbox-3");
    assert_eq!(protected(&[3]), "mailbox-3");
    assert_eq!(protected(&[1]), "mailbox-1");
    assert_eq!(
        protected(&[]),
        "UM1111 NoMailboxServer no mailbox server in service listens for TLS, which dial plan board of \
         mailbox carol asks for; set spec.umStartupMode of a UMService to Dual"
    );
}

#[test]
fn a_server_that_listens_for_nothing_takes_no_calls() {
    let mut directory = servers(2, &[]);
    directory.mailbox_servers[0].listeners = Listeners { udp: None, tcp: None, tls: None };
    assert_eq!(choice(&directory, "call"), ("mailbox-2".to_owned(), None));
    directory.mailbox_servers[1].listeners = Listeners { udp: None, tcp: None, tls: None };
    let table = Table::compile(&directory, &server());
    assert_eq!(outcome(&table, &call(PBX, "101")), "UM1111 NoMailboxServer");
}
