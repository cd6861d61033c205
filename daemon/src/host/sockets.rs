//! The listening sockets: systemd's, those of the configuration, or the usual one.

use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use rustix::io::FdFlags;
use vgpu_link::{Listener, Uri};

use crate::config::Config;
use crate::error::DaemonError;
use crate::log;

/// Takes over what systemd hands us (sd_listen_fds(3)) and binds what the configuration names;
/// with neither, the usual socket.
///
/// # Errors
/// [`DaemonError`] if a socket cannot be had; then none is kept.
pub(crate) fn open(config: &Config) -> Result<Vec<Listener>, DaemonError> {
    let mut listeners = activated()?;
    let usual = [Config::default_address()];
    let named = if config.listen.is_empty() && listeners.is_empty() {
        &usual[..]
    } else {
        &config.listen[..]
    };
    for address in named {
        listeners.push(bind(address, config)?);
    }
    Ok(listeners)
}

fn bind(address: &Uri, config: &Config) -> Result<Listener, DaemonError> {
    let listener = Listener::bind(address, config.access)?;
    log::event("listening", &[("address", address)]);
    Ok(listener)
}

fn activated() -> Result<Vec<Listener>, DaemonError> {
    let failed = |source| DaemonError::System { verb: "taking over a socket of systemd", source };
    let mut handed = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..handed.len() {
        if let Some(socket) = handed.take_unix_listener(index).map_err(failed)? {
            // systemd hands it over for us, not for our workers.
            rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)
                .map_err(DaemonError::system("taking over a socket of systemd"))?;
            let listener = Listener::adopt(OwnedFd::from(socket))?;
            log::event("listening", &[("address", &listener.address()), ("by", &"systemd")]);
            listeners.push(listener);
        }
    }
    Ok(listeners)
}
