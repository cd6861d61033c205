//! Streams (CUDA Runtime API, "Stream Management"). Handles and flags are the driver's own.

use vgpu_abi::cudart::cudaLaunchAttributeID;
use vgpu_guest::convert::Memory;

use crate::driver::{self, Event, Stream};
use crate::primary;
use crate::result::{Error, Result};

/// Makes a stream that waits for the legacy default stream.
pub fn stream_create() -> Result<Stream> {
    stream_create_with_flags(0)
}

/// Makes a stream.
pub fn stream_create_with_flags(flags: u32) -> Result<Stream> {
    let mut stream = Stream::default();
    primary::current()?.stream_create(&mut stream, flags)?;
    Ok(stream)
}

/// Makes a stream of a priority; one out of range is clamped by the driver.
pub fn stream_create_with_priority(flags: u32, priority: i32) -> Result<Stream> {
    let mut stream = Stream::default();
    primary::current()?.stream_create_with_priority(&mut stream, flags, priority)?;
    Ok(stream)
}

/// Destroys a stream once its work is done; the default streams cannot be destroyed.
pub fn stream_destroy(stream: Stream) -> Result<()> {
    let driver = primary::current()?;
    if stream.0 <= Stream::PER_THREAD.0 {
        return Err(Error::INVALID_RESOURCE_HANDLE);
    }
    driver.stream_destroy(stream)
}

/// Answers `NOT_READY` while the stream has work to do.
pub fn stream_query(stream: Stream) -> Result<()> {
    primary::current()?.stream_query(stream)
}

/// Waits until the stream has no work to do.
pub fn stream_synchronize(stream: Stream) -> Result<()> {
    primary::current()?.stream_synchronize(stream)
}

/// Lets the stream wait for an event.
pub fn stream_wait_event(stream: Stream, event: Event, flags: u32) -> Result<()> {
    primary::current()?.stream_wait_event(stream, event, flags)
}

/// Returns the flags of a stream.
pub fn stream_get_flags(stream: Stream) -> Result<u32> {
    let mut flags = 0;
    primary::current()?.stream_get_flags(stream, &mut flags)?;
    Ok(flags)
}

/// Returns the priority of a stream.
pub fn stream_get_priority(stream: Stream) -> Result<i32> {
    let mut priority = 0;
    primary::current()?.stream_get_priority(stream, &mut priority)?;
    Ok(priority)
}

/// Returns the number of a stream, unique in the process.
pub fn stream_get_id(stream: Stream) -> Result<u64> {
    let mut id = 0;
    primary::current()?.stream_get_id(stream, &mut id)?;
    Ok(id)
}

/// Returns the device of a stream.
pub fn stream_get_device(stream: Stream) -> Result<i32> {
    let mut handle = 0;
    primary::current()?.stream_get_device(stream, &mut handle)?;
    driver::ordinal(handle)
}

forwarded! {
    /// Returns an attribute of a stream; numbers and values are the driver's own.
    stream_get_attribute(
        stream: Stream, attribute: cudaLaunchAttributeID, value: Memory<'_>);
    /// Sets an attribute of a stream.
    stream_set_attribute(
        stream: Stream, attribute: cudaLaunchAttributeID, value: Memory<'_>);
    /// Copies the attributes of one stream to another.
    stream_copy_attributes(target: Stream, source: Stream);
}
