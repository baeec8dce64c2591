//! The row of volumes: when a new one begins, when an old one goes, and what a restart finds.

use super::*;
use crate::fixtures::{facts, files, id};
use crate::message::EndedBy;
use crate::spool::Frame;

const SALT: u32 = 7;

fn segment(id: MessageId, sequence: u32, entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    spool::encode(id, sequence, entry, SALT, &mut bytes).unwrap();
    bytes
}

fn begin(id: MessageId) -> Vec<u8> {
    segment(id, 0, &Entry::Begin(Box::new(facts(id))))
}

/// As many bytes of audio as a volume may hold.
fn a_volume_of_audio(id: MessageId) -> Vec<u8> {
    let frames = vec![Frame { at_ticks: 0, payload: vec![0; 60_000] }];
    let segment = segment(id, 1, &Entry::Audio(frames));
    segment.repeat(16 * 1024 * 1024 / segment.len() + 1)
}

#[test]
fn a_full_volume_is_followed_by_another_and_the_oldest_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let (mut volumes, found) = Volumes::open(dir.path(), SALT).unwrap();
    assert!(found.is_empty());
    volumes.append(&a_volume_of_audio(id(1)), [id(1)].into_iter()).unwrap();
    volumes.append(&begin(id(2)), [id(2)].into_iter()).unwrap();
    assert_eq!(files(dir.path()).len(), 2);
    // The second needs no care any more, but the first does: nothing behind it may go.
    volumes.retire(false, |needs| *needs == id(1));
    assert_eq!(files(dir.path()).len(), 2);
    volumes.retire(true, |_| false);
    let left = files(dir.path());
    assert_eq!(left, [dir.path().join("volume-00000001-00000007.spool")]);
    assert!(volumes.hold(id(2)) && !volumes.hold(id(1)));
    volumes.retire(false, |_| false);
    assert!(files(dir.path()).is_empty());
    volumes.append(&begin(id(3)), [id(3)].into_iter()).unwrap();
    assert_eq!(files(dir.path()), [dir.path().join("volume-00000002-00000007.spool")]);
}

#[test]
fn what_was_released_is_not_found_again_while_its_volume_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (mut volumes, _) = Volumes::open(dir.path(), SALT).unwrap();
    let first = [begin(id(1)), begin(id(2)), a_volume_of_audio(id(2))].concat();
    volumes.append(&first, [id(1), id(2)].into_iter()).unwrap();
    volumes.append(&segment(id(1), u32::MAX, &Entry::Gone), [].into_iter()).unwrap();
    drop(volumes);
    let (volumes, found) = Volumes::open(dir.path(), 8).unwrap();
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [id(2)]);
    assert_eq!(volumes.next_number, 2);
}

#[test]
fn a_recording_over_two_volumes_is_read_in_one_piece() {
    let dir = tempfile::tempdir().unwrap();
    let (mut volumes, _) = Volumes::open(dir.path(), SALT).unwrap();
    let first = [begin(id(1)), a_volume_of_audio(id(1))].concat();
    volumes.append(&first, [id(1)].into_iter()).unwrap();
    let frames = vec![Frame { at_ticks: 60_000, payload: vec![1, 2, 3] }];
    let second = [segment(id(1), 2, &Entry::Audio(frames)), segment(id(1), 3, &Entry::End(EndedBy::Key))];
    let place = volumes.append(&second.concat(), [id(1)].into_iter()).unwrap();
    assert_eq!(files(dir.path()).len(), 2);
    drop(volumes);
    let (_, found) = Volumes::open(dir.path(), 8).unwrap();
    let recording = spool::assemble(read(&found[&id(1)]).unwrap()).unwrap();
    assert_eq!(recording.frames.iter().map(|frame| frame.payload.len()).collect::<Vec<_>>(), [60_000, 3]);
    assert_eq!((recording.ended_by, recording.damaged), (EndedBy::Key, false));
    let end = read(&[place.part(&(second[0].len()..second[0].len() + second[1].len()))]).unwrap();
    assert_eq!(end.into_iter().map(|segment| segment.entry).collect::<Vec<_>>(), [Entry::End(EndedBy::Key)]);
}

#[test]
fn only_names_of_volumes_are_read() {
    assert_eq!(parse_name("volume-00000012-0000000a.spool"), Some((12, 10)));
    for other in ["probe", "volume-1.spool", "volume-x-y.spool", "volume-00000012-0000000a.spool~"] {
        assert_eq!(parse_name(other), None, "{other}");
    }
}
