//! Managed memory (CUDA Runtime API, "Memory Management"): what the driver makes of it.

use vgpu_abi::cudart::{cudaMemRangeAttribute, cudaMemoryAdvise, cudaStream_t};
use vgpu_guest::convert::Memory;

use crate::driver::{self, Location, Stream};
use crate::primary;
use crate::result::Result;

forwarded! {
    /// Gives an attribute of a range.
    mem_range_get_attribute(
        data: Memory<'_>, bytes: usize, attribute: cudaMemRangeAttribute, pointer: Memory<'_>,
        count: usize);
    /// Gives attributes of a range.
    mem_range_get_attributes(
        data: Memory<'_>, sizes: Memory<'_>, attributes: Memory<'_>, attribute_count: usize,
        pointer: Memory<'_>, count: usize);
    /// Lets managed memory belong to a stream.
    stream_attach_mem_async(stream: cudaStream_t, pointer: Memory<'_>, length: usize, flags: u32);
}

/// `cudaCpuDeviceId`: the program's side instead of a device.
const CPU: i32 = -1;

/// Says how memory will be used.
pub fn mem_advise(
    pointer: Memory<'_>,
    count: usize,
    advice: cudaMemoryAdvise,
    device: i32,
) -> Result<()> {
    primary::current()?.mem_advise(pointer.into(), count, advice, side(device)?)
}

/// Says how memory will be used, at a place of any kind.
pub fn mem_advise_v2(
    pointer: Memory<'_>,
    count: usize,
    advice: cudaMemoryAdvise,
    location: impl Into<Location>,
) -> Result<()> {
    primary::current()?.mem_advise_v2(pointer.into(), count, advice, location.into())
}

/// Brings memory to where it will be used.
pub fn mem_prefetch_async(
    pointer: Memory<'_>,
    count: usize,
    device: i32,
    stream: Stream,
) -> Result<()> {
    primary::current()?.mem_prefetch_async(pointer.into(), count, side(device)?, stream)
}

/// Brings memory to a place of any kind.
pub fn mem_prefetch_async_v2(
    pointer: Memory<'_>,
    count: usize,
    location: impl Into<Location>,
    flags: u32,
    stream: Stream,
) -> Result<()> {
    let driver = primary::current()?;
    driver.mem_prefetch_async_v2(pointer.into(), count, location.into(), flags, stream)
}

/// Returns the driver's number of a device, or of the program's side.
fn side(device: i32) -> Result<i32> {
    if device == CPU { Ok(CPU) } else { driver::device(device).map(|(_, handle)| handle) }
}
