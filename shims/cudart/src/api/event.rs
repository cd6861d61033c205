//! Events (CUDA Runtime API, "Event Management"). Handles and flags are the driver's own.

use crate::driver::{Event, Stream};
use crate::primary;
use crate::result::Result;

/// Makes an event that measures time.
pub fn event_create() -> Result<Event> {
    event_create_with_flags(0)
}

/// Makes an event.
pub fn event_create_with_flags(flags: u32) -> Result<Event> {
    let mut event = Event::default();
    primary::current()?.event_create(&mut event, flags)?;
    Ok(event)
}

/// Records an event in a stream.
pub fn event_record(event: Event, stream: Stream) -> Result<()> {
    primary::current()?.event_record(event, stream)
}

/// Records an event in a stream, with flags.
pub fn event_record_with_flags(event: Event, stream: Stream, flags: u32) -> Result<()> {
    primary::current()?.event_record_with_flags(event, stream, flags)
}

/// Answers `NOT_READY` until the event has happened.
pub fn event_query(event: Event) -> Result<()> {
    primary::current()?.event_query(event)
}

/// Waits until the event has happened.
pub fn event_synchronize(event: Event) -> Result<()> {
    primary::current()?.event_synchronize(event)
}

/// Destroys an event.
pub fn event_destroy(event: Event) -> Result<()> {
    primary::current()?.event_destroy(event)
}

/// Returns the time between two events in milliseconds.
pub fn event_elapsed_time(start: Event, end: Event) -> Result<f32> {
    let mut milliseconds = 0.0;
    primary::current()?.event_elapsed_time(&mut milliseconds, start, end)?;
    Ok(milliseconds)
}

/// As [`event_elapsed_time`]: programs built with the last headers of CUDA 12 call it so.
pub fn event_elapsed_time_v2(start: Event, end: Event) -> Result<f32> {
    event_elapsed_time(start, end)
}
