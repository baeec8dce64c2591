//! What callers are told of where the server is: what the directory says, whatever it listens on.

use std::sync::Arc;

use super::caller::Caller;
use super::stage::{CONFIG, Stage};
use crate::served::Served;
use crate::switchboard::Note;

/// Contact, and address and port of media, in the newest 200 that has them.
fn told(stage: &Stage) -> [String; 3] {
    let answer = stage.last("SIP/2.0 200 OK\r\n");
    ["Contact: ", "c=", "m=audio "].map(|begins| {
        let line = answer.lines().find_map(|line| line.strip_prefix(begins)).unwrap();
        line.split(" RTP").next().unwrap().to_owned()
    })
}

fn serve(stage: &mut Stage, from: &str, to: &str) {
    assert!(CONFIG.contains(from), "{from}");
    let config = serde_yaml::from_str(&CONFIG.replacen(from, to, 1)).unwrap();
    *stage.props.served.borrow_mut() = Arc::new(Served::compile(config, Some("mailbox")).unwrap());
    stage.told(Note::ServiceChanged);
}

#[test]
fn callers_are_told_what_the_directory_says_and_not_what_is_listened_on() {
    let (mut stage, mut caller) = (Stage::behind_translation(), Caller::new());
    caller.invite(&mut stage);
    assert_eq!(told(&stage), ["<sip:192.0.2.20:5062>", "IN IP4 192.0.2.20", "20000"]);
}

#[test]
fn without_a_media_port_in_the_directory_callers_are_told_the_one_that_is_listened_on() {
    let (mut stage, mut caller) = (Stage::but(" mediaPorts: [20000],", ""), Caller::new());
    caller.invite(&mut stage);
    assert_eq!(told(&stage), ["<sip:192.0.2.20:5062>", "IN IP4 192.0.2.20", "20000"]);
}

#[test]
fn the_next_caller_is_told_a_new_address_and_the_calls_that_there_are_go_on() {
    let (mut stage, mut first) = (Stage::new(), Caller::new());
    first.invite(&mut stage);
    first.ack(&mut stage);
    let moved = "[{name: mailbox, address: 203.0.113.9, listeners: {udp: 30062}, mediaPorts: [30070]";
    let here = "[{name: mailbox, address: 192.0.2.20, listeners: {udp: 5062, tcp: 5062}, mediaPorts: [20000]";
    serve(&mut stage, here, moved);
    let mut second = Caller::numbered(1);
    second.invite(&mut stage);
    assert_eq!(told(&stage), ["<sip:203.0.113.9:30062>", "IN IP4 203.0.113.9", "30070"]);
    first.bye(&mut stage);
    assert!(stage.sip.last().unwrap().1.starts_with("SIP/2.0 200 OK\r\n"));
    assert_eq!(stage.metrics.slots().taken(), 1);
}

#[test]
fn a_server_takes_calls_as_soon_as_it_is_in_its_own_directory() {
    let mut stage = Stage::but("[{name: mailbox,", "[{name: other,");
    let mut early = Caller::new();
    early.invite(&mut stage);
    assert!(stage.last("SIP/2.0 503 ").contains("UM1105 ServerNotInService: "));
    serve(&mut stage, "192.0.2.20", "192.0.2.20");
    let mut caller = Caller::numbered(1);
    caller.invite(&mut stage);
    assert_eq!(told(&stage)[0], "<sip:192.0.2.20:5062>");
}
