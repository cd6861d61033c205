//! What Prometheus is told, where the operator wants it (`metrics` in host.toml).
//!
//! A thread of its own speaks HTTP; for each scrape it asks the host's loop for figures, which the
//! loop puts together in microseconds. So nothing is done while nobody asks, a client of this
//! server holds up no guest, and a loop that does not turn shows as a failed scrape.

mod exposition;
mod server;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{SyncSender, sync_channel};

use crate::counts::Counts;
use crate::error::DaemonError;
use crate::log;
use server::Server;

/// Why a client was not served, as the metric's label says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// As many as allowed are served.
    Full,
    /// The daemon ends.
    Stopping,
    /// No worker could be had.
    NoWorker,
    /// It is of no tenant.
    Stranger,
}

/// Everything that the host process counts from its start on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Connections that came.
    pub connections: u64,
    /// Those of them that were refused, by [`Reason`].
    pub refused: [u64; 4],
    /// Workers of clients that ended badly.
    pub failed_workers: u64,
    /// Readings of the configuration that were refused.
    pub failed_reloads: u64,
    /// What workers have reported.
    pub counts: Counts,
}

impl Totals {
    /// Counts a refusal.
    pub fn refuse(&mut self, reason: Reason) {
        self.refused[reason as usize] += 1;
    }
}

/// What one scrape shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Clients that are served.
    pub clients: usize,
    /// Most that may be.
    pub clients_max: usize,
    /// Workers that wait for one.
    pub waiting_workers: usize,
    /// Whether the daemon takes no more clients.
    pub draining: bool,
    /// Bytes of each GPU, and those in use.
    pub gpus: Vec<(u64, u64)>,
    /// What was counted.
    pub totals: Totals,
}

/// The loop's end of the server.
#[derive(Debug)]
pub(crate) struct Metrics {
    address: SocketAddr,
    /// A byte comes for each scrape; the server ends when this end is closed.
    asked: UnixStream,
    figures: SyncSender<Figures>,
}

impl Metrics {
    /// Listens, and starts to answer.
    ///
    /// # Errors
    /// [`DaemonError::Metrics`] if nothing can listen there, [`DaemonError::System`] if the system
    /// has no more file descriptors or threads.
    pub fn serve(address: SocketAddr) -> Result<Self, DaemonError> {
        let listener = TcpListener::bind(address)
            .map_err(|source| DaemonError::Metrics { address, source })?;
        let failed = |source| DaemonError::System { verb: "preparing for metrics", source };
        let (asked, asks) = UnixStream::pair().map_err(failed)?;
        asked.set_nonblocking(true).map_err(failed)?;
        // One scrape at a time; an answer that comes too late is not kept for the next one's sake,
        // which empties the channel first.
        let (figures, answers) = sync_channel(1);
        let local = listener.local_addr().map_err(failed)?;
        let server = Server::new(listener, asks, answers).map_err(failed)?;
        let thread = std::thread::Builder::new().name("metrics".into());
        thread.spawn(move || server.run()).map_err(failed)?;
        log::event("metrics", &[("address", &local)]);
        Ok(Self { address, asked, figures })
    }

    /// Where it was told to listen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers the server if it has asked.
    pub fn answer(&self, figures: Figures) {
        let mut bytes = [0; 16];
        while std::io::Read::read(&mut &self.asked, &mut bytes).is_ok_and(|count| count > 0) {}
        // Fails if an answer lies there that nobody has waited for.
        let _ = self.figures.try_send(figures);
    }
}

impl AsFd for Metrics {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.asked.as_fd()
    }
}
