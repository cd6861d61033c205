//! Copies between the client's memory and the device's.

use std::sync::{Arc, PoisonError};

use vgpu_abi::cuda::{CUevent_flags, Error};
use vgpu_link::wire::cuda::{CopyToGuest, MemcpyDtoHV2, MemcpyHtoDAsyncV2, MemcpyHtoDV2};
use vgpu_link::wire::header::BULK_BYTES_MAX;

use super::foreign::{Pointer, Raw};
use super::generated::driver::Driver;
pub(super) use super::pinned::{span_copy, span_copy_async};
use super::staging::{Place, User};
use super::{Life, Nvidia, PER_THREAD};
use crate::device::Copied;
use crate::dispatch::{Call, Wait};

/// The stream that synchronous copies are ordered by: the legacy default stream.
const LEGACY: u64 = 0;

impl Nvidia {
    /// Says whose copies a stream's are.
    pub(super) fn user(&self, call: &Call, stream: u64) -> User {
        let thread = if stream == PER_THREAD { call.thread } else { 0 };
        User { context: call.context, stream, thread }
    }

    /// Copies contents to the device behind what a stream does already, as far as they find room
    /// in pinned memory; returns how much that is.
    fn send_behind(
        &mut self,
        call: &Call,
        stream: u64,
        target: u64,
        contents: &[u8],
    ) -> Result<usize, Error> {
        let user = self.user(call, stream);
        let stream = self.stream(call, stream)?;
        let driver = &*self.driver;
        self.staging.inward.send(driver, (user, stream), contents, |before, part| {
            let target = target.wrapping_add(before as u64);
            driver.memcpy_hto_d_async_v2(target, Raw::read(part), part.len(), stream)
        })
    }

    /// Refuses a copy of the client's memory on a stream that captures: a graph would read it at
    /// each launch. The guest puts such copies into the graph in its own way.
    pub(super) fn check_not_captured(&mut self, call: &Call, stream: u64) -> Result<(), Error> {
        let stream = self.stream(call, stream)?;
        let mut status = 0;
        self.driver.stream_is_capturing(stream, &mut status)?;
        if status == 0 { Ok(()) } else { Err(Error::NOT_SUPPORTED) }
    }
}

/// A synchronous copy is one on the legacy default stream that is waited for.
pub(super) fn memcpy_hto_d_v2(
    nvidia: &mut Nvidia,
    call: &Call,
    r: MemcpyHtoDV2,
    bulk: &[u8],
) -> Result<Wait<()>, Error> {
    nvidia.enter(call)?;
    let sent = nvidia.send_behind(call, LEGACY, r.dst_device, bulk)?;
    let rest = bulk[sent..].to_vec();
    Ok(nvidia.later(move |driver, _| {
        if rest.is_empty() && sent > 0 {
            return driver.stream_synchronize(Pointer(LEGACY as usize));
        }
        let target = r.dst_device.wrapping_add(sent as u64);
        driver.memcpy_hto_d_v2(target, Raw::read(&rest), rest.len())
    }))
}

/// Here the driver does the staging: the thread waits for the copy in any case.
pub(super) fn memcpy_dto_h_v2(
    nvidia: &mut Nvidia,
    call: &Call,
    r: MemcpyDtoHV2,
    _: &mut Vec<u8>,
) -> Result<Wait<()>, Error> {
    nvidia.enter(call)?;
    Ok(nvidia.later(move |driver, bulk| {
        room(bulk, r.byte_count)?;
        let bytes = bulk.len();
        driver.memcpy_dto_h_v2(Raw::write(bulk), r.src_device, bytes)
    }))
}

/// The source was captured when the client asked.
pub(super) fn memcpy_hto_d_async_v2(
    nvidia: &mut Nvidia,
    call: &Call,
    r: MemcpyHtoDAsyncV2,
    bulk: &[u8],
) -> Result<(), Error> {
    nvidia.enter(call)?;
    nvidia.check_not_captured(call, r.stream)?;
    let sent = nvidia.send_behind(call, r.stream, r.dst_device, bulk)?;
    if sent == bulk.len() && sent > 0 {
        return Ok(());
    }
    // The driver copies from memory that is not pinned before it returns (CUDA Driver API, API
    // synchronization behavior), so `bulk` is not needed longer.
    let stream = nvidia.stream(call, r.stream)?;
    let (target, rest) = (r.dst_device.wrapping_add(sent as u64), &bulk[sent..]);
    nvidia.driver.memcpy_hto_d_async_v2(target, Raw::read(rest), rest.len(), stream)
}

