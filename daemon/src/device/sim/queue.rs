//! Streams and events. Work is done when it is asked for, so every stream is always idle and every
//! recorded event has happened; what is left is to know which are there, and when they happened.

use std::time::Instant;

use vgpu_abi::cuda::Error;

use super::context::Contexts;
use super::handles::{Kind, Table};

/// Lowest and highest priority of a stream, as the driver names them for compute capability 9.0.
pub(crate) const PRIORITIES: (i32, i32) = (0, -5);

/// Largest number that stands for a default stream: 0 the context's, 1 the same by name
/// (CU_STREAM_LEGACY), 2 the calling thread's own (CU_STREAM_PER_THREAD).
const DEFAULT_STREAM_MAX: u64 = 2;

/// CU_STREAM_NON_BLOCKING, the only flag of a stream.
const STREAM_FLAGS: u32 = 1;

/// CU_EVENT_BLOCKING_SYNC and CU_EVENT_DISABLE_TIMING.
const EVENT_FLAGS: u32 = 3;
const DISABLE_TIMING: u32 = 2;

/// CU_EVENT_INTERPROCESS.
const INTERPROCESS: u32 = 4;

#[derive(Debug)]
struct Stream {
    context: u64,
    priority: i32,
    is_blocking: bool,
}

#[derive(Debug)]
struct Event {
    context: u64,
    timed: bool,
    recorded: Option<Instant>,
}

/// All streams and events of a client.
#[derive(Debug)]
pub(crate) struct Queues {
    streams: Table<Stream>,
    events: Table<Event>,
}

impl Queues {
    /// Starts without any.
    pub fn new() -> Self {
        Self { streams: Table::new(Kind::Stream), events: Table::new(Kind::Event) }
    }

    /// Ends all streams and events of a context; returns the events.
    pub fn end_context(&mut self, context: u64) -> Vec<u64> {
        self.streams.retain(|stream| stream.context != context);
        self.events.extract_if(|event| event.context == context)
    }

    /// Creates a stream. A priority outside the range is moved into it (CUDA Driver API,
    /// `cuStreamCreateWithPriority`).
    pub fn create_stream(&mut self, context: u64, flags: u32, priority: i32) -> Result<u64, Error> {
        if flags & !STREAM_FLAGS != 0 {
            return Err(Error::INVALID_VALUE);
        }
        let priority = priority.clamp(PRIORITIES.1, PRIORITIES.0);
        let is_blocking = flags & STREAM_FLAGS == 0;
        self.streams.insert(Stream { context, priority, is_blocking })
    }

    /// Destroys a stream. The default streams cannot be destroyed.
    pub fn destroy_stream(&mut self, stream: u64) -> Result<(), Error> {
        self.streams.remove(stream).map(drop).ok_or(Error::INVALID_HANDLE)
    }

    /// Finds a stream's context: that of the caller for a default stream.
    pub fn context_of(&self, contexts: &Contexts, current: u64, stream: u64) -> Result<u64, Error> {
        if stream <= DEFAULT_STREAM_MAX {
            return contexts.find(current).map(|_| current);
        }
        self.streams.find(stream).map(|stream| stream.context).ok_or(Error::INVALID_HANDLE)
    }

    /// Says whether the legacy default stream waits for a stream, and that for it. The threads' own
    /// default streams are such ones.
    pub fn is_blocking(&self, stream: u64) -> bool {
        self.streams.find(stream).is_none_or(|stream| stream.is_blocking)
    }

    /// Tells a stream's priority; that of the default streams is the lowest.
    pub fn priority(&self, stream: u64) -> Result<i32, Error> {
        if stream <= DEFAULT_STREAM_MAX {
            return Ok(PRIORITIES.0);
        }
        self.streams.find(stream).map(|stream| stream.priority).ok_or(Error::INVALID_HANDLE)
    }

    /// Creates an event.
    pub fn create_event(&mut self, context: u64, flags: u32) -> Result<u64, Error> {
        if flags & INTERPROCESS != 0 {
            // Attribute 125 says that no event is shared between processes.
            return Err(Error::NOT_SUPPORTED);
        }
        if flags & !EVENT_FLAGS != 0 {
            return Err(Error::INVALID_VALUE);
        }
        let timed = flags & DISABLE_TIMING == 0;
        self.events.insert(Event { context, timed, recorded: None })
    }

    /// Destroys an event.
    pub fn destroy_event(&mut self, event: u64) -> Result<(), Error> {
        self.events.remove(event).map(drop).ok_or(Error::INVALID_HANDLE)
    }

    /// Checks that an event can be recorded in streams of this context.
    pub fn check_owner(&self, event: u64, context: u64) -> Result<(), Error> {
        let event = self.events.find(event).ok_or(Error::INVALID_HANDLE)?;
        if event.context == context { Ok(()) } else { Err(Error::INVALID_HANDLE) }
    }

    /// Records an event in a stream of this context: the two must belong together.
    pub fn record(&mut self, event: u64, context: u64) -> Result<(), Error> {
        self.check_owner(event, context)?;
        let event = self.events.find_mut(event).ok_or(Error::INVALID_HANDLE)?;
        event.recorded = Some(Instant::now());
        Ok(())
    }

    /// Finds an event; one that was never recorded counts as happened (CUDA Driver API,
    /// `cuEventQuery`), so there is nothing to wait for.
    pub fn check_event(&self, event: u64) -> Result<(), Error> {
        self.events.find(event).map(drop).ok_or(Error::INVALID_HANDLE)
    }

    /// Tells the time between two events in milliseconds; both must have been recorded, with
    /// timing and in one context.
    pub fn elapsed_ms(&self, start: u64, end: u64) -> Result<f32, Error> {
        let start = self.events.find(start).ok_or(Error::INVALID_HANDLE)?;
        let end = self.events.find(end).ok_or(Error::INVALID_HANDLE)?;
        if !start.timed || !end.timed || start.context != end.context {
            return Err(Error::INVALID_HANDLE);
        }
        match (start.recorded, end.recorded) {
            (Some(start), Some(end)) if end >= start => Ok(ms(end - start)),
            (Some(start), Some(end)) => Ok(-ms(start - end)),
            _ => Err(Error::INVALID_HANDLE),
        }
    }
}

fn ms(time: std::time::Duration) -> f32 {
    time.as_secs_f32() * 1000.0
}
