//! The `unix` link: a stream socket in the file system.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrUnix,
    SocketFlags, SocketType,
};

use crate::{LinkError, Stream, StreamLink};

/// A link over a Unix socket.
pub type UnixLink = StreamLink<UnixStream>;

/// Speaks frames over a connected socket, such as one that a worker was handed.
pub fn unix_link(socket: OwnedFd) -> UnixLink {
    StreamLink::new(UnixStream::from(socket))
}

/// Waits until the socket is ready for `what`; without a limit the call itself waits.
fn wait(socket: BorrowedFd<'_>, what: PollFlags, limit: Option<Instant>) -> io::Result<()> {
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

impl Stream for UnixStream {
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

/// Connects to a socket. A full queue of the listener is waited for, until `limit`.
pub(crate) fn connect(path: &Path, limit: Instant) -> Result<UnixLink, LinkError> {
    try_connect(path, limit).map(UnixLink::new).map_err(|errno| match errno {
        Errno::AGAIN => LinkError::TimedOut,
        errno => {
            LinkError::Connect { uri: format!("unix:{}", path.display()), source: errno.into() }
        }
    })
}

fn try_connect(path: &Path, limit: Instant) -> Result<UnixStream, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let family = AddressFamily::UNIX;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    loop {
        // unix(7): connect waits in the listener's queue as long as a send would. Set anew each
        // time, or a program with a fast timer would be interrupted before any limit.
        let left = limit.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        set_socket_timeout(&socket, Timeout::Send, Some(left))?;
        match rustix::net::connect(&socket, &address) {
            Err(Errno::INTR) if Instant::now() < limit => {}
            Err(Errno::INTR) => return Err(Errno::AGAIN),
            connected => break connected?,
        }
    }
    set_socket_timeout(&socket, Timeout::Send, None)?;
    Ok(socket.into())
}

/// Who may connect to a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Permission bits of the socket; connecting needs write permission (unix(7)).
    pub mode: u32,
    /// Group of the socket; `None` leaves it to the system.
    pub group: Option<u32>,
}

/// Accepts connections at a socket in the file system.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    /// Path, device and inode of the socket that we made and will remove.
    made: Option<(PathBuf, u64, u64)>,
}

impl Listener {
    /// Listens at `path`. A socket there that nobody answers is replaced, in one step and only
    /// when ours is ready.
    ///
    /// # Errors
    /// [`LinkError::InUse`] if another program answers there, or if something else than a socket
    /// lies there; [`LinkError::Listen`] if the system refuses.
    pub fn bind(path: &Path, access: Access) -> Result<Self, LinkError> {
        let listen = |verb: &'static str| {
            let path = path.display().to_string();
            move |source: io::Error| LinkError::Listen { verb, path, source }
        };
        refuse_occupied(path)?;
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let new = PathBuf::from(name);
        // Left by a dead process of the same id, if it is there at all.
        let _ = std::fs::remove_file(&new);
        let socket = UnixListener::bind(&new).map_err(listen("listening on"))?;
        let ready = prepare(&socket, &new, path, access);
        match ready {
            Ok(made) => Ok(Self { socket, made: Some(made) }),
            Err(source) => {
                let _ = std::fs::remove_file(&new);
                Err(listen("giving its place and access to")(source))
            }
        }
    }

    /// Takes over a socket that already listens, such as one from systemd.
    ///
    /// # Errors
    /// [`LinkError::Io`] if the socket cannot be made non-blocking.
    pub fn adopt(socket: UnixListener) -> Result<Self, LinkError> {
        socket
            .set_nonblocking(true)
            .map_err(|source| LinkError::Io { verb: "taking over a listening socket", source })?;
        Ok(Self { socket, made: None })
    }

    /// Accepts a connection if one is waiting; never waits itself.
    ///
    /// # Errors
    /// [`LinkError::Io`], among others when no file descriptor is left.
    pub fn accept(&self) -> Result<Option<OwnedFd>, LinkError> {
        match self.socket.accept() {
            Ok((socket, _)) => Ok(Some(socket.into())),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => Ok(None),
            // The client went before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Ok(None),
            Err(source) => Err(LinkError::Io { verb: "accepting a connection", source }),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some((path, device, inode)) = &self.made
            && let Ok(found) = std::fs::symlink_metadata(path)
            && (found.dev(), found.ino()) == (*device, *inode)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Makes sure that nothing of value lies at `path`.
fn refuse_occupied(path: &Path) -> Result<(), LinkError> {
    let in_use = || LinkError::InUse { path: path.display().to_string() };
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(LinkError::Listen {
            verb: "listening on",
            path: path.display().to_string(),
            source: io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket"),
        }),
        Ok(_) => match try_connect(path, Instant::now()) {
            Ok(_) | Err(Errno::AGAIN) => Err(in_use()),
            Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
            // Another kind of socket, or one that we may not ask: somebody may well listen.
            Err(errno) => Err(LinkError::Listen {
                verb: "asking who listens on",
                path: path.display().to_string(),
                source: errno.into(),
            }),
        },
        Err(_) => Ok(()),
    }
}

/// Gives the new socket its access, then its place.
fn prepare(
    socket: &UnixListener,
    new: &Path,
    path: &Path,
    access: Access,
) -> io::Result<(PathBuf, u64, u64)> {
    socket.set_nonblocking(true)?;
    if access.group.is_some() {
        std::os::unix::fs::chown(new, None, access.group)?;
    }
    std::fs::set_permissions(new, std::fs::Permissions::from_mode(access.mode))?;
    std::fs::rename(new, path)?;
    let made = std::fs::symlink_metadata(path)?;
    Ok((path.to_owned(), made.dev(), made.ino()))
}
