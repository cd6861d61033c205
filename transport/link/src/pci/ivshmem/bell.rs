//! How the two sides wake each other: the guest by the device's doorbell, if it has one; nobody
//! wakes a guest, as that takes a kernel module there.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use vgpu_ring::slots::HOST_BEAT;
use vgpu_ring::{Doorbell, EventBell, Region, Woken, naps};

/// Longest nap of a guest: 1 ms, and only while it waits for an answer.
const GUEST_NAP: Duration = Duration::from_millis(1);

/// Longest nap of a host that nobody rings: 10 ms, so that an idle client costs 100 looks a second.
const HOST_NAP: Duration = Duration::from_millis(10);

/// How long the host's beat may stand still: 5 s, 20 times its longest pause.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Most time that one look counts for: 100 ms. A process or a machine that was stopped has not
/// listened meanwhile.
const LOOK_MAX: Duration = Duration::from_millis(100);

/// Watches whether the host lives.
#[derive(Debug)]
pub(super) struct Pulse {
    head: Region,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    beat: u64,
    looked: Instant,
    silent: Duration,
}

impl Pulse {
    /// Begins to watch the beat in a head.
    pub fn new(head: &Region) -> Self {
        let beat = head.load(HOST_BEAT, Ordering::Relaxed);
        let seen = Seen { beat, looked: Instant::now(), silent: Duration::ZERO };
        Self { head: head.clone(), seen: Mutex::new(seen) }
    }

    /// Says whether the host is gone, as far as can be seen by now.
    fn is_gone(&self) -> bool {
        let (beat, now) = (self.head.load(HOST_BEAT, Ordering::Relaxed), Instant::now());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = (now - seen.looked).min(LOOK_MAX);
        let silent = if beat == seen.beat { seen.silent + passed } else { Duration::ZERO };
        *seen = Seen { beat, looked: now, silent };
        silent > SILENCE_MAX
    }

    /// Sleeps, and says whether the host is gone.
    pub fn nap(&self, time: Duration) -> Woken {
        std::thread::sleep(time);
        if self.is_gone() { Woken::Gone } else { Woken::Rung }
    }

    /// Waits until `came` says so.
    ///
    /// # Errors
    /// `TimedOut` when `limit` has passed.
    pub fn wait(
        &self,
        limit: Option<Instant>,
        came: &mut dyn FnMut() -> bool,
    ) -> io::Result<Woken> {
        naps(limit, GUEST_NAP, came, |time| Ok(self.nap(time)))
    }
}

/// A register of the device by which a guest rings a peer.
#[derive(Debug, Clone)]
pub(super) struct Register {
    /// The registers' page.
    pub page: Region,
    /// Where in the page.
    pub offset: usize,
    /// What rings.
    pub value: u32,
}

impl Register {
    /// Rings.
    pub fn ring(&self) {
        self.page.store_half(self.offset, self.value);
    }
}

/// A guest's end of both doorbells: it rings the device's register, and looks for itself.
#[derive(Debug, Clone)]
pub struct GuestBell {
    pub(super) pulse: Arc<Pulse>,
    pub(super) register: Option<Register>,
}

impl Doorbell for GuestBell {
    fn ring(&self) {
        self.register.iter().for_each(Register::ring);
    }

    fn wait(&self, limit: Option<Instant>, came: &mut dyn FnMut() -> bool) -> io::Result<Woken> {
        self.pulse.wait(limit, came)
    }

    fn close(&self) {
        // Our own waits look at the region, where the close is noted.
        self.ring();
    }
}

/// A host's end of both doorbells.
#[derive(Debug)]
pub enum HostBell {
    /// The device rings an eventfd.
    Rung(EventBell),
    /// Nobody rings: it looks for itself until this connection to the host process hangs up.
    Naps(Arc<OwnedFd>),
}

impl Doorbell for HostBell {
    fn ring(&self) {}

    fn wait(&self, limit: Option<Instant>, came: &mut dyn FnMut() -> bool) -> io::Result<Woken> {
        match self {
            Self::Rung(bell) => bell.wait(limit, came),
            Self::Naps(life) => naps(limit, HOST_NAP, came, |time| nap(life, time)),
        }
    }

    fn close(&self) {
        match self {
            Self::Rung(bell) => bell.close(),
            // Fails only if the other end is gone, which ends our waits as well.
            Self::Naps(life) => drop(rustix::net::shutdown(life, rustix::net::Shutdown::Both)),
        }
    }
}

fn nap(life: &OwnedFd, time: Duration) -> io::Result<Woken> {
    let time = Timespec::try_from(time).map_err(|_| Errno::INVAL)?;
    let mut watched = [PollFd::from_borrowed_fd(life.as_fd(), PollFlags::RDHUP)];
    match poll(&mut watched, Some(&time)) {
        Ok(0) | Err(Errno::INTR) => Ok(Woken::Rung),
        Ok(_) => Ok(Woken::Gone),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_whose_beat_stands_still_is_gone_and_time_without_looks_does_not_count() {
        let head = Region::heap(1024);
        let pulse = Pulse::new(&head);
        pulse.seen.lock().expect("no panic").looked -= SILENCE_MAX * 2;
        assert!(!pulse.is_gone(), "nobody looked meanwhile");
        for _ in 0..60 {
            pulse.seen.lock().expect("no panic").looked -= LOOK_MAX;
            pulse.is_gone();
        }
        assert!(pulse.is_gone());
        head.store(HOST_BEAT, 1, Ordering::Relaxed);
        assert!(!pulse.is_gone(), "it beats again");
    }
}
