//! Being asked to stop while the client has the word.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::Shutdown;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::watch;
use crate::error::DaemonError;

/// How long a worker may take to end when it was asked to; the host process waits for two seconds.
const STOP_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
struct State {
    asked: bool,
    client: Option<UnixStream>,
}

/// Ends the worker's wait for its client when a signal asks for it.
///
/// The signal only shuts the reading half of the connection: the worker finishes what it is
/// doing, finds the end of its input, and says goodbye itself, so no two threads ever send. One
/// that does not end so in time is ended, also where the host process is gone.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    state: Arc<Mutex<State>>,
}

impl Stop {
    /// Starts to watch for SIGTERM and SIGINT.
    ///
    /// # Errors
    /// [`DaemonError::System`] if the handlers or the thread cannot be had.
    pub fn watch() -> Result<Self, DaemonError> {
        let failed = |source| DaemonError::System { verb: "preparing for signals", source };
        let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(failed)?;
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                if signals.forever().next().is_some() {
                    let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    state.asked = true;
                    match &state.client {
                        Some(client) => shut(client),
                        // Nobody is served: there is nothing to end in good order.
                        None => std::process::exit(0),
                    }
                    drop(state);
                    std::thread::sleep(STOP_LIMIT);
                    watch::end();
                }
            })
            .map_err(failed)?;
        Ok(Self { state })
    }

    /// Names the connection to shut; at once, if we were asked already.
    ///
    /// # Errors
    /// [`DaemonError::System`] if no file descriptor is left.
    pub fn cut_off(&self, client: &OwnedFd) -> Result<(), DaemonError> {
        let client = client.try_clone().map_err(|source| DaemonError::System {
            verb: "preparing to stop a connection",
            source,
        })?;
        let client = UnixStream::from(client);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.asked {
            shut(&client);
        }
        state.client = Some(client);
        Ok(())
    }

    /// Says whether we were asked to stop.
    pub fn is_asked(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).asked
    }
}

fn shut(client: &UnixStream) {
    // Fails only if the client is gone, which ends the wait as well.
    let _ = rustix::net::shutdown(client, Shutdown::Read);
}
