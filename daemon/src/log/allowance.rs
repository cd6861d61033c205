//! How many lines one client may cause. The journal's own limit (`RateLimitBurst=`) holds for the
//! whole service, so one client that reaches it would hide what happens to all others.

use std::time::{Duration, Instant};

/// So many lines at once, and one more in each `turn`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    most: u32,
    left: u32,
    turn: Duration,
    /// When the last one came to those that are left.
    counted: Instant,
}

impl Allowance {
    /// Begins with `most` lines.
    pub fn new(most: u32, turn: Duration, now: Instant) -> Self {
        Self { most, left: most, turn, counted: now }
    }

    /// Says whether there never was a line.
    pub fn is_nothing(&self) -> bool {
        self.most == 0
    }

    /// Takes one line; false if none is left.
    pub fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }

    /// Says whether nothing has been taken for long.
    pub fn is_whole(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left == self.most
    }

    fn refill(&mut self, now: Instant) {
        let turns = now.saturating_duration_since(self.counted).as_nanos() / self.turn.as_nanos();
        let turns = u32::try_from(turns).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(turns).min(self.most);
        match self.left == self.most {
            true => self.counted = now,
            // What is left of a turn counts for the next.
            false => self.counted += self.turn * turns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_comes_back_one_by_one_and_never_more_than_there_was() {
        const TURN: Duration = Duration::from_secs(1);
        let began = Instant::now();
        let mut lines = Allowance::new(3, TURN, began);
        assert_eq!([0; 4].map(|_| lines.take(began)), [true, true, true, false]);
        assert!(!lines.take(began + TURN / 2) && lines.take(began + TURN));
        assert!(!lines.take(began + TURN * 3 / 2), "half a turn is none");
        assert!(lines.take(began + TURN * 2), "but two halves are one");
        let later = began + 100 * TURN;
        assert!(lines.is_whole(later) && lines.take(later) && !lines.is_whole(later));
        assert_eq!([0; 3].map(|_| lines.take(later)), [true, true, false]);
    }
}
