//! Copies in one dimension (CUDA Driver API, Memory Management).
//!
//! A copy longer than a frame's bulk part travels as several messages, in order.
//!
//! What an asynchronous copy promises: the source of a copy to the device is captured before the
//! call returns, be it pageable or pinned; a copy to the program is complete when the call
//! returns, which is earlier than the documentation asks for (at the stream's synchronisation).

use vgpu_abi::cuda::{CUcontext, CUdeviceptr, CUstream, Error};
use vgpu_guest::convert::Memory;
use vgpu_guest::wire::cuda::{
    MemcpyDtoDAsyncV2, MemcpyDtoDV2, MemcpyDtoHAsyncV2, MemcpyDtoHV2, MemcpyHtoDAsyncV2,
    MemcpyHtoDV2,
};
use vgpu_guest::wire::header::BULK_BYTES_MAX;
use vgpu_guest::{reserve, session};

use super::capture;
use crate::{captures, contexts, handles, ranges, remote};

/// Copies memory of the program to the device, and waits until it is there.
pub(crate) fn memcpy_hto_d_v2(target: CUdeviceptr, source: &[u8]) -> Result<(), Error> {
    remote::ready()?;
    ranges::check(target, source.len() as u64)?;
    check_own(source)?;
    captures::check_unsafe()?;
    let parts = source.chunks(BULK_BYTES_MAX).zip(offsets());
    let request = |offset| MemcpyHtoDV2 { dst_device: target + offset };
    Ok(session::send_parts(parts.map(|(part, offset)| (request(offset), part)))?)
}

/// Copies memory of the device to the program.
pub(crate) fn memcpy_dto_h_v2(target: &mut [u8], source: CUdeviceptr) -> Result<(), Error> {
    remote::ready()?;
    ranges::check(source, target.len() as u64)?;
    check_own(target)?;
    captures::check_unsafe()?;
    let parts = target.chunks_mut(BULK_BYTES_MAX).zip(offsets());
    let request = |offset, bytes: usize| MemcpyDtoHV2 {
        src_device: source + offset,
        byte_count: bytes as u64,
    };
    Ok(session::fetch_parts(parts.map(|(part, offset)| (request(offset, part.len()), part)))?)
}

/// Copies memory of the device to the device.
pub(crate) fn memcpy_dto_d_v2(
    target: CUdeviceptr,
    source: CUdeviceptr,
    bytes: usize,
) -> Result<(), Error> {
    remote::ready()?;
    ranges::check(target, bytes as u64)?;
    ranges::check(source, bytes as u64)?;
    remote::call(&MemcpyDtoDV2 { dst_device: target, src_device: source, byte_count: bytes as u64 })
}

/// Copies memory of the program to the device behind what the stream does already.
pub(crate) fn memcpy_hto_d_async_v2(
    target: CUdeviceptr,
    source: &[u8],
    stream: CUstream,
) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    ranges::check(target, source.len() as u64)?;
    check_own(source)?;
    capture::check_not_capturing(stream)?;
    let parts = source.chunks(BULK_BYTES_MAX).zip(offsets());
    let request = |offset| MemcpyHtoDAsyncV2 { dst_device: target + offset, stream: stream.0 };
    Ok(session::post_parts(parts.map(|(part, offset)| (request(offset), part)))?)
}

/// Copies memory of the device to the program behind what the stream does already, and waits.
pub(crate) fn memcpy_dto_h_async_v2(
    target: &mut [u8],
    source: CUdeviceptr,
    stream: CUstream,
) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    ranges::check(source, target.len() as u64)?;
    check_own(target)?;
    capture::check_not_capturing(stream)?;
    let parts = target.chunks_mut(BULK_BYTES_MAX).zip(offsets());
    let request = |offset, bytes: usize| MemcpyDtoHAsyncV2 {
        src_device: source + offset,
        byte_count: bytes as u64,
        stream: stream.0,
    };
    Ok(session::fetch_parts(parts.map(|(part, offset)| (request(offset, part.len()), part)))?)
}

