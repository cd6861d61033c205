//! What only the `vsock` link does: sockets between a virtual machine and its host (vsock(7)).

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use socket2::{Domain, SockAddr, Type};

use crate::{LinkError, Socket, StreamLink};

/// Connections that may wait to be accepted: as many as std gives a listener.
const QUEUE: i32 = 128;

/// Connects to a port of a machine, 2 being the host.
pub(crate) fn connect(
    cid: u32,
    port: u32,
    limit: Instant,
) -> Result<StreamLink<Socket>, LinkError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::TimedOut => LinkError::TimedOut,
        _ => LinkError::Connect { uri: format!("vsock:{cid}:{port}"), source },
    };
    let left = limit.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(LinkError::TimedOut);
    }
    let socket = socket2::Socket::new(Domain::VSOCK, Type::STREAM, None).map_err(failed)?;
    socket.connect_timeout(&SockAddr::vsock(cid, port), left).map_err(failed)?;
    Ok(StreamLink::new(OwnedFd::from(socket).into()))
}

/// Listens at a port; `cid` is this machine's, or 4294967295 for any.
pub(crate) fn bind(cid: u32, port: u32) -> Result<OwnedFd, LinkError> {
    let address = || format!("vsock:{cid}:{port}");
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => LinkError::InUse { address: address() },
        _ => LinkError::Listen { verb: "listening on", address: address(), source },
    };
    let socket = socket2::Socket::new(Domain::VSOCK, Type::STREAM, None).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    socket.bind(&SockAddr::vsock(cid, port)).map_err(failed)?;
    socket.listen(QUEUE).map_err(failed)?;
    Ok(socket.into())
}
