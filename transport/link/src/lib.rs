//! Links: carry frames between guest and host, and know nothing of what they mean.
//!
//! A [`Link`] sends and receives whole frames in order, and comes apart into a [`Sender`] and a
//! [`Receiver`] that two threads use at once. [`connect`] opens one from a [`Uri`] and
//! shakes hands; a [`Listener`] is the host's end of every link. The handshake of both sides is in
//! [`handshake`]; every failure is a [`LinkError`] that says whether trying again can help.
//!
//! ```no_run
//! use std::time::Duration;
//! use vgpu_link::{Bulk, Receiver as _, Sender as _, connect, wire};
//! use wire::{Header, Kind, control};
//!
//! # fn main() -> Result<(), vgpu_link::LinkError> {
//! let uri = "unix:/run/vgpu/vgpud.sock".parse()?;
//! let hello = control::Hello {
//!     role: control::Role::Observer,
//!     pid: std::process::id(),
//!     exe: wire::Text::cut("example"),
//! };
//! let files = vgpu_link::tls::Files::default();
//! let (mut link, welcome) = connect(&uri, &files, &hello, Duration::from_secs(1))?;
//! println!("the host is version {}", welcome.host_version);
//! link.send(&Header::new(Kind::Call, control::opcode::SNAPSHOT), &[], &[])?;
//! let mut payload = Vec::new();
//! let reply = link.receive(&mut payload, Bulk::Into(&mut []))?;
//! # let _ = reply;
//! # Ok(())
//! # }
//! ```

#![deny(unsafe_code)]

pub mod config;
mod error;
mod gate;
pub mod handshake;
mod listen;
mod memory;
pub mod pci;
mod socket;
mod squeeze;
mod stream;
mod tcp;
mod thread;
pub mod tls;
mod unix;
mod upgrade;
mod uri;
mod vanished;
mod vouched;
mod vsock;

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use error::LinkError;
pub use gate::Gate;
pub use listen::{Access, Arrival, Listener, Peer};
pub use memory::{MemoryStream, memory_pair};
pub use socket::Socket;
pub use squeeze::Squeezed;
pub use stream::{Stream, StreamLink, StreamReceiver, StreamSender};
pub use thread::start_thread;
pub use upgrade::{SocketLink, UpgradableSocket, socket_link};
pub use uri::{HostPort, PciAddress, Uri};
pub use vanished::vanished;
pub use vgpu_ring::{Area, GRAIN_BYTES, Span, Spans};
pub use vgpu_wire as wire;

use wire::Header;
use wire::control::{Hello, Role, Welcome};

/// How long after a failed send the peer's last words are looked for: 50 ms, for they lie ready
/// then or never come.
pub const LAST_WORDS_LIMIT: Duration = Duration::from_millis(50);