/// The contents are complete when the event behind the copy has happened.
pub(super) fn copy_to_guest(nvidia: &mut Nvidia, call: &Call, r: CopyToGuest) -> Result<(), Error> {
    let deliveries = Arc::clone(&nvidia.deliveries);
    deliveries.take_on(call.context, (r.ticket, r.bytes), || {
        nvidia.enter(call)?;
        nvidia.check_not_captured(call, r.stream)?;
        let stream = nvidia.stream(call, r.stream)?;
        let staged = nvidia.fetch_behind(call, stream, r.source, r.bytes)?;
        let copied: Box<dyn Copied> = Box::new(staged);
        Ok(copied)
    })
}

impl Nvidia {
    /// Copies memory of the device, at most a frame's bulk part, behind what a stream of the
    /// current context does already.
    pub(super) fn fetch_behind(
        &mut self,
        call: &Call,
        stream: Pointer,
        source: u64,
        bytes: u64,
    ) -> Result<Staged, Error> {
        let life = self.life(call.context);
        let context = self.context(call.context)?;
        let driver = Arc::clone(&self.driver);
        let mut contents = Contents::Own(Vec::new());
        if let Some(places) = self.staging.outward.take(&*driver, call.context, bytes as usize) {
            contents = Contents::Pinned(places);
        } else if let Contents::Own(own) = &mut contents {
            room(own, bytes)?;
        }
        let mut event = Pointer::default();
        driver.event_create(&mut event, CUevent_flags::DISABLE_TIMING.0)?;
        let mut staged = Staged { driver: Arc::clone(&driver), life, context, contents, event };
        let begun = staged.contents.fill(&driver, source, stream);
        if let Err(error) = begun.and_then(|()| driver.event_record(event, stream)) {
            // What was begun may still be written to. The first error is what counts.
            let _ = driver.stream_synchronize(stream);
            return Err(error);
        }
        Ok(staged)
    }
}

/// Where the driver copies to.
#[derive(Debug)]
enum Contents {
    /// Pinned memory, in parts.
    Pinned(Vec<Place>),
    /// Memory that is not pinned.
    Own(Vec<u8>),
}

impl Contents {
    fn fill(&mut self, driver: &Driver, source: u64, stream: Pointer) -> Result<(), Error> {
        let places = match self {
            Self::Pinned(places) => places,
            Self::Own(own) => {
                let bytes = own.len();
                return driver.memcpy_dto_h_async_v2(Raw::write(own), source, bytes, stream);
            }
        };
        let mut from = source;
        for place in places {
            let bytes = place.bytes();
            place.lend(|to| driver.memcpy_dto_h_async_v2(to, from, bytes, stream))?;
            from = from.wrapping_add(bytes as u64);
        }
        Ok(())
    }
}

/// Memory contents that the driver copies, and the event that tells when it has.
#[derive(Debug)]
pub(super) struct Staged {
    driver: Arc<Driver>,
    /// Of the context, which has the event.
    life: Life,
    context: Pointer,
    contents: Contents,
    event: Pointer,
}

impl Staged {
    /// Asks the driver about the event, on whatever thread; `None` if its context has ended. Of the
    /// threads that ask some have another context current, or none.
    fn ask(
        &self,
        ask: impl FnOnce(&Driver, Pointer) -> Result<(), Error>,
    ) -> Option<Result<(), Error>> {
        // Held, so that the context does not end meanwhile.
        let is_alive = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        is_alive.then(|| {
            self.driver.ctx_push_current_v2(self.context)?;
            let asked = ask(&self.driver, self.event);
            self.driver.ctx_pop_current_v2(&mut Pointer::default())?;
            asked
        })
    }

    /// Waits until the copy is complete, on a thread that may, in its context.
    pub fn wait(&self) -> Result<(), Error> {
        match self.outcome() {
            None => self.driver.event_synchronize(self.event),
            Some(outcome) => outcome,
        }
    }
}

impl Copied for Staged {
    fn outcome(&self) -> Option<Result<(), Error>> {
        match self.ask(Driver::event_query) {
            None => Some(Err(Error::CONTEXT_IS_DESTROYED)),
            Some(Err(Error::NOT_READY)) => None,
            outcome => outcome,
        }
    }

    fn append_to(&self, bulk: &mut Vec<u8>) {
        match &self.contents {
            Contents::Pinned(places) => places.iter().for_each(|place| place.append_to(bulk)),
            Contents::Own(own) => bulk.extend_from_slice(own),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // The contents are there, or nobody asks any more: nothing hangs on how this goes.
        let _ = self.ask(Driver::event_destroy_v2);
    }
}

/// Makes room for what a copy brings. More than a frame holds could not be answered; the guest
/// asks in pieces.
pub(super) fn room(bulk: &mut Vec<u8>, bytes: u64) -> Result<(), Error> {
    if bytes > BULK_BYTES_MAX as u64 {
        return Err(Error::INVALID_VALUE);
    }
    bulk.resize(bytes as usize, 0);
    Ok(())
}
