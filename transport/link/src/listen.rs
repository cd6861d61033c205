//! The host's end of every link: sockets that accept guests, and who a guest is.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::socket_domain;
use rustix::net::{AddressFamily, SocketFlags};
use socket2::SockRef;

use crate::{LinkError, Uri, tcp, unix, vouched, vsock};

/// Who may connect to a listening socket in the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Permission bits of the socket; connecting needs write permission (unix(7)).
    pub mode: u32,
    /// Group of the socket; `None` leaves it to the system.
    pub group: Option<u32>,
}

/// Who is at the other end of a connection, as this machine's system vouches for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A process of this machine, or of a container on it (SO_PEERCRED of unix(7)).
    Process {
        /// User that it ran as when it connected.
        uid: u32,
        /// Group that it ran as.
        gid: u32,
        /// Its id, as this process sees it; 0 if it is of a namespace that we cannot see.
        pid: u32,
    },
    /// A virtual machine of this host, by its context id (vsock(7)).
    Machine {
        /// The context id.
        cid: u32,
    },
    /// A virtual machine of this host, by the name of the device that they share.
    Named {
        /// The name that the host's configuration gives the machine.
        machine: String,
    },
    /// An address of the network. Who it is, only its certificate says.
    Address(SocketAddr),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid, gid, pid } => write!(f, "uid:{uid} gid:{gid} pid:{pid}"),
            Self::Machine { cid } => write!(f, "cid:{cid}"),
            Self::Named { machine } => write!(f, "machine:{machine}"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct Arrival {
    /// The connection.
    pub socket: OwnedFd,
    /// Who is at its other end.
    pub peer: Peer,
}

/// Accepts connections.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    /// Kept for its end: the name in the file system goes with the listener.
    _made: Option<unix::Made>,
}

impl Listener {
    /// Listens at an address; `access` is for those in the file system.
    ///
    /// # Errors
    /// [`LinkError::InUse`] if another program answers there, [`LinkError::Listen`] if something
    /// else lies there or the system refuses, [`LinkError::NotBuilt`] for a scheme that nobody
    /// listens at.
    pub fn bind(address: &Uri, access: Access) -> Result<Self, LinkError> {
        match address {
            Uri::Unix(path) => {
                let (socket, made) = unix::bind(path, access)?;
                Ok(Self { socket: socket.into(), _made: Some(made) })
            }
            Uri::Vsock { cid, port } => Ok(Self { socket: vsock::bind(*cid, *port)?, _made: None }),
            Uri::Tls(at) => match tcp::bind(at) {
                Ok(socket) => Ok(Self { socket, _made: None }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    Err(LinkError::InUse { address: address.to_string() })
                }
                Err(source) => Err(LinkError::Listen {
                    verb: "listening on",
                    address: address.to_string(),
                    source,
                }),
            },
            Uri::Pci(_) => Err(LinkError::NotBuilt {
                uri: address.to_string(),
                available: "unix:, vsock: and tls:",
            }),
        }
    }

    /// Takes over a socket that already listens, such as one from systemd.
    ///
    /// # Errors
    /// [`LinkError::Io`] if the socket cannot be made non-blocking.
    pub fn adopt(socket: OwnedFd) -> Result<Self, LinkError> {
        rustix::io::ioctl_fionbio(&socket, true).map_err(|errno| LinkError::Io {
            verb: "taking over a listening socket",
            source: errno.into(),
        })?;
        Ok(Self { socket, _made: None })
    }

    /// Says where it listens, for messages.
    pub fn address(&self) -> String {
        let Ok(address) = SockRef::from(&self.socket).local_addr() else { return "?".to_owned() };
        if let Some((cid, port)) = address.as_vsock_address() {
            return format!("vsock:{cid}:{port}");
        }
        match (address.as_pathname(), address.as_socket()) {
            (Some(path), _) => format!("unix:{}", path.display()),
            (None, Some(address)) => format!("tls:{address}"),
            (None, None) => "?".to_owned(),
        }
    }

    /// Accepts a connection if one is waiting; never waits itself.
    ///
    /// # Errors
    /// [`LinkError::Io`], among others when no file descriptor is left.
    pub fn accept(&self) -> Result<Option<Arrival>, LinkError> {
        let failed = |source| LinkError::Io { verb: "accepting a connection", source };
        let socket = match rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC) {
            Ok(socket) => socket,
            // The second: the client went before it was accepted.
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => return Ok(None),
            Err(errno) => return Err(failed(errno.into())),
        };
        match peer(&socket) {
            Ok(peer) => Ok(Some(Arrival { socket, peer })),
            // It went between.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(None),
            Err(source) => Err(failed(source)),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Asks the system who is at the other end of a socket.
fn peer(socket: &OwnedFd) -> io::Result<Peer> {
    if socket_domain(socket)? == AddressFamily::UNIX {
        let vouched::Process { uid, gid, pid } = vouched::process(socket)?;
        return Ok(Peer::Process { uid, gid, pid });
    }
    let address = SockRef::from(socket).peer_addr()?;
    address
        .as_vsock_address()
        .map(|(cid, _)| Peer::Machine { cid })
        .or_else(|| address.as_socket().map(Peer::Address))
        .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "a socket of an unknown family"))
}
