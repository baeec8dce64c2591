//! kill -9 at random instants of a recording: what had been synced is delivered, once.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use umbriel_tests::phone::Phone;
use umbriel_tests::{House, Site as _, audio};

/// Kills in all, and how many houses share them side by side.
const KILLS: usize = 50;
const HOUSES: usize = 5;
/// Calls that are being recorded when the server is killed.
const CALLS: usize = 2;
/// What a crash may cost: the sync interval, the packets that wait for their order, and a margin for
/// a machine that runs five servers at once. Samples at 8 kHz.
const MAY_BE_LOST: usize = (500 + 100 + 200) * 8;

/// What a caller had said when the server was killed.
struct Said {
    sound: Vec<u8>,
    at_kill: usize,
    at_tone: usize,
}

fn random(limit_ms: u64) -> Duration {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("randomness");
    Duration::from_millis(u64::from_le_bytes(bytes) % limit_ms)
}

/// One kill during `CALLS` recordings, and the restart after it.
fn crash_once(house: &mut House, round: usize, said: &mut BTreeMap<String, Said>) {
    let calls: Vec<_> =
        (0..CALLS).map(|n| Phone::call(house, "101", (round * CALLS + n + 1) as u64)).collect();
    let (recorded, over) = (Barrier::new(CALLS + 1), AtomicBool::new(false));
    let (killed, phones) = std::thread::scope(|scope| {
        let speak = |mut phone: Phone| {
            let (recorded, over) = (&recorded, &over);
            scope.spawn(move || {
                phone.speak_through_the_greeting();
                let at_tone = phone.said().len();
                // Nobody falls silent while another one still listens to the greeting.
                std::thread::scope(|inner| {
                    let waits = inner.spawn(|| recorded.wait());
                    while !waits.is_finished() || !over.load(Ordering::Relaxed) {
                        phone.speak(Duration::from_millis(20));
                    }
                });
                (phone, at_tone)
            })
        };
        let threads: Vec<_> = calls.into_iter().map(speak).collect();
        recorded.wait();
        std::thread::sleep(random(3000));
        let killed = Instant::now();
        house.kill();
        over.store(true, Ordering::Relaxed);
        (killed, threads.into_iter().map(|thread| thread.join().expect("a call")).collect::<Vec<_>>())
    });
    for (phone, at_tone) in &phones {
        let (sound, at_kill) = (phone.said().to_vec(), phone.said_at(killed));
        said.insert(phone.call_id.clone(), Said { sound, at_kill, at_tone: *at_tone });
    }
    drop(phones);
    house.up();
}

fn judge(house: &House, said: &BTreeMap<String, Said>) {
    let mails = house.mails();
    for (call_id, said) in said {
        let ours: Vec<_> = mails.iter().filter(|mail| mail.call_id == *call_id).collect();
        assert!(ours.len() <= 1, "{call_id} was delivered {} times", ours.len());
        let recorded = said.at_kill.saturating_sub(said.at_tone);
        let Some(mail) = ours.first() else {
            assert!(
                recorded <= MAY_BE_LOST,
                "{call_id}: {recorded} samples were recorded and nothing was delivered"
            );
            continue;
        };
        let start = audio::find(&said.sound, &mail.audio.data).expect("one piece of what was said");
        let end = start + mail.audio.data.len();
        assert!(
            end + MAY_BE_LOST >= said.at_kill,
            "{call_id}: delivered up to sample {end}, said {} when the server was killed",
            said.at_kill
        );
    }
    assert!(mails.iter().all(|mail| said.contains_key(&mail.call_id)), "no message without its call");
}

#[test]
fn what_was_synced_before_a_kill_is_delivered_once() {
    std::thread::scope(|scope| {
        for lane in 0..HOUSES {
            scope.spawn(move || {
                let mut house = House::builder().start();
                let mut said = BTreeMap::new();
                for round in 0..KILLS / HOUSES {
                    crash_once(&mut house, lane * KILLS + round, &mut said);
                }
                // Ready means that the spool was read and every recording is on its way.
                let last = Phone::call(&house, "102", 999);
                drop(last);
                umbriel_tests::wait_until("the outbox is empty", Duration::from_secs(30), || {
                    let left = std::fs::read_dir(house.state().join("outbox"))
                        .map_or(0, |entries| entries.flatten().filter(|e| e.path().is_file()).count());
                    let spool = std::fs::read_dir(house.state().join("spool")).map_or(0, Iterator::count);
                    (left == 0 && spool == 0).then_some(())
                });
                judge(&house, &said);
            });
        }
    });
}
