//! Stream-ordered memory and its pools (CUDA Runtime API, "Stream Ordered Memory Allocator").
//!
//! Handles, attributes and structures are the driver's own.

use vgpu_abi::cudart::{
    cudaMemAllocationHandleType, cudaMemAllocationType, cudaMemPool_t, cudaMemPoolAttr,
    cudaStream_t,
};
use vgpu_guest::convert::Memory;

use crate::driver;
use crate::primary;
use crate::result::Result;

forwarded! {
    /// Allocates memory in stream order, from the device's current pool.
    malloc_async(pointer: Memory<'_>, bytes: usize, stream: cudaStream_t);
    /// Allocates memory in stream order, from a pool.
    malloc_from_pool_async(
        pointer: Memory<'_>, bytes: usize, pool: cudaMemPool_t, stream: cudaStream_t);
    /// Frees memory in stream order.
    free_async(pointer: Memory<'_>, stream: cudaStream_t);
    /// Makes a pool.
    mem_pool_create(pool: Memory<'_>, properties: Memory<'_>);
    /// Destroys a pool once its memory is free.
    mem_pool_destroy(pool: cudaMemPool_t);
    /// Gives unused memory of a pool back.
    mem_pool_trim_to(pool: cudaMemPool_t, bytes: usize);
    /// Sets an attribute of a pool.
    mem_pool_set_attribute(pool: cudaMemPool_t, attribute: cudaMemPoolAttr, value: Memory<'_>);
    /// Gives an attribute of a pool.
    mem_pool_get_attribute(pool: cudaMemPool_t, attribute: cudaMemPoolAttr, value: Memory<'_>);
    /// Says which devices may reach the memory of a pool.
    mem_pool_set_access(pool: cudaMemPool_t, list: Memory<'_>, count: usize);
    /// Tells whether a device may reach the memory of a pool.
    mem_pool_get_access(flags: Memory<'_>, pool: cudaMemPool_t, location: Memory<'_>);
    /// Describes memory of a pool for another process.
    mem_pool_export_pointer(description: Memory<'_>, pointer: Memory<'_>);
    /// Finds memory of a pool of another process.
    mem_pool_import_pointer(pointer: Memory<'_>, pool: cudaMemPool_t, description: Memory<'_>);
    /// Gives the pool that a place has from the beginning.
    mem_get_default_mem_pool(pool: Memory<'_>, location: Memory<'_>, kind: cudaMemAllocationType);
    /// Gives the pool that a place uses.
    mem_get_mem_pool(pool: Memory<'_>, location: Memory<'_>, kind: cudaMemAllocationType);
    /// Sets the pool that a place uses.
    mem_set_mem_pool(location: Memory<'_>, kind: cudaMemAllocationType, pool: cudaMemPool_t);
}

/// Gives the pool that a device has from the beginning.
pub fn device_get_default_mem_pool(pool: Memory<'_>, device: i32) -> Result<()> {
    let (driver, handle) = driver::device(device)?;
    driver.device_get_default_mem_pool(pool.into(), handle)
}

/// Gives the pool that a device allocates from.
pub fn device_get_mem_pool(pool: Memory<'_>, device: i32) -> Result<()> {
    let (driver, handle) = driver::device(device)?;
    driver.device_get_mem_pool(pool.into(), handle)
}

/// Sets the pool that a device allocates from.
pub fn device_set_mem_pool(device: i32, pool: cudaMemPool_t) -> Result<()> {
    let (driver, handle) = driver::device(device)?;
    driver.device_set_mem_pool(handle, pool)
}

/// Names a pool for another process.
pub fn mem_pool_export_to_shareable_handle(
    handle: Memory<'_>,
    pool: cudaMemPool_t,
    kind: cudaMemAllocationHandleType,
    flags: u32,
) -> Result<()> {
    let driver = primary::current()?;
    driver.mem_pool_export_to_shareable_handle(handle.into(), pool, kind, flags.into())
}

/// Finds a pool of another process.
pub fn mem_pool_import_from_shareable_handle(
    pool: Memory<'_>,
    handle: Memory<'_>,
    kind: cudaMemAllocationHandleType,
    flags: u32,
) -> Result<()> {
    let driver = primary::current()?;
    driver.mem_pool_import_from_shareable_handle(pool.into(), handle.into(), kind, flags.into())
}
