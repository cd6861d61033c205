//! A client that goes while its worker is busy.
//!
//! That a client is gone, the dispatch thread finds out when it reads on. A kernel without end, or
//! a call of the driver that waits for one, would keep it from that, and the client's memory with
//! it.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use rustix::process::{Signal, getpid, kill_process};
use vgpu_link::vanished;

use super::stop::Stop;
use crate::error::DaemonError;
use crate::log;

/// How long a worker may take to notice that its client is gone: half of the second in which the
/// memory of a client that went is free again.
const NOTICE_LIMIT: Duration = Duration::from_millis(500);

/// How often it is looked whether a client of the network is still there: as often as who waits for
/// it looks.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

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
    pub fn start(client: &OwnedFd, session: u64, stop: &Stop) -> Result<Self, DaemonError> {
        let failed = |source| DaemonError::System { verb: "watching a connection", source };
        let client = client.try_clone().map_err(failed)?;
        let (noticed, is_noticed) = channel();
        let stop = stop.clone();
        let watch = move || {
            let gone = wait_for_end(&client, &stop);
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

/// Waits until the client is gone.
///
/// POLLHUP, which needs not be asked for, comes when both directions are shut, by the end of the
/// client or by ours; a client of this machine that only says no more is still served. The end of
/// one of the network shows in one direction only: as long as the worker has not closed too, TCP
/// cannot tell it from one that says no more, which no guest does. So it is with vsock: Linux tells
/// of a hangup when both sides have shut down, and of a peer that closed by POLLRDHUP alone (its
/// `vsock_poll`); no test has seen that, which takes a machine with a vsock device.
fn wait_for_end(client: &OwnedFd, stop: &Stop) -> Result<(), Errno> {
    const FAR: [AddressFamily; 3] =
        [AddressFamily::INET, AddressFamily::INET6, AddressFamily::VSOCK];
    let wait = |events, limit| {
        retry_on_intr(|| poll(&mut [PollFd::new(client, events)], limit)).map(|woken| woken > 0)
    };
    if FAR.contains(&socket_domain(client)?) {
        while !wait(PollFlags::RDHUP, Some(&LOOK_EVERY))? {
            // Keepalive is silent while an answer of ours is not acknowledged, and TCP sends that
            // again for a quarter of an hour.
            if vanished(client) {
                return Ok(());
            }
        }
        if !stop.is_asked() {
            return Ok(());
        }
        // We shut that direction ourselves, and the worker has its own time to end.
    }
    wait(PollFlags::empty(), None).map(drop)
}

/// Ends this process, whatever its threads are doing: what ends in good order would wait for them.
pub(super) fn end() {
    // Fails only if there is no such process, and this is it.
    let _ = kill_process(getpid(), Signal::KILL);
}
