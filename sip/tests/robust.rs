//! Whatever arrives, reading it ends, does not panic and agrees with itself.
//!
//! Decides which inputs are tried: bytes of any kind, the torture messages with small harms done to them,
//! and what the fuzzers below `fuzz/` have kept. What each message means is tested elsewhere.

mod messages;
mod readers;

#[path = "readers/corpus.rs"]
mod corpus;

use std::fs;
use std::path::Path;

use messages::{Outcome, RFC4475, RFC5118};
use proptest::prelude::*;
use readers::{READERS, framed, peer, read};
use umbriel_sip::{Name, NameAddr, Request, Response, Uri, Via, scan};

fn harmed() -> impl Strategy<Value = Vec<u8>> {
    let all: Vec<Vec<u8>> = RFC4475.iter().chain(&RFC5118).map(messages::Case::wire).collect();
    let harm = (any::<prop::sample::Index>(), 0..8_usize, prop::collection::vec(any::<u8>(), 0..6));
    (prop::sample::select(all), prop::collection::vec(harm, 0..6)).prop_map(|(mut bytes, harms)| {
        for (at, removed, added) in harms {
            let at = at.index(bytes.len() + 1);
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, added);
        }
        bytes
    })
}

/// Bytes that look like SIP more often than chance would have it.
fn sip_like() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "INVITE",
        " ",
        "sip:",
        "a@b",
        " SIP/2.0",
        "SIP/2.0 200 OK",
        "\r\n",
        "\r\n\r\n",
        "Via",
        ": ",
        "l:",
        "0",
        "9",
        "To:",
        "<",
        ">",
        "\"",
        "\\",
        ";",
        "=",
        ",",
        "tag",
        "[",
        "]",
        "::",
        "%",
        "%41",
        "\t",
        "\r",
        "\n",
        "Diversion:",
        "?",
        "é",
    ]);
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_of_any_kind_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&bytes);
    }

    #[test]
    fn what_looks_like_sip_is_read_or_refused(bytes in sip_like()) {
        read(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = (Uri::parse(&text), NameAddr::parse(&text), Via::parse(&text));
    }

    #[test]
    fn harmed_messages_are_read_or_refused(bytes in harmed()) {
        read(&bytes);
    }

    #[test]
    fn the_size_of_the_pieces_of_a_stream_changes_nothing(
        stream in prop::collection::vec(harmed(), 1..4),
        size in 1..200_usize,
    ) {
        let stream = stream.concat();
        prop_assert_eq!(framed(&stream, size), framed(&stream, 60_000));
    }

    #[test]
    fn what_is_written_is_read_as_it_was_meant(
        user in "[a-z0-9]{1,12}",
        tag in "[a-zA-Z0-9.]{1,12}",
        call_id in "[!-~]{1,40}",
        number in 0..=umbriel_sip::MAX_CSEQ,
        subject in "[ -~é]{0,60}",
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let uri = format!("sip:{user}@umbriel.example");
        let mut out = Vec::new();
        Request::new("INVITE", &uri, &mut out)
            .header("Via", "SIP/2.0/UDP pbx.example.com;rport;branch=z9hG4bK1")
            .header_args("From", format_args!("<{uri}>;tag={tag}"))
            .header_args("To", format_args!("<{uri}>"))
            .header("Call-ID", &call_id)
            .header_args("CSeq", format_args!("{number} INVITE"))
            .header("Subject", &subject)
            .body("application/sdp", &body)
            .finish();
        let request = scan(&out).unwrap();
        prop_assert_eq!(request.check_request(), Ok(()));
        prop_assert_eq!(request.uri(), Some(&uri[..]));
        prop_assert_eq!(request.header(Name::Subject), Some(subject.trim_matches(' ')));
        prop_assert_eq!(request.body(), &body[..]);

        let mut answer = Vec::new();
        Response::to(&request, &peer(), 200, "OK", &mut answer).to_tag("ours").body("a/b", &body).finish();
        let response = scan(&answer).unwrap();
        prop_assert_eq!(response.check_response(), Ok(()));
        prop_assert_eq!(response.call_id(), Ok(&call_id[..]));
        prop_assert_eq!(response.cseq().unwrap().number, number);
        prop_assert_eq!(response.from().unwrap().tag(), Some(&tag[..]));
        prop_assert_eq!(response.to().unwrap().tag(), Some("ours"));
        prop_assert_eq!(response.top_via().unwrap().params.as_str(), ";rport=5060;branch=z9hG4bK1;received=192.0.2.1");
        prop_assert_eq!(response.body(), &body[..]);
        let last_header = response.all().last().map(|(name, _, _)| name);
        prop_assert_eq!(last_header, Some(Name::ContentLength));
    }
}

