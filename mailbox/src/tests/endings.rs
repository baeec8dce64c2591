//! How calls end, and what stays of them.

use super::caller::Caller;
use super::stage::{Spooled, Stage};
use crate::message::EndedBy;
use crate::prompt::Sentence;
use crate::spool_writer::SpoolHealth;
use crate::switchboard::Note;

const VOICE: u8 = 0x10;
/// Digital silence in µ-law.
const SILENCE: u8 = 0xff;

fn at_the_beep() -> (Stage, Caller) {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.reach_the_beep(&mut stage);
    (stage, caller)
}

/// How much audio was recorded, in packets of 20 ms.
fn appended(stage: &Stage) -> usize {
    stage.spooled().iter().filter(|command| matches!(command, Spooled::Append(..))).count()
}

#[test]
fn the_pound_key_ends_the_recording_and_is_not_part_of_it() {
    let (mut stage, mut caller) = at_the_beep();
    caller.says(&mut stage, VOICE, 2);
    caller.presses(&mut stage, 11);
    caller.says(&mut stage, 0x22, 3);
    assert_eq!(
        stage.spooled(),
        [
            Spooled::Begin,
            Spooled::Append(0, vec![VOICE; 160]),
            Spooled::Append(160, vec![VOICE; 160]),
            Spooled::Finish(EndedBy::Key),
        ]
    );
    assert_eq!(stage.count("BYE "), 1);
    caller.agree_to_bye(&mut stage);
    stage.advance(60_000);
    assert_eq!(stage.count("BYE "), 1);
    assert_eq!(stage.metrics.ended_with("recorded"), 1);
}

#[test]
fn what_overtook_the_pound_key_on_the_network_is_not_part_of_the_recording() {
    let (mut stage, mut caller) = at_the_beep();
    caller.says(&mut stage, VOICE, 1);
    stage.advance(100);
    let key = caller.key(11);
    let after = caller.packet(0x22);
    let media = caller.media.clone();
    stage.hears_media(&media, &after);
    stage.hears_media(&media, &key);
    assert_eq!(
        stage.spooled(),
        [Spooled::Begin, Spooled::Append(0, vec![VOICE; 160]), Spooled::Finish(EndedBy::Key)]
    );
}

#[test]
fn other_keys_and_a_pound_during_the_greeting_change_nothing() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.invite(&mut stage);
    caller.ack(&mut stage);
    caller.says(&mut stage, VOICE, 10);
    caller.presses(&mut stage, 11);
    stage.advance(240);
    caller.says(&mut stage, VOICE, 2);
    caller.presses(&mut stage, 5);
    caller.says(&mut stage, VOICE, 2);
    assert_eq!(stage.count("BYE "), 0);
    assert_eq!(appended(&stage), 4);
}

#[test]
fn silence_of_five_seconds_ends_the_recording_and_stays_in_it() {
    let (mut stage, mut caller) = at_the_beep();
    caller.says(&mut stage, VOICE, 50);
    let voice_ended_ms = stage.now_ms() - 20;
    caller.says(&mut stage, SILENCE, 250);
    assert_eq!(stage.count("BYE "), 1);
    let (at_ms, _) = stage.sip.iter().find(|(_, message)| message.starts_with("BYE ")).unwrap();
    assert_eq!(*at_ms, voice_ended_ms + 5_000);
    assert_eq!(appended(&stage), 50 + 249);
    assert_eq!(stage.spooled().last(), Some(&Spooled::Finish(EndedBy::Silence)));
}

#[test]
fn a_pause_that_is_shorter_than_the_limit_ends_nothing() {
    let (mut stage, mut caller) = at_the_beep();
    for _ in 0..2 {
        caller.says(&mut stage, VOICE, 50);
        caller.says(&mut stage, SILENCE, 240);
    }
    assert_eq!(stage.count("BYE "), 0);
}

#[test]
fn a_caller_who_vanishes_is_not_waited_for() {
    let (mut stage, mut caller) = at_the_beep();
    caller.says(&mut stage, VOICE, 5);
    stage.advance(4_979);
    assert_eq!(stage.count("BYE "), 0);
    stage.advance(1);
    assert_eq!(stage.count("BYE "), 1);
    // The gateway is gone too: the BYE is repeated, then given up.
    stage.advance(40_000);
    assert_eq!(stage.count("BYE "), 11);
    assert_eq!(stage.metrics.slots().taken(), 0);
}

#[test]
fn a_recording_ends_at_its_longest_duration() {
    let (mut stage, mut caller) = at_the_beep();
    caller.says(&mut stage, VOICE, 1_001);
    assert_eq!(appended(&stage), 1_000);
    assert_eq!(stage.spooled().last(), Some(&Spooled::Finish(EndedBy::Limit)));
    let (at_ms, _) = stage.sip.iter().find(|(_, message)| message.starts_with("BYE ")).unwrap();
    assert_eq!(*at_ms, 440 + 20_000);
}

