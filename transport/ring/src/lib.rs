//! A stream of bytes through memory that is shared with a peer who is not trusted.
//!
//! A [`Region`] holds two lanes, one for each direction, and a bulk [`Area`]. [`Duplex`] is one
//! end of the stream: it spins for a moment, then sleeps on a [`Doorbell`], which the other side
//! rings only if somebody sleeps. The bytes of the region are described in `docs/ring.md`.
//!
//! Whatever the peer writes, anywhere, at any time, costs at most the connection: indices are
//! checked against what an honest peer can have written, data is copied before anybody looks at
//! it, and no wait outlives the peer.
//!
//! ```
//! use std::io::IoSlice;
//! use vgpu_ring::{Bells, Duplex, Layout, Side, ThreadBell, create, join};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layout = Layout::new(64 << 10, 0)?;
//! let (file, region) = create(&layout)?;
//! let (data, room) = (ThreadBell::pair(), ThreadBell::pair());
//! let host = Duplex::new(&region, &layout, Side::Host, Bells { data: data.0, room: room.0 });
//!
//! let (region, layout) = join(&file)?;
//! let guest = Duplex::new(&region, &layout, Side::Guest, Bells { data: data.1, room: room.1 });
//! guest.write(&[IoSlice::new(b"hello")], None)?;
//! let mut heard = [0; 16];
//! assert_eq!(host.read(&mut heard, None)?, 5);
//! # Ok(())
//! # }
//! ```

#![cfg_attr(loom, expect(dead_code, reason = "a model has no memory files"))]

mod bell;
mod bulk;
mod duplex;
mod error;
#[cfg(not(loom))]
mod handover;
mod lane;
mod layout;
#[cfg(not(loom))]
mod memory;
#[cfg(all(test, loom))]
mod models;
#[cfg_attr(loom, path = "region/model.rs")]
mod region;
pub mod slots;
mod spin;
mod sync;

pub use bell::{Doorbell, EventBell, SocketBell, ThreadBell, Woken, naps};
pub use bulk::{Area, GRAIN_BYTES, Span, Spans};
pub use duplex::{Bells, Duplex};
pub use error::RingError;
#[cfg(not(loom))]
pub use handover::{Wish, grant, receive_with, send_with};
pub use layout::{
    BULK_BYTES_MAX, CLOSED_BY_HOST, HEAD_BYTES, LANE_BYTES_MAX, LANE_BYTES_MIN, Layout, MAGIC,
    Side, VERSION,
};
#[cfg(not(loom))]
pub use memory::{create, join};
pub use region::Region;
