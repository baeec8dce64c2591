//! What networks and peers do to media: loss, disorder, other sources, hold, new addresses, spray.

use proptest::prelude::*;

use super::caller::{Caller, offer_at};
use super::stage::{Spooled, Stage};
use crate::message::EndedBy;

const VOICE: u8 = 0x10;

fn at_the_beep() -> (Stage, Caller) {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.reach_the_beep(&mut stage);
    (stage, caller)
}

/// Where each piece of audio was put, and its first byte.
fn places(stage: &Stage) -> Vec<(u32, u8)> {
    let place = |command: &Spooled| match command {
        Spooled::Append(at, payload) => Some((*at, payload[0])),
        Spooled::Begin | Spooled::Finish(_) | Spooled::Discard => None,
    };
    stage.spooled().iter().filter_map(place).collect()
}

#[test]
fn losses_leave_gaps_and_disorder_is_repaired() {
    let (mut stage, mut caller) = at_the_beep();
    let packets: Vec<Vec<u8>> = (1..=12).map(|byte| caller.packet(byte)).collect();
    // The fourth is lost; the sixth and seventh are swapped; the ninth comes twice; the second is late.
    for index in [0, 2, 4, 6, 5, 7, 8, 8, 9, 10, 11, 1] {
        stage.hears_media(&caller.media, &packets[index]);
        stage.advance(20);
    }
    caller.bye(&mut stage);
    assert_eq!(
        places(&stage),
        [
            (0, 1),
            (320, 3),
            (640, 5),
            (800, 6),
            (960, 7),
            (1_120, 8),
            (1_280, 9),
            (1_440, 10),
            (1_600, 11),
            (1_760, 12)
        ]
    );
    assert_eq!(stage.metrics.dropped_as("duplicate"), 1);
    assert_eq!(stage.metrics.dropped_as("late"), 1);
}

#[test]
fn the_last_packet_before_a_hang_up_is_recorded_although_one_before_it_is_missing() {
    let (mut stage, mut caller) = at_the_beep();
    caller.says(&mut stage, 1, 10);
    let _lost = caller.packet(2);
    let last = caller.packet(3);
    stage.hears_media(&caller.media, &last);
    caller.bye(&mut stage);
    assert_eq!(places(&stage)[9..], [(1_440, 1), (1_760, 3)]);
}

#[test]
fn what_came_before_the_end_of_the_beep_is_not_recorded_although_it_is_put_in_order_later() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.invite(&mut stage);
    caller.ack(&mut stage);
    stage.advance(420);
    let media = caller.media.clone();
    let first = caller.packet(0x11);
    let _lost = caller.packet(0x12);
    let early = caller.packet(0x13);
    stage.hears_media(&media, &first);
    stage.hears_media(&media, &early);
    stage.advance(20);
    caller.says(&mut stage, 0x14, 10);
    let recorded: Vec<u8> = places(&stage).into_iter().map(|(_, byte)| byte).collect();
    assert_eq!(recorded, [0x14; 10]);
}

#[test]
fn another_source_from_the_same_address_goes_on_with_the_recording() {
    let (mut stage, mut caller) = at_the_beep();
    caller.says(&mut stage, 1, 2);
    (caller.ssrc, caller.timestamp) = (78, 5_000_000);
    caller.says(&mut stage, 2, 2);
    caller.bye(&mut stage);
    assert_eq!(places(&stage), [(0, 1), (160, 1), (320, 2), (480, 2)]);
}

#[test]
fn nobody_but_the_negotiated_address_is_heard_or_spoken_to() {
    let (mut stage, mut caller) = at_the_beep();
    for from in ["192.0.2.7:4001", "192.0.2.8:4000", "198.51.100.1:4000", "[2001:db8::1]:4000"] {
        let mut stranger = Caller::new();
        stranger.media = from.to_owned();
        for _ in 0..50 {
            let packet = stranger.packet(0x77);
            stage.hears_media(from, &packet);
        }
        stranger.presses(&mut stage, 11);
    }
    assert_eq!(stage.metrics.dropped_as("no_call"), 4 * 54);
    caller.says(&mut stage, VOICE, 2);
    caller.bye(&mut stage);
    assert_eq!(places(&stage), [(0, VOICE), (160, VOICE)]);
    let to: Vec<String> = stage.media.iter().map(|packet| packet.to.to_string()).collect();
    assert!(to.iter().all(|to| to == "192.0.2.7:4000"), "{to:?}");
}

#[test]
fn noise_and_control_packets_on_the_line_are_no_audio() {
    let (mut stage, mut caller) = at_the_beep();
    caller.says(&mut stage, VOICE, 1);
    for noise in [&b"not rtp"[..], &[0x80, 200, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0], &[]] {
        stage.hears_media(&caller.media, noise);
    }
    caller.says(&mut stage, VOICE, 1);
    caller.bye(&mut stage);
    assert_eq!(places(&stage), [(0, VOICE), (160, VOICE)]);
    assert_eq!(stage.metrics.dropped_as("strange"), 3);
}

#[test]
fn while_the_caller_holds_the_call_nothing_is_sent_and_then_it_goes_on() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.invite(&mut stage);
    caller.ack(&mut stage);
    stage.advance(50);
    assert_eq!(stage.media.len(), 3);
    let held = offer_at(&caller.media, "0 8 101", "sendonly");
    caller.reinvite(&mut stage, &held);
    assert!(stage.last("SIP/2.0 200 OK").contains("a=recvonly\r\n"));
    caller.ack(&mut stage);
    stage.advance(1_000);
    assert_eq!(stage.media.len(), 3);
    let resumed = offer_at(&caller.media, "0 8 101", "sendrecv");
    caller.reinvite(&mut stage, &resumed);
    caller.ack(&mut stage);
    stage.advance(1_000);
    assert_eq!(stage.media.len(), 23, "not a packet is missing");
    let first = stage.media[0].timestamp;
    assert_eq!(
        (stage.media[3].at_ms, stage.media[3].marker, stage.media[3].timestamp),
        (1_050, true, first.wrapping_add(8_400)),
        "a new talkspurt, on the clock of the stream"
    );
    assert_eq!(stage.spooled(), [Spooled::Begin]);
}

