//! The promise of the spool's format: whatever happens to one place of a volume, only the segment
//! at that place is lost.

use proptest::prelude::*;

use super::*;
use crate::message::Codec;

const SALT: u32 = 0x1234_5678;

fn id(last: u8) -> MessageId {
    MessageId::new(1_790_000_000_000, [0, 0, 0, 0, 0, 0, 0, 0, 0, last])
}

fn facts(id: MessageId) -> RecordingFacts {
    RecordingFacts {
        id,
        mailbox: "alice".into(),
        caller: Some("102".into()),
        caller_name: None,
        caller_address: None,
        called: "101".into(),
        diverted: None,
        call_id: "a84b4c76e66710@pc33".into(),
        gateway: "loopback".into(),
        codec: Codec::Pcmu,
        started_unix_ms: 1_790_000_000_000,
    }
}

fn segment(id: MessageId, sequence: u32, entry: Entry) -> Segment {
    Segment { id, sequence, entry }
}

fn volume(segments: &[Segment]) -> (Vec<u8>, Vec<Range<usize>>) {
    let mut bytes = Vec::new();
    let mut places = Vec::new();
    for segment in segments {
        let start = bytes.len();
        encode(segment.id, segment.sequence, &segment.entry, SALT, &mut bytes).unwrap();
        places.push(start..bytes.len());
    }
    (bytes, places)
}

fn whole(scan: &Scan) -> Vec<Segment> {
    scan.segments.iter().map(|(_, segment)| segment.clone()).collect()
}

fn two_recordings() -> Vec<Segment> {
    let audio = |byte: u8, at_ticks| Entry::Audio(vec![Frame { at_ticks, payload: vec![byte; 160] }]);
    vec![
        segment(id(1), 0, Entry::Begin(Box::new(facts(id(1))))),
        segment(id(2), 0, Entry::Begin(Box::new(facts(id(2))))),
        segment(id(1), 1, audio(0x11, 0)),
        segment(id(2), 1, audio(0x22, 0)),
        segment(id(1), 2, audio(0x33, 160)),
        segment(id(1), 3, Entry::End(EndedBy::Hangup)),
        segment(id(2), 2, Entry::Gone),
    ]
}

#[test]
fn a_segment_is_written_to_the_byte() {
    let mut bytes = Vec::new();
    let entry = Entry::Audio(vec![Frame { at_ticks: 0x0102_0304, payload: vec![0xAA, 0xBB] }]);
    encode(id(9), 5, &entry, 0, &mut bytes).unwrap();
    assert_eq!(bytes[..6], [0xF5, b'U', b'M', b'S', 1, 2]);
    assert_eq!(bytes[6..22], id(9).to_bytes());
    assert_eq!(bytes[22..30], [0, 0, 0, 5, 0, 0, 0, 8]);
    assert_eq!(bytes[34..], [1, 2, 3, 4, 0, 2, 0xAA, 0xBB]);
}

#[test]
fn segments_of_two_recordings_come_back_in_order() {
    let segments = two_recordings();
    let (bytes, places) = volume(&segments);
    let scan = scan(&bytes, SALT);
    assert_eq!(whole(&scan), segments);
    assert_eq!(scan.segments.iter().map(|(place, _)| place.clone()).collect::<Vec<_>>(), places);
    assert_eq!((scan.damaged, scan.torn_at), (vec![], None));
}

#[test]
fn a_volume_read_with_another_salt_is_damage() {
    let (bytes, _) = volume(&two_recordings());
    let scan = scan(&bytes, SALT + 1);
    assert_eq!(scan.segments, vec![]);
    assert_eq!(scan.damaged, vec![0..bytes.len()]);
}

#[test]
fn audio_that_looks_like_a_segment_stays_audio_even_when_it_is_laid_bare() {
    let mut spoken = Vec::new();
    encode(id(7), 0, &Entry::Gone, 0, &mut spoken).unwrap();
    let entry = Entry::Audio(vec![Frame { at_ticks: 0, payload: spoken }]);
    let (mut bytes, _) = volume(&[segment(id(1), 0, entry)]);
    bytes[5] ^= 1;
    assert_eq!(scan(&bytes, SALT).segments, vec![]);
}

#[test]
fn an_empty_volume_is_whole() {
    assert_eq!(scan(&[], SALT), Scan::default());
}

#[test]
fn a_recording_without_an_end_ended_by_a_crash() {
    let recording = assemble(two_recordings().into_iter().filter(|s| s.id == id(2)).collect()).unwrap();
    assert_eq!(recording.ended_by, EndedBy::Crash);
    assert!(!recording.damaged);
}

