//! The audio of a test call: what is said, read from a WAV file, and what was heard, written to one.
//!
//! Decides which WAV files are understood: one channel at 8,000 Hz, as 16-bit samples or as G.711
//! bytes, which are sent as they are. Refuses to know RTP and when audio is sent.

use std::path::Path;

use thiserror::Error;

use super::plan::Codec;

/// Samples a second of everything that a call carries (RFC 3551 section 4.5.14).
pub const SAMPLES_PER_SECOND: u32 = 8_000;

/// The longest WAV file that is read: an hour of 16-bit samples.
const MAX_WAV_BYTES: u64 = 3_600 * 8_000 * 2 + 4_096;

/// Audio to be said, 8,000 samples a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audio {
    /// Linear samples, encoded once the codec is agreed on.
    Linear(Vec<i16>),
    /// Bytes of one codec; sent unchanged if that is the codec which is agreed on.
    Encoded(Codec, Vec<u8>),
}

impl Audio {
    /// The bytes to send in `codec`.
    #[must_use]
    pub fn bytes(&self, codec: Codec) -> Vec<u8> {
        match self {
            Audio::Linear(samples) => samples.iter().map(|&sample| codec.encode(sample)).collect(),
            Audio::Encoded(own, bytes) if *own == codec => bytes.clone(),
            Audio::Encoded(own, bytes) => bytes.iter().map(|&byte| codec.encode(own.decode(byte))).collect(),
        }
    }

    /// How long it lasts, in samples.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Audio::Linear(samples) => samples.len(),
            Audio::Encoded(_, bytes) => bytes.len(),
        }
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads a WAV file.
    ///
    /// # Errors
    /// The file cannot be read, is not WAV, or is not one channel of 8,000 Hz in 16-bit linear,
    /// µ-law or A-law.
    pub fn read_wav(path: &Path) -> Result<Audio, AudioError> {
        let name = || path.display().to_string();
        let unreadable = |source| AudioError::Unreadable { path: name(), source };
        let length = std::fs::metadata(path).map_err(unreadable)?.len();
        if length > MAX_WAV_BYTES {
            return Err(AudioError::TooLong { path: name() });
        }
        parse_wav(&std::fs::read(path).map_err(unreadable)?)
            .map_err(|reason| AudioError::NotUsable { path: name(), reason })
    }
}

/// Why a WAV file cannot be read or written.
#[derive(Debug, Error)]
pub enum AudioError {
    /// It cannot be opened or read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is longer than an hour.
    #[error("{path} is longer than an hour: cut it first")]
    TooLong {
        /// The file.
        path: String,
    },
    /// It holds something else.
    #[error(
        "cannot play {path}: {reason}; convert it first, for example `sox {path} -r 8000 -c 1 -b 16 out.wav`"
    )]
    NotUsable {
        /// The file.
        path: String,
        /// What it holds instead.
        reason: String,
    },
    /// It cannot be written.
    #[error("cannot write {path}: {reason}")]
    Unwritable {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
}

/// Writes samples as a 16-bit WAV file that every player understands.
///
/// # Errors
/// The file cannot be written.
pub fn write_wav(path: &Path, samples: &[i16]) -> Result<(), AudioError> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: SAMPLES_PER_SECOND,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let write = || -> Result<(), hound::Error> {
        let mut writer = hound::WavWriter::create(path, spec)?;
        for &sample in samples {
            writer.write_sample(sample)?;
        }
        writer.finalize()
    };
    write().map_err(|error| AudioError::Unwritable {
        path: path.display().to_string(),
        reason: error.to_string(),
    })
}

/// WAVE format tags (RFC 2361).
const FORMAT_LINEAR: u16 = 1;
const FORMAT_A_LAW: u16 = 6;
const FORMAT_MU_LAW: u16 = 7;

