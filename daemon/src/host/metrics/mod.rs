//! Who is told how the host does: Prometheus, where the operator wants it (`metrics` in host.toml),
//! and the operator, at a socket in the file system (`status`).
//!
//! A thread for each speaks HTTP; for each request it asks the host's loop for figures, which the
//! loop puts together in microseconds. So nothing is done while nobody asks, a client of these
//! servers holds up no guest, and a loop that does not turn shows as a failed scrape.

mod exposition;
mod server;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

use socket2::Socket;
use vgpu_link::{Access, Listener, Uri};

use crate::error::DaemonError;
use crate::figures::Figures;
use crate::log;
use server::Server;

/// Where a server is asked.
#[derive(Debug)]
pub(crate) enum Door {
    /// At an address of the network, for `/metrics` and nothing else.
    Metrics(TcpListener),
    /// At a socket that only this user and root may connect to, for `/status` as well.
    Status(Listener),
}

impl Door {
    /// Listens for Prometheus.
    ///
    /// # Errors
    /// [`DaemonError::Metrics`] if nothing can listen there.
    pub fn metrics(address: SocketAddr) -> Result<Self, DaemonError> {
        let failed = |source| DaemonError::Metrics { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        // A client may go between being announced and being accepted.
        listener.set_nonblocking(true).map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        log::event("metrics", &[("address", &local)]);
        Ok(Self::Metrics(listener))
    }

    /// Listens for the operator.
    ///
    /// # Errors
    /// [`DaemonError::Link`] if nothing can listen there.
    pub fn status(path: &Path) -> Result<Self, DaemonError> {
        let access = Access { mode: 0o600, group: None };
        Ok(Self::Status(Listener::bind(&Uri::Unix(path.into()), access)?))
    }

    /// Accepts somebody; none if who was there has gone.
    fn accept(&self) -> io::Result<Option<Socket>> {
        match self {
            Self::Metrics(listener) => match listener.accept() {
                Ok((client, _)) => Ok(Some(client.into())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error),
            },
            Self::Status(listener) => match listener.accept() {
                Ok(arrival) => Ok(arrival.map(|arrival| arrival.socket.into())),
                Err(error) => Err(io::Error::other(error)),
            },
        }
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Metrics(listener) => listener.as_fd(),
            Self::Status(listener) => listener.as_fd(),
        }
    }
}

/// The loop's end of a server.
#[derive(Debug)]
pub(crate) struct Answering {
    /// A byte comes for each request; the server ends when this end is closed.
    asked: UnixStream,
    figures: SyncSender<Figures>,
}

impl Answering {
    /// Starts to answer at a door.
    ///
    /// # Errors
    /// [`DaemonError::System`] if the system has no more file descriptors or threads.
    pub fn start(door: Door) -> Result<Self, DaemonError> {
        let failed = |source| DaemonError::System { verb: "preparing for metrics", source };
        let (asked, asks) = UnixStream::pair().map_err(failed)?;
        asked.set_nonblocking(true).map_err(failed)?;
        asks.set_nonblocking(true).map_err(failed)?;
        // One request at a time; an answer that comes too late is not kept for the next one's
        // sake, which empties the channel first.
        let (figures, answers) = sync_channel(1);
        let server = Server { door, asks, answers };
        let thread = std::thread::Builder::new().name("metrics".into());
        thread.spawn(move || server.run()).map_err(failed)?;
        Ok(Self { asked, figures })
    }

    /// Answers the server if it has asked; says whether it is still there.
    pub fn answer(&self, figures: Figures) -> bool {
        let mut bytes = [0; 16];
        let said = loop {
            match std::io::Read::read(&mut &self.asked, &mut bytes) {
                Ok(1..) => {}
                said => break said,
            }
        };
        // Fails if an answer lies there that nobody has waited for.
        let _ = self.figures.try_send(figures);
        said.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsFd for Answering {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.asked.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its end stays readable: the host's loop once turned without rest when its thread had ended.
    #[test]
    fn a_server_whose_thread_ended_is_told_from_one_that_asks() {
        let (asked, asks) = UnixStream::pair().expect("sockets");
        asked.set_nonblocking(true).expect("a socket");
        let (figures, _answers) = sync_channel(1);
        let answering = Answering { asked, figures };
        std::io::Write::write_all(&mut &asks, b"?").expect("it is heard");
        assert!(answering.answer(Figures::default()), "it asks");
        drop(asks);
        assert!(!answering.answer(Figures::default()), "it has ended");
    }
}
