//! The format of the spool: how segments of recordings are written, found again and put together.
//!
//! A volume is a row of segments, those of all recordings of the server between each other:
//!
//! ```text
//! magic 4 | version 1 | kind 1 | recording 16 | sequence 4 | length 4 | crc32 4 | body
//! ```
//!
//! Numbers are big-endian. The checksum covers everything between the magic and itself, and the
//! body; it starts from the salt of the volume, so that no caller can speak bytes that pass for a
//! segment. Each segment stands alone: after a damaged one the next is found by its magic.
//!
//! Decides what is damaged and what is whole. Refuses to know files, clocks and delivery.

use std::ops::Range;

use crate::message::{EndedBy, MessageId, RecordingFacts};

/// First bytes of every segment. The first is no byte of any text.
const MAGIC: [u8; 4] = [0xF5, b'U', b'M', b'S'];
/// The only version of the format.
const VERSION: u8 = 1;
/// magic 4 + version 1 + kind 1 + recording 16 + sequence 4 + length 4 + crc32 4.
const HEADER_BYTES: usize = 34;
/// Where the checksum begins.
const CRC_AT: usize = HEADER_BYTES - 4;
/// at_ticks 4 + length 2, before each frame in a body.
pub(crate) const FRAME_HEADER_BYTES: usize = 6;
/// The longest body; a length beyond it is damage. Seconds of audio and clipped facts are shorter.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;

/// What a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The facts of the recording. Written twice, so that one damaged place cannot lose them.
    Begin(Box<RecordingFacts>),
    /// Frames, each with its place in the recording.
    Audio(Vec<Frame>),
    /// The recording is complete.
    End(EndedBy),
    /// The recording needs no care any more: it is in the store, or was discarded.
    Gone,
}

/// Encoded audio and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// 8 kHz ticks since the recording began.
    pub(crate) at_ticks: u32,
    /// Encoded samples, one byte each.
    pub(crate) payload: Vec<u8>,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The recording that it belongs to.
    pub(crate) id: MessageId,
    /// Its place among the segments of that recording, from 0.
    pub(crate) sequence: u32,
    /// What it says.
    pub(crate) entry: Entry,
}

/// What was found in a volume.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Whole segments and where they lie, in order.
    pub(crate) segments: Vec<(Range<usize>, Segment)>,
    /// Bytes that belong to no whole segment, though whole ones follow or more should be there.
    pub(crate) damaged: Vec<Range<usize>>,
    /// Where a last segment begins that was not written to its end: what a crash leaves behind.
    pub(crate) torn_at: Option<usize>,
}

/// A recording, put together from its segments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recording {
    /// What is known of it.
    pub(crate) facts: RecordingFacts,
    /// Its audio, in the order in which it was heard.
    pub(crate) frames: Vec<Frame>,
    /// Why it ended; [`EndedBy::Crash`] where no end was written.
    pub(crate) ended_by: EndedBy,
    /// Whether a segment is missing.
    pub(crate) damaged: bool,
}

/// Appends the segment of an entry to `out`.
///
/// # Errors
/// When the facts cannot be written as JSON, which no facts of ours do.
pub(crate) fn encode(
    id: MessageId,
    sequence: u32,
    entry: &Entry,
    salt: u32,
    out: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    match entry {
        Entry::Begin(facts) => encode_raw(id, sequence, 1, &serde_json::to_vec(facts)?, salt, out),
        Entry::Audio(frames) => {
            let mut body = Vec::new();
            for frame in frames {
                encode_frame(frame.at_ticks, &frame.payload, &mut body);
            }
            encode_audio(id, sequence, &body, salt, out);
        }
        Entry::End(ended_by) => encode_raw(id, sequence, 3, &serde_json::to_vec(ended_by)?, salt, out),
        Entry::Gone => encode_raw(id, sequence, 4, &[], salt, out),
    }
    Ok(())
}

/// Appends a frame to the body of an audio segment. Of a payload longer than 65,535 bytes, which
/// no datagram holds, nothing is kept.
pub(crate) fn encode_frame(at_ticks: u32, payload: &[u8], body: &mut Vec<u8>) {
    if let Ok(length) = u16::try_from(payload.len()) {
        body.extend_from_slice(&at_ticks.to_be_bytes());
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(payload);
    }
}

/// Appends an audio segment whose body was made by [`encode_frame`] to `out`.
pub(crate) fn encode_audio(id: MessageId, sequence: u32, body: &[u8], salt: u32, out: &mut Vec<u8>) {
    encode_raw(id, sequence, 2, body, salt, out);
}

fn encode_raw(id: MessageId, sequence: u32, kind: u8, body: &[u8], salt: u32, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, kind]);
    out.extend_from_slice(&id.to_bytes());
    out.extend_from_slice(&sequence.to_be_bytes());
    // Bodies are far below MAX_BODY_BYTES; a longer one would be refused when it is read.
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    let crc = checksum(&out[start + MAGIC.len()..], body, salt);
    out.extend_from_slice(&crc.to_be_bytes());
    out.extend_from_slice(body);
}

