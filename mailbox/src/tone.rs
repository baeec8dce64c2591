//! The beep after which a recording begins.
//!
//! Decides how it sounds. Refuses to know when it is played.

use std::sync::LazyLock;

use crate::message::Codec;
use crate::prompt::Prompt;

/// Pitch of the beep, Hz.
pub(crate) const BEEP_HZ: u32 = 1_000;

/// Length of the beep: 20 packets of 20 ms.
pub(crate) const BEEP_MS: u32 = 400;

/// Peak of the beep, a quarter of full scale: well heard, far from clipping.
const BEEP_PEAK: f64 = 0.25;

/// The beep, 3,200 samples at 8 kHz: 8 samples a turn, so it begins and ends at zero without a click.
pub(crate) fn beep(codec: Codec) -> bytes::Bytes {
    static BEEP: LazyLock<Prompt> = LazyLock::new(|| {
        let samples = (0..BEEP_MS * 8).map(sample).collect::<Vec<i16>>();
        Prompt::from_samples(&samples)
    });
    BEEP.encoded(codec)
}

fn sample(index: u32) -> i16 {
    let phase = f64::from(index) * f64::from(BEEP_HZ) / 8_000.0;
    #[allow(clippy::cast_possible_truncation, reason = "a quarter of full scale fits")]
    {
        ((phase * std::f64::consts::TAU).sin() * BEEP_PEAK * f64::from(i16::MAX)).round() as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beep_is_twenty_packets_long() {
        assert_eq!(beep(Codec::Pcmu).len(), 20 * 160);
        assert_eq!(beep(Codec::Pcma).len(), 20 * 160);
    }

    #[test]
    fn one_turn_of_the_beep_is_eight_samples() {
        let turn: Vec<i16> = (0..9).map(sample).collect();
        assert_eq!(turn, [0, 5_792, 8_192, 5_792, 0, -5_792, -8_192, -5_792, 0]);
    }
}