/// Reads the bytes of a WAV file; the error is what it holds instead of what we need.
pub(crate) fn parse_wav(bytes: &[u8]) -> Result<Audio, String> {
    if bytes.len() < 12 || &bytes[..4] != b"RIFF" || &bytes[8..12] != b"WAVE" {
        return Err("it is not a WAV file".to_owned());
    }
    let mut format: Option<(u16, u16, u32, u16)> = None;
    let mut rest = &bytes[12..];
    while rest.len() >= 8 {
        let length = usize::try_from(u32_at(rest, 4)).unwrap_or(usize::MAX);
        let body = &rest[8..];
        // A length past the end is written by programs that could not seek back: take what is there.
        let chunk = &body[..length.min(body.len())];
        match &rest[..4] {
            b"fmt " if chunk.len() >= 16 => {
                format = Some((u16_at(chunk, 0), u16_at(chunk, 2), u32_at(chunk, 4), u16_at(chunk, 14)));
            }
            b"data" => return samples(format, chunk),
            _ => {}
        }
        // Chunks begin at even offsets.
        rest = body.get(length.saturating_add(length % 2)..).unwrap_or_default();
    }
    Err("it has no audio in it".to_owned())
}

fn samples(format: Option<(u16, u16, u32, u16)>, data: &[u8]) -> Result<Audio, String> {
    let Some((tag, channels, rate, bits)) = format else {
        return Err("its audio comes before its format".to_owned());
    };
    if channels != 1 || rate != SAMPLES_PER_SECOND {
        return Err(format!("it has {channels} channel(s) at {rate} Hz, and a call has one at 8000 Hz"));
    }
    match (tag, bits) {
        (FORMAT_LINEAR, 16) => Ok(Audio::Linear(
            data.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect(),
        )),
        (FORMAT_MU_LAW, 8) => Ok(Audio::Encoded(Codec::Pcmu, data.to_vec())),
        (FORMAT_A_LAW, 8) => Ok(Audio::Encoded(Codec::Pcma, data.to_vec())),
        (tag, bits) => Err(format!("its samples are in format {tag} with {bits} bits")),
    }
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([bytes[offset], bytes[offset + 1]])
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes([bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
        bytes.extend(tag.to_le_bytes());
        bytes.extend(channels.to_le_bytes());
        bytes.extend(rate.to_le_bytes());
        bytes.extend([0; 6]);
        bytes.extend(bits.to_le_bytes());
        bytes.extend(b"fact\x04\0\0\0\0\0\0\0data");
        bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn mu_law_bytes_are_taken_as_they_are() {
        let audio = parse_wav(&wav(7, 1, 8_000, 8, &[1, 2, 3])).unwrap();
        assert_eq!(audio, Audio::Encoded(Codec::Pcmu, vec![1, 2, 3]));
        assert_eq!(audio.bytes(Codec::Pcmu), [1, 2, 3]);
    }

    #[test]
    fn linear_samples_are_encoded_for_the_agreed_codec() {
        let audio = parse_wav(&wav(1, 1, 8_000, 16, &[0, 0, 0, 0])).unwrap();
        assert_eq!(audio.bytes(Codec::Pcmu), [0xFF, 0xFF]);
        assert_eq!(audio.bytes(Codec::Pcma), [0xD5, 0xD5]);
    }

    #[test]
    fn a_length_that_was_never_filled_in_means_up_to_the_end() {
        let mut bytes = wav(6, 1, 8_000, 8, &[9, 9]);
        let at = bytes.len() - 6;
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(parse_wav(&bytes).unwrap(), Audio::Encoded(Codec::Pcma, vec![9, 9]));
    }

    #[test]
    fn other_rates_are_refused_with_what_the_file_holds() {
        let error = parse_wav(&wav(1, 2, 44_100, 16, &[])).unwrap_err();
        assert_eq!(error, "it has 2 channel(s) at 44100 Hz, and a call has one at 8000 Hz");
        assert_eq!(parse_wav(b"ID3").unwrap_err(), "it is not a WAV file");
    }

    #[test]
    fn what_was_heard_is_written_and_can_be_played_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heard.wav");
        write_wav(&path, &[0, 100, -100]).unwrap();
        assert_eq!(Audio::read_wav(&path).unwrap(), Audio::Linear(vec![0, 100, -100]));
    }
}
