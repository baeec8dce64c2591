//! docs/limits.md says what the code does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::Path;

use runtime::Limits;

/// Each limit of the page by the words that stand there.
fn in_code() -> BTreeMap<&'static str, u64> {
    let limits = Limits::default();
    let count = |number: usize| u64::try_from(number).unwrap();
    BTreeMap::from([
        ("bytes of a message", count(sip::MAX_MESSAGE_BYTES)),
        ("bytes of the headers of a message on a connection", count(sip::MAX_HEAD_BYTES)),
        ("header lines of a message", count(sip::MAX_HEADERS)),
        ("parameters of a URI or a header value", count(sip::MAX_PARAMETERS)),
        ("connections", count(limits.connections)),
        ("connections of one peer", count(limits.connections_per_peer)),
        ("connections of peers that are not known", count(limits.stranger_connections)),
        ("TLS connections above them whose peers may prove who they are", count(limits.proving_connections)),
        ("such connections of one peer", count(limits.proving_connections_per_peer)),
        ("messages of one connection in a row", count(limits.messages_per_turn)),
        ("seconds for a TLS handshake", limits.handshake_timeout.as_secs()),
        ("seconds to the end of the first message", limits.first_message_timeout.as_secs()),
        ("seconds from the first byte of a message to its last", limits.message_timeout.as_secs()),
        ("seconds until what is written is taken", limits.write_timeout.as_secs()),
        ("seconds without a message", limits.idle_timeout.as_secs()),
        ("seconds that a UDP port is heard after the configuration gave it up", limits.former_port.as_secs()),
        ("bytes that wait to be written to one connection", count(limits.unsent_bytes)),
        ("bytes that all connections hold", count(limits.held_bytes)),
        ("bytes that connections of peers that are not known hold", count(limits.stranger_bytes)),
        ("answers to all of them in one second", count(router::MAX_STRANGERS)),
        ("lines of the log of one worker in one second about them", router::STRANGER_LINES_PER_SECOND.into()),
        ("lines of the log of one worker in one second about calls", router::CALL_LINES_PER_SECOND.into()),
    ])
}

#[test]
fn the_page_of_limits_has_them_all_with_their_values() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/limits.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let (limit, value) = (cells.next()?, cells.next()?);
        Some((limit, value.replace(',', "").parse::<u64>().ok()?))
    });
    assert_eq!(rows.collect::<BTreeMap<_, _>>(), in_code());
}
