//! Device memory (CUDA Driver API, Memory Management).

use vgpu_abi::cuda::{CUdeviceptr, Error};
use vgpu_guest::reserve;
use vgpu_guest::wire::cuda::{MemAllocPitchV2, MemAllocV2, MemFreeV2};

use crate::{code, contexts, ranges, remote};

/// Most allocations that are held because their addresses are the program's own: 8. The program
/// and the device each use a small part of the addresses; one attempt nearly always does.
const ATTEMPTS_MAX: usize = 8;

/// Allocates device memory; the address is the host's own. No bytes are INVALID_VALUE.
pub(crate) fn mem_alloc_v2(bytes: usize) -> Result<CUdeviceptr, Error> {
    remote::ready()?;
    if bytes == 0 {
        return Err(Error::INVALID_VALUE);
    }
    let request = MemAllocV2 { bytesize: bytes as u64 };
    apart_from_the_programs_own(|| {
        let start = remote::call(&request)?.dptr;
        Ok((start, bytes as u64, start))
    })
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
    let request = MemAllocPitchV2 {
        width_in_bytes: width_bytes as u64,
        height: rows as u64,
        element_size_bytes: element_bytes,
    };
    apart_from_the_programs_own(|| {
        let reply = remote::call(&request)?;
        let bytes = reply.p_pitch.checked_mul(rows as u64).ok_or(Error::UNKNOWN)?;
        Ok((reply.dptr, bytes, (reply.dptr, reply.p_pitch as usize)))
    })
}

/// One allocation of the host: first address, length in bytes, and what the program is answered.
pub(super) type Allocation<T> = (CUdeviceptr, u64, T);

/// Allocates until the addresses are none of the program's own, and takes up the allocation.
fn apart_from_the_programs_own<T>(
    allocate: impl FnMut() -> Result<Allocation<T>, Error>,
) -> Result<T, Error> {
    let (context, _) = contexts::current()?;
    let (found, in_the_way) = allocate_apart(allocate, reserve::reserve);
    for start in in_the_way {
        remote::post(&MemFreeV2 { dptr: start })?;
    }
    let (start, bytes, answer) = found?;
    ranges::insert(start, bytes, context);
    Ok(answer)
}

/// Allocates until `is_apart` accepts an allocation, and lists those that it did not: they are
/// held until then, or the host would give the same addresses again.
pub(super) fn allocate_apart<T>(
    mut allocate: impl FnMut() -> Result<Allocation<T>, Error>,
    is_apart: impl Fn(u64, u64) -> bool,
) -> (Result<Allocation<T>, Error>, Vec<CUdeviceptr>) {
    let mut in_the_way = Vec::new();
    while in_the_way.len() < ATTEMPTS_MAX {
        match allocate() {
            Ok((start, bytes, _)) if !is_apart(start, bytes) => in_the_way.push(start),
            done => return (done, in_the_way),
        }
    }
    (Err(Error::OUT_OF_MEMORY), in_the_way)
}

/// Frees device memory behind everything that was asked before; NULL is nothing to free.
///
/// An address that no allocation begins at is refused at once.
pub(crate) fn mem_free_v2(start: CUdeviceptr) -> Result<(), Error> {
    remote::ready()?;
    if start == 0 {
        return Ok(());
    }
    if code::is_variable(start) {
        return Err(Error::INVALID_VALUE);
    }
    let range = ranges::remove(start)?;
    // Refused beside a capture, say: then it is still allocated.
    remote::post(&MemFreeV2 { dptr: start }).inspect_err(|_| ranges::restore(vec![range]))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_at_the_programs_own_addresses_is_made_again_elsewhere() {
        let mut next = 0x1000;
        let allocate = || {
            next += 0x1000;
            Ok((next, 16, next))
        };
        let (found, in_the_way) = allocate_apart(allocate, |start, _| start > 0x3000);
        assert_eq!((found, in_the_way), (Ok((0x4000, 16, 0x4000)), vec![0x2000, 0x3000]));
    }

    #[test]
    fn a_host_that_only_has_the_programs_own_addresses_is_out_of_memory() {
        let (found, in_the_way) = allocate_apart(|| Ok((7, 1, ())), |_, _| false);
        assert_eq!((found, in_the_way.len()), (Err(Error::OUT_OF_MEMORY), ATTEMPTS_MAX));
        let (found, in_the_way) = allocate_apart::<()>(|| Err(Error::UNKNOWN), |_, _| true);
        assert_eq!((found, in_the_way.len()), (Err(Error::UNKNOWN), 0));
    }
}
