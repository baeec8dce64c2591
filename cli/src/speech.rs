//! What the caller of a test call says, spoken by `espeak-ng` and written as µ-law at 8,000 Hz.
//!
//! Decides how `espeak-ng` is asked and how its audio becomes that of a telephone. Refuses to
//! know calls.

use std::path::Path;
use std::process::{Command, Stdio};

use thiserror::Error;

use crate::call::Codec;
use crate::call::audio::{Audio, SAMPLES_PER_SECOND};

/// Words a minute: calm speech.
const PACE: &str = "150";
/// The longest text that is spoken: some minutes.
const MAX_TEXT_BYTES: usize = 4_000;
/// Samples on each side that a new sample is made of.
const REACH: f64 = 24.0;

/// Why nothing is said.
#[derive(Debug, Error)]
pub enum SpeechError {
    /// The program is missing or cannot be started.
    #[error(
        "{code} {name}: espeak-ng cannot be started: {0}; install it with `apt-get install espeak-ng`, or give \
         the caller a WAV file by --play",
        code = config::Code::SpeechUnavailable.id(),
        name = config::Code::SpeechUnavailable.name()
    )]
    NotStarted(std::io::Error),
    /// It ran and did not speak.
    #[error(
        "{code} {name}: espeak-ng did not speak: {0}",
        code = config::Code::SpeechUnavailable.id(),
        name = config::Code::SpeechUnavailable.name()
    )]
    NotSpoken(String),
    /// The text is too long.
    #[error("the text has more than {MAX_TEXT_BYTES} bytes; shorten it or give a WAV file by --play")]
    TooLong,
    /// The audio could not be written.
    #[error("cannot write the caller's audio to {path}: {source}")]
    Unwritable {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Speaks `text` as a caller would be heard.
///
/// # Errors
/// `espeak-ng` is missing, fails or gives no audio; or the text is too long.
pub fn speak(text: &str) -> Result<Audio, SpeechError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(SpeechError::TooLong);
    }
    let output = Command::new("espeak-ng")
        .args(["--stdout", "-s", PACE, "--", text])
        .stdin(Stdio::null())
        .output()
        .map_err(SpeechError::NotStarted)?;
    if !output.status.success() {
        return Err(SpeechError::NotSpoken(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let Some((rate, samples)) = read(&output.stdout).filter(|(_, samples)| !samples.is_empty()) else {
        return Err(SpeechError::NotSpoken("it gave no audio".to_owned()));
    };
    let codec = Codec::Pcmu;
    let bytes = resample(&samples, rate).into_iter().map(|sample| codec.encode(sample)).collect();
    Ok(Audio::Encoded(codec, bytes))
}

/// Writes µ-law bytes as a WAV file, so that what was said can be listened to.
///
/// # Errors
/// The file cannot be written.
pub fn write_mu_law(path: &Path, bytes: &[u8]) -> Result<(), SpeechError> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut wav = Vec::with_capacity(58 + bytes.len());
    // RIFF of a format that is not linear: an 18-byte format chunk and the number of samples.
    wav.extend(b"RIFF");
    wav.extend((length.saturating_add(50 + length % 2)).to_le_bytes());
    wav.extend(b"WAVEfmt \x12\0\0\0\x07\0\x01\0");
    wav.extend(SAMPLES_PER_SECOND.to_le_bytes());
    wav.extend(SAMPLES_PER_SECOND.to_le_bytes());
    wav.extend(b"\x01\0\x08\0\0\0fact\x04\0\0\0");
    wav.extend(length.to_le_bytes());
    wav.extend(b"data");
    wav.extend(length.to_le_bytes());
    wav.extend(bytes);
    if length % 2 == 1 {
        wav.push(0);
    }
    std::fs::write(path, wav)
        .map_err(|source| SpeechError::Unwritable { path: path.display().to_string(), source })
}

/// The rate and samples of the WAV that `espeak-ng` writes to a pipe, whose lengths it cannot fill in.
fn read(wav: &[u8]) -> Option<(u32, Vec<i16>)> {
    let rate = wav.get(24..28)?;
    let data = wav.windows(4).position(|window| window == b"data")? + 8;
    let samples = wav.get(data..)?.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
    Some((u32::from_le_bytes([rate[0], rate[1], rate[2], rate[3]]), samples.collect()))
}

/// Changes the rate to that of a telephone: a windowed sinc that lets pass what lies below half of
/// the lower rate.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "positions lie inside of the slice, and samples are clamped to 16 bits"
)]
fn resample(samples: &[i16], rate: u32) -> Vec<i16> {
    let step = f64::from(rate) / f64::from(SAMPLES_PER_SECOND);
    let cutoff = (1.0 / step).min(1.0);
    let reach = REACH / cutoff;
    let length = (samples.len() as f64 / step) as usize;
    let value = |n: usize| {
        let centre = n as f64 * step;
        let first = (centre - reach).ceil().max(0.0) as usize;
        let last = ((centre + reach) as usize).min(samples.len() - 1);
        let sum: f64 = (first..=last)
            .map(|at| {
                let distance = at as f64 - centre;
                let window = 0.5 + 0.5 * (std::f64::consts::PI * distance / reach).cos();
                f64::from(samples[at]) * cutoff * sinc(cutoff * distance) * window
            })
            .sum();
        sum.clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16
    };
    (0..length).map(value).collect()
}

fn sinc(x: f64) -> f64 {
    let x = std::f64::consts::PI * x;
    if x.abs() < 1e-9 { 1.0 } else { x.sin() / x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_level_stays_what_it_is_at_the_telephones_rate() {
        let slow = resample(&[1_000; 22_050], 22_050);
        assert_eq!(slow.len(), 8_000);
        assert!(slow[100..7_900].iter().all(|sample| (990..=1_010).contains(sample)));
    }

    #[test]
    fn the_callers_audio_can_be_played_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("caller.wav");
        write_mu_law(&path, &[1, 2, 3]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap().len(), 62);
        assert_eq!(Audio::read_wav(&path).unwrap(), Audio::Encoded(Codec::Pcmu, vec![1, 2, 3]));
    }
}
