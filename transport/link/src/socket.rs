//! Frames over a connected stream socket, of whatever family.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};

use crate::Stream;

/// A connected stream socket.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// Duplicates the descriptor.
    pub(crate) fn try_clone(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

impl From<OwnedFd> for Socket {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until the socket is ready for `what`; without a limit the call itself waits.
pub(crate) fn wait(
    socket: BorrowedFd<'_>,
    what: PollFlags,
    limit: Option<Instant>,
) -> io::Result<()> {
    let Some(limit) = limit else { return Ok(()) };
    loop {
        let left = limit.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        match poll(&mut [PollFd::new(&socket, what)], Some(&timeout)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

impl Stream for Socket {
    fn read(&self, into: &mut [u8], limit: Option<Instant>) -> io::Result<usize> {
        wait(self.as_fd(), PollFlags::IN, limit)?;
        loop {
            match rustix::net::recv(self, &mut *into, RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                received => return Ok(received.map(|(count, _)| count)?),
            }
        }
    }

    fn write(&self, parts: &[IoSlice<'_>], limit: Option<Instant>) -> io::Result<usize> {
        // A shim lives in a program that may not ignore SIGPIPE, hence NOSIGNAL. With a limit the
        // call must not wait: a socket that polls writable may still lack room for all parts.
        let mut flags = SendFlags::NOSIGNAL;
        flags.set(SendFlags::DONTWAIT, limit.is_some());
        loop {
            wait(self.as_fd(), PollFlags::OUT, limit)?;
            let mut nothing = SendAncillaryBuffer::default();
            match rustix::net::sendmsg(self, parts, &mut nothing, flags) {
                Err(Errno::INTR | Errno::AGAIN) => {}
                sent => return Ok(sent?),
            }
        }
    }

    fn close(&self) {
        // Fails only if the peer has closed already, which ends every wait as well.
        let _ = rustix::net::shutdown(self, Shutdown::Both);
    }
}
