//! Hears a beep and the moment of its end.
//!
//! Decides, frame by frame, whether a pure tone of 1,000 Hz sounds, by Goertzel's algorithm on
//! what was received. Refuses to know who sends it and what is done then.

/// The beep's pitch.
const BEEP_HZ: f64 = 1_000.0;
/// Samples a second.
const RATE_HZ: f64 = 8_000.0;
/// A frame belongs to the beep if this share of its energy lies at the beep's pitch. Speech, even
/// a sung vowel, spreads over its harmonics and stays below.
const PURE: f64 = 0.8;
/// Mean square below which a frame is too quiet to be a beep: −40 dB of full scale.
const QUIET: f64 = 32_768.0 * 32_768.0 * 1e-4 / 2.0;
/// A tone must sound this long to be a beep, in samples: 100 ms. Speech has no pure tone as long.
const MIN_BEEP: usize = 800;

/// Listens for one beep.
#[derive(Debug, Default)]
pub(crate) struct BeepListener {
    sounding: usize,
    ended: bool,
}

impl BeepListener {
    /// Takes the next samples in the order in which they sound; true once, when the beep has ended.
    pub(crate) fn hear(&mut self, frame: &[i16]) -> bool {
        if self.ended || frame.is_empty() {
            return false;
        }
        if is_tone(frame) {
            self.sounding += frame.len();
            return false;
        }
        self.pause()
    }

    /// Nothing came for a while; true once, if that was the end of the beep.
    pub(crate) fn pause(&mut self) -> bool {
        let was_beep = !self.ended && self.sounding >= MIN_BEEP;
        self.sounding = 0;
        self.ended |= was_beep;
        was_beep
    }

    /// Whether a beep sounds at this moment.
    pub(crate) fn is_sounding(&self) -> bool {
        self.sounding >= MIN_BEEP
    }
}

/// Whether a frame is mostly the beep's tone.
fn is_tone(frame: &[i16]) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a frame has a few hundred samples")]
    let length = frame.len() as f64;
    let coefficient = 2.0 * (std::f64::consts::TAU * BEEP_HZ / RATE_HZ).cos();
    let (mut before, mut last, mut energy) = (0.0_f64, 0.0_f64, 0.0_f64);
    for &sample in frame {
        let sample = f64::from(sample);
        let next = sample + coefficient * last - before;
        before = last;
        last = next;
        energy += sample * sample;
    }
    // |X(k)|² of a pure tone is (n/2)² a², its energy n a²/2: twice the power over n is the energy at the pitch.
    let power = before * before + last * last - coefficient * before * last;
    energy / length > QUIET && 2.0 * power / length > PURE * energy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "a few thousand samples below full scale"
    )]
    fn tone(hz: f64, amplitude: f64, samples: usize) -> Vec<i16> {
        (0..samples)
            .map(|n| (amplitude * (std::f64::consts::TAU * hz * n as f64 / 8_000.0).sin()) as i16)
            .collect()
    }

    fn end_of_beep(samples: &[i16]) -> Option<usize> {
        let mut listener = BeepListener::default();
        samples.chunks(160).position(|frame| listener.hear(frame))
    }

    #[test]
    fn the_end_of_a_beep_is_heard_in_the_first_frame_without_it() {
        let mut samples = vec![0; 1_600];
        samples.extend(tone(1_000.0, 8_000.0, 3_200));
        samples.extend(vec![0; 1_600]);
        assert_eq!(end_of_beep(&samples), Some(30));
    }

    #[test]
    fn a_beep_that_ends_with_the_stream_is_ended_by_the_pause() {
        let mut listener = BeepListener::default();
        for frame in tone(1_000.0, 8_000.0, 3_200).chunks(160) {
            assert!(!listener.hear(frame));
        }
        assert!(listener.is_sounding());
        assert!(listener.pause());
        assert!(!listener.pause());
    }

    #[test]
    fn other_tones_short_blips_and_quiet_ones_are_no_beep() {
        let silence = vec![0; 800];
        for sound in [
            tone(440.0, 8_000.0, 3_200),
            tone(1_200.0, 8_000.0, 3_200),
            tone(1_000.0, 8_000.0, 480),
            tone(1_000.0, 100.0, 3_200),
        ] {
            assert_eq!(end_of_beep(&[sound, silence.clone()].concat()), None);
        }
    }
}
