//! What waits to be written to the spool: one batch of segments for all open recordings.
//!
//! Decides how the audio of many calls becomes one write. Refuses to know files and clocks. A
//! batch stays here until its writer says that it is safe, so that a full disk loses nothing that
//! fits into [`PENDING_BYTES_MAX`].

use std::collections::HashMap;
use std::ops::Range;

use crate::message::{EndedBy, MessageId, RecordingFacts};
use crate::spool::{self, Entry, FRAME_HEADER_BYTES};

/// Recordings at once; far above the calls that a server may have.
pub(crate) const MAX_OPEN_RECORDINGS: usize = 1_024;
/// Audio of one recording that may wait for the disk: about six seconds of 8 kB. More is dropped
/// and counted; it becomes silence in the message.
pub(crate) const PENDING_BYTES_MAX: usize = 48 * 1024;

/// A segment of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The recording.
    pub(crate) id: MessageId,
    /// Where in the batch it lies.
    pub(crate) place: Range<usize>,
    /// What it does to the recording.
    pub(crate) effect: Effect,
}

/// What a segment does to its recording once it is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It grows.
    Grows,
    /// It is complete.
    Ends,
    /// It needs no care any more.
    Goes,
}

/// All open recordings of the server and what of them is not safe yet.
#[derive(Debug)]
pub(crate) struct Batch {
    salt: u32,
    open: HashMap<MessageId, Open>,
    bytes: Vec<u8>,
    parts: Vec<Part>,
    frames_dropped: u64,
}

#[derive(Debug)]
struct Open {
    facts: Box<RecordingFacts>,
    next_sequence: u32,
    pending: Vec<u8>,
}

impl Batch {
    /// An empty batch for volumes with this salt.
    pub(crate) fn new(salt: u32) -> Self {
        Self { salt, open: HashMap::new(), bytes: Vec::new(), parts: Vec::new(), frames_dropped: 0 }
    }

    /// Recordings that have begun and not ended.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// Frames that found no room, or no recording, since the start.
    pub(crate) fn frames_dropped(&self) -> u64 {
        self.frames_dropped
    }

