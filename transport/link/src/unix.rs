//! What only the `unix` link does: sockets in the file system.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::{Access, LinkError, SocketLink, socket_link};

/// Connects to a socket. A full queue of the listener is waited for, until `limit`.
pub(crate) fn connect(path: &Path, limit: Instant) -> Result<SocketLink, LinkError> {
    match try_connect(path, limit) {
        Ok(socket) => Ok(socket_link(socket.into())),
        Err(Errno::AGAIN) => Err(LinkError::TimedOut),
        Err(errno) => Err(LinkError::Connect {
            uri: format!("unix:{}", path.display()),
            source: errno.into(),
        }),
    }
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

/// The name of a socket that we made; goes with it, unless another has taken the place.
#[derive(Debug)]
pub(crate) struct Made {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Ok(found) = std::fs::symlink_metadata(&self.path)
            && (found.dev(), found.ino()) == (self.device, self.inode)
        {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`. A socket there that nobody answers is replaced, in one step and only when
/// ours is ready.
pub(crate) fn bind(path: &Path, access: Access) -> Result<(UnixListener, Made), LinkError> {
    let listen = |verb: &'static str| {
        let address = path.display().to_string();
        move |source: io::Error| LinkError::Listen { verb, address, source }
    };
    refuse_occupied(path)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(name);
    // Left by a dead process of the same id, if it is there at all.
    let _ = std::fs::remove_file(&new);
    let socket = UnixListener::bind(&new).map_err(listen("listening on"))?;
    let made = give(&new, path, access.group).and_then(|()| {
        let made = prepare(&socket, &new, path, access.mode);
        made.map_err(listen("giving its place and access to"))
    });
    if made.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    Ok((socket, made?))
}

/// Makes sure that nothing of value lies at `path`.
fn refuse_occupied(path: &Path) -> Result<(), LinkError> {
    let in_use = || LinkError::InUse { address: path.display().to_string() };
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(LinkError::Listen {
            verb: "listening on",
            address: path.display().to_string(),
            source: io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket"),
        }),
        Ok(_) => match try_connect(path, Instant::now()) {
            Ok(_) | Err(Errno::AGAIN) => Err(in_use()),
            Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
            // Another kind of socket, or one that we may not ask: somebody may well listen.
            Err(errno) => Err(LinkError::Listen {
                verb: "asking who listens on",
                address: path.display().to_string(),
                source: errno.into(),
            }),
        },
        Err(_) => Ok(()),
    }
}

/// Gives the new socket to a group. Whoever is not root may only give it to a group of its own.
fn give(new: &Path, path: &Path, group: Option<u32>) -> Result<(), LinkError> {
    let Some(group) = group else { return Ok(()) };
    let address = path.display().to_string();
    let given = std::os::unix::fs::chown(new, None, Some(group));
    given.map_err(|source| LinkError::Group { address, group, source })
}

/// Gives the new socket its access, then its place.
fn prepare(socket: &UnixListener, new: &Path, path: &Path, mode: u32) -> io::Result<Made> {
    socket.set_nonblocking(true)?;
    std::fs::set_permissions(new, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(new, path)?;
    let made = std::fs::symlink_metadata(path)?;
    Ok(Made { path: path.to_owned(), device: made.dev(), inode: made.ino() })
}
