//! Delivery into a Maildir, and what a crash after any step leaves to the next start.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::*;
use crate::fixtures::{
    PACKET, SETTINGS, ScriptedServer, arrived, audio, changeable, config, facts, files, id, message_id,
    record, smtp, speak, start, wait_until, wait_until_delivered, wait_until_idle,
};
use crate::message::{EndedBy, SpoolCommand};

#[test]
fn a_recording_becomes_one_mail_with_its_very_audio() {
    let state = tempfile::tempdir().unwrap();
    let deliverer = start(state.path(), config(None));
    record(&deliverer.spool(), id(1), 250);
    wait_until_delivered(1, state.path(), &deliverer);
    let mails = arrived(&state.path().join("mail/alice"));
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].subject, "Voice Mail from 102 (5 seconds)");
    assert_eq!(mails[0].message_id, message_id(id(1)));
    assert_eq!(mails[0].audio, audio(id(1), 250));
    let stored = state.path().join("store/alice").join(id(1).to_string());
    assert_eq!(fs::read(stored.join("audio.wav")).unwrap()[58..], audio(id(1), 250));
    assert!(stored.join("facts.json").is_file() && stored.join("events/delivered.json").is_file());
    let status = deliverer.status();
    assert_eq!((status.delivered, status.deferred, status.oldest_age_s), (1, 0, None));
}

#[test]
fn nobody_else_can_look_into_a_state_folder_that_was_open_to_all() {
    let state = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7;
    for name in ["", "spool", "outbox", "store", "mail"] {
        let path = state.path().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let deliverer = start(state.path(), config(None));
    record(&deliverer.spool(), id(1), 50);
    wait_until_delivered(1, state.path(), &deliverer);
    for name in ["", "spool", "outbox", "outbox/refused", "store", "mail", "mail/alice", "mail/alice/new"] {
        assert_eq!(mode(&state.path().join(name)), 0, "{name}");
    }
}

#[test]
fn twenty_recordings_at_once_share_their_syncs_and_all_arrive() {
    let state = tempfile::tempdir().unwrap();
    let deliverer = start(state.path(), config(None));
    let spool = deliverer.spool();
    for number in 0..20 {
        spool.try_send(SpoolCommand::Begin(facts(id(number)))).unwrap();
    }
    for second in 0..5 {
        for number in 0..20 {
            speak(&spool, id(number), second * 50..(second + 1) * 50);
        }
    }
    for number in 0..20 {
        spool.try_send(SpoolCommand::Finish { id: id(number), ended_by: EndedBy::Key }).unwrap();
    }
    wait_until_delivered(20, state.path(), &deliverer);
    let mails = arrived(&state.path().join("mail/alice"));
    assert_eq!(mails.len(), 20);
    for number in 0..20 {
        let mail = mails.iter().find(|mail| mail.message_id == message_id(id(number))).unwrap();
        assert_eq!(mail.audio, audio(id(number), 250));
    }
    assert_eq!(spool.frames_dropped(), 0);
    assert!(spool.syncs() <= 20, "{} syncs for 20 recordings", spool.syncs());
}

#[test]
fn a_recording_in_which_nothing_was_said_makes_no_mail() {
    let state = tempfile::tempdir().unwrap();
    let deliverer = start(state.path(), config(None));
    record(&deliverer.spool(), id(1), 0);
    deliverer.spool().try_send(SpoolCommand::Begin(facts(id(2)))).unwrap();
    speak(&deliverer.spool(), id(2), 0..10);
    deliverer.spool().try_send(SpoolCommand::Discard { id: id(2) }).unwrap();
    record(&deliverer.spool(), id(3), 1);
    wait_until_delivered(1, state.path(), &deliverer);
    assert_eq!(arrived(&state.path().join("mail/alice")).len(), 1);
}

#[test]
fn what_a_stopped_server_had_recorded_is_delivered_by_the_next() {
    let state = tempfile::tempdir().unwrap();
    let (_, nobody) = changeable(MailboxConfig { owners: [].into(), ..config(None) });
    let deliverer = Deliverer::start_with(state.path(), nobody, SETTINGS).unwrap();
    record(&deliverer.spool(), id(1), 50);
    wait_until("it is in the outbox", || (files(&state.path().join("outbox")).len() == 1).then_some(()));
    deliverer.spool().try_send(SpoolCommand::Begin(facts(id(2)))).unwrap();
    speak(&deliverer.spool(), id(2), 0..60);
    deliverer.stop();
    assert!(deliverer.spool().try_send(SpoolCommand::Begin(facts(id(3)))).is_err());
    assert_eq!(deliverer.spool().health(), SpoolHealth::Unwritable);
    drop(deliverer);

    let deliverer = start(state.path(), config(None));
    wait_until_idle(state.path(), &deliverer);
    let mails = arrived(&state.path().join("mail/alice"));
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0].audio, audio(id(1), 50));
    assert_eq!(mails[1].audio, audio(id(2), 60));
    assert!(String::from_utf8_lossy(&mails[1].raw).contains("This recording is incomplete"));
    assert_eq!(deliverer.status().recovered, 1);
}

