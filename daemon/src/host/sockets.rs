//! The listening sockets: systemd's, those of the configuration, or the usual one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use listenfd::ListenFd;
use rustix::io::FdFlags;
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
        let network = named.iter().any(|address| matches!(address, Uri::Tls(_)));
        // Read anew, so that a reload brings new certificates into use.
        let network = network.then(|| Network::open(&config.tls)).transpose()?;
        let lacking = named.iter().filter(|address| !self.holds(address));
        let bound: Vec<Socket> = lacking
            .map(|address| {
                let listener = Listener::bind(address, config.access)?;
                Ok(Socket { listener, named: Some(address.clone()) })
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

fn activated() -> Result<Vec<Socket>, DaemonError> {
    let failed = |source| DaemonError::System { verb: "taking over a socket of systemd", source };
    let mut handed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..handed.len() {
        if let Some(socket) = handed.take_unix_listener(index).map_err(failed)? {
            // systemd hands it over for us, not for our workers.
            rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)
                .map_err(DaemonError::system("taking over a socket of systemd"))?;
            let listener = Listener::adopt(OwnedFd::from(socket))?;
            log::event("listening", &[("address", &listener.address()), ("by", &"systemd")]);
            sockets.push(Socket { listener, named: None });
        }
    }
    Ok(sockets)
}
