//! How many lines are logged.
//!
//! Decides that a worker writes so many about one thing in one second and no more, and then says how many
//! it left out: a line costs more than a redirect, and a flood of calls is not to become one of lines.
//! Counters count every call. Refuses to know what a line says.

/// Lines of one worker in one second about calls. A busy hour of 100,000 users has about 20 calls a second.
pub const CALL_LINES_PER_SECOND: u32 = 100;

/// Lines of one worker in one second about peers that are no gateway: apart, so that no flood of theirs
/// takes the lines of calls.
pub const STRANGER_LINES_PER_SECOND: u32 = 20;

/// What may still be written in this second.
#[derive(Debug)]
pub(crate) struct Budget {
    about: &'static str,
    lines_per_second: u32,
    second: u64,
    spent: u32,
    left_out: u64,
}

impl Budget {
    pub(crate) fn new(about: &'static str, lines_per_second: u32) -> Self {
        Budget { about, lines_per_second, second: 0, spent: 0, left_out: 0 }
    }

    /// Whether one more line may be written.
    pub(crate) fn spend(&mut self, now_unix_s: u64) -> bool {
        if now_unix_s != self.second {
            if self.left_out > 0 {
                tracing::info!(
                    lines = self.left_out,
                    "lines about {} were left out; counters have them all",
                    self.about
                );
            }
            *self = Budget { second: now_unix_s, ..Budget::new(self.about, self.lines_per_second) };
        }
        let may = self.spent < self.lines_per_second;
        self.spent += u32::from(may);
        self.left_out += u64::from(!may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines_and_the_next_one_again() {
        let mut budget = Budget::new("calls", 100);
        assert_eq!((0..150).filter(|_| budget.spend(7)).count(), 100);
        assert_eq!(budget.left_out, 50);
        assert_eq!((0..150).filter(|_| budget.spend(8)).count(), 100);
    }
}
