//! Pinned memory that copies between the client's messages and the device go through.
//!
//! From and to pinned memory the driver copies while its caller goes on. With other memory it may
//! wait for the stream first, and a copy to the host always does (CUDA Driver API, API
//! synchronization behavior): that would hold up all threads of the client.
//!
//! The memory is ours, in pieces; a piece is pinned when it is first needed, and stays so until
//! its context ends. There are never more than [`PIECES_MAX`] each way. Where they do not suffice
//! the driver copies as it does from memory that is not pinned.

mod inward;
mod outward;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use memmap2::MmapMut;
use vgpu_abi::cuda::{CUevent_flags, Error};

use super::foreign::{Pointer, Raw};
use super::generated::driver::Driver;
use crate::log;
pub(super) use inward::{Inward, User};
pub(super) use outward::{Outward, Place};

/// Size of a piece: 512 KiB. A device copies it in some 20 µs, so that the cost of a call is small
/// beside it, and a client that copies little pins no more.
pub(super) const PIECE_BYTES: usize = 512 << 10;

/// Most pieces each way: 8 MiB, the bulk part of one frame.
const PIECES_MAX: usize = 16;

/// Each copy begins at a multiple of this in its piece.
const ALIGNMENT: usize = 256;

/// The staging of one worker.
#[derive(Debug, Default)]
pub(super) struct Staging {
    /// To the device.
    pub inward: Inward,
    /// From the device.
    pub outward: Outward,
    /// What the driver keeps pinned until its context has ended. Nothing else may lie there before:
    /// it would be taken for what was pinned.
    ending: Vec<(u64, Pages)>,
}

/// Memory of a piece, shared with the places in it.
type Pages = Arc<Mutex<MmapMut>>;

impl Staging {
    /// Gives up what is pinned in a context that is about to end, and is current.
    pub fn end_context(&mut self, driver: &impl Pinning, context: u64) {
        let left = self.inward.end_context(driver, context);
        let left = left.into_iter().map(|pages| Arc::new(Mutex::new(pages)));
        let left = left.chain(self.outward.end_context(driver, context));
        self.ending.extend(left.map(|pages| (context, pages)));
    }

    /// Gives back the memory of a context that has ended.
    pub fn bury_context(&mut self, context: u64) {
        self.ending.retain(|(of, _)| *of != context);
    }

    /// Says whether anything is pinned in a context.
    pub fn is_used_by(&self, context: u64) -> bool {
        self.inward.is_used_by(context) || self.outward.is_used_by(context)
    }
}

/// What staging needs of a driver.
pub(super) trait Pinning {
    /// Pins memory in the current context.
    fn pin(&self, pages: &mut [u8]) -> Result<(), Error>;

    /// Undoes it; what fails here the end of the context undoes.
    fn unpin(&self, pages: &mut [u8]) -> Result<(), Error>;

    /// Makes an event in the current context.
    fn event(&self) -> Result<Pointer, Error>;

    /// Ends an event; what fails here the end of the context does.
    fn end_event(&self, event: Pointer);

    /// Has an event happen behind what a stream does already.
    fn record(&self, event: Pointer, stream: Pointer) -> Result<(), Error>;

    /// Says whether an event is still to happen, or may be.
    fn is_due(&self, event: Pointer) -> bool;

    /// Waits for an event.
    fn wait(&self, event: Pointer) -> Result<(), Error>;

    /// Waits for a stream.
    fn drain(&self, stream: Pointer) -> Result<(), Error>;
}

impl Pinning for Driver {
    fn pin(&self, pages: &mut [u8]) -> Result<(), Error> {
        let bytes = pages.len();
        self.mem_host_register_v2(Raw::write(pages), bytes, 0)
    }

    fn unpin(&self, pages: &mut [u8]) -> Result<(), Error> {
        self.mem_host_unregister(Raw::write(pages))
    }

    fn event(&self) -> Result<Pointer, Error> {
        let mut event = Pointer::default();
        self.event_create(&mut event, CUevent_flags::DISABLE_TIMING.0)?;
        Ok(event)
    }

    fn end_event(&self, event: Pointer) {
        let _ = self.event_destroy_v2(event);
    }

    fn record(&self, event: Pointer, stream: Pointer) -> Result<(), Error> {
        self.event_record(event, stream)
    }

    fn is_due(&self, event: Pointer) -> bool {
        self.event_query(event).is_err()
    }

    fn wait(&self, event: Pointer) -> Result<(), Error> {
        self.event_synchronize(event)
    }

    fn drain(&self, stream: Pointer) -> Result<(), Error> {
        self.stream_synchronize(stream)
    }
}

/// Makes the pages of a piece, pinned; `None` where that cannot be, which the log says once.
fn pin(driver: &impl Pinning) -> Option<MmapMut> {
    static IS_TOLD: AtomicBool = AtomicBool::new(false);
    let mapped = MmapMut::map_anon(PIECE_BYTES).map_err(|_| Error::OUT_OF_MEMORY);
    let pinned = mapped.and_then(|mut pages| {
        driver.pin(&mut pages)?;
        Ok(pages)
    });
    if let Err(error) = &pinned
        && !IS_TOLD.swap(true, Ordering::Relaxed)
    {
        log::event(
            "not-pinned",
            &[
                ("because", error),
                ("means", &"more copies go through memory that is not pinned, and take longer"),
                ("try", &"raise the limit of locked memory (LimitMEMLOCK= in the unit)"),
            ],
        );
    }
    pinned.ok()
}
