//! How long replies took.
//!
//! Decides how exactly that is kept: to one part in 64, from a nanosecond to hours, in a table that
//! never grows.

/// Places for each doubling.
const PLACES: usize = 64;

/// 2 to this power is [`PLACES`].
const PLACES_LOG2: u32 = 6;

/// Durations, in nanoseconds.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Histogram { counts: vec![0; PLACES * PLACES], total: 0 }
    }

    pub(crate) fn add(&mut self, nanoseconds: u64) {
        if let Some(count) = self.counts.get_mut(place(nanoseconds)) {
            *count += 1;
        }
        self.total += 1;
    }

    /// The duration that this share of them does not exceed, microseconds.
    pub(crate) fn quantile_us(&self, share: f64) -> f64 {
        let wanted = (share * self.total as f64).ceil().max(1.0);
        let mut seen = 0.0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += *count as f64;
            if seen >= wanted {
                return upper_end(place) as f64 / 1000.0;
            }
        }
        0.0
    }
}

fn place(nanoseconds: u64) -> usize {
    let power = nanoseconds.max(1).ilog2();
    if power < PLACES_LOG2 {
        return usize::try_from(nanoseconds).unwrap_or(0);
    }
    let within = usize::try_from(nanoseconds >> (power - PLACES_LOG2)).unwrap_or(0) - PLACES;
    (power - PLACES_LOG2 + 1) as usize * PLACES + within
}

/// The longest duration of a place.
fn upper_end(place: usize) -> u64 {
    let (row, within) = (place / PLACES, (place % PLACES) as u64);
    match row {
        0 => within,
        row => ((PLACES as u64 + within + 1) << (row - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_kept_to_one_part_in_64() {
        for duration in [0, 1, 63, 64, 65, 127, 128, 1000, 4_095, 4_096, 123_456_789, 3_600_000_000_000] {
            let end = upper_end(place(duration));
            assert!(end >= duration && end - duration <= duration / 64, "{duration}: {end}");
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_added() {
        let mut histogram = Histogram::new();
        for microseconds in 1..=100_u64 {
            histogram.add(microseconds * 1000);
        }
        assert!((histogram.quantile_us(0.5) - 50.0).abs() < 1.0);
        assert!((histogram.quantile_us(0.99) - 99.0).abs() < 2.0);
    }
}
