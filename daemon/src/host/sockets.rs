//! The listening sockets: systemd's, those of the configuration, or the usual one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use vgpu_link::{Listener, Peer, Uri};

use super::network::Network;
use crate::config::Config;
use crate::desk::Way;
use crate::error::DaemonError;
use crate::log;

/// One listening socket.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: Listener,
    /// The address that it was bound to for us; `None` if it is systemd's.
    named: Option<Uri>,
    /// Whether clients come by the network, and so through TLS.
    is_network: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    all: Vec<Socket>,
    network: Network,
}

impl Sockets {
    /// Takes over what systemd hands us (sd_listen_fds(3)) and binds what the configuration names;
    /// with neither, the usual socket.
    ///
    /// # Errors
    /// [`DaemonError`] if a socket cannot be had; then none is kept.
    pub fn open(config: &Config) -> Result<Self, DaemonError> {
        let mut sockets = Self { all: activated()?, network: Network::default() };
        sockets.reopen(config)?;
        Ok(sockets)
    }

    /// Binds what the configuration names and is not there yet, and closes what it names no more.
    /// Those of systemd, and those that stay, are not touched.
    ///
    /// # Errors
    /// [`DaemonError`] if a socket cannot be had; then nothing has changed.
    pub fn reopen(&mut self, config: &Config) -> Result<(), DaemonError> {
        let named = self.named(config);
        let handed = self.all.iter().any(|socket| socket.named.is_none() && socket.is_network);
        let network = handed || named.iter().any(is_network);
        // Read anew, so that a reload brings new certificates into use.
        let network = network.then(|| Network::open(&config.tls)).transpose()?;
        let lacking = named.iter().filter(|address| !self.holds(address));
        let bound: Vec<Socket> = lacking
            .map(|address| {
                let listener = Listener::bind(address, config.access)?;
                let (named, is_network) = (Some(address.clone()), is_network(address));
                Ok(Socket { listener, named, is_network })
            })
            .collect::<Result<_, DaemonError>>()?;
        self.network = network.unwrap_or_default();
        self.all.retain(|socket| {
            let stays = socket.named.as_ref().is_none_or(|address| named.contains(address));
            if let Some(address) = socket.named.as_ref().filter(|_| !stays) {
                log::event("closed", &[("address", address)]);
            }
            stays
        });
        for address in bound.iter().filter_map(|socket| socket.named.as_ref()) {
            log::event("listening", &[("address", address)]);
        }
        self.all.extend(bound);
        Ok(())
    }

    /// All of them, to be watched.
    pub fn all(&self) -> &[Socket] {
        &self.all
    }

    /// Says until when the host's certificate is valid, in seconds since 1970, where it shows one.
    pub fn certified_until(&self) -> Option<u64> {
        self.network.until()
    }

    /// When there is something to look at besides clients.
    pub fn due(&self) -> Option<Instant> {
        self.network.due()
    }

    /// Looks at it, if it is due.
    pub fn look(&mut self) {
        self.network.look();
    }

    /// Says how a client that came here is to be spoken with.
    pub fn way(&self, peer: &Peer) -> Way {
        self.network.way(peer)
    }

    fn named(&self, config: &Config) -> Vec<Uri> {
        let activated = self.all.iter().any(|socket| socket.named.is_none());
        match config.listen.is_empty() && !activated {
            true => vec![Config::default_address()],
            false => config.listen.clone(),
        }
    }

    /// Says whether somebody listens there for us already, systemd included.
    fn holds(&self, address: &Uri) -> bool {
        let text = address.to_string();
        let same = |socket: &Socket| match &socket.named {
            Some(named) => named == address,
            None => socket.listener.address() == text,
        };
        self.all.iter().any(same)
    }
}

impl Socket {
    /// Says whether who comes here shows a certificate to its worker, and nothing to us.
    pub fn is_network(&self) -> bool {
        self.is_network
    }

    /// What accepts.
    pub fn listener(&self) -> &Listener {
        &self.listener
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

fn is_network(address: &Uri) -> bool {
    matches!(address, Uri::Tls(_))
}

/// Kinds of sockets that systemd may hand over, by family (address_families(7)): `ListenStream=`
/// with a path, with a port or an address, and with `vsock:`.
const FAMILIES: [(libc::c_int, &str); 3] =
    [(libc::AF_UNIX, "unix"), (libc::AF_INET, "tcp"), (libc::AF_VSOCK, "vsock")];

/// Takes over what systemd hands us.
///
/// # Errors
/// [`DaemonError::Activated`] for what is none of [`FAMILIES`], or no socket that listens.
fn activated() -> Result<Vec<Socket>, DaemonError> {
    let mut handed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..handed.len() {
        // One that is refused stays where it is, for the next kind.
        let taken = FAMILIES.iter().find_map(|&(family, kind)| {
            let taken = handed.take_custom::<OwnedFd>(index, family, libc::SOCK_STREAM, kind);
            Some((taken.ok().flatten()?, family == libc::AF_INET))
        });
        let Some((socket, is_network)) =
            taken.filter(|(socket, _)| socket_acceptconn(socket) == Ok(true))
        else {
            return Err(DaemonError::Activated { index });
        };
        let listener = Listener::adopt(socket)?;
        log::event("listening", &[("address", &listener.address()), ("by", &"systemd")]);
        sockets.push(Socket { listener, named: None, is_network });
    }
    Ok(sockets)
}
