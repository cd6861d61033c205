//! How many messages the client may send: a part of its tenant's rate.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};
use vgpu_link::LinkError;

use super::tally::Waits;
use crate::counts::Wait;
use crate::desk::Rate;

/// How long messages that were granted stand. What a client has not used by then is its tenant's
/// loss: kept, it would let many idle clients send all at once.
const GRANT_LIMIT: Duration = Duration::from_millis(100);

/// The messages that this worker has taken from its tenant's timer.
#[derive(Debug)]
pub(crate) struct Ration {
    timer: OwnedFd,
    rate: Rate,
    left: u32,
    since: Instant,
}

impl Ration {
    /// Takes from a timer that all workers of the tenant share.
    pub fn new(timer: OwnedFd, rate: Rate) -> Self {
        Self { timer, rate, left: 0, since: Instant::now() }
    }

    /// Takes one message, and waits for it if it must, which `waits` counts. The wait ends with the
    /// next tick that no other worker of the tenant takes; if the client goes meanwhile, the worker
    /// is ended.
    ///
    /// # Errors
    /// [`LinkError::Io`] if the timer cannot be read.
    pub fn take(&mut self, waits: &Waits) -> Result<(), LinkError> {
        if self.since.elapsed() > GRANT_LIMIT {
            self.left = 0;
        }
        if self.left == 0 {
            let ticks = self.ticks(waits).map_err(|errno| LinkError::Io {
                verb: "waiting for a tenant's timer",
                source: errno.into(),
            })?;
            let granted = ticks.saturating_mul(self.rate.tick.into()).min(self.rate.burst.into());
            (self.left, self.since) = (u32::try_from(granted).unwrap_or(1).max(1), Instant::now());
        }
        self.left -= 1;
        Ok(())
    }

    /// Reads how many ticks there were since anybody read (timerfd_create(2)), at least one.
    fn ticks(&self, waits: &Waits) -> Result<u64, Errno> {
        let (mut ticks, mut began) = ([0; 8], None);
        loop {
            match rustix::io::read(&self.timer, &mut ticks) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    began = began.or_else(|| waits.begin());
                    let mut watched = [PollFd::new(&self.timer, PollFlags::IN)];
                    retry_on_intr(|| poll(&mut watched, None))?;
                }
                Err(errno) => return Err(errno),
            }
        }
        waits.end(Wait::Rate, began);
        Ok(u64::from_ne_bytes(ticks))
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::host::Pace;

    /// Two workers on one timer: together they take what one alone may take, whoever is first.
    #[test]
    fn two_workers_of_a_tenant_share_its_rate() {
        let pace = Pace::new(1000).expect("a timer");
        let began = Instant::now();
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let timer = pace.as_fd().try_clone_to_owned().expect("a descriptor");
                let mut ration = Ration::new(timer, pace.rate);
                std::thread::spawn(move || {
                    (0..150).for_each(|_| ration.take(&Waits::default()).expect("a tick"));
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().expect("it ends"));
        // 300 messages, of which 100 may have gathered while nobody read.
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(200), "{took:?}");
    }

    #[test]
    fn what_gathers_while_nobody_sends_is_bounded() {
        let pace = Pace::new(1000).expect("a timer");
        let timer = pace.as_fd().try_clone_to_owned().expect("a descriptor");
        let mut ration = Ration::new(timer, Rate { tick: 1, burst: 3 });
        let ten_ticks = rustix::event::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        // Waits without reading: nothing ever comes of this descriptor.
        let (nobody, _kept) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let mut never = [rustix::event::PollFd::new(&nobody, rustix::event::PollFlags::IN)];
        assert_eq!(rustix::event::poll(&mut never, Some(&ten_ticks)), Ok(0));
        ration.take(&Waits::default()).expect("a tick");
        assert_eq!(ration.left, 2, "three of ten, and one of them is used");
    }
}
