//! A doorbell through a socket of two ends.
//!
//! A byte wakes; the end of a process hangs up, so a peer's death ends every wait. Unlike an
//! eventfd in a hostile peer's hands it can never make us wait: whether a send or a receive waits
//! is said with each one, while O_NONBLOCK of an eventfd is in the open file description, which
//! the peer shares and can change (fcntl(2)), and a counter that it filled blocks our write then.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use crate::{Doorbell, Woken};

/// One end of a socket pair as a doorbell.
#[derive(Debug)]
pub struct SocketBell(UnixStream);

impl SocketBell {
    /// Uses a connected stream socket, on which nothing else is read or written from now on.
    pub fn new(socket: UnixStream) -> Self {
        Self(socket)
    }

    /// Makes the two ends within this process.
    ///
    /// # Errors
    /// What the system says.
    pub fn pair() -> io::Result<(Self, Self)> {
        UnixStream::pair().map(|(left, right)| (Self(left), Self(right)))
    }
}

impl AsFd for SocketBell {
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Doorbell for SocketBell {
    fn ring(&self) {
        // Fails if the buffer is full, so rings are waiting, or if the peer is gone: our own wait
        // tells that. A shim lives in a program that may not ignore SIGPIPE, hence NOSIGNAL.
        let _ = send(&self.0, &[0], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }

    fn wait(&self, limit: Option<Instant>, _: &mut dyn FnMut() -> bool) -> io::Result<Woken> {
        wait_until(&mut [PollFd::new(&self.0, PollFlags::IN)], limit)?;
        // Several rings at once; what the bytes say does not matter.
        match recv(&self.0, &mut [0; 64], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Ok(Woken::Gone),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(Woken::Rung),
            Err(Errno::CONNRESET) => Ok(Woken::Gone),
            Err(errno) => Err(errno.into()),
        }
    }

    fn close(&self) {
        // Fails only if the peer has closed already, which ends every wait as well.
        let _ = shutdown(&self.0, Shutdown::Both);
    }
}

/// Waits until one of them has an event.
pub(crate) fn wait_until(fds: &mut [PollFd<'_>], limit: Option<Instant>) -> io::Result<()> {
    loop {
        let left = match limit {
            None => None,
            Some(limit) => {
                let left = limit.saturating_duration_since(Instant::now());
                Some(Timespec::try_from(left).map_err(|_| Errno::INVAL)?)
            }
        };
        match poll(fds, left.as_ref()) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