#[test]
fn a_message_whose_mailbox_is_gone_waits_until_it_is_back() {
    let state = tempfile::tempdir().unwrap();
    let (swap, current) = changeable(MailboxConfig { owners: [].into(), ..config(None) });
    let slow = Settings { retry_first: Duration::from_secs(600), ..SETTINGS };
    let deliverer = Deliverer::start_with(state.path(), current, slow).unwrap();
    record(&deliverer.spool(), id(1), 50);
    wait_until("it is put off", || (deliverer.status().deferred == 1).then_some(()));
    assert_eq!(deliverer.status().outbox_len, 1);
    assert!(deliverer.status().oldest_age_s.is_some());
    // A change of the configuration is acted on at once, not after the ten minutes.
    swap.store(Arc::new(MailboxConfig { generation: 2, ..config(None) }));
    wait_until_delivered(1, state.path(), &deliverer);
    assert_eq!(arrived(&state.path().join("mail/alice")).len(), 1);
}

#[test]
fn two_servers_do_not_share_a_state_folder() {
    let state = tempfile::tempdir().unwrap();
    let _first = start(state.path(), config(None));
    let second =
        Deliverer::start(state.path(), changeable(config(None)).1, crate::fixtures::LOOPBACK).unwrap_err();
    let spool = state.path().join("spool");
    assert_eq!(second.to_string(), format!("another server uses the spool {}", spool.display()));
}

/// Copies the state folder beside itself, as a crash at this instant would leave it.
fn keep_a_copy(state: &Path, step: &'static str) {
    let copies = state.with_extension("copies");
    let number = fs::read_dir(&copies).map_or(0, Iterator::count);
    copy(state, &copies.join(format!("{number:02} {step}")));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if let Err(error) = fs::copy(&path, &target) {
            // The thread of the spool goes on meanwhile, and may remove a volume.
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
    }
}

/// Delivers one message with a copy after each step; returns the copies.
fn copies_of_a_delivery(state: &Path, config: MailboxConfig) -> Vec<PathBuf> {
    let settings = Settings { after_step: keep_a_copy, ..SETTINGS };
    let deliverer = Deliverer::start_with(state, changeable(config).1, settings).unwrap();
    record(&deliverer.spool(), id(1), 100);
    wait_until_delivered(1, state, &deliverer);
    let mut copies: Vec<_> =
        fs::read_dir(state.with_extension("copies")).unwrap().map(|entry| entry.unwrap().path()).collect();
    copies.sort();
    copies
}

fn steps(copies: &[PathBuf]) -> Vec<String> {
    copies.iter().map(|copy| copy.file_name().unwrap().to_string_lossy()[3..].to_owned()).collect()
}

#[test]
fn a_crash_after_any_step_of_a_local_delivery_leaves_exactly_one_mail() {
    let folder = tempfile::tempdir().unwrap();
    let copies = copies_of_a_delivery(&folder.path().join("state"), config(None));
    let expected = [
        "audio stored",
        "facts stored",
        "queued",
        "released",
        "in the maildir",
        "sent",
        "delivered stored",
        "closed",
    ];
    assert_eq!(steps(&copies), expected);
    for copy in copies {
        let deliverer = start(&copy, config(None));
        wait_until_idle(&copy, &deliverer);
        let mails = arrived(&copy.join("mail/alice"));
        assert_eq!(mails.len(), 1, "{}", copy.display());
        assert_eq!(mails[0].audio, audio(id(1), 100), "{}", copy.display());
    }
}

