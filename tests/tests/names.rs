//! Gateways that are known by a name, with a real name server: what it says decides whose call it is, its silence
//! changes nothing, and nobody else is harmed.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use umbriel_tests::house::umbriel;
use umbriel_tests::names::{DNSMASQ, NameServer};
use umbriel_tests::site::Site as _;
use umbriel_tests::wire::{Invite, Wire};
use umbriel_tests::{House, has, wait_until};

/// A change of a name is followed within this: its answer holds for a second, and is believed for five.
const FOLLOWED: Duration = Duration::from_secs(60);

const SBC: &str = "
apiVersion: umbriel.dev/v1alpha1
kind: UMIPGateway
metadata: {name: sbc}
spec: {address: sbc.contoso.example, umDialPlan: contoso}
";

fn name_server(last: u8) -> SocketAddr {
    let [low, high, ..] = std::process::id().to_le_bytes();
    SocketAddr::from(([127, low.max(1), high, last], 5353))
}

/// The status line of what a call from `from` is answered.
fn answer(house: &House, from: &str, call_id: &str) -> String {
    let from: IpAddr = from.parse().unwrap();
    let invite = Invite { called: "101", diverting: None, call_id };
    Wire::new(from, house.router()).invite(&invite).lines().next().unwrap().to_owned()
}

fn wait_for(house: &House, from: &str, status: &str) {
    let mut calls = 0;
    wait_until(&format!("a call from {from} is answered by {status}"), FOLLOWED, || {
        calls += 1;
        answer(house, from, &format!("{from}-{status}-{calls}")).contains(status).then_some(())
    });
}

fn statuses(house: &House) -> String {
    std::fs::read_to_string(house.state().join("status.yaml")).unwrap()
}

fn wait_for_status(house: &House, text: &str) {
    wait_until(&format!("the status says: {text}"), FOLLOWED, || {
        statuses(house).contains(text).then_some(())
    });
}

#[test]
fn a_gateway_is_where_its_name_leads_and_where_it_led_last_while_nobody_answers() {
    let test = "a_gateway_is_where_its_name_leads_and_where_it_led_last_while_nobody_answers";
    if !has(DNSMASQ, test) {
        return;
    }
    let mut names = NameServer::start(name_server(201), "127.0.0.71 sbc.contoso.example\n");
    let mut house = House::builder().file("sbc.yaml", SBC).name_server(names.address).start();
    assert_eq!(answer(&house, "127.0.0.71", "first"), "SIP/2.0 302 Moved Temporarily");
    assert_eq!(answer(&house, "127.0.0.72", "stranger"), "SIP/2.0 403 Forbidden");

    names.rename("127.0.0.72 sbc.contoso.example\n127.0.0.73 sbc.contoso.example\n");
    wait_for(&house, "127.0.0.72", "302");
    wait_for(&house, "127.0.0.73", "302");
    assert_eq!(answer(&house, "127.0.0.71", "moved"), "SIP/2.0 403 Forbidden");

    // Nobody answers, and then the program is started anew: what the name led to last stands.
    names.down();
    wait_for_status(&house, "UM1031");
    assert_eq!(answer(&house, "127.0.0.72", "silence"), "SIP/2.0 302 Moved Temporarily");
    house.stop();
    house.up();
    assert_eq!(answer(&house, "127.0.0.73", "restarted"), "SIP/2.0 302 Moved Temporarily");
    names.up();
    wait_until("the status is good again", Duration::from_secs(60), || {
        (!statuses(&house).contains("UM1031")).then_some(())
    });
}

#[test]
fn a_name_that_leads_nowhere_or_to_somebody_else_is_told_and_harms_nobody() {
    let test = "a_name_that_leads_nowhere_or_to_somebody_else_is_told_and_harms_nobody";
    if !has(DNSMASQ, test) {
        return;
    }
    let names = NameServer::start(name_server(202), "");
    let house = House::builder().file("sbc.yaml", SBC).name_server(names.address).start();
    let pbx = house.caller().to_string();
    assert_eq!(answer(&house, &pbx, "pbx"), "SIP/2.0 302 Moved Temporarily");
    assert_eq!(answer(&house, "127.0.0.81", "nowhere"), "SIP/2.0 403 Forbidden");
    wait_for_status(&house, "there is no such name");

    // It leads to the PBX's address, too, which the PBX keeps because it is written there.
    names.rename(&format!("{pbx} sbc.contoso.example\n127.0.0.81 sbc.contoso.example\n"));
    wait_for(&house, "127.0.0.81", "302");
    wait_for_status(&house, "UM1013");
    let statuses = statuses(&house);
    assert!(statuses.contains(&format!("value sbc.contoso.example, which leads to {pbx}")), "{statuses}");
    let told = statuses.matches("default/pbx, where it is written, keeps it").count();
    assert_eq!(told, 2, "both are told: {statuses}");
    assert_eq!(answer(&house, &pbx, "kept"), "SIP/2.0 302 Moved Temporarily");
}

#[test]
fn check_and_explain_ask_for_names_too() {
    let test = "check_and_explain_ask_for_names_too";
    if !has(DNSMASQ, test) {
        return;
    }
    let names = NameServer::start(name_server(203), "127.0.0.91 sbc.contoso.example\n");
    let house = House::builder().file("sbc.yaml", SBC).name_server(names.address).start();
    let run = |arguments: &[&str]| {
        let server = names.address.to_string();
        let output =
            Command::new(umbriel()).args(arguments).args(["--name-server", &server]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let folder = house.folder().to_str().unwrap();
    let explained = run(&["explain", "101", "--from", "sbc", "--in", folder]);
    assert!(
        explained.contains("127.0.0.91 → sbc") && explained.contains("302: to mailbox server"),
        "{explained}"
    );
    let tls = run(&[
        "explain",
        "101",
        "--from",
        "198.51.100.7",
        "--in",
        folder,
        "--transport",
        "tls",
        "--certificate",
        "sbc.contoso.example",
    ]);
    assert!(tls.contains("UM1106"), "the router of this folder takes no TLS: {tls}");
    assert!(run(&["check", folder]).contains("nothing is wrong"));
    names.rename("");
    wait_until("check says that the name leads nowhere", FOLLOWED, || {
        run(&["check", folder]).contains("UM1031").then_some(())
    });
}
