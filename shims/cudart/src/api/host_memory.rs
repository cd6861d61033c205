//! Pinned host memory (CUDA Runtime API, "Memory Management"); flags are the driver's own.

use std::ffi::c_void;

use vgpu_guest::convert::Memory;

use super::memory::address;
use crate::primary;
use crate::result::{Error, Result};

/// The flags that the headers name: portable, mapped, write-combined.
const ALLOCATION_FLAGS: u32 = 0x07;

/// Allocates pinned memory; for no bytes that is NULL, with success.
pub fn malloc_host(bytes: usize) -> Result<*mut c_void> {
    host_alloc(bytes, 0)
}

/// Allocates pinned memory with flags; for no bytes that is NULL, with success.
pub fn host_alloc(bytes: usize, flags: u32) -> Result<*mut c_void> {
    if flags & !ALLOCATION_FLAGS != 0 {
        return Err(Error::INVALID_VALUE);
    }
    let driver = primary::current()?;
    let mut pointer = 0;
    if bytes > 0 {
        driver.mem_host_alloc(&mut pointer, bytes, flags)?;
    }
    Ok(address(pointer))
}

/// Frees pinned memory; NULL frees nothing.
pub fn free_host(memory: Memory<'_>) -> Result<()> {
    let driver = primary::current()?;
    if memory.address() == 0 { Ok(()) } else { driver.mem_free_host((&memory).into()) }
}

/// Pins memory of the program.
pub fn host_register(memory: Memory<'_>, bytes: usize, flags: u32) -> Result<()> {
    require(&memory)?;
    primary::current()?.mem_host_register((&memory).into(), bytes, flags)
}

/// Ends what [`host_register`] began.
pub fn host_unregister(memory: Memory<'_>) -> Result<()> {
    require(&memory)?;
    primary::current()?.mem_host_unregister((&memory).into())
}

/// Returns the address at which the device sees pinned memory.
pub fn host_get_device_pointer(memory: Memory<'_>, flags: u32) -> Result<*mut c_void> {
    require(&memory)?;
    let mut pointer = 0;
    primary::current()?.mem_host_get_device_pointer(&mut pointer, (&memory).into(), flags)?;
    Ok(address(pointer))
}

/// Returns the flags that pinned memory was allocated with.
pub fn host_get_flags(memory: Memory<'_>) -> Result<u32> {
    require(&memory)?;
    let mut flags = 0;
    primary::current()?.mem_host_get_flags(&mut flags, (&memory).into())?;
    Ok(flags)
}

fn require(memory: &Memory<'_>) -> Result<()> {
    if memory.address() == 0 { Err(Error::INVALID_VALUE) } else { Ok(()) }
}
