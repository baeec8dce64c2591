//! What sockets seldom show: lost and crossing messages.

use super::caller::{Caller, offer};
use super::stage::{Spooled, Stage};
use crate::message::EndedBy;
use crate::prompt::Sentence;
use crate::speech::Spoken;

const VOICE: u8 = 0x10;

fn ringing() -> (Stage, Caller) {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    let greeting = Sentence::Greeting { name: "Ada Lovelace".to_owned() };
    stage.props.prompts.borrow_mut().insert(greeting, Spoken::Coming);
    caller.invite(&mut stage);
    (stage, caller)
}

fn bye_at_the_pound_key() -> (Stage, Caller) {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.reach_the_beep(&mut stage);
    caller.says(&mut stage, VOICE, 2);
    caller.presses(&mut stage, 11);
    (stage, caller)
}

#[test]
fn a_lost_200_is_sent_again_and_the_greeting_waits_for_the_ack() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.invite(&mut stage);
    stage.advance(1_500);
    let sent: Vec<u64> = stage
        .sip
        .iter()
        .filter(|(_, message)| message.starts_with("SIP/2.0 200"))
        .map(|(at, _)| *at)
        .collect();
    assert_eq!(sent, [0, 500, 1_500]);
    assert_eq!(stage.media.len(), 0);
    caller.ack(&mut stage);
    stage.advance(440);
    assert_eq!(stage.media[0].at_ms, 1_500);
    assert_eq!(stage.count("SIP/2.0 200"), 3);
    assert_eq!(stage.spooled(), [Spooled::Begin]);
}

#[test]
fn behind_a_translation_the_greeting_waits_for_the_caller_to_be_heard() {
    let (mut stage, mut caller) = (Stage::behind_translation(), Caller::new());
    caller.invite(&mut stage);
    assert!(stage.last("SIP/2.0 200").contains("c=IN IP4 192.0.2.20\r\n"));
    assert!(stage.last("SIP/2.0 200").contains("m=audio 20000 "));
    caller.ack(&mut stage);
    stage.advance(3_000);
    assert_eq!(stage.media.len(), 0);
    caller.says(&mut stage, VOICE, 1);
    stage.advance(440);
    assert_eq!(stage.media.len(), 23);
    assert_eq!(stage.spooled(), [Spooled::Begin]);
}

#[test]
fn behind_a_translation_a_caller_who_spoke_before_the_ack_hears_the_greeting_at_once() {
    let (mut stage, mut caller) = (Stage::behind_translation(), Caller::new());
    caller.invite(&mut stage);
    caller.says(&mut stage, VOICE, 1);
    let spoke_until = stage.now_ms();
    caller.ack(&mut stage);
    stage.advance(440);
    assert_eq!(stage.media[0].at_ms, spoke_until);
}

#[test]
fn acks_that_come_twice_start_one_greeting() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.invite(&mut stage);
    caller.ack(&mut stage);
    stage.advance(100);
    caller.ack(&mut stage);
    stage.advance(340);
    assert_eq!(stage.media.len(), 23);
    assert_eq!(stage.spooled(), [Spooled::Begin]);
}

#[test]
fn a_call_that_is_never_acknowledged_ends_by_bye() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.invite(&mut stage);
    stage.advance(31_999);
    assert_eq!(stage.count("BYE "), 0);
    stage.advance(1);
    assert_eq!(stage.count("BYE "), 1);
    assert_eq!((stage.media.len(), stage.spooled().len()), (0, 0));
    assert_eq!(stage.metrics.slots().taken(), 0);
    assert_eq!(stage.metrics.ended_with("failed"), 1);
}

#[test]
fn a_cancelled_call_leaves_nothing() {
    let (mut stage, caller) = ringing();
    stage.advance(300);
    caller.cancel(&mut stage);
    assert_eq!(stage.count("SIP/2.0 487"), 1);
    assert_eq!(stage.metrics.slots().taken(), 0);
    stage.advance(40_000);
    assert_eq!((stage.count("SIP/2.0 200 OK"), stage.media.len(), stage.spooled().len()), (1, 0, 0));
    assert_eq!(stage.metrics.ended_with("cancelled"), 1);
}

#[test]
fn a_cancel_that_crosses_the_200_changes_nothing() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.invite(&mut stage);
    caller.cancel(&mut stage);
    assert_eq!(stage.count("SIP/2.0 487"), 0);
    caller.ack(&mut stage);
    caller.bye(&mut stage);
    assert!(stage.last("SIP/2.0 200 OK").contains("BYE"));
    assert_eq!(stage.metrics.slots().taken(), 0);
}

#[test]
fn a_bye_before_the_ack_ends_the_call() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.invite(&mut stage);
    caller.bye(&mut stage);
    stage.advance(40_000);
    assert_eq!((stage.media.len(), stage.count("BYE ")), (0, 0));
    assert_eq!(stage.metrics.slots().taken(), 0);
}

#[test]
fn a_bye_that_crosses_ours_ends_the_call_once() {
    let (mut stage, mut caller) = bye_at_the_pound_key();
    caller.bye(&mut stage);
    assert!(stage.last("SIP/2.0 200 OK").contains("BYE"));
    caller.agree_to_bye(&mut stage);
    stage.advance(40_000);
    assert_eq!(stage.metrics.ended_with("recorded"), 1);
    assert_eq!(stage.spooled().last(), Some(&Spooled::Finish(EndedBy::Key)));
    assert_eq!(stage.count("BYE "), 1);
}

#[test]
fn a_re_invite_that_crosses_our_bye_brings_nothing_back() {
    let (mut stage, mut caller) = bye_at_the_pound_key();
    let before = (stage.media.len(), stage.spooled());
    caller.reinvite(&mut stage, &offer());
    assert_eq!(stage.count("SIP/2.0 481"), 1);
    stage.advance(1_000);
    assert_eq!((stage.media.len(), stage.spooled()), before);
}

#[test]
fn a_bye_right_behind_a_re_invite_ends_the_call() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.reach_the_beep(&mut stage);
    caller.says(&mut stage, VOICE, 2);
    caller.reinvite(&mut stage, &offer());
    caller.bye(&mut stage);
    caller.bye(&mut stage);
    assert_eq!(stage.spooled().last(), Some(&Spooled::Finish(EndedBy::Hangup)));
    assert_eq!(stage.metrics.slots().taken(), 0);
    stage.advance(40_000);
    assert_eq!(stage.metrics.ended_with("recorded"), 1);
}

#[test]
fn a_greeting_that_becomes_ready_after_the_cancel_answers_nobody() {
    let (mut stage, caller) = ringing();
    caller.cancel(&mut stage);
    let sentence = Sentence::Greeting { name: "Ada Lovelace".to_owned() };
    let language = config::Language::EnUs;
    stage.told(crate::switchboard::Note::Spoken(crate::prompt::Utterance { language, sentence }));
    assert_eq!(stage.count("SIP/2.0 200 OK"), 1, "the one for the CANCEL");
}
