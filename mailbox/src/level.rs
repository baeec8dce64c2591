//! How loud a caller is, and whether that is a voice or only the line.
//!
//! Decides what counts as silence: what does not stand out of the line's own noise, which is
//! learned from the quietest moments of the call. Refuses to know time and what silence leads to.

use std::sync::LazyLock;

use audio_codec_algorithms::{decode_alaw, decode_ulaw};

use crate::message::Codec;

// All levels are mean squares, with full scale as 1.

/// The line is never taken to be quieter than this: -62 dB. Below it lie the last steps of G.711.
const FLOOR_MIN: f32 = 6.3e-7;

/// Nor noisier than this, -36 dB: so whatever is louder than -28 dB is a voice however long it
/// lasts, and speech (-26 dB on the average, ITU-T P.56) never becomes the line.
const FLOOR_MAX: f32 = 2.5e-4;

/// A voice stands this far out of the noise: 8 dB. The level of steady noise over 20 ms varies by
/// half a decibel.
const MARGIN: f32 = 6.3;

/// Nothing below this is a voice: -50 dB.
const VOICE_MIN: f32 = 1e-5;

/// How fast the noise may grow in the meter's opinion: 3 dB/s, 10^(0.3 / 50) with each 20 ms. It
/// falls at once.
const RISE_PER_PACKET: f32 = 1.013_911;

/// Tells voice from noise on one line.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    noise: f32,
}

impl Default for Meter {
    fn default() -> Self {
        Meter { noise: FLOOR_MIN }
    }
}

impl Meter {
    /// Learns from a piece of audio, and says whether it holds a voice.
    pub(crate) fn hears_voice(&mut self, codec: Codec, payload: &[u8]) -> bool {
        let level = mean_square(codec, payload);
        #[allow(clippy::cast_precision_loss, reason = "a packet is shorter than 2^24 samples")]
        let packets = payload.len() as f32 / 160.0;
        let risen = self.noise * RISE_PER_PACKET.powf(packets);
        self.noise = risen.min(level).clamp(FLOOR_MIN, FLOOR_MAX);
        level > (self.noise * MARGIN).max(VOICE_MIN)
    }
}

/// Mean square of a piece of audio, with full scale as 1; 0 for no audio.
fn mean_square(codec: Codec, payload: &[u8]) -> f32 {
    static PCMU: LazyLock<[f32; 256]> = LazyLock::new(|| squares(decode_ulaw));
    static PCMA: LazyLock<[f32; 256]> = LazyLock::new(|| squares(decode_alaw));
    let table = match codec {
        Codec::Pcmu => &*PCMU,
        Codec::Pcma => &*PCMA,
    };
    if payload.is_empty() {
        return 0.0;
    }
    #[allow(clippy::cast_precision_loss, reason = "a packet is shorter than 2^24 samples")]
    let length = payload.len() as f32;
    payload.iter().map(|byte| table[usize::from(*byte)]).sum::<f32>() / length
}

fn squares(decode: fn(u8) -> i16) -> [f32; 256] {
    let mut table = [0.0; 256];
    for (byte, square) in (0..=u8::MAX).zip(&mut table) {
        *square = (f32::from(decode(byte)) / 32_768.0).powi(2);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use audio_codec_algorithms::{encode_alaw, encode_ulaw};

    /// One packet of a 400 Hz tone of this amplitude.
    #[allow(clippy::cast_possible_truncation, reason = "a small amplitude")]
    fn tone(amplitude: f64) -> Vec<u8> {
        (0..160).map(|n| encode_ulaw(((f64::from(n) * 0.314_159).sin() * amplitude) as i16)).collect()
    }

    /// One packet of noise up to this amplitude.
    fn noise(amplitude: i64, state: &mut u64) -> Vec<u8> {
        let mut next = || {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            i64::try_from(*state >> 40).unwrap() % (2 * amplitude + 1) - amplitude
        };
        (0..160).map(|_| encode_ulaw(i16::try_from(next()).unwrap())).collect()
    }

    #[test]
    fn digital_silence_is_no_voice_in_either_law() {
        let mut meter = Meter::default();
        assert!(!meter.hears_voice(Codec::Pcmu, &[0xff; 160]));
        assert!(!meter.hears_voice(Codec::Pcma, &[0xd5; 160]));
        assert!(!meter.hears_voice(Codec::Pcma, &[encode_alaw(40); 160]));
        assert!(!meter.hears_voice(Codec::Pcmu, &[]));
    }

    #[test]
    fn a_tone_is_a_voice_however_long_it_lasts() {
        let mut meter = Meter::default();
        for packet in 0..50 * 60 {
            assert!(meter.hears_voice(Codec::Pcmu, &tone(3_000.0)), "packet {packet}");
        }
    }

    #[test]
    fn steady_noise_becomes_the_line_and_a_quiet_voice_stands_out_of_it() {
        let (mut meter, mut state) = (Meter::default(), 1);
        for _ in 0..50 * 5 {
            meter.hears_voice(Codec::Pcmu, &noise(300, &mut state));
        }
        for packet in 0..200 {
            assert!(!meter.hears_voice(Codec::Pcmu, &noise(300, &mut state)), "packet {packet}");
        }
        assert!(meter.hears_voice(Codec::Pcmu, &tone(900.0)));
    }
}
