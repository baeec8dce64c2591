//! The four machines on virtual time, alone and against each other.

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Runs a machine's timers for 100 s and notes at which milliseconds after `from` it did what.
fn run(
    from: Instant,
    mut deadline: impl FnMut() -> Option<Instant>,
    mut tick: impl FnMut(Instant) -> Tick,
) -> Vec<(u128, Tick)> {
    let mut seen = Vec::new();
    while let Some(at) = deadline() {
        assert!(at <= from + Duration::from_secs(100), "a machine never ends");
        seen.push(((at - from).as_millis(), tick(at)));
    }
    seen
}

macro_rules! run {
    ($machine:ident, $from:expr) => {{
        let machine = std::cell::RefCell::new(&mut $machine);
        run($from, || machine.borrow().deadline(), |now| machine.borrow_mut().handle_timeout(now))
    }};
}

use Tick::{GiveUp, Nothing, Resend};

#[test]
fn rfc_3261_section_17_1_1_2_an_unanswered_invite_is_sent_again_at_doubling_intervals() {
    let now = Instant::now();
    let mut client = ClientInvite::new(b"INVITE".to_vec(), false, now);
    let expected = [
        (500, Resend),
        (1_500, Resend),
        (3_500, Resend),
        (7_500, Resend),
        (15_500, Resend),
        (31_500, Resend),
        (32_000, GiveUp),
    ];
    assert_eq!(run!(client, now), expected);
    assert!(client.is_terminated());
    assert_eq!(client.request(), b"INVITE");
}

#[test]
fn an_invite_on_tcp_is_sent_once() {
    let now = Instant::now();
    let mut client = ClientInvite::new(Vec::new(), true, now);
    assert_eq!(run!(client, now), [(32_000, GiveUp)]);
}

#[test]
fn a_provisional_response_stops_the_copies_of_an_invite() {
    let now = Instant::now();
    let mut client = ClientInvite::new(Vec::new(), false, now);
    assert_eq!(client.receive(180, now + ms(100)), Received::Provisional);
    assert_eq!(client.deadline(), None);
    assert_eq!(client.receive(183, now + ms(200)), Received::Provisional);
}

#[test]
fn a_refusal_is_acknowledged_again_for_as_long_as_its_copies_may_come() {
    let now = Instant::now();
    let mut client = ClientInvite::new(Vec::new(), false, now);
    assert_eq!(client.receive(486, now), Received::Final);
    assert_eq!(client.receive(486, now + ms(500)), Received::FinalAgain);
    assert_eq!(client.receive(200, now + ms(500)), Received::Stray);
    assert_eq!(run!(client, now), [(32_000, Nothing)]);
    assert_eq!(client.receive(486, now + ms(33_000)), Received::Stray);
}

#[test]
fn a_refusal_on_tcp_ends_the_invite_at_once() {
    let now = Instant::now();
    let mut client = ClientInvite::new(Vec::new(), true, now);
    assert_eq!(client.receive(486, now), Received::Final);
    assert!(client.is_terminated());
}

#[test]
fn rfc_6026_section_7_2_every_2xx_of_every_fork_reaches_the_user_for_32_s() {
    let now = Instant::now();
    let mut client = ClientInvite::new(Vec::new(), false, now);
    assert_eq!(client.receive(200, now), Received::Final);
    assert_eq!(client.receive(200, now + ms(600)), Received::FinalAgain);
    assert_eq!(client.receive(486, now + ms(700)), Received::Stray);
    assert_eq!(run!(client, now), [(32_000, Nothing)]);
}

#[test]
fn rfc_3261_section_17_1_2_2_an_unanswered_request_is_sent_again_up_to_every_4_s() {
    let now = Instant::now();
    let mut client = ClientOther::new(b"BYE".to_vec(), false, now);
    let expected = [
        (500, Resend),
        (1_500, Resend),
        (3_500, Resend),
        (7_500, Resend),
        (11_500, Resend),
        (15_500, Resend),
        (19_500, Resend),
        (23_500, Resend),
        (27_500, Resend),
        (31_500, Resend),
        (32_000, GiveUp),
    ];
    assert_eq!(run!(client, now), expected);
    assert_eq!(client.request(), b"BYE");
}

#[test]
fn a_request_on_tcp_is_sent_once_and_its_answer_ends_it() {
    let now = Instant::now();
    let mut client = ClientOther::new(Vec::new(), true, now);
    assert_eq!(client.deadline(), Some(now + ms(32_000)));
    assert_eq!(client.receive(200, now), Received::Final);
    assert!(client.is_terminated());
    assert_eq!(client.deadline(), None);
}

#[test]
fn a_provisional_response_slows_the_copies_of_a_request_to_every_4_s() {
    let now = Instant::now();
    let mut client = ClientOther::new(Vec::new(), false, now);
    assert_eq!(client.receive(100, now + ms(100)), Received::Provisional);
    assert_eq!(client.receive(100, now + ms(200)), Received::Provisional);
    assert_eq!(client.deadline(), Some(now + ms(4_100)));
    assert_eq!(client.handle_timeout(now + ms(4_100)), Resend);
    assert_eq!(client.deadline(), Some(now + ms(8_100)));
    assert_eq!(client.handle_timeout(now + ms(32_000)), GiveUp);
}

#[test]
fn copies_of_an_answer_are_absorbed_for_t4() {
    let now = Instant::now();
    let mut client = ClientOther::new(Vec::new(), false, now);
    assert_eq!(client.receive(200, now), Received::Final);
    assert_eq!(client.receive(200, now + ms(500)), Received::FinalAgain);
    assert_eq!(client.receive(100, now + ms(500)), Received::Stray);
    assert_eq!(run!(client, now), [(5_000, Nothing)]);
    assert_eq!(client.receive(200, now + ms(6_000)), Received::Stray);
}

