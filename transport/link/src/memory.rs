//! A stream within one process, for tests: bytes through two bounded queues.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::{Stream, StreamLink};

/// Bytes that a queue holds before its writer waits: 256 KiB, about a socket's buffer.
const QUEUE_BYTES_MAX: usize = 256 << 10;

#[derive(Debug, Default)]
struct Queue {
    bytes: VecDeque<u8>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Pipe {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A queue of bytes is whole at every moment, so a holder's panic does not spoil it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready` says so.
    fn wait(
        &self,
        limit: Option<Instant>,
        ready: impl Fn(&Queue) -> bool,
    ) -> io::Result<MutexGuard<'_, Queue>> {
        let mut queue = self.lock();
        while !ready(&queue) {
            queue = match limit {
                None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(limit) => {
                    let left = limit.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    let waited = self.changed.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        Ok(queue)
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

/// One end of a stream within the process.
#[derive(Debug)]
pub struct MemoryStream {
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
}

/// Makes the two ends of a link within the process.
pub fn memory_pair() -> (StreamLink<MemoryStream>, StreamLink<MemoryStream>) {
    let (left, right) = MemoryStream::pair();
    (StreamLink::new(left), StreamLink::new(right))
}

impl MemoryStream {
    /// Makes the two ends of a stream.
    pub fn pair() -> (Self, Self) {
        let (left, right) = (Arc::<Pipe>::default(), Arc::<Pipe>::default());
        (
            Self { incoming: Arc::clone(&left), outgoing: Arc::clone(&right) },
            Self { incoming: right, outgoing: left },
        )
    }
}

impl Stream for MemoryStream {
    fn read(&self, into: &mut [u8], limit: Option<Instant>) -> io::Result<usize> {
        let mut queue =
            self.incoming.wait(limit, |queue| !queue.bytes.is_empty() || queue.closed)?;
        let count = io::Read::read(&mut queue.bytes, into)?;
        self.incoming.changed.notify_all();
        Ok(count)
    }

    fn write(&self, parts: &[IoSlice<'_>], limit: Option<Instant>) -> io::Result<usize> {
        let mut queue = self
            .outgoing
            .wait(limit, |queue| queue.bytes.len() < QUEUE_BYTES_MAX || queue.closed)?;
        if queue.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = QUEUE_BYTES_MAX - queue.bytes.len();
        let part = parts.iter().find(|part| !part.is_empty()).map_or(&[][..], |part| &part[..]);
        let part = &part[..part.len().min(room)];
        queue.bytes.extend(part);
        self.outgoing.changed.notify_all();
        Ok(part.len())
    }

    fn close(&self) {
        self.incoming.close();
        self.outgoing.close();
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        self.close();
    }
}
