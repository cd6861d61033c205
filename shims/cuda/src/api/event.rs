//! Events (CUDA Driver API, Event Management).

use vgpu_abi::cuda::{CUevent, CUevent_flags, CUstream, Error};
use vgpu_guest::wire::cuda::{
    EventCreate, EventDestroyV2, EventElapsedTimeV2, EventQuery, EventRecord, EventRecordWithFlags,
    EventSynchronize,
};

use crate::{captures, handles, remote};

/// Makes an event in the current context; one for other processes is not carried.
pub(crate) fn event_create(flags: u32) -> Result<CUevent, Error> {
    remote::ready()?;
    let known = CUevent_flags::BLOCKING_SYNC.0 | CUevent_flags::DISABLE_TIMING.0;
    if flags & CUevent_flags::INTERPROCESS.0 != 0 {
        return Err(Error::NOT_SUPPORTED);
    }
    if flags & !known != 0 {
        return Err(Error::INVALID_VALUE);
    }
    let event = CUevent(remote::call(&EventCreate { flags })?.event);
    handles::insert_event(event)?;
    Ok(event)
}

/// Destroys an event.
pub(crate) fn event_destroy_v2(event: CUevent) -> Result<(), Error> {
    remote::ready()?;
    handles::remove_event(event)?;
    remote::post(&EventDestroyV2 { event: event.0 })
}

/// As [`event_destroy_v2`], under its old name.
pub(crate) fn event_destroy(event: CUevent) -> Result<(), Error> {
    event_destroy_v2(event)
}

/// Records the event behind what the stream does already.
pub(crate) fn event_record(event: CUevent, stream: CUstream) -> Result<(), Error> {
    check_together(event, stream)?;
    remote::post_to(stream, &EventRecord { event: event.0, stream: stream.0 })
}

/// As [`event_record`]. The only flag makes the recording a node of the stream's capture, and is
/// "invalid outside of stream capture".
pub(crate) fn event_record_with_flags(
    event: CUevent,
    stream: CUstream,
    flags: u32,
) -> Result<(), Error> {
    check_together(event, stream)?;
    captures::check_flag(flags)?;
    remote::post_to(stream, &EventRecordWithFlags { event: event.0, stream: stream.0, flags })
}

/// Waits until the event has happened.
pub(crate) fn event_synchronize(event: CUevent) -> Result<(), Error> {
    ready(event)?;
    remote::call(&EventSynchronize { event: event.0 })
}

/// Asks whether the event has happened; NOT_READY if it has not.
pub(crate) fn event_query(event: CUevent) -> Result<(), Error> {
    ready(event)?;
    remote::call(&EventQuery { event: event.0 })
}

/// Returns the time between two events in milliseconds, as the device measured it.
pub(crate) fn event_elapsed_time_v2(start: CUevent, end: CUevent) -> Result<f32, Error> {
    ready(start)?;
    ready(end)?;
    Ok(remote::call(&EventElapsedTimeV2 { start: start.0, end: end.0 })?.p_milliseconds)
}

/// As [`event_elapsed_time_v2`], under its old name.
pub(crate) fn event_elapsed_time(start: CUevent, end: CUevent) -> Result<f32, Error> {
    event_elapsed_time_v2(start, end)
}

fn ready(event: CUevent) -> Result<(), Error> {
    remote::ready()?;
    handles::event(event).map(drop)
}

/// Checks that both are alive and of one context, as `cuEventRecord` asks.
fn check_together(event: CUevent, stream: CUstream) -> Result<(), Error> {
    remote::ready()?;
    let same = handles::event(event)? == handles::stream(stream)?.context;
    if same { Ok(()) } else { Err(Error::INVALID_HANDLE) }
}
