//! TCP connections whose frames never wait: names resolved, connected and tuned within a limit.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, set_tcp_quickack};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};
use socket2::{Domain, Protocol, SockAddr, SockRef, TcpKeepalive, Type};

use crate::socket::wait;
use crate::uri::HostPort;
use crate::vanished::{closed_by_peer, vanished};

/// Connections that may wait to be accepted: as many as std gives a listener.
const QUEUE: i32 = 128;

/// How often a wait without a limit looks whether the peer still answers.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// An idle connection is asked after 4 seconds, every 2, and given up after 3 questions: 10
/// seconds after the peer's last sign of life.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(4);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(2);
const KEEPALIVE_COUNT: u32 = 3;

/// A TCP connection.
#[derive(Debug)]
pub(crate) struct Tcp(OwnedFd);

impl AsFd for Tcp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Tcp {
    /// Takes over a connected socket, and has its frames sent and acknowledged at once.
    pub fn tune(socket: OwnedFd) -> io::Result<Self> {
        let options = SockRef::from(&socket);
        options.set_tcp_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_EVERY)
            .with_retries(KEEPALIVE_COUNT);
        options.set_tcp_keepalive(&keepalive)?;
        // Waits return that often, to look whether the peer still answers.
        set_socket_timeout(&socket, Timeout::Recv, Some(LOOK_EVERY))?;
        set_socket_timeout(&socket, Timeout::Send, Some(LOOK_EVERY))?;
        let tcp = Self(socket);
        tcp.acknowledge_at_once();
        Ok(tcp)
    }

    /// Connects to the first address of a host that answers, before `limit`.
    pub fn connect(to: &HostPort, limit: Instant) -> io::Result<Self> {
        let addresses = resolve(to, limit)?;
        let mut failure = io::ErrorKind::NotFound.into();
        for (at, address) in addresses.iter().enumerate() {
            // An address that answers nothing leaves the others their share of the time.
            let left = limit.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
            if share.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match connect_one(*address, share) {
                Ok(socket) => return Self::tune(socket),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Names the peer's address, for messages.
    pub fn peer(&self) -> String {
        let address = SockRef::from(&self.0).peer_addr().ok().and_then(|found| found.as_socket());
        address.map_or_else(|| "?".to_owned(), |address| address.to_string())
    }

    /// Waits for bytes and reads some; 0 means that the peer closed.
    pub fn read(&self, into: &mut [u8], limit: Option<Instant>) -> io::Result<usize> {
        loop {
            wait(self.as_fd(), PollFlags::IN, limit)?;
            match rustix::net::recv(self, &mut *into, RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.check()?,
                Ok((0, _)) if !into.is_empty() => {
                    // Frames to one that closed are for nobody: the next one fails, not the second.
                    if closed_by_peer(self) {
                        self.close();
                    }
                    return Ok(0);
                }
                received => {
                    self.acknowledge_at_once();
                    return Ok(received.map(|(count, _)| count)?);
                }
            }
        }
    }

    /// Writes all bytes; raises no signal.
    pub fn write_all(&self, mut bytes: &[u8], limit: Option<Instant>) -> io::Result<()> {
        let mut flags = SendFlags::NOSIGNAL;
        flags.set(SendFlags::DONTWAIT, limit.is_some());
        while !bytes.is_empty() {
            wait(self.as_fd(), PollFlags::OUT, limit)?;
            let mut nothing = SendAncillaryBuffer::default();
            match rustix::net::sendmsg(self, &[IoSlice::new(bytes)], &mut nothing, flags) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.check()?,
                sent => bytes = &bytes[sent?..],
            }
        }
        Ok(())
    }

    /// Ends both directions, for who waits as well.
    pub fn close(&self) {
        // Fails only if the peer has closed already, which ends every wait as well.
        let _ = rustix::net::shutdown(self, Shutdown::Both);
    }

    /// Says that nothing more comes from us.
    pub fn end_sending(&self) {
        let _ = rustix::net::shutdown(self, Shutdown::Write);
    }

    /// Ends the connection if the peer is gone without a word.
    fn check(&self) -> io::Result<()> {
        if vanished(self) {
            self.close();
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// Asks the system to delay no acknowledgement. It forgets that by itself (tcp(7)), so this
    /// is said anew after every read; that it cannot be, changes no result.
    fn acknowledge_at_once(&self) {
        let _ = set_tcp_quickack(self, true);
    }
}

fn connect_one(address: SocketAddr, limit: Duration) -> io::Result<OwnedFd> {
    let socket =
        socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.connect_timeout(&SockAddr::from(address), limit)?;
    Ok(socket.into())
}

/// Finds the addresses of a host, in the system's order. A name is asked for in a thread: the
/// system's own search has no limit that a caller could set.
fn resolve(HostPort { host, port }: &HostPort, limit: Instant) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, *port)]);
    }
    let (told, tells) = channel();
    let name = (host.clone(), *port);
    let thread = std::thread::Builder::new().name("resolve".into());
    thread.spawn(move || {
        let found = name.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // Nobody listens any more if the limit has passed.
        let _ = told.send(found);
    })?;
    match tells.recv_timeout(limit.saturating_duration_since(Instant::now())) {
        Ok(found) => found,
        Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
        Err(RecvTimeoutError::Disconnected) => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Listens at an address of this machine; a name stands for the first address that it has.
pub(crate) fn bind(HostPort { host, port }: &HostPort) -> io::Result<OwnedFd> {
    let address = match host.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, *port),
        Err(_) => {
            let mut addresses = (host.as_str(), *port).to_socket_addrs()?;
            addresses.next().ok_or(io::ErrorKind::NotFound)?
        }
    };
    let socket =
        socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A daemon that starts again does not wait for the connections of the one before.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // So that 0.0.0.0 may be listened at as well, whatever the system's setting.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(QUEUE)?;
    Ok(socket.into())
}
