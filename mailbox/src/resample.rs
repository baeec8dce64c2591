//! From the sample rate of a voice to that of a telephone line.
//!
//! Decides the filter: a windowed sinc, good for speech. Refuses to know where samples come from.

use std::f64::consts::PI;

/// Samples of the input on either side of each output sample. At 22,050 Hz that is a transition
/// of some 700 Hz below 4 kHz.
const HALF_WIDTH: i64 = 48;

/// Where the filter is half open, as a part of the output's Nyquist frequency: 3,600 of 4,000 Hz.
const CUTOFF: f64 = 0.9;

/// Samples at `to_hz` that sound like `input` at `from_hz`; rates are at least 1.
#[must_use]
pub(crate) fn resample(input: &[i16], from_hz: u32, to_hz: u32) -> Vec<i16> {
    if from_hz == to_hz {
        return input.to_vec();
    }
    let shared = gcd(from_hz, to_hz);
    let (up, down) = (i64::from(to_hz / shared), i64::from(from_hz / shared));
    let cutoff = CUTOFF * (f64::from(to_hz) / f64::from(from_hz)).min(1.0);
    let kernels: Vec<Vec<f64>> = (0..up).map(|phase| kernel(phase, up, cutoff)).collect();
    let length = input.len() * usize::try_from(up).unwrap_or(1) / usize::try_from(down).unwrap_or(1);
    let at =
        |index: i64| usize::try_from(index).ok().and_then(|index| input.get(index)).copied().unwrap_or(0);
    (0i64..)
        .take(length)
        .map(|n| {
            let (base, phase) = (n * down / up, n * down % up);
            let kernel = kernels.get(usize::try_from(phase).unwrap_or(0)).map_or(&[][..], Vec::as_slice);
            let sum: f64 = kernel
                .iter()
                .zip(base - HALF_WIDTH + 1..)
                .map(|(tap, index)| tap * f64::from(at(index)))
                .sum();
            #[allow(clippy::cast_possible_truncation, reason = "clamped to the range of samples")]
            {
                sum.round().clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16
            }
        })
        .collect()
}

/// The filter for output samples that lie `phase / up` after an input sample; its sum is 1.
fn kernel(phase: i64, up: i64, cutoff: f64) -> Vec<f64> {
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let taps: Vec<f64> = (1 - HALF_WIDTH..=HALF_WIDTH)
        .map(|tap| {
            let x = tap as f64 - phase as f64 / up as f64;
            let sinc = if x == 0.0 { 1.0 } else { (PI * x * cutoff).sin() / (PI * x * cutoff) };
            let window = 0.5 + 0.5 * (PI * x / HALF_WIDTH as f64).cos();
            sinc * window
        })
        .collect();
    let sum: f64 = taps.iter().sum();
    taps.into_iter().map(|tap| tap / sum).collect()
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::cast_possible_truncation, reason = "a small amplitude")]
    fn tone(hz: f64, rate: f64, length: usize) -> Vec<i16> {
        (0..length).map(|n| ((n as f64 * hz / rate * 2.0 * PI).sin() * 10_000.0) as i16).collect()
    }

    fn peak(samples: &[i16]) -> i16 {
        samples[100..samples.len() - 100].iter().map(|sample| sample.abs()).max().unwrap()
    }

    #[test]
    fn speech_frequencies_pass() {
        let out = resample(&tone(1_000.0, 22_050.0, 22_050), 22_050, 8_000);
        assert_eq!(out.len(), 8_000);
        assert!((9_900..=10_100).contains(&peak(&out)), "{}", peak(&out));
    }

    #[test]
    fn what_a_telephone_cannot_carry_does_not_come_back_as_noise() {
        let out = resample(&tone(5_000.0, 22_050.0, 22_050), 22_050, 8_000);
        assert!(peak(&out) < 20, "{}", peak(&out));
    }

    #[test]
    fn equal_rates_change_nothing() {
        assert_eq!(resample(&[1, 2, 3], 8_000, 8_000), [1, 2, 3]);
    }
}
