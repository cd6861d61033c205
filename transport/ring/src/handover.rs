//! A ring between two processes that have a Unix socket: the guest asks, the host grants.
//!
//! Each sends one descriptor along with bytes of its own: the guest one end of a socket pair, the
//! host the memory file. The first socket becomes the doorbell for data, the pair the one for
//! room; so the end of the connection stays the end of the peer.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketType, recvmsg, sendmsg, sockopt,
};

use crate::{Bells, Duplex, Layout, RingError, Side, SocketBell, create, join};

/// A guest's wish for a ring.
#[derive(Debug)]
pub struct Wish {
    room: UnixStream,
}

impl Wish {
    /// Makes a wish, and the descriptor that tells the host of it.
    ///
    /// # Errors
    /// [`RingError::System`] if the system refuses.
    pub fn new() -> Result<(Self, OwnedFd), RingError> {
        let pair = UnixStream::pair();
        let (ours, theirs) = pair.map_err(RingError::system("making the ring's second socket"))?;
        Ok((Self { room: ours }, theirs.into()))
    }

    /// Begins to speak through the ring whose memory file the host sent by `socket`, which carries
    /// nothing else from now on.
    ///
    /// # Errors
    /// Those of [`join`].
    pub fn granted(
        self,
        socket: UnixStream,
        file: OwnedFd,
    ) -> Result<Duplex<SocketBell>, RingError> {
        let (region, layout) = join(file)?;
        let bells = Bells { data: SocketBell::new(socket), room: SocketBell::new(self.room) };
        Ok(Duplex::new(&region, &layout, Side::Guest, bells))
    }
}

/// Makes a ring, without a bulk area where the system has not that much, for a guest whose wish is
/// the descriptor `room`: its host end, and the memory file that is to be sent by `socket`, which
/// carries nothing else from then on.
///
/// # Errors
/// [`RingError::NoBell`] if `room` is not a Unix stream socket: another kind might make us wait.
/// [`RingError::System`] if the system refuses.
pub fn grant(
    socket: UnixStream,
    room: OwnedFd,
    layout: &Layout,
) -> Result<(Duplex<SocketBell>, OwnedFd), RingError> {
    let kind = (sockopt::socket_domain(&room), sockopt::socket_type(&room));
    if kind != (Ok(AddressFamily::UNIX), Ok(SocketType::STREAM)) {
        return Err(RingError::NoBell);
    }
    // Where there is not so much to have, there is no bulk area.
    let make = |layout: Layout| Ok((layout, create(&layout)?));
    let (layout, (file, region)) = make(*layout).or_else(|_| make(layout.without_bulk()))?;
    let bells = Bells { data: SocketBell::new(socket), room: SocketBell::new(room.into()) };
    Ok((Duplex::new(&region, &layout, Side::Host, bells), file))
}

/// Sends some of `parts`, and the descriptor with their first byte. Raises no signal.
///
/// # Errors
/// What the system says.
pub fn send_with(
    socket: impl AsFd,
    parts: &[IoSlice<'_>],
    descriptor: BorrowedFd<'_>,
    flags: SendFlags,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    // The space is for one, so it fits.
    let _ = control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, parts, &mut control, flags | SendFlags::NOSIGNAL)
}

/// Receives bytes, and the last of the descriptors that came with them; all others are closed.
///
/// # Errors
/// What the system says.
pub fn receive_with(
    socket: impl AsFd,
    into: &mut [u8],
    descriptor: &mut Option<OwnedFd>,
    flags: RecvFlags,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(into)];
    let received = recvmsg(socket, &mut parts, &mut control, flags | RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(came) = message {
            *descriptor = came.last().or(descriptor.take());
        }
    }
    Ok(received.bytes)
}
