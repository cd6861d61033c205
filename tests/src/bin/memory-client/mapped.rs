//! Physical memory mapped piece by piece at reserved addresses, as ggml's pool grows.

use cudarc::driver::sys;
use serde_json::json;

use crate::{Failed, Told, begin, name, ok, pattern, read, write};

const RESERVED: usize = 32 << 30;

fn wanted() -> sys::CUmemAllocationProp {
    sys::CUmemAllocationProp {
        type_: sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED,
        requestedHandleTypes: sys::CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_NONE,
        location: location(),
        win32HandleMetaData: std::ptr::null_mut(),
        // SAFETY: integers, for which zeros are values.
        allocFlags: unsafe { std::mem::zeroed() },
    }
}

fn location() -> sys::CUmemLocation {
    sys::CUmemLocation { type_: sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE, id: 0 }
}

/// Maps one more piece at an address, for reading and writing.
///
/// # Safety
/// The address is reserved for as many bytes.
unsafe fn grow(at: sys::CUdeviceptr, bytes: usize) -> Result<(), Failed> {
    let access = sys::CUmemAccessDesc {
        location: location(),
        flags: sys::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
    };
    let mut handle = 0;
    // SAFETY: the places are ours, the rest is the caller's promise.
    unsafe {
        ok("cuMemCreate", sys::cuMemCreate(&mut handle, bytes, &wanted(), 0))?;
        ok("cuMemMap", sys::cuMemMap(at, bytes, 0, handle, 0))?;
        ok("cuMemRelease", sys::cuMemRelease(handle))?;
        ok("cuMemSetAccess", sys::cuMemSetAccess(at, bytes, &access, 1))
    }
}

pub(crate) fn tell() -> Told {
    begin()?;
    let (mut start, mut granularity) = (0, 0);
    let least = sys::CUmemAllocationGranularity_flags::CU_MEM_ALLOC_GRANULARITY_MINIMUM;
    // SAFETY: the places are ours; what is mapped is reserved before, and unmapped at the end.
    unsafe {
        let asked = sys::cuMemGetAllocationGranularity(&mut granularity, &wanted(), least);
        ok("cuMemGetAllocationGranularity", asked)?;
        ok("cuMemAddressReserve", sys::cuMemAddressReserve(&mut start, RESERVED, 0, 0, 0))?;
        let unmapped = write(start, &[1]);
        for piece in 0..3 {
            grow(start + (piece * granularity) as u64, granularity)?;
        }
        let sent = pattern(2 * granularity, 5);
        let at = start + granularity as u64 / 2;
        ok("cuMemcpyHtoD", write(at, &sent))?;
        let mut got = vec![0; sent.len()];
        ok("cuMemcpyDtoH", read(at, &mut got))?;
        let beyond = write(start + 3 * granularity as u64 - 1, &[1, 2]);
        let again = sys::cuMemMap(start, granularity, 0, 77, 0);
        let part = sys::cuMemUnmap(start, granularity / 2);
        let freed = sys::cuMemFree_v2(start);
        let (mut base, mut bytes) = (0, 0);
        let range = sys::cuMemGetAddressRange_v2(&mut base, &mut bytes, start + 5);
        ok("cuMemGetAddressRange", range)?;
        let mut flags = 0;
        ok("cuMemGetAccess", sys::cuMemGetAccess(&mut flags, &location(), start))?;
        let mut shared = wanted();
        shared.requestedHandleTypes =
            sys::CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
        let mut handle = 0;
        let shared = sys::cuMemCreate(&mut handle, granularity, &shared, 0);
        ok("cuMemUnmap", sys::cuMemUnmap(start, 3 * granularity))?;
        let after = read(start, &mut got[..1]);
        ok("cuMemAddressFree", sys::cuMemAddressFree(start, RESERVED))?;
        Ok(json!({
            "granularity": granularity,
            "unmapped": name(unmapped),
            "across_pieces": got[1..] == sent[1..],
            "beyond": name(beyond),
            "no_such_handle": name(again),
            "half_a_piece": name(part),
            "freed_as_allocated": name(freed),
            "range": [base == start, bytes == granularity],
            "access": flags as u32,
            "shared": name(shared),
            "after": name(after),
        }))
    }
}
