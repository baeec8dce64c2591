//! From the sample rate of a voice to that of a telephone line.
//!
//! Decides the filter: a windowed sinc, good for speech. Refuses to know where samples come from.

use std::f64::consts::PI;

/// Samples of the input on either side of each output sample. At 22,050 Hz that is a transition of
/// some 700 Hz around [`CUTOFF`].
const HALF_WIDTH: usize = 32;

/// Where the filter is half open, as a part of the output's Nyquist frequency: 3,600 of 4,000 Hz.
const CUTOFF: f64 = 0.9;

/// Samples at `to_hz` that sound like `input` at `from_hz`; rates are at least 1.
#[must_use]
pub(crate) fn resample(input: &[i16], from_hz: u32, to_hz: u32) -> Vec<i16> {
    if from_hz == to_hz {
        return input.to_vec();
    }
    let shared = gcd(from_hz, to_hz);
    let (up, down) = (as_usize(to_hz / shared), as_usize(from_hz / shared));
    let cutoff = CUTOFF * (f64::from(to_hz) / f64::from(from_hz)).min(1.0);
    let kernels: Vec<Vec<f32>> = (0..up).map(|phase| kernel(phase, up, cutoff)).collect();
    // Silence before and after, so that every output sample has all its neighbours.
    let mut padded = vec![0.0; HALF_WIDTH - 1];
    padded.extend(input.iter().map(|sample| f32::from(*sample)));
    padded.extend([0.0; HALF_WIDTH]);
    let length = input.len() * up / down;
    (0..length).map(|n| filtered(&padded[n * down / up..], &kernels[n * down % up])).collect()
}

/// One output sample.
fn filtered(neighbours: &[f32], kernel: &[f32]) -> i16 {
    let sum: f32 = kernel.iter().zip(neighbours).map(|(tap, sample)| tap * sample).sum();
    #[allow(clippy::cast_possible_truncation, reason = "clamped to the range of samples")]
    {
        sum.round().clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16
    }
}

/// The filter for output samples that lie `phase / up` after an input sample; its sum is 1.
fn kernel(phase: usize, up: usize, cutoff: f64) -> Vec<f32> {
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let (half_width, after) = (HALF_WIDTH as f64, phase as f64 / up as f64);
    let mut x = 1.0 - half_width - after;
    let mut taps = Vec::with_capacity(2 * HALF_WIDTH);
    while taps.len() < 2 * HALF_WIDTH {
        let sinc = if x == 0.0 { 1.0 } else { (PI * x * cutoff).sin() / (PI * x * cutoff) };
        let window = 0.5 + 0.5 * (PI * x / half_width).cos();
        taps.push(sinc * window);
        x += 1.0;
    }
    let sum: f64 = taps.iter().sum();
    #[allow(clippy::cast_possible_truncation, reason = "samples have 16 bits, f32 has 24")]
    taps.iter().map(|tap| (tap / sum) as f32).collect()
}

fn as_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
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
