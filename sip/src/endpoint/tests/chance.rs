//! What must hold whatever comes in whichever order.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// Runs a script in which each number picks one thing that may happen, and checks after each step.
fn play(peer: Peer, script: &[(u8, u8)]) {
    let mut line = Line::with(EndpointSettings { max_calls: 3, max_transactions: 12, ..settings() }, peer);
    let mut calls: Vec<(CallKey, String)> = Vec::new();
    let mut finals: HashMap<CallKey, u32> = HashMap::new();
    let mut refused = 0;
    for &(what, which) in script {
        let cseq = u32::from(which % 5) + 1;
        let picked = calls.get(usize::from(which) % calls.len().max(1)).cloned();
        let tag = picked.as_ref().map_or(String::new(), |(_, tag)| tag.clone());
        match (what % 12, picked) {
            (0, _) => line.receive(&reinvite(cseq, "")),
            (1, _) => line.receive(&reinvite(cseq, &tag)),
            (2, _) => line.receive(&in_dialog("ACK", cseq, &tag)),
            (3, _) => line.receive(&same_branch("ACK", cseq, &tag)),
            (4, _) => line.receive(&same_branch("CANCEL", cseq, "")),
            (5, _) => line.receive(&in_dialog("BYE", cseq, &tag)),
            (6, Some((call, _))) => drop(line.endpoint.answer(call, SDP, line.now)),
            (7, Some((call, _))) => drop(line.endpoint.answer_reinvite(call, SDP, line.now)),
            (8, Some((call, _))) => {
                let refusal = Refusal { status: 486, reason: "Busy Here", headers: &[] };
                refused += u32::from(line.endpoint.refuse(call, refusal, line.now).is_ok());
            }
            (9, Some((call, _))) => drop(line.endpoint.bye(call, None, line.now)),
            (10, _) => {
                let bye = line.sent.iter().map(|(_, sent)| text(sent)).rfind(|text| text.starts_with("BYE"));
                if let Some(bye) = bye {
                    line.receive(&response_to(&bye, "200 OK"));
                }
            }
            _ => {
                let ms = u64::try_from((line.now - line.start).as_millis()).unwrap();
                line.wait_until(ms + u64::from(which) * 100);
            }
        }
        line.drain();
        for event in line.events() {
            match event {
                Event::Invite { call, .. } => {
                    let tag = line.endpoint.identity.tag(call);
                    calls.push((call, tag));
                }
                Event::Cancelled { call } | Event::Hangup { call } | Event::Ended { call, .. } => {
                    *finals.entry(call).or_default() += 1;
                }
                Event::Reinvite { .. } | Event::Acknowledged { .. } => {}
            }
        }
        let over = u32::try_from(finals.len()).unwrap() + refused;
        assert_eq!(line.endpoint.calls(), calls.len() - usize::try_from(over).unwrap());
        assert!(line.endpoint.calls() <= 3 && line.endpoint.table.len() <= 12);
    }
    assert!(finals.values().all(|times| *times == 1), "a call ends once");
    hang_up_all(&mut line, &calls);
}

/// Whatever happened, time and a BYE for each call leave nothing behind.
fn hang_up_all(line: &mut Line, calls: &[(CallKey, String)]) {
    for _ in 0..2 {
        let ms = u64::try_from((line.now - line.start).as_millis()).unwrap();
        line.wait_until(ms + 300_000);
        for (call, _) in calls {
            let _ = line.endpoint.bye(*call, None, line.now);
        }
        line.drain();
    }
    let ms = u64::try_from((line.now - line.start).as_millis()).unwrap();
    line.wait_until(ms + 300_000);
    assert_eq!(line.endpoint.calls(), 0);
    assert!(line.endpoint.is_idle());
    assert_eq!(line.endpoint.deadline(), None);
}

proptest! {
    #[test]
    fn every_call_ends_once_and_leaves_nothing_behind(
        script in prop::collection::vec((any::<u8>(), any::<u8>()), 0..60),
        reliable in any::<bool>(),
    ) {
        play(if reliable { tcp() } else { udp() }, &script);
    }

    #[test]
    fn no_damage_to_a_message_makes_the_endpoint_panic(
        which in 0_usize..6,
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut line = Line::new();
        let (_, tag) = line.established();
        let all = [invite(), reinvite(2, &tag), in_dialog("BYE", 2, &tag), same_branch("CANCEL", 1, ""),
            in_dialog("ACK", 1, &tag), in_dialog("OPTIONS", 2, "")];
        let mut bytes = all[which].clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        line.endpoint.handle(&bytes, udp(), line.now);
        line.endpoint.handle(&bytes[..cut.index(bytes.len())], udp(), line.now);
        line.drain();
        for (_, transmit) in &line.sent {
            prop_assert!(crate::scan(&transmit.bytes).is_ok());
        }
        line.wait_until(300_000);
    }
}
