//! What the operator asks by signals.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use crate::error::DaemonError;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// SIGTERM and SIGINT: end, after `drain_seconds` at most.
    Stop,
    /// SIGUSR1: take no more clients, and end after the last of the present ones.
    Drain,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// The signals that came; its descriptor is readable while some are to be read.
#[derive(Debug)]
pub(crate) struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// Starts to watch for them.
    ///
    /// # Errors
    /// [`DaemonError::System`] if the handlers cannot be had.
    pub fn watch() -> Result<Self, DaemonError> {
        let failed = |source| DaemonError::System { verb: "preparing for signals", source };
        let (read, write) = UnixStream::pair().map_err(failed)?;
        let signals = [SIGTERM, SIGINT, SIGUSR1, SIGHUP];
        SignalDelivery::with_pipe(read, write, SignalOnly, signals).map(Self).map_err(failed)
    }

    /// Takes what came since the last time; several of one kind count once.
    pub fn take(&mut self) -> Vec<Asked> {
        let asked = self.0.pending().filter_map(|signal| match signal {
            SIGTERM | SIGINT => Some(Asked::Stop),
            SIGUSR1 => Some(Asked::Drain),
            SIGHUP => Some(Asked::Reload),
            _ => None,
        });
        asked.collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }
}
