//! What QEMU's ivshmem-doorbell connects to (QEMU's ivshmem specification, "Interrupts").
//!
//! Each QEMU hears of a memory of its own and of peers that are not other machines but the host's
//! eventfds. It says nothing itself, and nothing is read from it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags};
use vgpu_ring::send_with;

use crate::{Gate, LinkError, unix};

/// Version of the protocol.
const VERSION: i64 = 0;

/// QEMU's own number as a peer.
const QEMU: i64 = 0;

/// Says that the memory comes along.
const MEMORY: i64 = -1;

/// The number of the first of our bells; each further one has the next.
pub const FIRST_BELL: u32 = 1;

/// Listens for the QEMU of one machine.
#[derive(Debug)]
pub struct Server {
    socket: UnixListener,
    gate: Gate,
    _made: unix::Made,
}

impl Server {
    /// Listens at a path; `gate` says who may come.
    ///
    /// # Errors
    /// As [`crate::Listener::bind`].
    pub fn bind(path: &Path, gate: Gate) -> Result<Self, LinkError> {
        let (socket, made) = Gate::bind(path)?;
        Ok(Self { socket, gate, _made: made })
    }

    /// Accepts a connection if one is waiting: `Ok` if its user may come; never waits itself.
    ///
    /// # Errors
    /// What the system says, among others when no file descriptor is left.
    pub fn accept(&mut self) -> io::Result<Option<Result<OwnedFd, Refused>>> {
        match rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC) {
            Ok(socket) if self.gate.admits(&socket) => Ok(Some(Ok(socket))),
            Ok(socket) => Ok(Some(Err(Refused(socket)))),
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// A connection of somebody who may not come, to be closed where that holds nobody up.
#[derive(Debug)]
pub struct Refused(pub OwnedFd);

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Tells a QEMU its memory and the eventfds that its guest may ring, without waiting for it: a
/// fresh connection has room for all of it.
///
/// # Errors
/// What the system says, also if the other end is gone or leaves no room.
pub fn introduce(qemu: &OwnedFd, memory: BorrowedFd<'_>, bells: &[Arc<OwnedFd>]) -> io::Result<()> {
    say(qemu, VERSION, None)?;
    say(qemu, QEMU, None)?;
    say(qemu, MEMORY, Some(memory))?;
    for (number, bell) in (i64::from(FIRST_BELL)..).zip(bells) {
        say(qemu, number, Some(bell.as_fd()))?;
    }
    Ok(())
}

fn say(qemu: &OwnedFd, number: i64, along: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let bytes = number.to_le_bytes();
    let sent = match along {
        Some(along) => send_with(qemu, &[IoSlice::new(&bytes)], along, SendFlags::DONTWAIT),
        None => rustix::net::send(qemu, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
    };
    // Eight bytes go as a whole into a socket that has room for any.
    match sent? {
        8 => Ok(()),
        _ => Err(io::ErrorKind::WouldBlock.into()),
    }
}
