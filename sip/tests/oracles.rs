//! Two other SIP parsers read the same messages.
//!
//! Decides nothing about SIP: it holds our reading of a message against `rsip`'s and `sipx-sip`'s. Where one
//! of them reads otherwise or refuses what the RFC calls valid, the reason stands in a table here.

mod messages;

#[allow(dead_code, reason = "nothing is packed here")]
#[path = "readers/corpus.rs"]
mod corpus;

use messages::{Outcome, RFC4475, RFC5118};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::message::HeadersExt;
use rsip::typed;
use sipx_sip::headers::{CSeq, CallId, From, To, Via};
use umbriel_sip::{Name, StartLine, scan, unfold};

/// What every reader of a message has to agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    /// Method and Request-URI, or the status.
    start: String,
    call_id: String,
    cseq: (u32, String),
    from_tag: Option<String>,
    to_tag: Option<String>,
    /// Transport and branch of the topmost Via.
    via: (String, Option<String>),
    body: Vec<u8>,
}

/// Our reading of a message that may be acted on.
fn ours(bytes: &[u8]) -> Option<Reading> {
    let message = scan(bytes).ok()?;
    let start = match message.start() {
        StartLine::Request { method_text, uri, .. } => {
            message.check_request().ok()?;
            format!("{method_text} {uri}")
        }
        StartLine::Response { status, .. } => {
            message.check_response().ok()?;
            status.to_string()
        }
    };
    let cseq = message.cseq().ok()?;
    let via = message.top_via().ok()?;
    Some(Reading {
        start,
        call_id: message.call_id().ok()?.into(),
        cseq: (cseq.number, cseq.method_text.into()),
        from_tag: message.from().ok()?.tag().map(Into::into),
        to_tag: message.to().ok()?.tag().map(Into::into),
        via: (via.transport.into(), via.branch.map(Into::into)),
        body: message.body().to_vec(),
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The reading of `sipx-sip`.
fn of_sipx(bytes: &[u8]) -> Option<Reading> {
    let message = sipx_sip::parser::parse_datagram(bytes.to_vec().into(), &Default::default()).ok()?;
    let start = match &message {
        sipx_sip::Message::Request(request) => {
            format!("{} {}", text(request.method.as_bytes()), text(&request.uri.to_bytes()))
        }
        sipx_sip::Message::Response(response) => response.status.code().to_string(),
    };
    let headers = message.headers();
    let cseq = headers.typed::<CSeq>()?.ok()?;
    let via = headers.typed_all::<Via>().next()?.ok()?;
    let tag = |address: &sipx_sip::headers::Address| address.tag().map(text);
    Some(Reading {
        start,
        call_id: text(&headers.typed::<CallId>()?.ok()?.0),
        cseq: (cseq.sequence, text(cseq.method.as_bytes())),
        from_tag: tag(&headers.typed::<From>()?.ok()?.0),
        to_tag: tag(&headers.typed::<To>()?.ok()?.0),
        via: (text(&via.transport), via.branch().map(text)),
        body: message.body().to_vec(),
    })
}

/// The reading of `rsip`.
fn of_rsip(bytes: &[u8]) -> Option<Reading> {
    let message = rsip::SipMessage::try_from(bytes).ok()?;
    let start = match &message {
        rsip::SipMessage::Request(request) => format!("{} {}", request.method, request.uri),
        rsip::SipMessage::Response(response) => response.status_code.code().to_string(),
    };
    let cseq = message.cseq_header().ok()?.typed().ok()?;
    let via: typed::Via = message.via_header().ok()?.typed().ok()?;
    Some(Reading {
        start,
        call_id: message.call_id_header().ok()?.value().into(),
        cseq: (cseq.seq, cseq.method.to_string()),
        from_tag: message.from_header().ok()?.tag().ok()?.map(|tag| tag.to_string()),
        to_tag: message.to_header().ok()?.tag().ok()?.map(|tag| tag.to_string()),
        via: (via.transport.to_string(), via.branch().map(|branch| branch.to_string())),
        body: message.body().to_vec(),
    })
}

/// The lines before the empty one.
fn head(bytes: &[u8]) -> Vec<String> {
    text(bytes).split("\r\n").take_while(|line| !line.is_empty()).map(Into::into).collect()
}

/// The hops in Via, with spaces for folds and tabs.
fn hops(bytes: &[u8]) -> Vec<String> {
    let message = scan(bytes).expect("a message that we read");
    message.values(Name::Via).map(|hop| unfold(hop).replace('\t', " ")).collect()
}

/// Another parser, and where it is known to read otherwise.
struct Oracle {
    name: &'static str,
    read: fn(&[u8]) -> Option<Reading>,
    /// Messages of the RFCs that are valid and that it does not read.
    refuses: &'static [(&'static str, &'static str)],
    /// What explains another reading of a message that both read.
    differs: &'static [(&'static str, Explains)],
    /// What explains that it refuses a message that we read; `None` if it often does.
    lacks: Option<&'static [(&'static str, Explains)]>,
}

