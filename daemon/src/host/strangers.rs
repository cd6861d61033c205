//! Clients of the network whose certificate nobody has seen yet: anybody may be one.
//!
//! Each has a worker, warm or one more, until it shows a certificate or its time is over. So few of
//! them are let in at a time, and in a second, that the clients of others find workers all the
//! same; who comes besides waits in the socket's queue, and not long while the others are honest.

use std::time::{Duration, Instant};

/// The most at a time: half of the workers that wait for clients of a genuine driver.
const SEATS: usize = 4;

/// How long one keeps its seat that shows no certificate, though it be gone: what it had of this
/// machine, a worker, takes as long to make anew. A handshake takes a millisecond or two.
const SEATED: Duration = Duration::from_secs(1);

/// How soon one is looked for again whose worker has not ended in time.
const SOON: Duration = Duration::from_millis(20);

/// Those that are there, and were a moment ago.
#[derive(Debug, Default)]
pub(super) struct Strangers(Vec<Seat>);

#[derive(Debug)]
struct Seat {
    session: u64,
    until: Instant,
}

impl Strangers {
    /// Takes note of one that was handed to a worker.
    pub fn came(&mut self, session: u64, now: Instant) {
        self.0.push(Seat { session, until: now + SEATED });
    }

    /// Takes note of one that is a tenant's from now on.
    pub fn is_known(&mut self, session: u64) {
        self.0.retain(|seat| seat.session != session);
    }

    /// Says when one more may come; `None` if at once. `serves` says whether a session has a worker
    /// still, which one may have that is past its time.
    pub fn full_until(&mut self, now: Instant, serves: impl Fn(u64) -> bool) -> Option<Instant> {
        self.0.retain(|seat| seat.until > now || serves(seat.session));
        let full = self.0.len() >= SEATS;
        // The loop turns anyway when a worker ends.
        full.then(|| self.0.iter().map(|seat| seat.until).min().unwrap_or(now).max(now + SOON))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_free_when_its_stranger_is_known_and_not_when_it_just_goes() {
        let (mut strangers, now) = (Strangers::default(), Instant::now());
        let gone = |_| false;
        for session in 0..SEATS as u64 {
            assert_eq!(strangers.full_until(now, gone), None);
            strangers.came(session, now);
        }
        assert_eq!(strangers.full_until(now, gone), Some(now + SEATED), "they went at once");
        strangers.is_known(2);
        assert_eq!(strangers.full_until(now, gone), None);
        strangers.came(9, now);
        let later = now + SEATED;
        assert!(strangers.full_until(later, |_| true).is_some_and(|until| until > later));
        assert_eq!(strangers.full_until(later, |session| session != 9), None);
    }
}
