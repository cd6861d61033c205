//! Waits beside captures, and events in them: those stand for a stream's work until then, and so
//! take other streams into the capture (CUDA C++ Programming Guide, CUDA Graphs, "Cross-stream
//! Dependencies and Events").

use std::sync::Arc;

use vgpu_abi::cuda::Error;

use super::Sim;
use super::capture::{Branch, Captures, Entry, LANES_MAX, Lane, Mark, State};
use super::graph::{EDGES_MAX, Work};
use super::operation::Operation;
use crate::dispatch::Call;

impl Captures {
    /// Lets an event stand for a stream's work until now.
    pub(super) fn mark(&mut self, event: u64, mark: Mark) -> Result<(), Error> {
        self.forget_event(event);
        if mark.work.len() > EDGES_MAX - self.marked {
            return Err(Error::OUT_OF_MEMORY);
        }
        self.marked += mark.work.len();
        self.marks.insert(event, mark);
        Ok(())
    }

    /// Forgets what an event stood for.
    pub fn forget_event(&mut self, event: u64) {
        self.marked -= self.marks.remove(&event).map_or(0, |mark| mark.work.len());
    }
}

impl Sim {
    /// Checks a context that somebody wants to wait for.
    pub(super) fn await_context(&mut self, context: u64) -> Result<(), Error> {
        self.contexts.find(context)?;
        if self.captures.invalidate_where(|lane, _| lane.is_of(context)) {
            return Err(Error::STREAM_CAPTURE_UNSUPPORTED);
        }
        Ok(())
    }

    /// Checks an event that somebody wants to wait for, or ask about: one that was last recorded
    /// in a capture does not happen.
    pub(super) fn await_event(&mut self, event: u64) -> Result<(), Error> {
        self.queues.check_event(event)?;
        match self.captures.marks.get(&event).map(|mark| mark.capture) {
            None if self.will_record(event) => Err(Error::NOT_READY),
            None => Ok(()),
            Some(capture) => {
                self.captures.invalidate(capture);
                Err(Error::CAPTURED_EVENT)
            }
        }
    }

    /// Records an event. In a capture it stands for the stream's work until then, so that other
    /// streams can take part; as an external one it becomes a node.
    pub(super) fn record_event(
        &mut self,
        call: &Call,
        event: u64,
        stream: u64,
        is_external: bool,
    ) -> Result<(), Error> {
        self.queues.check_event(event)?;
        let (context, lane) = match self.enter(call, stream)? {
            // The flag is "invalid outside of stream capture".
            Entry::Free { .. } if is_external => return Err(Error::INVALID_VALUE),
            Entry::Free { context } => {
                self.captures.forget_event(event);
                return self.queues.record(event, context);
            }
            Entry::Captured { context, lane } => (context, lane),
        };
        if is_external {
            let node = Work::Operation(Arc::new(Operation::EventRecord(event)));
            return self.record(lane, context, node).inspect_err(|_| self.invalidate(lane));
        }
        self.queues.check_owner(event, context).inspect_err(|_| self.invalidate(lane))?;
        if let State::Active { id, next, .. } = self.captures.state(lane) {
            let marked = self.captures.mark(event, Mark { capture: id, work: next });
            marked.inspect_err(|_| self.invalidate(lane))?;
        }
        Ok(())
    }

    /// Lets a stream wait for an event. One that was recorded in a capture takes the stream into
    /// that capture, or joins it with the one it is in.
    pub(super) fn wait_event(
        &mut self,
        call: &Call,
        event: u64,
        stream: u64,
        is_external: bool,
    ) -> Result<(), Error> {
        self.queues.check_event(event)?;
        let entry = self.enter(call, stream)?;
        if is_external {
            return match entry {
                Entry::Free { .. } => Err(Error::INVALID_VALUE),
                Entry::Captured { context, lane } => {
                    let node = Work::Operation(Arc::new(Operation::EventWait(event)));
                    self.record(lane, context, node).inspect_err(|_| self.invalidate(lane))
                }
            };
        }
        match (self.captures.marks.get(&event).cloned(), entry) {
            (None, Entry::Free { .. }) => Ok(()),
            (None, Entry::Captured { lane, .. }) => {
                self.invalidate(lane);
                Err(Error::STREAM_CAPTURE_ISOLATION)
            }
            (Some(mark), entry) => self.join(call, stream, entry, &mark),
        }
    }

    fn join(&mut self, call: &Call, stream: u64, entry: Entry, mark: &Mark) -> Result<(), Error> {
        let lane = match entry {
            Entry::Free { context } => Lane::new(context, stream, call.thread),
            Entry::Captured { lane, .. } => lane,
        };
        match self.captures.captures.get(&mark.capture) {
            // What the event stands for is a node by now, and no work of any stream.
            None => return Err(Error::CAPTURED_EVENT),
            Some(capture) if capture.is_invalid => return Err(Error::STREAM_CAPTURE_INVALIDATED),
            Some(_) if lane.is_legacy() => {
                self.captures.invalidate(mark.capture);
                return Err(Error::STREAM_CAPTURE_UNSUPPORTED);
            }
            Some(_) => {}
        }
        let is_blocking = self.queues.is_blocking(stream);
        if self.captures.branches.len() >= LANES_MAX {
            return Err(Error::OUT_OF_MEMORY);
        }
        let branch = self.captures.branches.entry(lane).or_insert_with(|| Branch {
            capture: mark.capture,
            is_blocking,
            next: Vec::new(),
        });
        if branch.capture != mark.capture {
            let other = branch.capture;
            self.captures.invalidate(other);
            self.captures.invalidate(mark.capture);
            return Err(Error::STREAM_CAPTURE_MERGE);
        }
        for dependency in &mark.work {
            if !branch.next.iter().any(|one| one.node == dependency.node) {
                branch.next.push(*dependency);
            }
        }
        Ok(())
    }
}
