//! A doorbell through two eventfds, as ivshmem and vhost have them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::io::Errno;

use super::socket::wait_until;
use crate::{Doorbell, Woken};

/// Two eventfds, one for each end, and a descriptor that hangs up when the peer is gone.
///
/// Only where whoever shares the eventfds is trusted not to make them block ([`SocketBell`] says
/// why): QEMU and its ivshmem server are, a client is not.
///
/// [`SocketBell`]: crate::SocketBell
#[derive(Debug)]
pub struct EventBell {
    ours: OwnedFd,
    theirs: OwnedFd,
    life: Arc<OwnedFd>,
}

impl EventBell {
    /// Uses non-blocking eventfds: `ours` to wait on, `theirs` to ring, and `life`, a connection to
    /// the peer or to who stands for it, on which nothing is ever sent.
    pub fn new(ours: OwnedFd, theirs: OwnedFd, life: Arc<OwnedFd>) -> Self {
        Self { ours, theirs, life }
    }

    /// Makes an eventfd as [`EventBell::new`] wants it.
    ///
    /// # Errors
    /// What the system says.
    pub fn descriptor() -> io::Result<OwnedFd> {
        Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
    }
}

/// Adds one to an eventfd; a full one wakes its waiter as well.
fn add(descriptor: &OwnedFd) {
    let _ = rustix::io::write(descriptor, &1u64.to_ne_bytes());
}

impl Doorbell for EventBell {
    fn ring(&self) {
        add(&self.theirs);
    }

    fn wait(&self, limit: Option<Instant>) -> io::Result<Woken> {
        let hung_up = PollFlags::RDHUP;
        let mut fds = [
            PollFd::from_borrowed_fd(self.ours.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.life.as_fd(), hung_up),
        ];
        wait_until(&mut fds, limit)?;
        if !fds[1].revents().is_empty() {
            return Ok(Woken::Gone);
        }
        match rustix::io::read(&self.ours, &mut [0; 8]) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(Woken::Rung),
            Err(errno) => Err(errno.into()),
        }
    }

    fn close(&self) {
        // Whoever waits looks at the region, where the close is noted.
        add(&self.ours);
        add(&self.theirs);
    }
}
