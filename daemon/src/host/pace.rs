//! A limit of messages in a second for all workers of a tenant: one timer that they share.
//!
//! Each tick of the timer is worth some messages, and a tick can be taken once, by whichever
//! worker reads it. So no number of workers gets more than the rate, and none needs to hear of the
//! others (decision 0042).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::desk::Rate;
use crate::error::DaemonError;
use crate::log;

/// Most ticks in a second: with more, the timer would cost more than it shares out.
const TICKS_MAX: u32 = 1000;

/// What was not used may be used later if it is of the last tenth of a second.
const BURSTS: u32 = 10;

const NANOSECONDS: u64 = 1_000_000_000;

/// The timer of one tenant.
#[derive(Debug)]
pub(crate) struct Pace {
    timer: OwnedFd,
    /// What its ticks are worth.
    pub rate: Rate,
}

impl Pace {
    /// Starts a timer for this many messages in a second, at least 1.
    ///
    /// # Errors
    /// [`DaemonError::System`] if the system has no timer left.
    pub fn new(messages_per_second: u32) -> Result<Self, DaemonError> {
        let (tick, interval) = tick(messages_per_second);
        let rate = Rate { tick, burst: (messages_per_second / BURSTS).max(tick) };
        // Workers that find nothing to read count that they wait.
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(failed())?;
        let pace = Self { timer, rate };
        pace.every(interval)?;
        Ok(pace)
    }

    /// Changes the rate for all who share the timer, by how often it ticks: what a tick is worth,
    /// the workers have been told. `None` is as good as no limit.
    pub fn change(&mut self, messages_per_second: Option<u32>) {
        let tick = self.rate.tick;
        let interval = match messages_per_second {
            Some(rate) => {
                self.rate.burst = (rate / BURSTS).max(tick);
                u64::from(tick) * NANOSECONDS / u64::from(rate.max(1))
            }
            None => 1,
        };
        if let Err(error) = self.every(interval) {
            // It went on a moment ago, with another number.
            log::event("not-paced", &[("because", &log::chain(&error))]);
        }
    }

    fn every(&self, nanoseconds: u64) -> Result<(), DaemonError> {
        let nanoseconds = nanoseconds.max(1);
        let spec = Timespec {
            tv_sec: (nanoseconds / NANOSECONDS) as i64,
            tv_nsec: (nanoseconds % NANOSECONDS) as i64,
        };
        let times = Itimerspec { it_interval: spec, it_value: spec };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &times).map(drop).map_err(failed())
    }
}

fn failed() -> impl FnOnce(rustix::io::Errno) -> DaemonError {
    DaemonError::system("starting the timer of a tenant's messages")
}

impl AsFd for Pace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

/// Says what a tick is worth in messages, and how far apart ticks are in nanoseconds.
fn tick(messages_per_second: u32) -> (u32, u64) {
    let messages = messages_per_second.div_ceil(TICKS_MAX).max(1);
    (messages, u64::from(messages) * NANOSECONDS / u64::from(messages_per_second.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_add_up_to_the_rate_and_are_at_most_a_thousand_in_a_second() {
        for (rate, expected) in [
            (1, (1, NANOSECONDS)),
            (1000, (1, 1_000_000)),
            (1001, (2, 1_998_001)),
            (250_000, (250, 1_000_000)),
            (100_000_000, (100_000, 1_000_000)),
        ] {
            assert_eq!(tick(rate), expected, "{rate}");
        }
    }
}
