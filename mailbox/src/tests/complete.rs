//! Whole calls, from the INVITE to what the spool was told.

use super::caller::{Caller, offer, offer_at};
use super::stage::{CALLER, EPOCH_MS, Spooled, Stage, id_of};
use crate::message::{Codec, EndedBy};
use crate::prompt::Sentence;
use crate::speech::Spoken;
use crate::switchboard::Note;
use crate::tone::beep;

/// A loud byte of either law.
const VOICE: u8 = 0x10;

#[test]
fn a_complete_call_leaves_exactly_what_was_said() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.reach_the_beep(&mut stage);
    assert_eq!(stage.starts(), ["SIP/2.0 100 Trying", "SIP/2.0 180 Ringing", "SIP/2.0 200 OK"]);
    assert_eq!(stage.spooled(), [Spooled::Begin]);
    assert_eq!(stage.metrics.slots().taken(), 1);
    for byte in [VOICE, 0x11, 0x12] {
        caller.says(&mut stage, byte, 1);
    }
    caller.bye(&mut stage);
    assert_eq!(
        stage.spooled(),
        [
            Spooled::Begin,
            Spooled::Append(0, vec![VOICE; 160]),
            Spooled::Append(160, vec![0x11; 160]),
            Spooled::Append(320, vec![0x12; 160]),
            Spooled::Finish(EndedBy::Hangup),
        ]
    );
    assert!(stage.last("SIP/2.0 200 OK").contains("BYE"));
    assert_eq!(stage.metrics.ended_with("recorded"), 1);
    assert_eq!(stage.metrics.slots().taken(), 0);
}

#[test]
fn the_caller_hears_greeting_and_beep_at_an_even_pace_and_then_nothing() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.reach_the_beep(&mut stage);
    caller.says(&mut stage, VOICE, 50);
    let sent = &stage.media;
    assert_eq!(sent.len(), 23, "three packets of greeting and twenty of beep");
    let first = sent[0].timestamp;
    for (index, packet) in (0u32..).zip(sent) {
        assert_eq!(packet.at_ms, u64::from(index) * 20);
        assert_eq!(packet.timestamp, first.wrapping_add(index * 160));
        assert_eq!((packet.to, packet.payload_type), (CALLER.parse().unwrap(), 0));
        assert_eq!(packet.marker, index == 0, "one talkspurt");
        assert_eq!(packet.payload.len(), 160);
    }
    assert_eq!(
        sent[3..].iter().flat_map(|packet| packet.payload.clone()).collect::<Vec<u8>>(),
        beep(Codec::Pcmu)
    );
}

#[test]
fn the_recording_knows_who_called_whom() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.reach_the_beep(&mut stage);
    let facts = stage.facts();
    assert_eq!(facts.mailbox, "ada");
    assert_eq!(facts.called, "101");
    assert_eq!(facts.caller.as_deref(), Some("555"));
    assert_eq!(facts.caller_name.as_deref(), Some("Carol"));
    assert_eq!(facts.gateway, "pbx");
    assert_eq!(facts.call_id, "call-0@192.0.2.7");
    assert_eq!(facts.codec, Codec::Pcmu);
    assert_eq!(facts.started_unix_ms, EPOCH_MS + 440);
}

#[test]
fn a_caller_who_prefers_a_law_is_recorded_in_a_law() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.law = 8;
    caller.reach_the_beep(&mut stage);
    assert!(stage.last("SIP/2.0 200 OK").contains("m=audio 20000 RTP/AVP 8 101\r\n"));
    assert_eq!(stage.facts().codec, Codec::Pcma);
    assert!(stage.media.iter().all(|packet| packet.payload_type == 8));
    assert_eq!(stage.media[3].payload, beep(Codec::Pcma)[..160]);
    caller.says(&mut stage, VOICE, 1);
    caller.bye(&mut stage);
    assert_eq!(stage.spooled()[1], Spooled::Append(0, vec![VOICE; 160]));
}