/// Whether a known difference shows in a message: its bytes, our reading and the oracle's.
type Explains = fn(&[u8], &Reading, Option<&Reading>) -> bool;

const SIPX: Oracle = Oracle {
    name: "sipx-sip",
    read: of_sipx,
    refuses: &[],
    differs: &[],
    lacks: Some(&[
        ("it does not skip line ends in front of a datagram (RFC 3261 section 7.5)", |bytes, _, _| {
            bytes.starts_with(b"\r\n")
        }),
        (
            "it takes no white space around the colon before a port, which RFC 3261 section 25.1 allows",
            |bytes, _, _| {
                hops(bytes).iter().any(|hop| {
                    let sent_by = hop.split(';').next().unwrap_or_default();
                    sent_by.contains(": ") || sent_by.contains(" :")
                })
            },
        ),
    ]),
};

const RSIP: Oracle = Oracle {
    name: "rsip",
    read: of_rsip,
    refuses: &[
        ("wsinv", "it knows no folded headers"),
        ("esc01", "it knows no folded headers"),
        ("semiuri", "it knows no semicolon in a user part"),
        ("longreq", "it knows no white space before the colon of a header"),
        ("dblreq", "it knows no compact form of Call-ID"),
        ("unksm2", "it reads no URI of a foreign scheme"),
        ("ipv6-good", "it knows no IPv6 addresses"),
        ("port-ambiguous", "it knows no IPv6 addresses"),
        ("port-unambiguous", "it knows no IPv6 addresses"),
        ("via-received-param-with-delim", "it knows no IPv6 addresses"),
        ("via-received-param-no-delim", "it knows no IPv6 addresses"),
        ("ipv6-in-sdp", "it knows no IPv6 addresses"),
        ("mult-ip-in-header", "it knows no IPv6 addresses"),
        ("mult-ip-in-sdp", "it knows no IPv6 addresses"),
        ("ipv4-mapped-ipv6", "it knows no IPv6 addresses"),
        ("ipv6-bug-abnf-3-colons", "it knows no IPv6 addresses"),
        ("ipv6-correct-abnf-2-colons", "it knows no IPv6 addresses"),
    ],
    differs: &[
        (
            "it takes all that follows the headers for the body, whatever Content-Length says",
            |_, ours, theirs| {
                theirs.is_some_and(|theirs| {
                    theirs.body.starts_with(&ours.body)
                        && *ours == Reading { body: ours.body.clone(), ..theirs.clone() }
                })
            },
        ),
        ("it does not trim white space behind values and within them", |bytes, _, _| {
            let spaces = [" ;", "; ", " =", "= ", " :"];
            head(bytes).iter().any(|line| {
                let line = line.replace('\t', " ");
                line.ends_with(' ') || spaces.iter().any(|space| line.contains(space))
            })
        }),
        ("it takes the last colon of a Via for the one before the port", |bytes, _, _| {
            hops(bytes).iter().any(|hop| hop.split(';').skip(1).any(|parameter| parameter.contains(':')))
        }),
    ],
    lacks: None,
};