    /// Whether anything waits to be written.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.bytes.is_empty() || self.open.values().any(|open| !open.pending.is_empty())
    }

    /// Begins a recording. `false` when there are too many, or when it has begun already.
    pub(crate) fn begin(&mut self, facts: Box<RecordingFacts>) -> bool {
        let id = facts.id;
        if self.open.len() >= MAX_OPEN_RECORDINGS || self.open.contains_key(&id) {
            return false;
        }
        self.push(id, 0, &Entry::Begin(facts.clone()), Effect::Grows);
        self.open.insert(id, Open { facts, next_sequence: 1, pending: Vec::new() });
        true
    }

    /// Adds a frame to its recording.
    pub(crate) fn append(&mut self, id: MessageId, at_ticks: u32, payload: &[u8]) {
        match self.open.get_mut(&id) {
            Some(open) if open.pending.len() + FRAME_HEADER_BYTES + payload.len() <= PENDING_BYTES_MAX => {
                spool::encode_frame(at_ticks, payload, &mut open.pending);
            }
            Some(_) | None => self.frames_dropped += 1,
        }
    }

    /// Ends a recording. `false` when there is no such.
    pub(crate) fn finish(&mut self, id: MessageId, ended_by: EndedBy) -> bool {
        self.seal_one(id);
        let Some(open) = self.open.remove(&id) else { return false };
        self.push(id, open.next_sequence, &Entry::End(ended_by), Effect::Ends);
        true
    }

    /// Says that a recording, open or ended, needs no care any more.
    pub(crate) fn forget(&mut self, id: MessageId) {
        self.open.remove(&id);
        self.push(id, u32::MAX, &Entry::Gone, Effect::Goes);
    }

    /// Turns the audio that waits into segments; returns all that must be written, and its parts.
    pub(crate) fn seal(&mut self) -> (&[u8], &[Part]) {
        let ids: Vec<MessageId> =
            self.open.iter().filter(|(_, open)| !open.pending.is_empty()).map(|(id, _)| *id).collect();
        for id in ids {
            self.seal_one(id);
        }
        (&self.bytes, &self.parts)
    }

    /// What was returned by [`Self::seal`] is safe: hands out its parts and forgets it.
    pub(crate) fn commit(&mut self) -> Vec<Part> {
        self.bytes.clear();
        std::mem::take(&mut self.parts)
    }

    fn seal_one(&mut self, id: MessageId) {
        let Some(open) = self.open.get_mut(&id).filter(|open| !open.pending.is_empty()) else { return };
        let pending = std::mem::take(&mut open.pending);
        let sequence = open.next_sequence;
        let facts = (sequence == 1).then(|| open.facts.clone());
        open.next_sequence = sequence.saturating_add(1 + u32::from(facts.is_some()));
        let mut audio_sequence = sequence;
        if let Some(facts) = facts {
            self.push(id, sequence, &Entry::Begin(facts), Effect::Grows);
            audio_sequence = sequence.saturating_add(1);
        }
        let start = self.bytes.len();
        spool::encode_audio(id, audio_sequence, &pending, self.salt, &mut self.bytes);
        self.parts.push(Part { id, place: start..self.bytes.len(), effect: Effect::Grows });
    }

    fn push(&mut self, id: MessageId, sequence: u32, entry: &Entry, effect: Effect) {
        let start = self.bytes.len();
        if let Err(error) = spool::encode(id, sequence, entry, self.salt, &mut self.bytes) {
            tracing::error!(message_id = %id, %error, "a segment cannot be written");
            self.bytes.truncate(start);
            return;
        }
        self.parts.push(Part { id, place: start..self.bytes.len(), effect });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Codec;
    use crate::spool::{Frame, Segment};

    fn id(last: u8) -> MessageId {
        MessageId::new(1_790_000_000_000, [0, 0, 0, 0, 0, 0, 0, 0, 0, last])
    }

    fn facts(id: MessageId) -> Box<RecordingFacts> {
        Box::new(RecordingFacts {
            id,
            mailbox: "alice".into(),
            caller: None,
            caller_name: None,
            caller_address: None,
            called: "101".into(),
            diverted: None,
            call_id: "1@a".into(),
            gateway: "loopback".into(),
            codec: Codec::Pcma,
            started_unix_ms: 1_790_000_000_000,
        })
    }

    fn written(batch: &mut Batch) -> Vec<Segment> {
        let bytes = batch.seal().0.to_vec();
        let scan = spool::scan(&bytes, 5);
        assert_eq!(scan.segments.len(), batch.commit().len());
        scan.segments.into_iter().map(|(_, segment)| segment).collect()
    }

    #[test]
    fn the_facts_are_written_twice_and_frames_between_two_writes_share_a_segment() {
        let mut batch = Batch::new(5);
        assert!(batch.begin(facts(id(1))));
        batch.append(id(1), 0, &[1, 2]);
        batch.append(id(1), 2, &[3]);
        let frames =
            vec![Frame { at_ticks: 0, payload: vec![1, 2] }, Frame { at_ticks: 2, payload: vec![3] }];
        let segments = written(&mut batch);
        assert_eq!(segments[0].entry, Entry::Begin(facts(id(1))));
        assert_eq!(segments[1].entry, Entry::Begin(facts(id(1))));
        assert_eq!(segments[2].entry, Entry::Audio(frames));
        assert_eq!(segments.iter().map(|segment| segment.sequence).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(!batch.is_dirty());
        batch.append(id(1), 3, &[4]);
        assert!(batch.finish(id(1), EndedBy::Key));
        let segments = written(&mut batch);
        assert_eq!(segments.iter().map(|segment| segment.sequence).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(segments[1].entry, Entry::End(EndedBy::Key));
        assert_eq!(batch.open(), 0);
    }

    #[test]
    fn a_batch_that_was_not_written_stays_and_grows() {
        let mut batch = Batch::new(5);
        batch.begin(facts(id(1)));
        let first = batch.seal().0.to_vec();
        batch.append(id(1), 0, &[1]);
        assert!(batch.seal().0.starts_with(&first));
        assert_eq!(written(&mut batch).len(), 3);
    }

    #[test]
    fn audio_that_finds_no_room_is_dropped_and_counted() {
        let mut batch = Batch::new(5);
        batch.begin(facts(id(1)));
        for index in 0..300 {
            batch.append(id(1), index * 160, &[0; 160]);
        }
        // 48 KiB hold 296 frames of 166 bytes.
        assert_eq!(batch.frames_dropped(), 4);
        batch.append(id(2), 0, &[0]);
        assert_eq!(batch.frames_dropped(), 5);
    }

    #[test]
    fn a_recording_begins_and_ends_once() {
        let mut batch = Batch::new(5);
        assert!(batch.begin(facts(id(1))));
        assert!(!batch.begin(facts(id(1))));
        assert!(batch.finish(id(1), EndedBy::Hangup));
        assert!(!batch.finish(id(1), EndedBy::Hangup));
    }

    #[test]
    fn there_is_a_most_of_recordings() {
        let mut batch = Batch::new(5);
        for number in 0..1_024_u64 {
            assert!(batch.begin(facts(MessageId::new(number, [0; 10]))));
        }
        assert!(!batch.begin(facts(id(1))));
    }

    #[test]
    fn a_discarded_recording_says_that_it_is_gone() {
        let mut batch = Batch::new(5);
        batch.begin(facts(id(1)));
        batch.append(id(1), 0, &[1]);
        batch.forget(id(1));
        let segments = written(&mut batch);
        assert_eq!(segments.last().map(|segment| &segment.entry), Some(&Entry::Gone));
        assert_eq!(segments.len(), 2);
    }
}