#[test]
fn what_is_said_before_the_beep_has_ended_is_not_recorded() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.invite(&mut stage);
    caller.ack(&mut stage);
    caller.says(&mut stage, 0x33, 22);
    assert_eq!(stage.spooled(), [Spooled::Begin]);
    caller.says(&mut stage, VOICE, 2);
    caller.bye(&mut stage);
    assert_eq!(
        stage.spooled()[1..],
        [
            Spooled::Append(0, vec![VOICE; 160]),
            Spooled::Append(160, vec![VOICE; 160]),
            Spooled::Finish(EndedBy::Hangup),
        ]
    );
}

#[test]
fn a_caller_who_hangs_up_during_the_greeting_leaves_nothing() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.invite(&mut stage);
    caller.ack(&mut stage);
    stage.advance(30);
    caller.bye(&mut stage);
    stage.advance(10_000);
    assert_eq!(stage.spooled(), []);
    assert_eq!(stage.media.len(), 2);
    assert_eq!(stage.metrics.ended_with("empty"), 1);
}

#[test]
fn a_caller_who_hangs_up_after_the_beep_without_a_packet_leaves_nothing() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.reach_the_beep(&mut stage);
    stage.advance(1_000);
    caller.bye(&mut stage);
    assert_eq!(stage.spooled(), [Spooled::Begin, Spooled::Discard]);
}

#[test]
fn the_call_rings_until_its_greeting_is_ready() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    let greeting = Sentence::Greeting { name: "Ada Lovelace".to_owned() };
    let ready = stage.props.prompts.borrow_mut().insert(greeting.clone(), Spoken::Coming).unwrap();
    caller.invite(&mut stage);
    stage.advance(700);
    assert_eq!(stage.count("SIP/2.0 200"), 0);
    stage.props.prompts.borrow_mut().insert(greeting.clone(), ready);
    let language = config::Language::EnUs;
    stage.told(Note::Spoken(crate::prompt::Utterance { language, sentence: greeting }));
    assert_eq!(stage.sip.last().unwrap().0, 700);
    assert_eq!(stage.count("SIP/2.0 200"), 1);
    caller.ack(&mut stage);
    assert_eq!(stage.media[0].payload, [0xce; 160], "the level of the own greeting");
}

#[test]
fn after_two_seconds_the_generic_greeting_is_played() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    let greeting = Sentence::Greeting { name: "Ada Lovelace".to_owned() };
    stage.props.prompts.borrow_mut().insert(greeting, Spoken::Coming);
    caller.invite(&mut stage);
    stage.advance(1_999);
    assert_eq!(stage.count("SIP/2.0 200"), 0);
    stage.advance(1);
    assert_eq!(stage.count("SIP/2.0 200"), 1);
    caller.learn_tag(&stage);
    caller.ack(&mut stage);
    assert_eq!(stage.media[0].payload, [0xbf; 160], "the level of the generic greeting");
}

#[test]
fn without_speech_the_caller_hears_the_beep_only() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    stage.props.prompts.borrow_mut().clear();
    caller.invite(&mut stage);
    caller.ack(&mut stage);
    stage.advance(380);
    assert_eq!(stage.media.len(), 20);
    assert!(stage.media[0].marker);
    assert_eq!(stage.media[0].payload, beep(Codec::Pcmu)[..160]);
    assert_eq!(stage.spooled(), [Spooled::Begin]);
}

#[test]
fn an_invite_without_an_offer_is_answered_by_one() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.invite_with(&mut stage, "");
    assert!(stage.last("SIP/2.0 200 OK").contains("m=audio 20000 RTP/AVP 0 8 101\r\n"));
    caller.ack_with(&mut stage, &offer_at(CALLER, "8 101", "sendrecv"));
    stage.advance(440);
    assert_eq!(stage.facts().codec, Codec::Pcma);
    caller.law = 8;
    caller.says(&mut stage, VOICE, 1);
    caller.bye(&mut stage);
    assert_eq!(stage.spooled()[1], Spooled::Append(0, vec![VOICE; 160]));
}

