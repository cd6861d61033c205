//! Device memory (CUDA Runtime API, "Memory Management").

use std::ffi::c_void;
use std::ptr;

use vgpu_guest::convert::Memory;

use crate::primary;
use crate::result::Result;

/// Widest element that rows of a pitched allocation are aligned for, in bytes (`cuMemAllocPitch`
/// takes 4, 8 or 16). The runtime API does not say what the rows hold, so they suit all.
const PITCH_ELEMENT_BYTES: u32 = 16;

/// Returns the free and the total memory of the thread's device in bytes.
pub fn mem_get_info() -> Result<(usize, usize)> {
    let (mut free, mut total) = (0, 0);
    primary::current()?.mem_get_info(&mut free, &mut total)?;
    Ok((free, total))
}

/// Allocates device memory and returns its address; for no bytes that is NULL, with success.
pub fn malloc(bytes: usize) -> Result<*mut c_void> {
    let driver = primary::current()?;
    let mut pointer = 0;
    if bytes > 0 {
        driver.mem_alloc(&mut pointer, bytes)?;
    }
    Ok(address(pointer))
}

/// Allocates rows of device memory; returns their address and their distance in bytes.
pub fn malloc_pitch(width_bytes: usize, height: usize) -> Result<(*mut c_void, usize)> {
    let driver = primary::current()?;
    let (mut pointer, mut pitch) = (0, 0);
    if width_bytes > 0 && height > 0 {
        let (pointer, pitch) = (&mut pointer, &mut pitch);
        driver.mem_alloc_pitch(pointer, pitch, width_bytes, height, PITCH_ELEMENT_BYTES)?;
    }
    Ok((address(pointer), pitch))
}

/// Allocates memory that host and devices share.
pub fn malloc_managed(bytes: usize, flags: u32) -> Result<*mut c_void> {
    let mut pointer = 0;
    primary::current()?.mem_alloc_managed(&mut pointer, bytes, flags)?;
    Ok(address(pointer))
}

/// Frees device memory; NULL frees nothing, but initialises the device as any call does.
pub fn free(memory: Memory<'_>) -> Result<()> {
    let driver = primary::current()?;
    if memory.address() == 0 { Ok(()) } else { driver.mem_free(memory.address()) }
}

/// Returns an address of the driver as C wants it.
pub(super) fn address(pointer: u64) -> *mut c_void {
    ptr::with_exposed_provenance_mut(pointer as usize)
}
