//! Streams (CUDA Driver API, Stream Management).
//!
//! Handles 0 and 1 are the default stream, 2 is the calling thread's own; the host tells threads
//! apart by the number in each frame's header.

use vgpu_abi::cuda::{CUcontext, CUdevice, CUevent, CUstream, CUstream_flags, Error};
use vgpu_guest::wire::cuda::{
    StreamCreate, StreamCreateWithPriority, StreamDestroyV2, StreamGetPriority, StreamQuery,
    StreamSynchronize, StreamWaitEvent,
};

use crate::{captures, contexts, handles, remote, work};

/// Makes a stream in the current context.
pub(crate) fn stream_create(flags: u32) -> Result<CUstream, Error> {
    check_flags(flags)?;
    let stream = CUstream(remote::call(&StreamCreate { flags })?.stream);
    handles::insert_stream(stream, flags)?;
    Ok(stream)
}

/// Makes a stream with a priority; the host keeps it within the device's range.
pub(crate) fn stream_create_with_priority(flags: u32, priority: i32) -> Result<CUstream, Error> {
    check_flags(flags)?;
    let request = StreamCreateWithPriority { flags, priority };
    let stream = CUstream(remote::call(&request)?.stream);
    handles::insert_stream(stream, flags)?;
    Ok(stream)
}

fn check_flags(flags: u32) -> Result<(), Error> {
    remote::ready()?;
    if flags & !CUstream_flags::NON_BLOCKING.0 == 0 { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

/// Destroys a stream when its work is done.
pub(crate) fn stream_destroy_v2(stream: CUstream) -> Result<(), Error> {
    remote::ready()?;
    handles::remove_stream(stream)?;
    captures::forget_stream(stream);
    work::forget(stream);
    remote::post(&StreamDestroyV2 { stream: stream.0 })
}

/// As [`stream_destroy_v2`], under its old name.
pub(crate) fn stream_destroy(stream: CUstream) -> Result<(), Error> {
    stream_destroy_v2(stream)
}

/// Waits until the stream's work is done, if its end can be seen; an earlier asynchronous error is
/// reported here.
pub(crate) fn stream_synchronize(stream: CUstream) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    let wait = || remote::call(&StreamSynchronize { stream: stream.0 });
    // The host knows what may be synchronised during a capture.
    if captures::any() { wait() } else { work::wait_for(stream, wait, || remote::settle(stream)) }
}

/// Asks whether the stream's work is done; NOT_READY if it is not.
pub(crate) fn stream_query(stream: CUstream) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    remote::call(&StreamQuery { stream: stream.0 })
}

/// Lets the stream wait for an event. The only flag makes the wait a node of the stream's capture,
/// and is "invalid outside of stream capture".
pub(crate) fn stream_wait_event(stream: CUstream, event: CUevent, flags: u32) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    handles::event(event)?;
    captures::check_flag(flags)?;
    remote::post_to(stream, &StreamWaitEvent { stream: stream.0, event: event.0, flags })
}

/// Returns the stream's priority.
pub(crate) fn stream_get_priority(stream: CUstream) -> Result<i32, Error> {
    remote::ready()?;
    handles::stream(stream)?;
    Ok(remote::call(&StreamGetPriority { stream: stream.0 })?.priority)
}

/// Returns the flags that the stream was made with.
pub(crate) fn stream_get_flags(stream: CUstream) -> Result<u32, Error> {
    remote::ready()?;
    Ok(handles::stream(stream)?.flags)
}

/// Returns the context that the stream belongs to.
pub(crate) fn stream_get_ctx(stream: CUstream) -> Result<CUcontext, Error> {
    remote::ready()?;
    Ok(CUcontext(handles::stream(stream)?.context))
}

/// Returns the device that the stream belongs to.
pub(crate) fn stream_get_device(stream: CUstream) -> Result<CUdevice, Error> {
    Ok(contexts::find(stream_get_ctx(stream)?.0)?.device)
}

/// Returns a number that no other stream of this process has: its handle on the host. For a
/// default stream it is made of the context and the kind.
pub(crate) fn stream_get_id(stream: CUstream) -> Result<u64, Error> {
    remote::ready()?;
    let context = handles::stream(stream)?.context;
    Ok(match stream.0 {
        // The legacy stream has two names.
        0 | 1 => contexts::find(context)?.id << 32 | 1,
        2 => contexts::find(context)?.id << 32 | u64::from(thread_number()) << 1,
        handle => handle,
    })
}

fn thread_number() -> u32 {
    vgpu_guest::current::thread_number()
}
