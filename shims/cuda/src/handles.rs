//! The streams and events of this process: which are alive, and what was said about them.
//!
//! A handle that was never made, or is destroyed, is an error at once and not a silent success
//! that the host would report at the next synchronisation.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use vgpu_abi::cuda::{CUcontext, CUevent, CUstream, Error};
use vgpu_guest::current;

use crate::contexts;

static STREAMS: Mutex<Option<FxHashMap<u64, Stream>>> = Mutex::new(None);
static EVENTS: Mutex<Option<FxHashMap<u64, u64>>> = Mutex::new(None);

/// A stream as it names one thing: the legacy stream has two names, and each thread has its own
/// per-thread stream in each context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    /// The context.
    pub context: u64,
    /// The handle; [`CUstream::LEGACY`] under either name of that stream.
    pub stream: u64,
    /// The thread whose own stream it is; else 0.
    pub thread: u32,
}

impl Lane {
    /// Names a stream of a context, as the calling thread means it.
    pub(crate) fn of(context: u64, stream: CUstream) -> Self {
        match stream {
            CUstream(0) => Self::legacy(context),
            CUstream::PER_THREAD => {
                Self { context, stream: stream.0, thread: current::thread_number() }
            }
            _ => Self { context, stream: stream.0, thread: 0 },
        }
    }

    /// Names the legacy stream of a context.
    pub(crate) const fn legacy(context: u64) -> Self {
        Self { context, stream: CUstream::LEGACY.0, thread: 0 }
    }
}

/// What is known of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stream {
    /// The context that it belongs to.
    pub context: u64,
    /// Flags that it was made with.
    pub flags: u32,
}

fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    // Entries go in and out whole, so a panic elsewhere leaves no half of one.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes up a stream that the host made in the current context.
pub(crate) fn insert_stream(stream: CUstream, flags: u32) -> Result<(), Error> {
    let (context, _) = contexts::current()?;
    lock(&STREAMS).get_or_insert_default().insert(stream.0, Stream { context, flags });
    Ok(())
}

/// Forgets a stream; a default stream, or one that is not alive, is INVALID_HANDLE.
pub(crate) fn remove_stream(stream: CUstream) -> Result<(), Error> {
    let removed = lock(&STREAMS).as_mut().and_then(|streams| streams.remove(&stream.0));
    removed.map(drop).ok_or(Error::INVALID_HANDLE)
}

/// Looks a stream up. The default streams belong to the current context.
pub(crate) fn stream(stream: CUstream) -> Result<Stream, Error> {
    if stream.0 <= CUstream::PER_THREAD.0 {
        let (context, _) = contexts::current()?;
        return Ok(Stream { context, flags: 0 });
    }
    let streams = lock(&STREAMS);
    let found = streams.as_ref().and_then(|streams| streams.get(&stream.0).copied());
    found.ok_or(Error::INVALID_HANDLE)
}

/// Takes up an event that the host made in the current context.
pub(crate) fn insert_event(event: CUevent) -> Result<(), Error> {
    let (context, _) = contexts::current()?;
    lock(&EVENTS).get_or_insert_default().insert(event.0, context);
    Ok(())
}

/// Forgets an event; one that is not alive is INVALID_HANDLE.
pub(crate) fn remove_event(event: CUevent) -> Result<(), Error> {
    let removed = lock(&EVENTS).as_mut().and_then(|events| events.remove(&event.0));
    removed.map(drop).ok_or(Error::INVALID_HANDLE)
}

/// Returns the context of an event that is alive.
pub(crate) fn event(event: CUevent) -> Result<u64, Error> {
    let owner = lock(&EVENTS).as_ref().and_then(|events| events.get(&event.0).copied());
    owner.ok_or(Error::INVALID_HANDLE)
}

/// Forgets what belonged to a context that is gone.
pub(crate) fn forget_context(context: CUcontext) {
    if let Some(streams) = lock(&STREAMS).as_mut() {
        streams.retain(|_, stream| stream.context != context.0);
    }
    if let Some(events) = lock(&EVENTS).as_mut() {
        events.retain(|_, owner| *owner != context.0);
    }
}