/// Copies memory of the device to the device behind what the stream does already.
pub(crate) fn memcpy_dto_d_async_v2(
    target: CUdeviceptr,
    source: CUdeviceptr,
    bytes: usize,
    stream: CUstream,
) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    ranges::check(target, bytes as u64)?;
    ranges::check(source, bytes as u64)?;
    remote::post(&MemcpyDtoDAsyncV2 {
        dst_device: target,
        src_device: source,
        byte_count: bytes as u64,
        stream: stream.0,
    })
}

/// Copies between any two addresses, and waits; where each of them lies is looked up.
pub(crate) fn memcpy(target: Memory<'_>, source: Memory<'_>, bytes: usize) -> Result<(), Error> {
    remote::ready()?;
    match (is_device(&target, bytes)?, is_device(&source, bytes)?) {
        (true, true) => memcpy_dto_d_v2(target.address(), source.address(), bytes),
        (true, false) => memcpy_hto_d_v2(target.address(), source.bytes::<Error>(bytes)?),
        (false, true) => memcpy_dto_h_v2(target.bytes_mut::<Error>(bytes)?, source.address()),
        (false, false) => source.copy_to(target, bytes),
    }
}

/// Copies between any two addresses behind what the stream does already.
pub(crate) fn memcpy_async(
    target: Memory<'_>,
    source: Memory<'_>,
    bytes: usize,
    stream: CUstream,
) -> Result<(), Error> {
    remote::ready()?;
    match (is_device(&target, bytes)?, is_device(&source, bytes)?) {
        (true, true) => memcpy_dto_d_async_v2(target.address(), source.address(), bytes, stream),
        (true, false) => {
            memcpy_hto_d_async_v2(target.address(), source.bytes::<Error>(bytes)?, stream)
        }
        (false, true) => {
            memcpy_dto_h_async_v2(target.bytes_mut::<Error>(bytes)?, source.address(), stream)
        }
        (false, false) => {
            // Behind the stream's work, which may still have to fill the source.
            super::stream::stream_synchronize(stream)?;
            source.copy_to(target, bytes)
        }
    }
}

/// Copies between two contexts of one device; between devices it is not carried.
pub(crate) fn memcpy_peer(
    target: CUdeviceptr,
    target_context: CUcontext,
    source: CUdeviceptr,
    source_context: CUcontext,
    bytes: usize,
) -> Result<(), Error> {
    check_same_device(target_context, source_context)?;
    memcpy_dto_d_v2(target, source, bytes)
}

/// As [`memcpy_peer`], behind what the stream does already.
pub(crate) fn memcpy_peer_async(
    target: CUdeviceptr,
    target_context: CUcontext,
    source: CUdeviceptr,
    source_context: CUcontext,
    bytes: usize,
    stream: CUstream,
) -> Result<(), Error> {
    check_same_device(target_context, source_context)?;
    memcpy_dto_d_async_v2(target, source, bytes, stream)
}

fn check_same_device(one: CUcontext, other: CUcontext) -> Result<(), Error> {
    remote::ready()?;
    let same = contexts::find(one.0)?.device == contexts::find(other.0)?.device;
    if same { Ok(()) } else { Err(Error::NOT_SUPPORTED) }
}

/// Tells on which side a place of some bytes lies. An address of device memory that was freed is
/// INVALID_VALUE: the program has nothing there.
fn is_device(memory: &Memory<'_>, bytes: usize) -> Result<bool, Error> {
    if bytes == 0 || ranges::find(memory.address()).is_some() {
        return Ok(bytes != 0);
    }
    if reserve::holds(memory.address()) { Err(Error::INVALID_VALUE) } else { Ok(false) }
}

/// Checks that a place of the program is none of a device, where its memory cannot be reached.
fn check_own(place: &[u8]) -> Result<(), Error> {
    let is_own = place.is_empty() || !reserve::holds(place.as_ptr().addr() as u64);
    if is_own { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

/// Where each part of a copy begins.
fn offsets() -> impl Iterator<Item = u64> {
    (0..).map(|index| index * BULK_BYTES_MAX as u64)
}