#[test]
fn every_torture_message_is_answered_or_dropped_without_harm() {
    for case in RFC4475.iter().chain(&RFC5118) {
        read(&case.wire());
        let known = matches!(case.outcome, Outcome::Accepted | Outcome::Answered(_) | Outcome::Dropped);
        assert!(known, "{} ({}): {}", case.name, case.section, case.because);
    }
}

/// Harmed inputs of each reader: some seconds in all. `make fuzz` looks longer.
const HARMED: usize = 5_000;

/// Inputs longer than this are replayed and not harmed, because each takes as long as many short ones.
const HARMED_BYTES: usize = 2_000;

/// What parsers stumble over.
const PIECES: [&[u8]; 20] = [
    b"\r\n",
    b"\r\n\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"\xff",
    b"\xc3\xa9",
    b"%",
    b"%00",
    b"\"",
    b"\\",
    b"<",
    b">",
    b";",
    b",",
    b"=",
    b":",
    b"[::",
    b"4294967296",
    b" ",
];

/// The inputs of a reader: those that are kept, and for the scanner the torture messages.
fn inputs(reader: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../fuzz/corpus/{reader}.txt"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let kept = corpus::unpack(&text);
    let torture = messages::RFC4475.iter().chain(&messages::RFC5118).filter(|_| reader == "scanner");
    kept.into_iter().chain(torture.map(messages::Case::wire)).collect()
}

/// Chance that is the same at every run (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let limit = u64::try_from(limit).expect("a length");
        usize::try_from((mixed ^ (mixed >> 31)) % limit).expect("below a length")
    }

    /// Harms `bytes` in one place: takes some away, puts a piece in, or copies from elsewhere.
    fn harm(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len() + 1);
        let end = (at + self.below(8)).min(bytes.len());
        let from = self.below(other.len() + 1);
        let to = (from + self.below(40)).min(other.len());
        match self.below(4) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..end, PIECES[self.below(PIECES.len())].iter().copied())),
            2 => drop(bytes.splice(at..end, other[from..to].iter().copied())),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
        }
    }
}

#[test]
fn inputs_are_kept_to_the_byte() {
    let inputs = [b"".to_vec(), (0..=255).collect(), b"\\x41 \\\r\n\"'".to_vec()];
    let mut kept = corpus::unpack(&corpus::pack(&inputs));
    kept.sort();
    let mut wanted = inputs.to_vec();
    wanted.sort();
    assert_eq!(kept, wanted);
}

#[test]
fn every_kept_input_is_read_or_refused() {
    for (name, reader) in READERS {
        let inputs = inputs(name);
        assert!(inputs.len() >= 10, "{name}: a corpus");
        inputs.iter().for_each(|input| reader(input));
    }
}

#[test]
fn every_kept_input_with_small_harms_is_read_or_refused() {
    for (name, reader) in READERS {
        let inputs: Vec<_> = inputs(name).into_iter().filter(|input| input.len() <= HARMED_BYTES).collect();
        let mut chance = Chance(1);
        for _ in 0..HARMED {
            let mut bytes = inputs[chance.below(inputs.len())].clone();
            for _ in 0..=chance.below(4) {
                let other = &inputs[chance.below(inputs.len())];
                chance.harm(&mut bytes, other);
            }
            let read = std::panic::catch_unwind(|| reader(&bytes));
            assert!(read.is_ok(), "{name}: {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}
