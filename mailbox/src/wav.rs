//! G.711 as a WAV file, byte for byte as it came from the wire.
//!
//! Decides where each frame lies and what fills a gap. Refuses to decode audio: µ-law is written
//! as format 7 and A-law as format 6 (RFC 2361), with the `fact` chunk that they ask for.

use crate::message::{Codec, MAX_RECORDING_TICKS, TICKS_PER_SECOND};
use crate::spool::Frame;

/// Bytes before the first sample: RIFF 12 + fmt 8 + 18 + fact 8 + 4 + data 8.
const HEADER_BYTES: usize = 58;
/// Where the number of samples stands, in the `fact` chunk.
const SAMPLES_AT: usize = 46;

/// Lays frames out on one line of samples. A gap is filled with the codec's silence; where two
/// frames overlap, the one that was heard later stays. What lies beyond [`MAX_RECORDING_TICKS`],
/// which no recording reaches, is left out.
pub(crate) fn render(codec: Codec, frames: &[Frame]) -> Vec<u8> {
    let mut samples: Vec<u8> = Vec::new();
    for frame in frames {
        let start = frame.at_ticks as usize;
        let end = start + frame.payload.len();
        if end > MAX_RECORDING_TICKS as usize {
            continue;
        }
        if samples.len() < end {
            samples.resize(end, codec.silence());
        }
        samples[start..end].copy_from_slice(&frame.payload);
    }
    samples
}

/// Writes encoded samples as a WAV file: one channel, 8 kHz, one byte per sample.
pub(crate) fn write(codec: Codec, samples: &[u8]) -> Vec<u8> {
    let format: u16 = match codec {
        Codec::Pcmu => 7,
        Codec::Pcma => 6,
    };
    // `render` keeps samples below MAX_RECORDING_TICKS, far below 4 GiB.
    let count = u32::try_from(samples.len()).unwrap_or(u32::MAX);
    let padding = samples.len() % 2;
    let mut wav = Vec::with_capacity(HEADER_BYTES + samples.len() + padding);
    wav.extend_from_slice(b"RIFF");
    let riff_bytes = u32::try_from(HEADER_BYTES - 8 + samples.len() + padding).unwrap_or(u32::MAX);
    wav.extend_from_slice(&riff_bytes.to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt ");
    wav.extend_from_slice(&18_u32.to_le_bytes());
    wav.extend_from_slice(&format.to_le_bytes());
    wav.extend_from_slice(&1_u16.to_le_bytes()); // channels
    wav.extend_from_slice(&TICKS_PER_SECOND.to_le_bytes()); // samples per second
    wav.extend_from_slice(&TICKS_PER_SECOND.to_le_bytes()); // bytes per second
    wav.extend_from_slice(&1_u16.to_le_bytes()); // bytes per sample
    wav.extend_from_slice(&8_u16.to_le_bytes()); // bits per sample
    wav.extend_from_slice(&0_u16.to_le_bytes()); // bytes of extension
    wav.extend_from_slice(b"fact");
    wav.extend_from_slice(&4_u32.to_le_bytes());
    wav.extend_from_slice(&count.to_le_bytes());
    wav.extend_from_slice(b"data");
    wav.extend_from_slice(&count.to_le_bytes());
    wav.extend_from_slice(samples);
    wav.extend(std::iter::repeat_n(0, padding));
    wav
}

/// The number of samples in a file that [`write`] made; `None` for any other.
pub(crate) fn samples_of(wav: &[u8]) -> Option<u32> {
    let count = u32::from_le_bytes(wav.get(SAMPLES_AT..SAMPLES_AT + 4)?.try_into().ok()?);
    (wav.starts_with(b"RIFF") && wav.len() >= HEADER_BYTES + count as usize).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(at_ticks: u32, payload: &[u8]) -> Frame {
        Frame { at_ticks, payload: payload.to_vec() }
    }

    #[test]
    fn a_mu_law_file_is_written_to_the_byte() {
        let mut expected = b"RIFF".to_vec();
        expected.extend_from_slice(&[54, 0, 0, 0]);
        expected.extend_from_slice(b"WAVEfmt ");
        expected.extend_from_slice(&[
            18, 0, 0, 0, 7, 0, 1, 0, 0x40, 0x1F, 0, 0, 0x40, 0x1F, 0, 0, 1, 0, 8, 0, 0, 0,
        ]);
        expected.extend_from_slice(b"fact");
        expected.extend_from_slice(&[4, 0, 0, 0, 3, 0, 0, 0]);
        expected.extend_from_slice(b"data");
        expected.extend_from_slice(&[3, 0, 0, 0, 0x11, 0x22, 0x33, 0]);
        let wav = write(Codec::Pcmu, &[0x11, 0x22, 0x33]);
        assert_eq!(wav, expected);
        assert_eq!(samples_of(&wav), Some(3));
    }

    #[test]
    fn an_a_law_file_says_format_6() {
        let wav = write(Codec::Pcma, &[0xD5, 0xD5]);
        assert_eq!(wav[20..22], [6, 0]);
        assert_eq!(wav.len(), 60);
        assert_eq!(samples_of(&wav), Some(2));
    }

    #[test]
    fn a_gap_is_filled_with_the_silence_of_the_codec() {
        let frames = [frame(2, &[1, 2]), frame(7, &[3])];
        assert_eq!(render(Codec::Pcmu, &frames), [0xFF, 0xFF, 1, 2, 0xFF, 0xFF, 0xFF, 3]);
        assert_eq!(render(Codec::Pcma, &frames), [0xD5, 0xD5, 1, 2, 0xD5, 0xD5, 0xD5, 3]);
    }

    #[test]
    fn frames_find_their_place_in_any_order() {
        let frames = [frame(2, &[3, 4]), frame(0, &[1, 2]), frame(1, &[9])];
        assert_eq!(render(Codec::Pcmu, &frames), [1, 9, 3, 4]);
    }

    #[test]
    fn a_frame_beyond_the_longest_recording_is_left_out() {
        let frames = [frame(0, &[1]), frame(48_000_000, &[2]), frame(u32::MAX, &[3])];
        assert_eq!(render(Codec::Pcmu, &frames), [1]);
    }

    #[test]
    fn what_is_no_wav_file_has_no_samples() {
        assert_eq!(samples_of(b""), None);
        assert_eq!(samples_of(&[0; 100]), None);
        let cut = write(Codec::Pcmu, &[1; 100]);
        assert_eq!(samples_of(&cut[..120]), None);
    }
}