#[test]
fn segments_that_come_twice_and_out_of_order_make_one_recording() {
    let mut segments: Vec<_> = two_recordings().into_iter().filter(|s| s.id == id(1)).collect();
    segments.extend(segments.clone());
    segments.reverse();
    let recording = assemble(segments).unwrap();
    assert_eq!(recording.frames.iter().map(|frame| frame.at_ticks).collect::<Vec<_>>(), [0, 160]);
    assert_eq!((recording.ended_by, recording.damaged), (EndedBy::Hangup, false));
}

#[test]
fn a_missing_segment_is_noticed() {
    let segments = two_recordings().into_iter().filter(|s| s.id == id(1) && s.sequence != 1).collect();
    let recording = assemble(segments).unwrap();
    assert!(recording.damaged);
    assert_eq!(recording.frames.len(), 1);
}

#[test]
fn a_recording_whose_facts_are_lost_belongs_to_nobody() {
    assert_eq!(assemble(vec![segment(id(1), 4, Entry::End(EndedBy::Key))]), None);
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let frame = (any::<u32>(), proptest::collection::vec(any::<u8>(), 0..200))
        .prop_map(|(at_ticks, payload)| Frame { at_ticks, payload });
    prop_oneof![
        1 => Just(Entry::Begin(Box::new(facts(id(1))))),
        4 => proptest::collection::vec(frame, 0..4).prop_map(Entry::Audio),
        1 => Just(Entry::End(EndedBy::Silence)),
        1 => Just(Entry::Gone),
    ]
}

fn any_segments() -> impl Strategy<Value = Vec<Segment>> {
    proptest::collection::vec((any::<u8>(), any::<u32>(), any_entry()), 1..12).prop_map(|segments| {
        segments.into_iter().map(|(last, sequence, entry)| segment(id(last), sequence, entry)).collect()
    })
}

proptest! {
    #[test]
    fn any_truncation_loses_only_what_was_cut(segments in any_segments(), cut in any::<prop::sample::Index>()) {
        let (bytes, places) = volume(&segments);
        let cut = cut.index(bytes.len() + 1);
        let kept = places.iter().filter(|place| place.end <= cut).count();
        let scan = scan(&bytes[..cut], SALT);
        prop_assert_eq!(whole(&scan), &segments[..kept]);
        prop_assert!(scan.damaged.is_empty());
        let torn_at = places.iter().find(|place| place.start < cut && cut < place.end).map(|place| place.start);
        prop_assert_eq!(scan.torn_at, torn_at);
    }

    #[test]
    fn any_bit_flip_loses_only_its_segment(
        segments in any_segments(), byte in any::<prop::sample::Index>(), bit in 0..8_u32,
    ) {
        let (mut bytes, places) = volume(&segments);
        let byte = byte.index(bytes.len());
        bytes[byte] ^= 1 << bit;
        let hit = places.iter().position(|place| place.contains(&byte)).unwrap();
        let mut expected = segments;
        expected.remove(hit);
        let scan = scan(&bytes, SALT);
        prop_assert_eq!(whole(&scan), expected);
        // A flipped length at the very end cannot be told from a torn write.
        prop_assert!(scan.damaged == vec![places[hit].clone()] || scan.torn_at == Some(places[hit].start));
    }

    #[test]
    fn any_overwritten_stretch_loses_only_the_segments_that_it_touches(
        segments in any_segments(), from in any::<prop::sample::Index>(), noise in proptest::collection::vec(any::<u8>(), 1..300),
    ) {
        let (mut bytes, places) = volume(&segments);
        let from = from.index(bytes.len());
        let to = bytes.len().min(from + noise.len());
        bytes[from..to].copy_from_slice(&noise[..to - from]);
        let untouched: Vec<_> = places
            .iter()
            .zip(&segments)
            .filter(|(place, _)| place.end <= from || to <= place.start)
            .map(|(_, segment)| segment.clone())
            .collect();
        let found = whole(&scan(&bytes, SALT));
        // Noise may by chance repeat the very bytes that were there.
        prop_assert!(untouched.iter().all(|segment| found.contains(segment)));
        prop_assert!(found.iter().all(|segment| segments.contains(segment)));
    }

    #[test]
    fn noise_never_panics_and_holds_no_segment(noise in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        prop_assert!(scan(&noise, SALT).segments.is_empty());
    }
}