#[test]
fn an_ack_without_a_usable_answer_ends_the_call() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.invite_with(&mut stage, "");
    caller.ack_with(&mut stage, &offer_at(CALLER, "18", "sendrecv"));
    assert!(stage.last("BYE ").contains("text=\"UM1116 MediaNotAcceptable: "));
    assert_eq!(stage.metrics.ended_with("failed"), 1);
}

#[test]
fn twenty_calls_share_a_port_and_none_hears_another() {
    let mut stage = Stage::new();
    let mut callers: Vec<Caller> = (0..20).map(Caller::numbered).collect();
    for caller in &mut callers {
        caller.invite(&mut stage);
        caller.ack(&mut stage);
        stage.advance(7);
    }
    stage.advance(440);
    for round in 0..3u8 {
        for (index, caller) in (0u8..).zip(&mut callers) {
            let packet = caller.packet(index * 3 + round);
            stage.hears_media(&caller.media, &packet);
        }
        stage.advance(20);
    }
    for caller in &mut callers {
        caller.bye(&mut stage);
    }
    let commands = stage.props.commands.borrow();
    let begun: Vec<_> =
        commands.iter().filter(|command| Spooled::from(*command) == Spooled::Begin).map(id_of).collect();
    assert_eq!(begun.len(), 20);
    for (index, id) in (0u8..).zip(begun) {
        let of_this: Vec<Spooled> =
            commands.iter().filter(|command| id_of(command) == id).map(Spooled::from).collect();
        assert_eq!(
            of_this,
            [
                Spooled::Begin,
                Spooled::Append(0, vec![index * 3; 160]),
                Spooled::Append(160, vec![index * 3 + 1; 160]),
                Spooled::Append(320, vec![index * 3 + 2; 160]),
                Spooled::Finish(EndedBy::Hangup),
            ]
        );
    }
}

#[test]
fn retransmitted_invites_make_one_call() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.number = "101";
    let request = caller.request("INVITE", 1, &offer());
    stage.hears(&request);
    stage.hears(&request);
    stage.hears(&request);
    assert_eq!(stage.metrics.slots().taken(), 1);
}

#[test]
fn a_caller_who_is_a_user_is_known_by_number_by_form_and_in_a_plan_beside() {
    let but = || {
        Stage::but_all(&[
            (
                "dialPlans: [{name: contoso,",
                "dialPlans: [{name: fabrikam, numberOfDigitsInExtension: 3, voipSecurity: Unsecured}, {name: contoso,",
            ),
            ("{name: bob, dialPlan: contoso,", "{name: bob, dialPlan: fabrikam,"),
            (
                "recordingIdleTimeoutS: 5",
                "recordingIdleTimeoutS: 5, numberingPlanFormats: ['+1425555xxx'], equivalentDialPlans: [fabrikam]",
            ),
        ])
    };
    for (from, name, address) in [
        ("\"C\" <sip:555@192.0.2.7>", Some("C"), None),
        ("<sip:101@192.0.2.7>", Some("Ada Lovelace"), Some("ada@contoso.example")),
        ("\"C\" <tel:+1-425-555-101>", Some("Ada Lovelace"), Some("ada@contoso.example")),
        // Bob has no display name, so the caller's own is shown.
        ("\"C\" <sip:102@192.0.2.7>", Some("C"), Some("bob@contoso.example")),
        ("<sip:1425556101@192.0.2.7>", None, None),
        ("\"Anonymous\" <sip:anonymous@anonymous.invalid>", None, None),
    ] {
        let (mut stage, mut caller) = (but(), Caller::new());
        let request = caller.request("INVITE", 1, &offer_at(CALLER, "0 101", "sendrecv"));
        stage.hears(&request.replacen("\"Carol\" <sip:555@192.0.2.7>", from, 1));
        caller.learn_tag(&stage);
        caller.ack(&mut stage);
        stage.advance(1_000);
        let facts = stage.facts();
        let known = (facts.caller_name.as_deref(), facts.caller_address.as_deref());
        assert_eq!(known, (name, address), "{from}");
    }
}
