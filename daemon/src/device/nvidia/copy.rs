//! Copies between the client's memory and the device's.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{MemcpyDtoHAsyncV2, MemcpyDtoHV2, MemcpyHtoDAsyncV2, MemcpyHtoDV2};
use vgpu_link::wire::header::BULK_BYTES_MAX;

use super::Nvidia;
use super::foreign::Raw;
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

pub(super) fn memcpy_dto_h_async_v2(
    nvidia: &mut Nvidia,
    call: &Call,
    r: MemcpyDtoHAsyncV2,
    bulk: &mut Vec<u8>,
) -> Result<(), Error> {
    nvidia.enter(call)?;
    let stream = nvidia.stream(call, r.stream)?;
    room(bulk, r.byte_count)?;
    let bytes = bulk.len();
    nvidia.driver.memcpy_dto_h_async_v2(Raw::write(bulk), r.src_device, bytes, stream)?;
    nvidia.driver.stream_synchronize(stream)
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
