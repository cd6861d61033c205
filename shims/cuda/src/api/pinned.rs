//! Pinned memory of the program (CUDA Driver API, Memory Management).

use std::ffi::c_void;

use vgpu_abi::cuda::{CUdeviceptr, Error};
use vgpu_guest::convert::Memory;
use vgpu_guest::session;
use vgpu_guest::wire::cuda::CtxSynchronize;

use crate::{contexts, pinned, remote, spans};

/// Flags of `cuMemHostAlloc`: portable, device map, write-combined.
const ALLOC_FLAGS: u32 = 0x7;

/// Flag that asks for memory which the device sees (`CU_MEMHOSTALLOC_DEVICEMAP`).
const DEVICE_MAP: u32 = 0x2;

/// Flags of `cuMemHostRegister`: portable, device map, and these two.
const REGISTER_FLAGS: u32 = 0xf;
const IO_MEMORY: u32 = 0x4;
const READ_ONLY: u32 = 0x8;

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
    let (context, it) = contexts::current()?;
    let (flags, owner) = (flags & !DEVICE_MAP, (context, it.device));
    match spans::take(bytes)? {
        Some(pages) => Ok(pinned::adopt(pages, bytes, flags, owner)),
        None => pinned::allocate(bytes, flags, owner),
    }
}

/// Frees pages that were allocated here, when no copy from or to them is under way any more.
pub(crate) fn mem_free_host(memory: Memory<'_>) -> Result<(), Error> {
    remote::ready()?;
    if let Some(pinned::Place { start, bytes, .. }) = pinned::find(memory.address())
        && session::has_copies_into(start, bytes)?
    {
        remote::call(&CtxSynchronize)?;
        // What other threads and contexts have begun since: nothing is written there after this.
        session::give_up_copies_into(start, bytes)?;
    }
    let freed = pinned::free(memory.address())?;
    match freed.shared {
        Some(pages) => spans::give(pages, freed.users),
        None => Ok(()),
    }
}

/// Returns the flags that pinned memory was allocated with; other memory is INVALID_VALUE.
pub(crate) fn mem_host_get_flags(memory: Memory<'_>) -> Result<u32, Error> {
    remote::ready()?;
    let found = pinned::find(memory.address()).ok_or(Error::INVALID_VALUE)?;
    found.flags.ok_or(Error::INVALID_VALUE)
}

/// Refuses the device's address of pinned memory: the device does not see it.
pub(crate) fn mem_host_get_device_pointer_v2(
    memory: Memory<'_>,
    flags: u32,
) -> Result<CUdeviceptr, Error> {
    remote::ready()?;
    if flags != 0 || pinned::find(memory.address()).is_none() {
        return Err(Error::INVALID_VALUE);
    }
    Err(Error::NOT_SUPPORTED)
}

/// Locks memory of the program in its pages.
///
/// PORTABLE and DEVICEMAP are taken as by [`mem_host_alloc`]; memory of a device on the bus, and
/// memory that is only read, are NOT_SUPPORTED, as the attributes say.
pub(crate) fn mem_host_register_v2(
    memory: Memory<'_>,
    bytes: usize,
    flags: u32,
) -> Result<(), Error> {
    remote::ready()?;
    if flags & !REGISTER_FLAGS != 0 {
        return Err(Error::INVALID_VALUE);
    }
    if flags & (IO_MEMORY | READ_ONLY) != 0 {
        return Err(Error::NOT_SUPPORTED);
    }
    let (context, it) = contexts::current()?;
    pinned::register(memory.address(), bytes as u64, (context, it.device))
}

/// Lets registered memory go.
pub(crate) fn mem_host_unregister(memory: Memory<'_>) -> Result<(), Error> {
    remote::ready()?;
    pinned::unregister(memory.address())
}
