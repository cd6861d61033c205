//! A client that goes while its worker is busy.
//!
//! That a client is gone, the dispatch thread finds out when it reads on. A kernel without end, or
//! a call of the driver that waits for one, would keep it from that, and the client's memory with
//! it.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Signal, getpid, kill_process};

use crate::error::DaemonError;
use crate::log;

/// How long a worker may take to notice that its client is gone: half of the second in which the
/// memory of a client that went is free again.
const NOTICE_LIMIT: Duration = Duration::from_millis(500);

/// Ends the worker if it does not notice that its client is gone; dropped when it has noticed.
#[derive(Debug)]
pub(crate) struct Watch {
    _noticed: Sender<()>,
}

impl Watch {
    /// Starts to watch a connection, for the log the one of this number.
    ///
    /// # Errors
    /// [`DaemonError::System`] if the system has no more file descriptors or threads.
    pub fn start(client: &OwnedFd, session: u64) -> Result<Self, DaemonError> {
        let failed = |source| DaemonError::System { verb: "watching a connection", source };
        let client = client.try_clone().map_err(failed)?;
        let (noticed, is_noticed) = channel();
        let watch = move || {
            // POLLHUP needs not be asked for. It comes when both directions are shut, by the end
            // of the client or by ours; one that only says no more is still served.
            let gone =
                retry_on_intr(|| poll(&mut [PollFd::new(&client, PollFlags::empty())], None));
            let waited = is_noticed.recv_timeout(NOTICE_LIMIT);
            if gone.is_ok() && waited == Err(RecvTimeoutError::Timeout) {
                log::event("cut", &[("session", &session)]);
                end();
            }
        };
        let thread = std::thread::Builder::new().name("watch".into());
        thread.spawn(watch).map_err(failed)?;
        Ok(Self { _noticed: noticed })
    }
}

/// Ends this process, whatever its threads are doing: what ends in good order would wait for them.
pub(super) fn end() {
    // Fails only if there is no such process, and this is it.
    let _ = kill_process(getpid(), Signal::KILL);
}