/// Where the bulk part of a received frame goes.
#[derive(Debug)]
pub enum Bulk<'a> {
    /// Straight into the caller's memory. A longer bulk part is [`LinkError::BulkMismatch`]; a
    /// shorter one leaves the rest alone, and the header says how long it was.
    Into(&'a mut [u8]),
    /// Into a buffer that is resized to the bulk part, whatever it held before.
    Grow(&'a mut Vec<u8>),
}

/// Sends whole frames, in order.
///
/// After any error of [`send`](Sender::send) but [`LinkError::TooLarge`] the position in the
/// stream is lost: the link is of no more use and is to be dropped.
pub trait Sender: Send {
    /// Sends one frame. The sizes in `header` are filled in from `payload` and `bulk`.
    ///
    /// # Errors
    /// [`LinkError::TooLarge`] before anything is sent; [`LinkError::Closed`] if the peer went: why
    /// it did, the receiving half tells; [`LinkError::TimedOut`]; else an I/O error.
    fn send(&mut self, header: &Header, payload: &[u8], bulk: &[u8]) -> Result<(), LinkError>;

    /// Limits all following sends to the time before `limit`; `None` lifts the limit.
    fn limit_sends(&mut self, limit: Option<Instant>);

    /// Returns what ends both halves, from any thread.
    fn closer(&self) -> Closer;
}

/// Ends a link that other threads may be sending to or receiving from.
#[derive(Clone)]
pub struct Closer(Arc<dyn Stream>);

impl Closer {
    /// Ends both directions: whoever waits on either half returns, and nothing more is sent.
    pub fn close(&self) {
        self.0.close();
    }
}

/// Receives whole frames, in order: the header, then the payload, then the bulk part.
///
/// After any error the position in the stream is lost: the link is of no more use and is to be
/// dropped.
pub trait Receiver: Send {
    /// Waits for the next frame, as long as the peer lives or until the limit set by
    /// [`limit_waits`](Receiver::limit_waits), and reads its header.
    ///
    /// # Errors
    /// [`LinkError::Closed`] if the peer went, [`LinkError::Truncated`] if it went within the
    /// header, [`LinkError::Malformed`] and [`LinkError::Oversized`] for a header that is none.
    fn header(&mut self) -> Result<Header, LinkError>;

    /// Reads the payload of the frame whose header came last.
    ///
    /// # Errors
    /// [`LinkError::Goodbye`] if this is the peer's last frame and says why, [`LinkError::Closed`]
    /// if it says that all is done, [`LinkError::Truncated`] if the peer went.
    fn payload(&mut self, header: &Header, payload: &mut Vec<u8>) -> Result<(), LinkError>;

    /// Reads the next `place.len()` bytes of the bulk part; callers read all that the header
    /// announced, and no more.
    ///
    /// # Errors
    /// [`LinkError::Truncated`] if the peer went.
    fn bulk(&mut self, place: &mut [u8]) -> Result<(), LinkError>;

    /// Limits all following waits to the time before `limit`; `None` lifts the limit.
    fn limit_waits(&mut self, limit: Option<Instant>);

    /// Waits for the next frame and reads it whole.
    ///
    /// # Errors
    /// Those of the three above, and [`LinkError::BulkMismatch`].
    fn receive(&mut self, payload: &mut Vec<u8>, bulk: Bulk<'_>) -> Result<Header, LinkError> {
        let header = self.header()?;
        self.payload(&header, payload)?;
        let bytes = header.bulk_bytes as usize;
        match bulk {
            Bulk::Into(room) if bytes > room.len() => {
                return Err(LinkError::BulkMismatch { bytes, room: room.len() });
            }
            Bulk::Into(room) => self.bulk(&mut room[..bytes])?,
            Bulk::Grow(buffer) => {
                buffer.resize(bytes, 0);
                self.bulk(buffer)?;
            }
        }
        Ok(header)
    }

    /// Reads on after a failed send, for [`LAST_WORDS_LIMIT`] at most: a peer that ends the
    /// connection says why first. Answers [`LinkError::Closed`] if it said nothing.
    fn last_words(&mut self) -> LinkError {
        self.limit_waits(Some(Instant::now() + LAST_WORDS_LIMIT));
        let (mut payload, mut bulk) = (Vec::new(), Vec::new());
        loop {
            match self.receive(&mut payload, Bulk::Grow(&mut bulk)) {
                Ok(header) if header.opcode == wire::control::opcode::REFUSED => {
                    return handshake::refused(&payload);
                }
                Ok(_) => {}
                Err(why @ (LinkError::Goodbye { .. } | LinkError::Distrust { .. })) => return why,
                Err(_) => return LinkError::Closed,
            }
        }
    }
}

/// Carries whole frames both ways, until it is split for several threads.
///
/// Unlike a sending half alone, [`send`](Sender::send) fails with what the peer said last:
/// [`LinkError::Goodbye`] or [`LinkError::Refused`].
pub trait Link: Sender + Receiver {
    /// Limits all following sends and waits to the time before `limit`; `None` lifts the limit.
    fn wait_until(&mut self, limit: Option<Instant>) {
        self.limit_sends(limit);
        self.limit_waits(limit);
    }

    /// Lists the descriptors that the peer takes for our being there, once all is settled: a copy
    /// of one in another process keeps the connection alive after our end.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;

    /// Asks for the quickest way that this link may have, along with the next frame: a guest does,
    /// before its introduction. Links that know one way only have nothing to ask.
    ///
    /// # Errors
    /// [`LinkError::Io`] if the system refuses.
    fn ask(&self) -> Result<(), LinkError>;

    /// Grants what the peer asked for, if it did, along with the next frame: a host does, before
    /// its welcome. Returns whether. Where that is memory which both share, a bulk area of at most
    /// `bulk_bytes` comes with it.
    ///
    /// # Errors
    /// [`LinkError::Io`] if the system refuses or what the peer sent is no wish; the connection
    /// goes on as it began then.
    fn grant(&self, bulk_bytes: u64) -> Result<bool, LinkError>;

    /// Begins to use what was agreed on: both sides do, after the host's welcome.
    ///
    /// # Errors
    /// [`LinkError::Io`] if what the host granted is of no use.
    fn settle(&self) -> Result<(), LinkError>;

    /// Returns the memory that both sides share for what frames only point to, once it was granted
    /// (to a guest: settled); none where they share none.
    fn area(&self) -> Option<Area>;

    /// Takes the link apart into halves that two threads may use at once.
    fn split(self: Box<Self>) -> (Box<dyn Sender>, Box<dyn Receiver>);
}

/// Connects to a host and shakes hands, all within `limit`; `files` are for links over TLS.
///
/// # Errors
/// [`LinkError::NotBuilt`] for a link that this build does not have, [`LinkError::Pci`] and
/// [`LinkError::Original`] for PCI devices, [`LinkError::Connect`] if
/// nobody listens, [`LinkError::Refused`] if the host turns us away, [`LinkError::TimedOut`] if
/// it says nothing, [`LinkError::File`], [`LinkError::Credential`] and [`LinkError::Distrust`] of
/// TLS, and those of [`Link`].
pub fn connect(
    uri: &Uri,
    files: &tls::Files,
    hello: &Hello,
    limit: Duration,
) -> Result<(Box<dyn Link>, Welcome), LinkError> {
    let limit = Instant::now() + limit;
    // Who only looks sends two frames, for which shared memory is not worth its making.
    let mut asks = hello.role == Role::Guest;
    loop {
        let mut link = open(uri, files, limit)?;
        if asks {
            link.ask()?;
        }
        let welcome = handshake::introduce(&mut *link, hello, limit)?;
        match link.settle() {
            Ok(()) => return Ok((link, welcome)),
            // Granted, but this process may not map it: it goes on as one that did not ask. Memory
            // that is not what it should be is no reason to go on.
            Err(LinkError::Io { source, .. })
                if asks && source.kind() != std::io::ErrorKind::InvalidData =>
            {
                asks = false;
            }
            Err(error) => return Err(error),
        }
    }
}

fn open(uri: &Uri, files: &tls::Files, limit: Instant) -> Result<Box<dyn Link>, LinkError> {
    Ok(match uri {
        Uri::Unix(path) => Box::new(unix::connect(path, limit)?),
        Uri::Vsock { cid, port } => Box::new(vsock::connect(*cid, *port, limit)?),
        Uri::Tls(to) => Box::new(tls::link(tls::TlsStream::connect(to, files, limit)?)),
        Uri::Pci(wanted) => pci::connect(Path::new(pci::SYSFS), *wanted, limit)?,
    })
}