fn checksum(header: &[u8], body: &[u8], salt: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(header);
    hasher.update(body);
    hasher.finalize()
}

/// Finds every whole segment of a volume, whatever lies between them.
pub(crate) fn scan(bytes: &[u8], salt: u32) -> Scan {
    let mut found = Scan::default();
    let mut at = 0;
    let mut damaged_from = None;
    while at < bytes.len() {
        match decode(&bytes[at..], salt) {
            Decoded::Whole { length, segment } => {
                found.damaged.extend(damaged_from.take().map(|from: usize| from..at));
                found.segments.push((at..at + length, segment));
                at += length;
            }
            Decoded::Torn if damaged_from.is_none() && !another_follows(&bytes[at + 1..], salt) => {
                found.torn_at = Some(at);
                return found;
            }
            Decoded::Torn | Decoded::Damaged => {
                damaged_from.get_or_insert(at);
                at += next_magic(&bytes[at + 1..]) + 1;
            }
        }
    }
    found.damaged.extend(damaged_from.map(|from| from..bytes.len()));
    found
}

/// Where in `bytes` a segment may begin next, its length when none does.
fn next_magic(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == MAGIC[0]).unwrap_or(bytes.len())
}

/// Whether a whole segment lies anywhere in `bytes`: then what looked torn has a damaged length.
fn another_follows(mut bytes: &[u8], salt: u32) -> bool {
    while !bytes.is_empty() {
        if matches!(decode(bytes, salt), Decoded::Whole { .. }) {
            return true;
        }
        bytes = &bytes[1 + next_magic(&bytes[1..])..];
    }
    false
}

enum Decoded {
    Whole { length: usize, segment: Segment },
    Torn,
    Damaged,
}

/// Reads one segment from the front of `bytes`.
fn decode(bytes: &[u8], salt: u32) -> Decoded {
    let magic_bytes = bytes.len().min(MAGIC.len());
    if bytes[..magic_bytes] != MAGIC[..magic_bytes] {
        return Decoded::Damaged;
    }
    let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else { return Decoded::Torn };
    let body_bytes = be_u32(header, 26) as usize;
    if header[4] != VERSION || body_bytes > MAX_BODY_BYTES {
        return Decoded::Damaged;
    }
    let Some(body) = rest.get(..body_bytes) else { return Decoded::Torn };
    if be_u32(header, CRC_AT) != checksum(&header[MAGIC.len()..CRC_AT], body, salt) {
        return Decoded::Damaged;
    }
    let mut id = [0; 16];
    id.copy_from_slice(&header[6..22]);
    match decode_entry(header[5], body) {
        Some(entry) => Decoded::Whole {
            length: HEADER_BYTES + body_bytes,
            segment: Segment { id: MessageId::from_bytes(id), sequence: be_u32(header, 22), entry },
        },
        None => Decoded::Damaged,
    }
}

fn decode_entry(kind: u8, body: &[u8]) -> Option<Entry> {
    match kind {
        1 => serde_json::from_slice(body).ok().map(Entry::Begin),
        2 => decode_frames(body).map(Entry::Audio),
        3 => serde_json::from_slice(body).ok().map(Entry::End),
        4 => body.is_empty().then_some(Entry::Gone),
        _ => None,
    }
}

fn decode_frames(mut body: &[u8]) -> Option<Vec<Frame>> {
    let mut frames = Vec::new();
    while !body.is_empty() {
        let (header, rest) = body.split_at_checked(FRAME_HEADER_BYTES)?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let (payload, rest) = rest.split_at_checked(length)?;
        frames.push(Frame { at_ticks: be_u32(header, 0), payload: payload.to_vec() });
        body = rest;
    }
    Some(frames)
}

fn be_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Puts a recording together from its segments, in whatever order and however often they come.
/// `None` when its facts are lost: then nobody can say whose it is.
pub(crate) fn assemble(mut segments: Vec<Segment>) -> Option<Recording> {
    segments.sort_by_key(|segment| segment.sequence);
    segments.dedup_by_key(|segment| segment.sequence);
    let mut facts = None;
    let mut frames = Vec::new();
    let mut ended_by = EndedBy::Crash;
    let mut expected = 0;
    let mut damaged = false;
    for segment in segments {
        damaged |= segment.sequence != expected;
        expected = segment.sequence.saturating_add(1);
        match segment.entry {
            Entry::Begin(begun) => facts = Some(*begun),
            Entry::Audio(heard) => frames.extend(heard),
            Entry::End(by) => ended_by = by,
            Entry::Gone => {}
        }
    }
    facts.map(|facts| Recording { facts, frames, ended_by, damaged })
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