#[test]
fn rfc_3261_section_17_2_1_a_refusal_is_sent_again_until_its_ack() {
    let now = Instant::now();
    let mut server = ServerInvite::new(b"100".to_vec(), false);
    assert_eq!(server.invite_again(), Some(&b"100"[..]));
    assert!(server.provisional(b"180".to_vec()));
    assert_eq!(server.invite_again(), Some(&b"180"[..]));
    assert!(server.refuse(b"404".to_vec(), now));
    assert_eq!(server.invite_again(), Some(&b"404"[..]));
    assert_eq!(server.handle_timeout(now + ms(500)), Resend);
    assert_eq!(server.response(), b"404");
    assert_eq!(server.deadline(), Some(now + ms(1_500)));
    assert!(server.acknowledge(now + ms(600)));
    assert_eq!(server.invite_again(), None);
    assert!(server.acknowledge(now + ms(700)), "a copy of the ACK is absorbed");
    assert_eq!(run!(server, now), [(5_600, Nothing)]);
    assert!(server.is_terminated());
}

#[test]
fn a_refusal_that_is_never_acknowledged_is_given_up_after_32_s() {
    let now = Instant::now();
    let mut server = ServerInvite::new(Vec::new(), false);
    assert!(server.refuse(Vec::new(), now));
    let expected = [
        (500, Resend),
        (1_500, Resend),
        (3_500, Resend),
        (7_500, Resend),
        (11_500, Resend),
        (15_500, Resend),
        (19_500, Resend),
        (23_500, Resend),
        (27_500, Resend),
        (31_500, Resend),
        (32_000, GiveUp),
    ];
    assert_eq!(run!(server, now), expected);
}

#[test]
fn a_refusal_on_tcp_is_sent_once_and_over_with_its_ack() {
    let now = Instant::now();
    let mut server = ServerInvite::new(Vec::new(), true);
    assert!(server.refuse(Vec::new(), now));
    assert_eq!(server.deadline(), Some(now + ms(32_000)));
    assert!(server.acknowledge(now));
    assert!(server.is_terminated());
}

#[test]
fn rfc_6026_section_7_1_after_a_2xx_copies_are_absorbed_and_the_ack_is_for_the_dialog() {
    let now = Instant::now();
    for reliable in [false, true] {
        let mut server = ServerInvite::new(Vec::new(), reliable);
        assert!(server.accept(now));
        assert_eq!(server.invite_again(), None);
        assert!(!server.acknowledge(now + ms(100)));
        assert!(!server.accept(now), "there is one final answer");
        assert!(!server.refuse(Vec::new(), now), "there is one final answer");
        assert!(!server.provisional(Vec::new()), "nothing provisional follows it");
        assert_eq!(run!(server, now), [(32_000, Nothing)]);
    }
}

#[test]
fn rfc_3261_section_17_2_2_a_request_that_comes_again_gets_the_same_answer() {
    let now = Instant::now();
    let mut server = ServerOther::new(false);
    assert_eq!(server.request_again(), None);
    assert!(server.provisional(b"100".to_vec()));
    assert_eq!(server.request_again(), Some(&b"100"[..]));
    assert!(server.respond(b"200".to_vec(), now));
    assert_eq!(server.request_again(), Some(&b"200"[..]));
    assert!(!server.respond(b"500".to_vec(), now), "there is one final answer");
    assert!(!server.provisional(b"100".to_vec()));
    assert_eq!(server.deadline(), Some(now + ms(32_000)));
    server.handle_timeout(now + ms(31_999));
    assert!(!server.is_terminated());
    server.handle_timeout(now + ms(32_000));
    assert!(server.is_terminated());
    assert_eq!(server.request_again(), None);
}

#[test]
fn an_answer_on_tcp_ends_the_transaction_at_once() {
    let mut server = ServerOther::new(true);
    assert!(server.respond(b"200".to_vec(), Instant::now()));
    assert!(server.is_terminated());
}

#[test]
fn a_late_timer_sends_one_copy_and_not_a_burst() {
    let now = Instant::now();
    let mut client = ClientOther::new(Vec::new(), false, now);
    assert_eq!(client.handle_timeout(now + ms(10_000)), Resend);
    assert_eq!(client.handle_timeout(now + ms(10_000)), Nothing);
    assert_eq!(client.deadline(), Some(now + ms(11_000)));
}

#[test]
fn a_client_and_a_server_agree_though_every_second_message_is_lost() {
    let start = Instant::now();
    let mut client = ClientInvite::new(b"INVITE".to_vec(), false, start);
    // The first INVITE is lost.
    let now = client.deadline().unwrap();
    assert_eq!(client.handle_timeout(now), Resend);
    let mut server = ServerInvite::new(b"100".to_vec(), false);
    // The 100 is lost, the refusal arrives.
    assert!(server.refuse(b"486".to_vec(), now));
    assert_eq!(client.receive(486, now), Received::Final);
    // Its ACK is lost, so that the refusal comes again and is acknowledged again.
    let now = server.deadline().unwrap();
    assert_eq!(server.handle_timeout(now), Resend);
    assert_eq!(client.receive(486, now), Received::FinalAgain);
    assert!(server.acknowledge(now));
    assert_eq!(run!(server, start), [(6_000, Nothing)]);
    assert_eq!(run!(client, start), [(32_500, Nothing)]);
}
