//! The thread of the spool: what is safe when, and a disk that is full, gone or damaged.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::fixtures::{
    PACKET, arrived, audio, config, facts, files, id, record, skip, speak, start, wait_until, wait_until_idle,
};

#[test]
fn audio_cannot_keep_the_end_of_a_recording_out_of_the_queue() {
    let (commands, receiver) = mpsc::sync_channel(COMMANDS_WAITING_MAX);
    let handle = SpoolHandle { commands, state: Arc::default() };
    let append = || SpoolCommand::Append { id: id(1), at_ticks: 0, payload: Bytes::new() };
    let finish = || SpoolCommand::Finish { id: id(1), ended_by: EndedBy::Hangup };
    for _ in 0..16_384 {
        handle.try_send(append()).unwrap();
    }
    assert_eq!(handle.try_send(append()), Err(SpoolBusy));
    for _ in 0..4_096 {
        handle.try_send(finish()).unwrap();
    }
    assert_eq!(handle.try_send(finish()), Err(SpoolBusy));
    assert_eq!(handle.commands_refused(), 2);
    drop(receiver);
}

#[test]
fn a_full_outbox_refuses_new_calls() {
    let (commands, _receiver) = mpsc::sync_channel(1);
    let handle = SpoolHandle { commands, state: Arc::default() };
    assert_eq!(handle.health(), SpoolHealth::Ready);
    handle.set_outbox_full(true);
    assert_eq!(handle.health(), SpoolHealth::OutboxFull);
    handle.set_outbox_full(false);
    assert_eq!(handle.health(), SpoolHealth::Ready);
}

/// Waits until a packet is in the spool.
fn wait_until_written(state: &Path, packet: &[u8]) {
    wait_until("a packet is in the spool", || {
        let volumes = files(&state.join("spool"));
        let written = volumes.first().and_then(|path| fs::read(path).ok())?;
        written.windows(PACKET).any(|piece| piece == packet).then_some(())
    });
}

#[test]
fn audio_is_in_the_spool_while_the_caller_still_speaks() {
    let state = tempfile::tempdir().unwrap();
    let deliverer = start(state.path(), config(None));
    deliverer.spool().try_send(SpoolCommand::Begin(facts(id(1)))).unwrap();
    speak(&deliverer.spool(), id(1), 0..25);
    wait_until_written(state.path(), &audio(id(1), 25)[24 * PACKET..]);
    assert_eq!(deliverer.status().recordings_open, 1);
    assert_eq!(arrived(&state.path().join("mail/alice")), []);
}

#[test]
fn a_spool_whose_folder_is_gone_is_unwritable_until_it_is_back() {
    let state = tempfile::tempdir().unwrap();
    let deliverer = start(state.path(), config(None));
    let spool = state.path().join("spool");
    fs::remove_dir_all(&spool).unwrap();
    let health = deliverer.spool();
    wait_until("it is unwritable", || (health.health() == SpoolHealth::Unwritable).then_some(()));
    record(&health, id(1), 100);
    fs::create_dir(&spool).unwrap();
    wait_until("it is ready", || (health.health() == SpoolHealth::Ready).then_some(()));
    wait_until("it is delivered", || (deliverer.status().delivered == 1).then_some(()));
    assert_eq!(arrived(&state.path().join("mail/alice"))[0].audio, audio(id(1), 100));
}

#[test]
fn a_damaged_piece_of_the_spool_is_silent_and_the_rest_is_delivered() {
    let state = tempfile::tempdir().unwrap();
    let deliverer = start(state.path(), config(None));
    let spool = deliverer.spool();
    spool.try_send(SpoolCommand::Begin(facts(id(1)))).unwrap();
    for second in 0..3 {
        speak(&spool, id(1), second * 50..(second + 1) * 50);
        let said = audio(id(1), (second + 1) * 50);
        wait_until_written(state.path(), &said[said.len() - PACKET..]);
    }
    deliverer.stop();
    drop(deliverer);
    let volume = files(&state.path().join("spool")).remove(0);
    let mut bytes = fs::read(&volume).unwrap();
    let said = audio(id(1), 150);
    let at = bytes.windows(PACKET).position(|piece| piece == &said[60 * PACKET..61 * PACKET]).unwrap();
    bytes[at] ^= 0x10;
    fs::write(&volume, bytes).unwrap();

    let deliverer = start(state.path(), config(None));
    wait_until_idle(state.path(), &deliverer);
    let mails = arrived(&state.path().join("mail/alice"));
    assert_eq!(mails.len(), 1);
    let heard = &mails[0].audio;
    assert_eq!(heard.len(), said.len());
    let silent = heard.chunks(PACKET).filter(|packet| packet.iter().all(|byte| *byte == 0xFF)).count();
    assert!((1..=50).contains(&silent), "{silent} packets");
    for (heard, said) in heard.chunks(PACKET).zip(said.chunks(PACKET)) {
        assert!(heard == said || heard.iter().all(|byte| *byte == 0xFF));
    }
    assert!(String::from_utf8_lossy(&mails[0].raw).contains("was damaged on disk"));
}

/// A small file system of its own; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(folder.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills it to its last byte.
    fn fill(&self) {
        let mut file = File::create(self.path().join("filler")).unwrap();
        for size in [65_536, 4_096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn a_full_disk_is_said_and_loses_nothing_that_was_synced_or_waits() {
    let Some(disk) = SmallDisk::mount() else {
        skip(
            "a_full_disk_is_said_and_loses_nothing_that_was_synced_or_waits",
            "only root can mount a small disk",
        );
        return;
    };
    let deliverer = start(disk.path(), config(None));
    let spool = deliverer.spool();
    assert_eq!(spool.health(), SpoolHealth::Ready);
    spool.try_send(SpoolCommand::Begin(facts(id(1)))).unwrap();
    speak(&spool, id(1), 0..50);
    wait_until("it is synced", || (spool.syncs() >= 1).then_some(()));
    disk.fill();
    speak(&spool, id(1), 50..100);
    wait_until("it is full", || (spool.health() == SpoolHealth::Full).then_some(()));
    speak(&spool, id(1), 100..150);
    spool.try_send(SpoolCommand::Finish { id: id(1), ended_by: EndedBy::Shutdown }).unwrap();
    fs::remove_file(disk.path().join("filler")).unwrap();
    wait_until("it is ready", || (spool.health() == SpoolHealth::Ready).then_some(()));
    wait_until("it is delivered", || (deliverer.status().delivered == 1).then_some(()));
    assert_eq!(arrived(&disk.path().join("mail/alice"))[0].audio, audio(id(1), 150));
    assert_eq!(spool.frames_dropped(), 0);
}
