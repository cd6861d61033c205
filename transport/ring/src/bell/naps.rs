//! Waiting where nobody can ring: naps that grow.

use std::io;
use std::time::{Duration, Instant};

use crate::Woken;

/// Shortest nap: 20 us, about what a timer of the system is late by anyway.
const SHORTEST: Duration = Duration::from_micros(20);

/// Waits until `came` says so, asking after each nap that `nap` takes; it says whether the peer is
/// gone. A nap is an eighth of the time waited so far, so that it adds no more than that to the
/// wait, and `longest` at most, which bounds what an idle connection costs.
///
/// # Errors
/// `TimedOut` when `limit` has passed, else what `nap` says.
pub fn naps(
    limit: Option<Instant>,
    longest: Duration,
    came: &mut dyn FnMut() -> bool,
    mut nap: impl FnMut(Duration) -> io::Result<Woken>,
) -> io::Result<Woken> {
    let began = Instant::now();
    loop {
        let now = Instant::now();
        let left = limit.map_or(longest, |limit| limit.saturating_duration_since(now));
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let time = ((now - began) / 8).max(SHORTEST).min(longest).min(left);
        if nap(time)? == Woken::Gone {
            return Ok(Woken::Gone);
        }
        if came() {
            return Ok(Woken::Rung);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn naps_grow_with_the_wait_and_end_at_the_limit() {
        let limit = Instant::now() + Duration::from_millis(40);
        let longest = Duration::from_millis(2);
        let mut taken = Vec::new();
        let nap = |time| {
            taken.push(time);
            let until = Instant::now() + time;
            while Instant::now() < until {
                std::thread::yield_now();
            }
            Ok(Woken::Rung)
        };
        let error = naps(Some(limit), longest, &mut || false, nap).expect_err("nothing comes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(Instant::now() >= limit);
        assert!(taken[0] <= SHORTEST * 100 && taken.iter().all(|time| *time <= longest));
        assert_eq!(taken.iter().max(), Some(&longest), "it grows up to the longest");
    }

    #[test]
    fn a_nap_that_finds_the_peer_gone_is_the_last() {
        let gone = naps(None, Duration::from_secs(1), &mut || false, |_| Ok(Woken::Gone));
        assert_eq!(gone.expect("no error"), Woken::Gone);
        let mut asked = 0;
        let mut came = || {
            asked += 1;
            asked == 3
        };
        let rung = naps(None, Duration::from_secs(1), &mut came, |_| Ok(Woken::Rung));
        assert_eq!(rung.expect("no error"), Woken::Rung);
    }
}
