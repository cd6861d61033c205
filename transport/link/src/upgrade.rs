//! A socket that becomes the doorbell of a ring, once both sides agreed (docs/ring.md, "Over
//! a Unix socket").

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use vgpu_ring::{
    Area, Duplex, Layout, RingError, SocketBell, Wish, grant, receive_with, send_with,
};

use crate::socket::{Socket, wait};
use crate::{LinkError, Stream, StreamLink};

/// Data of each lane: 1 MiB. Frames of 1 MiB went through at 20 GB/s, with 512 KiB at 10, with
/// 2 MiB at 22; and two lanes are well below the 5 MiB that an idle client may cost.
const LANE_BYTES: u64 = 1 << 20;

/// A connected stream socket; if it is a Unix socket, its bytes may come to go through shared
/// memory instead.
#[derive(Debug)]
pub struct UpgradableSocket {
    socket: Socket,
    ring: OnceLock<Duplex<SocketBell>>,
    /// `None` once it is settled how the bytes go.
    agreement: Mutex<Option<Agreement>>,
}

/// A link over a socket: `unix`, and what a host accepts from `vsock`, where no peer asks.
pub type SocketLink = StreamLink<UpgradableSocket>;

/// Speaks frames over a connected socket, such as one that a worker was handed.
pub fn socket_link(socket: OwnedFd) -> SocketLink {
    StreamLink::new(UpgradableSocket::new(socket.into()))
}

#[derive(Debug, Default)]
struct Agreement {
    /// Goes along with the next bytes.
    to_send: Option<OwnedFd>,
    /// Came along with some bytes.
    came: Option<OwnedFd>,
    /// Set in a guest that asked.
    wish: Option<Wish>,
    /// Set in a host that grants.
    granted: Option<Duplex<SocketBell>>,
}

impl UpgradableSocket {
    /// Begins as a socket, on which the peer's wish is heard if it has one.
    fn new(socket: Socket) -> Self {
        let agreement = Mutex::new(Some(Agreement::default()));
        Self { socket, ring: OnceLock::new(), agreement }
    }

    fn agreement(&self) -> MutexGuard<'_, Option<Agreement>> {
        self.agreement.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether bytes go through shared memory.
    pub fn is_ring(&self) -> bool {
        self.ring.get().is_some()
    }
}

fn failed(verb: &'static str) -> impl FnOnce(RingError) -> LinkError {
    move |error| LinkError::Io { verb, source: error.into() }
}

impl Stream for UpgradableSocket {
    fn read(&self, into: &mut [u8], limit: Option<Instant>) -> io::Result<usize> {
        if let Some(ring) = self.ring.get() {
            return ring.read(into, limit);
        }
        if self.agreement().is_none() {
            return self.socket.read(into, limit);
        }
        wait(self.socket.as_fd(), PollFlags::IN, limit)?;
        let mut came = None;
        let count = loop {
            match receive_with(&self.socket, into, &mut came, RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                received => break received?,
            }
        };
        if let (Some(agreement), Some(came)) = (&mut *self.agreement(), came) {
            agreement.came = Some(came);
        }
        Ok(count)
    }

    fn write(&self, parts: &[IoSlice<'_>], limit: Option<Instant>) -> io::Result<usize> {
        if let Some(ring) = self.ring.get() {
            return ring.write(parts, limit);
        }
        let to_send = self.agreement().as_mut().and_then(|agreement| agreement.to_send.take());
        let Some(descriptor) = to_send else { return self.socket.write(parts, limit) };
        loop {
            wait(self.socket.as_fd(), PollFlags::OUT, limit)?;
            let mut flags = SendFlags::empty();
            flags.set(SendFlags::DONTWAIT, limit.is_some());
            match send_with(&self.socket, parts, descriptor.as_fd(), flags) {
                Err(Errno::INTR | Errno::AGAIN) => {}
                sent => return Ok(sent?),
            }
        }
    }

    fn close(&self) {
        match self.ring.get() {
            Some(ring) => ring.close(),
            None => self.socket.close(),
        }
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let bells = self.ring.get().map(Duplex::bells);
        let of_ring = bells.into_iter().flat_map(|bells| [bells.data.as_fd(), bells.room.as_fd()]);
        std::iter::once(self.socket.as_fd()).chain(of_ring).collect()
    }

    fn ask(&self) -> Result<(), LinkError> {
        let (wish, room) = Wish::new().map_err(failed("asking for shared memory"))?;
        if let Some(agreement) = &mut *self.agreement() {
            *agreement =
                Agreement { to_send: Some(room), wish: Some(wish), ..Agreement::default() };
        }
        Ok(())
    }

    fn grant(&self, bulk_bytes: u64) -> Result<bool, LinkError> {
        let mut agreement = self.agreement();
        let Some(agreement) = &mut *agreement else { return Ok(false) };
        let Some(room) = agreement.came.take() else { return Ok(false) };
        let granting = "making shared memory for a client";
        let layout = Layout::new(LANE_BYTES, bulk_bytes).map_err(failed(granting))?;
        let socket = self.socket.try_clone();
        let socket = socket.map_err(|source| LinkError::Io { verb: granting, source })?;
        let (ring, file) = grant(socket.into(), room, &layout).map_err(failed(granting))?;
        agreement.to_send = Some(file);
        agreement.granted = Some(ring);
        Ok(true)
    }

    fn settle(&self) -> Result<(), LinkError> {
        let Some(agreement) = self.agreement().take() else { return Ok(()) };
        let joining = "joining the host's shared memory";
        let ring = match agreement {
            Agreement { granted: Some(ring), .. } => ring,
            Agreement { wish: Some(wish), came: Some(file), .. } => {
                let socket = self.socket.try_clone();
                let socket = socket.map_err(|source| LinkError::Io { verb: joining, source })?;
                wish.granted(socket.into(), file).map_err(failed(joining))?
            }
            _ => return Ok(()),
        };
        // Settled once: the agreement was there to take.
        let _ = self.ring.set(ring);
        Ok(())
    }

    fn area(&self) -> Option<Area> {
        if let Some(ring) = self.ring.get() {
            return ring.area().cloned();
        }
        self.agreement().as_ref()?.granted.as_ref()?.area().cloned()
    }
}
