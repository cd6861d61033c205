//! Links: carry frames between guest and host, and know nothing of what they mean.
//!
//! A [`Link`] sends and receives whole frames in order. [`connect`] opens one from a [`Uri`] and
//! shakes hands; [`Listener`] is the host's end of `unix:`. The handshake of both sides is in
//! [`handshake`]; every failure is a [`LinkError`] that says whether trying again can help.
//!
//! ```no_run
//! use std::time::Duration;
//! use vgpu_link::{Bulk, connect, wire};
//! use wire::{Header, Kind, control};
//!
//! # fn main() -> Result<(), vgpu_link::LinkError> {
//! let uri = "unix:/run/vgpu/vgpud.sock".parse()?;
//! let hello = control::Hello {
//!     role: control::Role::Observer,
//!     pid: std::process::id(),
//!     exe: wire::Text::cut("example"),
//! };
//! let (mut link, welcome) = connect(&uri, &hello, Duration::from_secs(1))?;
//! println!("the host is version {}", welcome.host_version);
//! link.send(&Header::new(Kind::Call, control::opcode::SNAPSHOT), &[], &[])?;
//! let mut payload = Vec::new();
//! let reply = link.receive(&mut payload, Bulk::Into(&mut []))?;
//! # let _ = reply;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod error;
pub mod handshake;
mod memory;
mod stream;
mod unix;
mod uri;

use std::time::{Duration, Instant};

pub use error::LinkError;
pub use memory::{MemoryStream, memory_pair};
pub use stream::{Stream, StreamLink};
pub use unix::{Access, Listener, UnixLink, unix_link};
pub use uri::Uri;
pub use vgpu_wire as wire;

use wire::Header;
use wire::control::{Hello, Welcome};

/// Where the bulk part of a received frame goes.
#[derive(Debug)]
pub enum Bulk<'a> {
    /// Straight into the caller's memory. A longer bulk part is [`LinkError::BulkMismatch`]; a
    /// shorter one leaves the rest alone, and the header says how long it was.
    Into(&'a mut [u8]),
    /// Into a buffer that is resized to the bulk part, whatever it held before.
    Grow(&'a mut Vec<u8>),
}

/// Carries whole frames, in order, both ways.
///
/// After any error of [`send`](Link::send) or [`receive`](Link::receive) the position in the
/// stream is lost: the link is of no more use and is to be dropped.
pub trait Link: Send {
    /// Sends one frame. The sizes in `header` are filled in from `payload` and `bulk`.
    ///
    /// # Errors
    /// [`LinkError::TooLarge`] before anything is sent; [`LinkError::Goodbye`] if the peer had
    /// said why it ended the connection; else [`LinkError::Closed`] or an I/O error.
    fn send(&mut self, header: &Header, payload: &[u8], bulk: &[u8]) -> Result<(), LinkError>;

    /// Waits for the next frame, as long as the peer lives or until the limit set by
    /// [`wait_until`](Link::wait_until).
    ///
    /// # Errors
    /// [`LinkError::Goodbye`] if the peer ends the connection and says why,
    /// [`LinkError::Closed`] if it just went, [`LinkError::Truncated`] if it went within a frame,
    /// [`LinkError::Malformed`] and [`LinkError::Oversized`] for a header that is none.
    fn receive(&mut self, payload: &mut Vec<u8>, bulk: Bulk<'_>) -> Result<Header, LinkError>;

    /// Limits all following waits to the time before `limit`; `None` lifts the limit.
    fn wait_until(&mut self, limit: Option<Instant>);
}

/// Connects to a host and shakes hands, all within `limit`.
///
/// # Errors
/// [`LinkError::NotBuilt`] for a scheme that this build does not have, [`LinkError::Connect`] if
/// nobody listens, [`LinkError::Refused`] if the host turns us away, [`LinkError::TimedOut`] if
/// it says nothing, and those of [`Link`].
pub fn connect(
    uri: &Uri,
    hello: &Hello,
    limit: Duration,
) -> Result<(Box<dyn Link>, Welcome), LinkError> {
    let limit = Instant::now() + limit;
    let mut link: Box<dyn Link> = match uri {
        Uri::Unix(path) => Box::new(unix::connect(path, limit)?),
        Uri::Pci(_) | Uri::Vsock { .. } | Uri::Tls(_) => {
            return Err(LinkError::NotBuilt { uri: uri.to_string(), available: "unix:" });
        }
    };
    let welcome = handshake::introduce(&mut *link, hello, limit)?;
    Ok((link, welcome))
}
