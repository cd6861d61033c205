//! A short wait for a peer that is awake.
//!
//! Between its looks a wait lets others run (sched_yield(2)): a peer that shares our processor, or
//! the other clients of a crowd, get on at once, and on an idle processor it costs nothing. Only to
//! a program that computes it would lose a whole time slice: after that it sleeps for a while,
//! because a sleeper that is woken runs before such a program.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::yield_now;
use std::time::{Duration, Instant};

/// Longest time to look before sleeping: about what it costs to wake a sleeper in a virtual
/// machine, so that a wait costs at most twice the better of the two.
const LONGEST: Duration = Duration::from_micros(50);

/// Looks before others are let run: about a microsecond, some answers of a peer that is awake.
const LOOKS: u32 = 16;

/// A turn given away that comes back later than this went to a program that computes: 64 clients
/// that wait for answers give it back in a quarter of it.
const SLICE: Duration = Duration::from_micros(500);

/// Waits that give no turn away after that, so that one lost slice costs each some microseconds.
const RESTS: u32 = 1024;

/// What the waits of one kind have learnt about who else wants their processor.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// Waits to come that sleep after their first looks.
    rests: AtomicU32,
}

impl Patience {
    /// Learns how long it took until a turn came back.
    fn learn(&self, away: Duration) {
        if away > SLICE {
            self.rests.store(RESTS, Ordering::Relaxed);
        }
    }

    /// Says whether this wait is to sleep, and counts it.
    fn rest(&self) -> bool {
        // Waits of one kind come one after the other.
        let rests = self.rests.load(Ordering::Relaxed);
        self.rests.store(rests.saturating_sub(1), Ordering::Relaxed);
        rests > 0
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
        Self { patience, looks: 0, spent: !peers_run_beside_us(), until: None, limit }
    }

    /// Waits a moment and says whether to look again; false once the time is up, and from then on:
    /// after a sleep there is no second spin.
    pub(crate) fn again(&mut self) -> bool {
        if self.spent {
            return false;
        }
        self.looks += 1;
        if self.looks.is_multiple_of(LOOKS) {
            return self.give_way();
        }
        std::hint::spin_loop();
        true
    }

    /// Lets others run and says whether to look again.
    fn give_way(&mut self) -> bool {
        let began = Instant::now();
        if self.until.is_none() && self.patience.rest() {
            self.spent = true;
            return false;
        }
        let longest = began + LONGEST;
        let until = self.limit.map_or(longest, |limit| limit.min(longest));
        let until = *self.until.get_or_insert(until);
        yield_now();
        let back = Instant::now();
        self.patience.learn(back - began);
        // One more look: whoever ran meanwhile may have been the peer.
        self.spent = back >= until;
        true
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

    /// How many of so many waits sleep after their first looks.
    fn rests(patience: &Patience, waits: u32) -> u32 {
        (0..waits).map(|_| u32::from(patience.rest())).sum()
    }

    #[test]
    fn who_lost_a_slice_to_a_program_that_computes_sleeps_for_a_while() {
        let patience = Patience::default();
        patience.learn(Duration::from_millis(3));
        assert_eq!(rests(&patience, 2 * RESTS), RESTS);
    }

    #[test]
    fn a_crowd_that_gives_the_turn_back_is_given_way_to() {
        let patience = Patience::default();
        patience.learn(Duration::from_micros(130));
        assert_eq!(rests(&patience, 1), 0);
    }

    #[test]
    fn a_wait_is_spent_after_its_time_and_stays_so() {
        if !peers_run_beside_us() {
            return;
        }
        let (patience, began) = (Patience::default(), Instant::now());
        let mut spin = Spin::new(&patience, None);
        while spin.again() {}
        assert!(began.elapsed() >= LONGEST || patience.rest());
        assert!(!spin.again());
    }

    #[test]
    fn a_wait_that_rests_gives_no_turn_away() {
        let patience = Patience { rests: AtomicU32::new(1) };
        let mut spin = Spin::new(&patience, None);
        assert!((0..LOOKS).filter(|_| spin.again()).count() < LOOKS as usize);
        assert!(spin.until.is_none());
    }
}
