//! A doorbell through eventfds, as ivshmem and vhost have them.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use crate::{Doorbell, Woken};

/// Marks what happened: the eventfd was rung, or the connection hung up.
const RUNG: u64 = 0;
const LIFE: u64 = 1;

/// An eventfd to wait on, one to ring where the other end has any, and a connection that hangs up
/// when the peer is gone.
///
/// The eventfd is watched for its edges and never read: whoever shares it, such as QEMU, could
/// take O_NONBLOCK away, and a read that found it empty would wait for ever. For the same reason
/// none that a hostile program holds is ever to be rung.
#[derive(Debug)]
pub struct EventBell {
    edges: OwnedFd,
    /// Held: an eventfd that is closed is watched no more.
    _ours: Arc<OwnedFd>,
    theirs: Option<Arc<OwnedFd>>,
    life: Arc<OwnedFd>,
}

impl EventBell {
    /// Waits on `ours`, rings `theirs`, and looks for the end of `life`, a socket to the peer or to
    /// who stands for it, on which nothing is ever sent. Several bells may wait on one eventfd:
    /// each hears every ring.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(
        ours: Arc<OwnedFd>,
        theirs: Option<Arc<OwnedFd>>,
        life: Arc<OwnedFd>,
    ) -> io::Result<Self> {
        let edges = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&edges, &*ours, epoll::EventData::new_u64(RUNG), flags)?;
        let hung_up = epoll::EventFlags::RDHUP;
        epoll::add(&edges, &*life, epoll::EventData::new_u64(LIFE), hung_up)?;
        Ok(Self { edges, _ours: ours, theirs, life })
    }

    /// Makes an eventfd as [`EventBell::new`] wants it.
    ///
    /// # Errors
    /// What the system says.
    pub fn descriptor() -> io::Result<OwnedFd> {
        Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
    }
}

impl Doorbell for EventBell {
    fn ring(&self) {
        // A full one wakes its waiter as well.
        let _ = self.theirs.as_ref().map(|theirs| rustix::io::write(theirs, &1u64.to_ne_bytes()));
    }

    fn wait(&self, limit: Option<Instant>, _: &mut dyn FnMut() -> bool) -> io::Result<Woken> {
        let mut events = [MaybeUninit::uninit(); 2];
        loop {
            let left = limit.map(|limit| limit.saturating_duration_since(Instant::now()));
            let left = left.map(Timespec::try_from).transpose().map_err(|_| Errno::INVAL)?;
            let (happened, _) = match epoll::wait(&self.edges, &mut events, left.as_ref()) {
                Err(Errno::INTR) => continue,
                waited => waited?,
            };
            if happened.is_empty() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let gone = happened.iter().any(|event| event.data.u64() == LIFE);
            return Ok(if gone { Woken::Gone } else { Woken::Rung });
        }
    }

    fn close(&self) {
        // Ends our own waits; fails only if the peer is gone already, which ends them as well.
        let _ = shutdown(&self.life, Shutdown::Both);
        self.ring();
    }
}
