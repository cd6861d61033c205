//! Pinned memory of the program (CUDA Driver API, Memory Management).

use std::ffi::c_void;

use vgpu_abi::cuda::Error;
use vgpu_guest::convert::Memory;
use vgpu_guest::session;
use vgpu_guest::wire::cuda::CtxSynchronize;

use crate::{pinned, remote};

/// Flags of `cuMemHostAlloc`: portable, device map, write-combined.
const ALLOC_FLAGS: u32 = 0x7;

/// Flag that asks for memory which the device sees (`CU_MEMHOSTALLOC_DEVICEMAP`).
const DEVICE_MAP: u32 = 0x2;

/// Allocates pages that stay where they are.
pub(crate) fn mem_alloc_host_v2(bytes: usize) -> Result<*mut c_void, Error> {
    mem_host_alloc(bytes, 0)
}

/// Allocates pages that stay where they are.
///
/// DEVICEMAP is taken, as on a device that has no use for it: under unified addressing the
/// runtime sets it always. Asking for the device's address of the memory is then refused.
pub(crate) fn mem_host_alloc(bytes: usize, flags: u32) -> Result<*mut c_void, Error> {
    remote::ready()?;
    if bytes == 0 || flags & !ALLOC_FLAGS != 0 {
        return Err(Error::INVALID_VALUE);
    }
    pinned::allocate(bytes, flags & !DEVICE_MAP)
}

/// Frees pages that were allocated here, when no copy into them is under way any more.
pub(crate) fn mem_free_host(memory: Memory<'_>) -> Result<(), Error> {
    remote::ready()?;
    if let Some((_, start, bytes)) = pinned::find(memory.address())
        && session::has_copies_into(start, bytes)?
    {
        // Whatever comes of it, nothing is written there after this.
        let synchronised = remote::call(&CtxSynchronize);
        session::give_up_copies_into(start, bytes)?;
        synchronised?;
    }
    pinned::free(memory.address())
}

/// Returns the flags that pinned memory was allocated with; other memory is INVALID_VALUE.
pub(crate) fn mem_host_get_flags(memory: Memory<'_>) -> Result<u32, Error> {
    remote::ready()?;
    pinned::find(memory.address()).map(|(flags, ..)| flags).ok_or(Error::INVALID_VALUE)
}