#[test]
fn hold_as_in_old_times_keeps_the_address() {
    let (mut stage, mut caller) = at_the_beep();
    caller.says(&mut stage, 1, 1);
    let held = offer_at("0.0.0.0:4000", "0 8 101", "sendrecv");
    caller.reinvite(&mut stage, &held);
    caller.ack(&mut stage);
    caller.says(&mut stage, 2, 1);
    caller.bye(&mut stage);
    assert_eq!(places(&stage), [(0, 1), (160, 2)]);
}

#[test]
fn a_new_media_address_is_honoured_and_the_old_one_forgotten() {
    let (mut stage, mut caller) = (Stage::new(), Caller::new());
    caller.invite(&mut stage);
    caller.ack(&mut stage);
    let moved = offer_at("192.0.2.9:6000", "0 8 101", "sendrecv");
    caller.reinvite(&mut stage, &moved);
    caller.ack(&mut stage);
    stage.advance(440);
    assert_eq!(stage.media[0].to.to_string(), "192.0.2.7:4000");
    assert!(stage.media[1..].iter().all(|packet| packet.to.to_string() == "192.0.2.9:6000"));
    caller.says(&mut stage, 1, 1);
    caller.media = "192.0.2.9:6000".to_owned();
    caller.says(&mut stage, 2, 1);
    // The old address is free for another call.
    let mut other = Caller::new();
    other.call_id = "other".to_owned();
    other.invite(&mut stage);
    assert_eq!(stage.count("SIP/2.0 488"), 0);
    caller.bye(&mut stage);
    assert_eq!(places(&stage), [(0, 2)]);
    assert_eq!(stage.spooled().last(), Some(&Spooled::Finish(EndedBy::Hangup)));
}

#[test]
fn a_call_keeps_its_codec() {
    let (mut stage, mut caller) = at_the_beep();
    let other_law = offer_at(&caller.media, "8 101", "sendrecv");
    caller.reinvite(&mut stage, &other_law);
    assert!(stage.last("SIP/2.0 488").contains("text=\"UM1116 MediaNotAcceptable: "));
    caller.ack(&mut stage);
    let both = offer_at(&caller.media, "8 0 101", "sendrecv");
    caller.reinvite(&mut stage, &both);
    assert!(stage.last("SIP/2.0 200 OK").contains("m=audio 20000 RTP/AVP 0 101\r\n"));
    caller.ack(&mut stage);
    caller.says(&mut stage, VOICE, 1);
    caller.bye(&mut stage);
    assert_eq!(places(&stage), [(0, VOICE)]);
}

#[test]
fn each_description_has_a_version_of_its_own() {
    let (mut stage, mut caller) = at_the_beep();
    let version = |stage: &Stage| {
        let answer = stage.last("SIP/2.0 200 OK").to_owned();
        let origin = answer.lines().find(|line| line.starts_with("o=")).unwrap().to_owned();
        let mut words = origin.split(' ').skip(1).map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    };
    let (session, first) = version(&stage);
    let same = offer_at(&caller.media, "0 8 101", "sendrecv");
    caller.reinvite(&mut stage, &same);
    assert_eq!(first, "1");
    assert_eq!(version(&stage), (session, "2".to_owned()));
}

#[test]
fn a_sender_whose_clock_runs_too_fast_cannot_exceed_the_limit() {
    let (mut stage, mut caller) = at_the_beep();
    for _ in 0..1_100 {
        let packet = caller.packet(VOICE);
        stage.hears_media(&caller.media, &packet);
    }
    assert_eq!(places(&stage).len(), 1_000, "20 s of audio, within one instant");
    assert_eq!(stage.count("BYE "), 1);
}

proptest! {
    /// Whatever a network loses, repeats, and delays by up to four places: what arrived is where it
    /// was said, and nothing else is there.
    #[test]
    fn what_arrives_is_recorded_where_it_was_said(fates in prop::collection::vec((0usize..5, 0u8..4), 60)) {
        let (mut stage, mut caller) = at_the_beep();
        let packets: Vec<Vec<u8>> = (0..60).map(|byte| caller.packet(byte)).collect();
        // Of four packets one is lost and one comes twice.
        let mut order: Vec<(usize, u8)> = Vec::new();
        for (place, (delay, fate)) in fates.iter().enumerate() {
            for _ in 0..[0, 1, 1, 2][usize::from(*fate)] {
                order.push((place + delay, u8::try_from(place).unwrap()));
            }
        }
        order.sort_by_key(|(slot, _)| *slot);
        for (_, place) in &order {
            stage.hears_media(&caller.media, &packets[usize::from(*place)]);
        }
        caller.bye(&mut stage);
        let arrived: Vec<u8> = (0..60).filter(|place| fates[usize::from(*place)].1 > 0).collect();
        let first = arrived.first().copied().unwrap_or(0);
        let expected: Vec<(u32, u8)> =
            arrived.iter().map(|place| (u32::from(place - first) * 160, *place)).collect();
        prop_assert_eq!(places(&stage), expected);
    }
}
