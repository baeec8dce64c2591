//! An endpoint and a caller made of the client machines, over a line that loses, delays and reorders.

use super::*;
use crate::transaction::{ClientInvite, Received};

/// One message in four is lost, and each takes 5 to 400 ms. The pattern follows from `seed` alone.
struct Weather {
    seed: u64,
    messages: u64,
}

impl Weather {
    /// After how many milliseconds the next message arrives, if it does.
    fn next(&mut self) -> Option<u64> {
        self.messages += 1;
        // SplitMix64.
        let mut mixed = self.seed.wrapping_add(self.messages.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (!mixed.is_multiple_of(4)).then_some(5 + (mixed >> 8) % 396)
    }
}

/// The caller: INVITE, ACK for each final response, and BYE five seconds after the answer.
struct Caller {
    invite: ClientInvite,
    bye: Option<ClientOther>,
    bye_at: Option<u64>,
    tag: String,
    answered: bool,
    hung_up: bool,
}

impl Caller {
    fn receive(&mut self, text: &str, ms: u64, now: Instant) -> Option<String> {
        let status = first_line(text).split(' ').nth(1).unwrap().parse().unwrap();
        if header(text, "CSeq") == Some("2 BYE") {
            self.hung_up |= self.bye.as_mut()?.receive(status, now) == Received::Final;
            return None;
        }
        match self.invite.receive(status, now) {
            Received::Final | Received::FinalAgain => {
                self.tag = tag_of(text);
                self.answered = true;
                self.bye_at = self.bye_at.or(Some(ms + 5_000));
                Some(in_dialog("ACK", 1, &self.tag))
            }
            Received::Provisional | Received::Stray => None,
        }
    }

    /// What is sent at `ms` because time has passed.
    fn tick(&mut self, ms: u64, now: Instant) -> Option<String> {
        if self.bye_at.is_some_and(|at| ms >= at) && self.bye.is_none() {
            let text = in_dialog("BYE", 2, &self.tag);
            self.bye = Some(ClientOther::new(text.clone().into_bytes(), false, now));
            return Some(text);
        }
        if self.invite.handle_timeout(now) == Tick::Resend {
            return Some(invite());
        }
        let bye = self.bye.as_mut()?;
        (bye.handle_timeout(now) == Tick::Resend).then(|| String::from_utf8(bye.request().to_vec()).unwrap())
    }
}

/// Plays one call in steps of 5 ms; gives the caller, the endpoint's line and how its call ended.
fn play(seed: u64) -> (Caller, Line, Vec<Event>) {
    let mut line = Line::new();
    let mut weather = Weather { seed, messages: 0 };
    let invite_machine = ClientInvite::new(invite().into_bytes(), false, line.now);
    let mut caller = Caller {
        invite: invite_machine,
        bye: None,
        bye_at: None,
        tag: String::new(),
        answered: false,
        hung_up: false,
    };
    let mut to_endpoint: Vec<(u64, String)> =
        weather.next().map(|after| (after, invite())).into_iter().collect();
    let mut to_caller: Vec<(u64, String)> = Vec::new();
    let mut ends = Vec::new();
    let mut answer_at = None;
    for ms in (0..120_000).step_by(5) {
        line.wait_until(ms);
        for (_, text) in to_endpoint.extract_if(.., |(at, _)| *at <= ms) {
            line.receive(&text);
        }
        for event in line.events() {
            match event {
                Event::Invite { call, .. } => answer_at = Some((ms + 1_000, call)),
                Event::Acknowledged { .. } | Event::Reinvite { .. } => {}
                end @ (Event::Cancelled { .. } | Event::Hangup { .. } | Event::Ended { .. }) => {
                    ends.push(end)
                }
            }
        }
        if let Some((_, call)) = answer_at.take_if(|(at, _)| *at <= ms) {
            line.answer(call);
        }
        for (_, transmit) in std::mem::take(&mut line.sent) {
            to_caller.extend(weather.next().map(|after| (ms + after, text(&transmit))));
        }
        let arrived: Vec<_> = to_caller.extract_if(.., |(at, _)| *at <= ms).collect();
        let replies = arrived.into_iter().filter(|(_, text)| text.starts_with("SIP/2.0"));
        let sent: Vec<_> = replies.filter_map(|(_, text)| caller.receive(&text, ms, line.now)).collect();
        for text in sent.into_iter().chain(caller.tick(ms, line.now)) {
            to_endpoint.extend(weather.next().map(|after| (ms + after, text)));
        }
    }
    (caller, line, ends)
}

#[test]
fn a_caller_and_an_endpoint_agree_on_a_line_that_loses_every_fourth_message() {
    for seed in 0..100 {
        let (caller, line, ends) = play(seed);
        assert!(caller.answered && caller.hung_up, "seed {seed}");
        assert!(matches!(ends.as_slice(), [Event::Hangup { .. }]), "seed {seed}: {ends:?}");
        assert!(line.endpoint.is_idle(), "seed {seed}");
        assert_eq!(line.endpoint.counters().noise, 0);
    }
}
