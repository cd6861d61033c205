//! Device memory (CUDA Driver API, Memory Management).

use vgpu_abi::cuda::{CUdeviceptr, Error};
use vgpu_guest::wire::cuda::{MemAllocPitchV2, MemAllocV2, MemFreeV2};

use crate::{contexts, ranges, remote};

/// Allocates device memory; the address is the host's own. No bytes are INVALID_VALUE.
pub(crate) fn mem_alloc_v2(bytes: usize) -> Result<CUdeviceptr, Error> {
    remote::ready()?;
    if bytes == 0 {
        return Err(Error::INVALID_VALUE);
    }
    let (context, _) = contexts::current()?;
    let start = remote::call(&MemAllocV2 { bytesize: bytes as u64 })?.dptr;
    ranges::insert(start, bytes as u64, context);
    Ok(start)
}

/// Allocates rows of device memory; the host chooses how far apart they are.
pub(crate) fn mem_alloc_pitch_v2(
    width_bytes: usize,
    rows: usize,
    element_bytes: u32,
) -> Result<(CUdeviceptr, usize), Error> {
    remote::ready()?;
    if width_bytes == 0 || rows == 0 || ![4, 8, 16].contains(&element_bytes) {
        return Err(Error::INVALID_VALUE);
    }
    let (context, _) = contexts::current()?;
    let reply = remote::call(&MemAllocPitchV2 {
        width_in_bytes: width_bytes as u64,
        height: rows as u64,
        element_size_bytes: element_bytes,
    })?;
    let bytes = reply.p_pitch.checked_mul(rows as u64).ok_or(Error::UNKNOWN)?;
    ranges::insert(reply.dptr, bytes, context);
    Ok((reply.dptr, reply.p_pitch as usize))
}

/// Frees device memory behind everything that was asked before; NULL is nothing to free.
///
/// An address that no allocation begins at is refused at once.
pub(crate) fn mem_free_v2(start: CUdeviceptr) -> Result<(), Error> {
    remote::ready()?;
    if start == 0 {
        return Ok(());
    }
    ranges::remove(start)?;
    remote::post(&MemFreeV2 { dptr: start })
}

/// Returns the beginning and the length of the allocation that holds an address; none is
/// NOT_FOUND.
pub(crate) fn mem_get_address_range_v2(
    address: CUdeviceptr,
) -> Result<(CUdeviceptr, usize), Error> {
    remote::ready()?;
    let range = ranges::find(address).ok_or(Error::NOT_FOUND)?;
    Ok((range.start, range.bytes as usize))
}
