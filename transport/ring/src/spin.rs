//! A short wait for a peer that is awake.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longest time to look before sleeping: about what it costs to wake a sleeper in a virtual
/// machine, so that a wait costs at most twice the better of the two.
const LONGEST: Duration = Duration::from_micros(50);

/// Shortest time: some answers of a peer that is awake.
const SHORTEST: Duration = Duration::from_micros(2);

/// Looks between two glances at the clock, which costs as much as several looks.
const LOOKS: u32 = 32;

/// How long the waits of one kind spin, learnt from how they end.
///
/// A peer that shares our processor can answer only once we sleep: then the answer comes sooner
/// after we fell asleep than we had spun, and the next spin is half as long. Measured on two busy
/// processors: such a pair took 125 us for an answer with spins that were always of 50 us.
#[derive(Debug)]
pub(crate) struct Patience {
    nanos: AtomicU64,
}

impl Default for Patience {
    fn default() -> Self {
        let longest = if peers_run_beside_us() { LONGEST } else { Duration::ZERO };
        Self { nanos: AtomicU64::new(longest.as_nanos() as u64) }
    }
}

impl Patience {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    /// Learns from a spin that was in vain, and the sleep after it. One that lasted says nothing:
    /// the peer had nothing for us.
    fn learn(&self, slept: Duration) {
        let spun = self.now();
        let next = match slept {
            _ if spun.is_zero() || slept >= LONGEST => return,
            _ if slept < spun => spun / 2,
            _ => spun * 2,
        };
        self.nanos.store(next.clamp(SHORTEST, LONGEST).as_nanos() as u64, Ordering::Relaxed);
    }
}

/// One wait: says how often to look again before sleeping.
#[derive(Debug)]
pub(crate) struct Spin<'a> {
    patience: &'a Patience,
    looks: u32,
    spent: bool,
    until: Option<Instant>,
    limit: Option<Instant>,
}

impl<'a> Spin<'a> {
    /// Begins a wait until `limit`. Where the peer can only run if we do not, which is on one
    /// processor, its time is spent from the start.
    pub(crate) fn new(patience: &'a Patience, limit: Option<Instant>) -> Self {
        Self { patience, looks: 0, spent: patience.now().is_zero(), until: None, limit }
    }

    /// Waits a moment and says whether to look again; false once the time is up, and from then on:
    /// after a sleep there is no second spin.
    pub(crate) fn again(&mut self) -> bool {
        if self.spent {
            return false;
        }
        self.looks += 1;
        if self.looks.is_multiple_of(LOOKS) {
            let now = Instant::now();
            let longest = now + self.patience.now();
            let until = self.limit.map_or(longest, |limit| limit.min(longest));
            self.spent = now >= *self.until.get_or_insert(until);
        }
        std::hint::spin_loop();
        !self.spent
    }

    /// Sleeps in `sleep`, and learns from the first time.
    pub(crate) fn asleep<T>(&mut self, sleep: impl FnOnce() -> T) -> T {
        if self.until.take().is_none() {
            return sleep();
        }
        let began = Instant::now();
        let woken = sleep();
        self.patience.learn(began.elapsed());
        woken
    }
}

/// Says whether another processor can run the peer while we spin. A model has none, and Miri's
/// clock would never let the spin end.
#[cfg(any(loom, miri))]
fn peers_run_beside_us() -> bool {
    false
}

#[cfg(not(any(loom, miri)))]
fn peers_run_beside_us() -> bool {
    static SEVERAL: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1)
    });
    *SEVERAL
}

#[cfg(all(test, not(any(loom, miri))))]
mod tests {
    use super::*;

    fn learnt(sleeps_us: &[u64]) -> Duration {
        let patience = Patience { nanos: AtomicU64::new(LONGEST.as_nanos() as u64) };
        sleeps_us.iter().for_each(|us| patience.learn(Duration::from_micros(*us)));
        patience.now()
    }

    #[test]
    fn a_peer_that_answers_only_when_we_sleep_is_soon_let_run() {
        assert!(learnt(&[5; 20]) < Duration::from_micros(10));
        assert_eq!(learnt(&[0; 20]), SHORTEST);
    }

    #[test]
    fn an_answer_that_spinning_would_have_met_makes_the_spin_longer_again() {
        assert_eq!(learnt(&[0, 0, 0, 0, 0, 40, 40, 40, 40, 40]), LONGEST);
    }

    #[test]
    fn a_long_sleep_changes_nothing() {
        assert_eq!(learnt(&[1, 1000, 1_000_000]), LONGEST / 2);
    }
}