#[test]
fn every_valid_message_is_read_alike() {
    for oracle in [SIPX, RSIP] {
        let valid = RFC4475.iter().chain(&RFC5118).filter(|case| case.outcome == Outcome::Accepted);
        for case in valid {
            let bytes = case.wire();
            let (ours, theirs) = (ours(&bytes), (oracle.read)(&bytes));
            let refusal = oracle.refuses.iter().find(|(name, _)| *name == case.name);
            let wanted = if refusal.is_some() { None } else { ours.clone() };
            let (name, section, because) = (case.name, case.section, case.because);
            assert!(ours.is_some(), "{name} ({section}) is valid: {because}");
            assert_eq!(theirs, wanted, "{name} ({section}) of {}, known: {refusal:?}", oracle.name);
        }
    }
}

/// One small harm to a message.
#[derive(Clone, Debug)]
enum Harm {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Copy { from: prop::sample::Index, to: prop::sample::Index, length: usize },
}

impl Harm {
    fn any() -> impl Strategy<Value = Harm> {
        let at = any::<prop::sample::Index>;
        let byte = || prop::sample::select(b" \t\r\n:;,<>\"@=%\\/?[]0a\0\xc3".to_vec());
        prop_oneof![
            (at(), byte()).prop_map(|(at, byte)| Harm::Replace(at, byte)),
            (at(), byte()).prop_map(|(at, byte)| Harm::Insert(at, byte)),
            at().prop_map(Harm::Remove),
            (at(), at(), 1..60_usize).prop_map(|(from, to, length)| Harm::Copy { from, to, length }),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        let size = bytes.len();
        match self {
            Harm::Replace(at, byte) => bytes[at.index(size)] = *byte,
            Harm::Insert(at, byte) => bytes.insert(at.index(size), *byte),
            Harm::Remove(at) => drop(bytes.remove(at.index(size))),
            Harm::Copy { from, to, length } => {
                let from = from.index(size);
                let part = bytes[from..(from + length).min(size)].to_vec();
                let to = to.index(size);
                bytes.splice(to..to, part);
            }
        }
    }
}

fn harmed() -> impl Strategy<Value = Vec<u8>> {
    let valid: Vec<Vec<u8>> = RFC4475
        .iter()
        .chain(&RFC5118)
        .filter(|case| case.outcome == Outcome::Accepted)
        .map(messages::Case::wire)
        .collect();
    (prop::sample::select(valid), prop::collection::vec(Harm::any(), 1..4)).prop_map(|(mut bytes, harms)| {
        harms.iter().for_each(|harm| harm.apply(&mut bytes));
        bytes
    })
}

fn explained(known: &[(&str, Explains)], bytes: &[u8], ours: &Reading, theirs: Option<&Reading>) -> bool {
    known.iter().any(|(_, explains)| explains(bytes, ours, theirs))
}

/// What we act on, the others read alike, or a table says why not.
fn read_alike(bytes: &[u8]) -> Result<(), String> {
    let Some(ours) = ours(bytes) else { return Ok(()) };
    for Oracle { name, read, differs, lacks, .. } in [SIPX, RSIP] {
        match read(bytes) {
            Some(theirs) if ours == theirs || explained(differs, bytes, &ours, Some(&theirs)) => (),
            Some(theirs) => return Err(format!("{name} reads {}\n  {ours:?}\n  {theirs:?}", text(bytes))),
            None if lacks.is_none_or(|known| explained(known, bytes, &ours, None)) => (),
            None => return Err(format!("{name} refuses {}\n  {ours:?}", text(bytes))),
        }
    }
    Ok(())
}

/// The chance is the same at every run, so that a new difference is found by whoever changes the reader, and
/// not by whoever comes next.
#[test]
fn harmed_messages_are_read_alike() {
    let config = ProptestConfig { cases: 8_000, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&harmed(), |bytes| read_alike(&bytes).map_err(TestCaseError::fail));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// What fuzzing has kept: of each message that we act on, all that the others read must be the same.
#[test]
fn what_fuzzing_has_kept_is_read_alike() {
    let kept = corpus::unpack(include_str!("../../fuzz/corpus/scanner.txt"));
    let acted_on = kept.iter().filter(|bytes| ours(bytes).is_some()).count();
    assert!(acted_on >= 5, "{acted_on} messages that say something");
    let faults: Vec<String> = kept.iter().filter_map(|bytes| read_alike(bytes).err()).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