#[test]
fn a_crash_after_any_step_of_a_delivery_by_smtp_leaves_one_mail_but_for_the_one_window() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let server = ScriptedServer::willing(&state.join("inbox"));
    let copies = copies_of_a_delivery(&state, config(smtp(server.address, config::SmtpSecurity::None)));
    let expected = [
        "audio stored",
        "facts stored",
        "queued",
        "released",
        "accepted",
        "noted",
        "sent",
        "delivered stored",
        "closed",
    ];
    assert_eq!(steps(&copies), expected);
    for (copy, step) in copies.iter().zip(steps(&copies)) {
        let server = ScriptedServer::willing(&copy.join("inbox"));
        // The first server numbered its mails as this one does: keep what it took apart.
        if let [first] = files(&copy.join("inbox/new")).as_slice() {
            fs::rename(first, copy.join("inbox/new/before the crash")).unwrap();
        }
        let deliverer = start(copy, config(smtp(server.address, config::SmtpSecurity::None)));
        wait_until_idle(copy, &deliverer);
        let mails = arrived(&copy.join("inbox"));
        if step == "accepted" {
            // The answer had come but was not noted: sent again, and easy to tell as the same.
            assert_eq!(mails.len(), 2);
            assert_eq!(mails[0].raw, mails[1].raw);
        } else {
            assert_eq!(mails.len(), 1, "{step}");
        }
        assert_eq!(mails[0].audio, audio(id(1), 100), "{step}");
    }
}

#[test]
fn a_spool_that_was_never_told_of_the_delivery_causes_no_second_mail() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let server = ScriptedServer::willing(&state.join("inbox"));
    let copies = copies_of_a_delivery(&state, config(smtp(server.address, config::SmtpSecurity::None)));
    let (first, last) = (copies.first().unwrap(), copies.last().unwrap());
    assert!(!files(&first.join("spool")).is_empty());
    fs::remove_dir_all(last.join("spool")).unwrap();
    fs::rename(first.join("spool"), last.join("spool")).unwrap();
    let second = ScriptedServer::willing(&last.join("second"));
    let deliverer = start(last, config(smtp(second.address, config::SmtpSecurity::None)));
    wait_until_idle(last, &deliverer);
    assert_eq!(deliverer.status().delivered, 0);
    assert_eq!(arrived(&last.join("second")).len(), 0);
}

/// Not a test by itself: what `what_was_synced_before_a_kill_is_delivered_once` runs and kills. It
/// speaks into two recordings at the pace of calls, and says how far it has come.
#[test]
fn a_child_that_speaks_until_it_is_killed() {
    let Some(state) = std::env::var_os("UMBRIEL_KILLED_STATE") else { return };
    let round: u8 = std::env::var("UMBRIEL_KILLED_ROUND").unwrap().parse().unwrap();
    let deliverer = start(Path::new(&state), config(None));
    let spool = deliverer.spool();
    let ids = [id(round * 2), id(round * 2 + 1)];
    for id in ids {
        spool.try_send(SpoolCommand::Begin(facts(id))).unwrap();
    }
    for packet in 0.. {
        for id in ids {
            speak(&spool, id, packet..packet + 1);
        }
        println!("said {packet}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_was_synced_before_a_kill_is_delivered_once() {
    let state = tempfile::tempdir().unwrap();
    let mut said = Vec::new();
    for round in 0..8_u8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "delivery::tests::a_child_that_speaks_until_it_is_killed", "--nocapture"])
            .env("UMBRIEL_KILLED_STATE", state.path())
            .env("UMBRIEL_KILLED_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut packets = lines.filter_map(|line| line.strip_prefix("said ")?.parse::<usize>().ok());
        // A different instant within the interval of syncs each time.
        let last = packets.find(|packet| *packet >= 20 + 7 * usize::from(round)).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        said.push(packets.last().unwrap_or(last));
    }
    let deliverer = start(state.path(), config(None));
    wait_until_idle(state.path(), &deliverer);
    let mails = arrived(&state.path().join("mail/alice"));
    assert_eq!(mails.len(), 16);
    for (round, said) in said.into_iter().enumerate() {
        for last in [round * 2, round * 2 + 1] {
            let id = id(u8::try_from(last).unwrap());
            let mail = mails.iter().find(|mail| mail.message_id == message_id(id)).unwrap();
            let packets = mail.audio.len() / PACKET;
            assert_eq!(mail.audio, audio(id, packets));
            // 25 packets are the 500 ms that a crash may cost; as many again for a busy machine.
            assert!(packets + 50 >= said, "{packets} packets of {said}");
        }
    }
}
