//! The start: nobody is served before a worker has opened the devices.

use std::time::{Duration, Instant};

use super::Host;
use super::signals::Asked;
use super::workers::END_LIMIT;
use crate::desk::Ask;
use crate::error::DaemonError;

/// How long the first worker may take to open the devices: 60 seconds. A driver without
/// persistence mode needs a second or two for each GPU when nobody else uses it.
const OPEN_LIMIT: Duration = Duration::from_secs(60);

/// What became of the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// The devices are open.
    Done {
        /// Whether the configuration is to be read again.
        reload: bool,
    },
    /// A signal has asked for the end.
    Stopped,
}

impl Host {
    /// Starts the first worker and waits until it has opened the devices: what the ledger must know
    /// of them, and what later workers are told, only a worker can ask.
    pub(super) fn open_devices(&mut self) -> Result<Opening, DaemonError> {
        let mut reload = false;
        self.workers.start()?;
        let limit = Instant::now() + OPEN_LIMIT;
        while !self.ledger.is_open() {
            // Resting, the host accepts no client.
            self.rest_until = Some(limit);
            let ready = self.wait()?;
            // A reload is for later, and nobody is served: both others ask for the end.
            if ready.asked.iter().any(|asked| *asked != Asked::Reload) {
                return Ok(Opening::Stopped);
            }
            reload |= ready.asked.contains(&Asked::Reload);
            if Instant::now() >= limit {
                return Err(DaemonError::NotOpened { ended: format!("silent for {OPEN_LIMIT:?}") });
            }
            for pid in ready.workers {
                if let Some(ended) = self.hear_first(pid)? {
                    return Err(DaemonError::NotOpened { ended });
                }
            }
            if let Some(gone) = self.workers.collect().pop() {
                return Err(DaemonError::NotOpened { ended: gone.ended });
            }
        }
        self.rest_until = None;
        self.workers.refill()?;
        Ok(Opening::Done { reload })
    }

    /// Hears what the first worker says of the devices; returns why none can be served.
    fn hear_first(&mut self, pid: u32) -> Result<Option<String>, DaemonError> {
        let Some(worker) = self.workers.of(pid).filter(|worker| !worker.is_ending()) else {
            return Ok(None);
        };
        match worker.desk.receive::<Ask>()? {
            Some((Ask::Open, sheet)) => {
                Ok((!self.opened(sheet)?).then(|| "without a device".into()))
            }
            _ => {
                worker.expect_end(END_LIMIT);
                Ok(None)
            }
        }
    }
}