#[test]
fn a_call_ends_at_its_longest_duration_even_while_it_plays() {
    let mut stage = Stage::but("maxCallDurationS: 60", "maxCallDurationS: 10");
    let mut caller = Caller::new();
    let long = crate::prompt::Prompt::from_samples(&vec![1_000; 8_000 * 30]);
    let greeting = Sentence::Greeting { name: "Ada Lovelace".to_owned() };
    let ready = crate::speech::Spoken::Ready(std::sync::Arc::new(long));
    stage.props.prompts.borrow_mut().insert(greeting, ready);
    caller.invite(&mut stage);
    caller.ack(&mut stage);
    stage.advance(9_999);
    assert_eq!(stage.count("BYE "), 0);
    stage.advance(1);
    assert_eq!(stage.count("BYE "), 1);
    assert_eq!(stage.metrics.ended_with("empty"), 1);
}

#[test]
fn a_disk_that_fills_up_is_said_to_the_caller_and_what_was_recorded_stays() {
    let (mut stage, mut caller) = at_the_beep();
    caller.says(&mut stage, VOICE, 2);
    stage.advance(100);
    stage.props.storage.set(SpoolHealth::Full);
    stage.media.clear();
    caller.says(&mut stage, VOICE, 5);
    assert_eq!(
        stage.spooled(),
        [
            Spooled::Begin,
            Spooled::Append(0, vec![VOICE; 160]),
            Spooled::Append(160, vec![VOICE; 160]),
            Spooled::Finish(EndedBy::Storage),
        ]
    );
    let said: Vec<(bool, u8)> = stage.media.iter().map(|packet| (packet.marker, packet.payload[0])).collect();
    assert_eq!(said, [(true, 0xb7), (false, 0xb7)], "the two packets of the apology");
    assert!(stage.last("BYE ").contains("Reason: SIP;cause=503;text=\"UM1122 StorageUnavailable: "));
    assert_eq!(stage.metrics.ended_with("recorded"), 1);
}

#[test]
fn a_full_outbox_ends_no_recording_that_has_begun() {
    let (mut stage, mut caller) = at_the_beep();
    caller.says(&mut stage, VOICE, 2);
    stage.props.storage.set(SpoolHealth::OutboxFull);
    caller.says(&mut stage, VOICE, 5);
    assert_eq!(appended(&stage), 7);
    assert_eq!(stage.count("BYE "), 0);
}

#[test]
fn without_speech_a_full_disk_ends_the_call_at_once() {
    let (mut stage, mut caller) = at_the_beep();
    caller.says(&mut stage, VOICE, 2);
    stage.advance(100);
    stage.props.prompts.borrow_mut().clear();
    stage.props.storage.set(SpoolHealth::Unwritable);
    caller.says(&mut stage, VOICE, 1);
    assert_eq!(stage.count("BYE "), 1);
    assert_eq!(stage.spooled().last(), Some(&Spooled::Finish(EndedBy::Storage)));
}

#[test]
fn a_recording_of_which_nothing_could_be_stored_is_no_message() {
    let (mut stage, mut caller) = at_the_beep();
    stage.props.storage.set(SpoolHealth::Full);
    caller.says(&mut stage, VOICE, 10);
    assert_eq!(stage.spooled(), [Spooled::Begin, Spooled::Discard]);
    assert_eq!(stage.metrics.ended_with("failed"), 1);
}

#[test]
fn a_spool_that_cannot_keep_up_is_a_full_disk() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.invite(&mut stage);
    caller.ack(&mut stage);
    stage.props.spool_takes.set(false);
    stage.advance(500);
    assert_eq!(stage.media.len(), 23 + 2, "the apology follows the beep");
    assert_eq!(stage.count("BYE "), 1);
    assert_eq!(stage.metrics.ended_with("failed"), 1);
}

#[test]
fn a_server_that_is_stopped_hangs_up_and_keeps_what_was_said() {
    let (mut stage, mut caller) = at_the_beep();
    caller.says(&mut stage, VOICE, 3);
    let mut other = Caller::numbered(1);
    let greeting = Sentence::Greeting { name: "Ada Lovelace".to_owned() };
    stage.props.prompts.borrow_mut().insert(greeting, crate::speech::Spoken::Coming);
    other.invite(&mut stage);
    stage.told(Note::Stop);
    assert_eq!(stage.spooled().last(), Some(&Spooled::Finish(EndedBy::Shutdown)));
    assert!(stage.last("BYE ").contains("text=\"UM1105 ServerNotInService: "));
    assert!(stage.last("SIP/2.0 503").contains("call-1@"), "the one that rings is refused");
    assert_eq!(stage.metrics.slots().taken(), 0);
}

#[test]
fn a_worker_that_fails_loses_no_recording_and_no_place() {
    let (mut stage, mut caller) = at_the_beep();
    caller.says(&mut stage, VOICE, 10);
    let (props, metrics) = (stage.props.clone(), stage.metrics.clone());
    drop(stage);
    let last = props.commands.borrow().last().map(Spooled::from);
    assert_eq!(last, Some(Spooled::Finish(EndedBy::Crash)));
    assert_eq!(metrics.slots().taken(), 0);
}
