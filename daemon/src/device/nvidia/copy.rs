//! Copies between the client's memory and the device's.

use std::sync::{Arc, PoisonError};

use vgpu_abi::cuda::{CUevent_flags, Error};
use vgpu_link::wire::cuda::{CopyToGuest, MemcpyDtoHV2, MemcpyHtoDAsyncV2, MemcpyHtoDV2};
use vgpu_link::wire::header::BULK_BYTES_MAX;

use super::foreign::{Pointer, Raw};
use super::generated::driver::Driver;
use super::{Life, Nvidia};
use crate::device::Copied;
use crate::dispatch::{Call, Wait};

pub(super) fn memcpy_hto_d_v2(
    nvidia: &mut Nvidia,
    call: &Call,
    r: MemcpyHtoDV2,
    bulk: &[u8],
) -> Result<Wait<()>, Error> {
    nvidia.enter(call)?;
    let bulk = bulk.to_vec();
    Ok(nvidia
        .later(move |driver, _| driver.memcpy_hto_d_v2(r.dst_device, Raw::read(&bulk), bulk.len())))
}

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

/// The source was captured when the client asked. The driver copies from memory that is not
/// pinned before it returns, so `bulk` is not needed longer (CUDA Driver API, API synchronization
/// behavior).
pub(super) fn memcpy_hto_d_async_v2(
    nvidia: &mut Nvidia,
    call: &Call,
    r: MemcpyHtoDAsyncV2,
    bulk: &[u8],
) -> Result<(), Error> {
    nvidia.enter(call)?;
    let stream = nvidia.stream(call, r.stream)?;
    nvidia.driver.memcpy_hto_d_async_v2(r.dst_device, Raw::read(bulk), bulk.len(), stream)
}

/// The contents are complete when the event behind the copy has happened.
pub(super) fn copy_to_guest(nvidia: &mut Nvidia, call: &Call, r: CopyToGuest) -> Result<(), Error> {
    let deliveries = Arc::clone(&nvidia.deliveries);
    deliveries.take_on(r.ticket, r.bytes, || {
        nvidia.enter(call)?;
        let stream = nvidia.stream(call, r.stream)?;
        let life = nvidia.life(call.context);
        let mut staged = Staged::new(Arc::clone(&nvidia.driver), life, r.bytes)?;
        let (bytes, place) = (staged.contents.len(), Raw::write(&mut staged.contents));
        nvidia.driver.memcpy_dto_h_async_v2(place, r.source, bytes, stream)?;
        nvidia.driver.event_record(staged.event, stream)?;
        let copied: Box<dyn Copied> = Box::new(staged);
        Ok(copied)
    })
}

/// Memory contents that the driver copies, and the event that tells when it has.
struct Staged {
    driver: Arc<Driver>,
    /// Of the context, with which the event ends.
    life: Life,
    contents: Vec<u8>,
    event: Pointer,
}

impl Staged {
    fn new(driver: Arc<Driver>, life: Life, bytes: u64) -> Result<Self, Error> {
        let mut contents = Vec::new();
        room(&mut contents, bytes)?;
        let mut event = Pointer::default();
        driver.event_create(&mut event, CUevent_flags::DISABLE_TIMING.0)?;
        Ok(Self { driver, life, contents, event })
    }
}

impl Copied for Staged {
    fn contents(&self) -> Option<Result<&[u8], Error>> {
        // Held, so that the event does not end meanwhile.
        let is_alive = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_alive {
            return Some(Err(Error::CONTEXT_IS_DESTROYED));
        }
        match self.driver.event_query(self.event) {
            Ok(()) => Some(Ok(&self.contents)),
            Err(Error::NOT_READY) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let is_alive = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_alive {
            // The contents are there, or nobody asks any more: nothing hangs on how this goes.
            let _ = self.driver.event_destroy_v2(self.event);
        }
    }
}

/// Makes room for what a copy brings. More than a frame holds could not be answered; the guest
/// asks in pieces.
fn room(bulk: &mut Vec<u8>, bytes: u64) -> Result<(), Error> {
    if bytes > BULK_BYTES_MAX as u64 {
        return Err(Error::INVALID_VALUE);
    }
    bulk.resize(bytes as usize, 0);
    Ok(())
}
