//! Stream capture: which streams are being captured into which graph (CUDA Driver API, Stream
//! Management; CUDA C++ Programming Guide, CUDA Graphs, "Creating a Graph Using Stream Capture").
//!
//! Every piece of work for a stream comes through [`Sim::submit`], which does it or records it.
//! The rules about threads and modes are the guest's, which knows its threads; every capture here
//! is a relaxed one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use vgpu_abi::cuda::{CUstream, Error};

use super::Sim;
use super::graph::{Dependency, Work};
use super::operation::Operation;
use crate::dispatch::Call;

/// Most streams in captures at a time: far more than programs have streams. Threads' own streams
/// are never created, so nothing else limits them.
pub(super) const LANES_MAX: usize = 1 << 16;

/// What names a stream: a default stream's number means another one in each context, and the
/// per-thread one in each thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    context: u64,
    stream: u64,
    thread: u32,
}

impl Lane {
    /// Names a stream as a thread means it.
    pub fn new(context: u64, stream: u64, thread: u32) -> Self {
        match CUstream(stream) {
            CUstream(0) => Self { context, stream: CUstream::LEGACY.0, thread: 0 },
            CUstream::PER_THREAD => Self { context, stream, thread },
            _ => Self { context, stream, thread: 0 },
        }
    }

    /// Says whether the stream belongs to a context.
    pub fn is_of(self, context: u64) -> bool {
        self.context == context
    }

    /// Says whether this is a stream that was created, by its handle.
    pub fn is_created(self, stream: u64) -> bool {
        self.stream == stream
    }

    /// Says whether it is the default stream that waits for all blocking ones.
    pub fn is_legacy(self) -> bool {
        self.stream == CUstream::LEGACY.0
    }
}

/// A capture that goes on.
#[derive(Debug)]
pub(crate) struct Capture {
    origin: Lane,
    graph: u64,
    /// Whether the graph was there before, and stays when the capture fails.
    is_into_graph: bool,
    pub(super) is_invalid: bool,
}

/// A stream that is being captured.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(super) capture: u64,
    /// Whether the legacy stream waits for it, and it for that.
    pub(super) is_blocking: bool,
    /// What the next node will depend on.
    pub(super) next: Vec<Dependency>,
}

/// What an event stands for that was last recorded in a capture.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    pub(super) capture: u64,
    pub(super) work: Vec<Dependency>,
}

/// What a client asks about a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// It is not being captured.
    Idle,
    /// It is, but the capture has failed.
    Invalid,
    /// It is.
    Active {
        /// Number of the capture.
        id: u64,
        /// What it is captured into.
        graph: u64,
        /// What the next node will depend on.
        next: Vec<Dependency>,
    },
}

/// All captures of a client.
#[derive(Debug, Default)]
pub(crate) struct Captures {
    last: u64,
    pub(super) captures: BTreeMap<u64, Capture>,
    pub(super) branches: HashMap<Lane, Branch>,
    /// By event.
    pub(super) marks: HashMap<u64, Mark>,
    /// Dependencies in all marks.
    pub(super) marked: usize,
}

impl Captures {
    /// Begins a capture into a graph.
    fn begin(
        &mut self,
        origin: Lane,
        is_blocking: bool,
        graph: u64,
        next: Option<Vec<Dependency>>,
    ) -> Result<(), Error> {
        if self.branches.contains_key(&origin) {
            return Err(Error::ILLEGAL_STATE);
        }
        if self.branches.len() >= LANES_MAX {
            return Err(Error::OUT_OF_MEMORY);
        }
        self.last += 1;
        let is_into_graph = next.is_some();
        let capture = Capture { origin, graph, is_into_graph, is_invalid: false };
        self.captures.insert(self.last, capture);
        let next = next.unwrap_or_default();
        self.branches.insert(origin, Branch { capture: self.last, is_blocking, next });
        Ok(())
    }

    /// Tells about a stream.
    pub fn state(&self, lane: Lane) -> State {
        let Some(branch) = self.branches.get(&lane) else { return State::Idle };
        match self.captures.get(&branch.capture) {
            Some(Capture { is_invalid: false, graph, .. }) => {
                let next = branch.next.clone();
                State::Active { id: branch.capture, graph: *graph, next }
            }
            _ => State::Invalid,
        }
    }

    /// Lets a capture fail.
    pub fn invalidate(&mut self, capture: u64) {
        if let Some(capture) = self.captures.get_mut(&capture) {
            capture.is_invalid = true;
        }
    }

    /// Invalidates the captures that go on among some streams; `true` if there was one.
    pub(super) fn invalidate_where(&mut self, is_meant: impl Fn(&Lane, &Branch) -> bool) -> bool {
        let meant = self.branches.iter().filter(|(lane, branch)| is_meant(lane, branch));
        let meant: Vec<u64> = meant.map(|(_, branch)| branch.capture).collect();
        meant.iter().for_each(|&capture| self.invalidate(capture));
        !meant.is_empty()
    }

    /// Ends a capture; its streams are ordinary ones from now on.
    fn end(&mut self, capture: u64) -> Option<(Capture, Vec<(Lane, Branch)>)> {
        let ended = self.captures.remove(&capture)?;
        let branches = self.branches.extract_if(|_, branch| branch.capture == capture).collect();
        Some((ended, branches))
    }
}

impl Sim {
    /// Does an operation in a stream, or records it if the stream is being captured.
    ///
    /// # Errors
    /// INVALID_HANDLE if there is no such stream; STREAM_CAPTURE_IMPLICIT for the legacy stream
    /// while one that waits for it is being captured; STREAM_CAPTURE_INVALIDATED; and what the
    /// operation itself meets with. One that could not be recorded invalidates the capture: the
    /// client did not wait, and would else be given a graph that lacks it.
    pub(super) fn submit(
        &mut self,
        call: &Call,
        stream: u64,
        operation: Operation,
    ) -> Result<(), Error> {
        match self.enter(call, stream)? {
            Entry::Free { context } => self.perform(context, &operation),
            Entry::Captured { context, lane } => {
                let recorded = self.examine(context, &operation).and_then(|()| {
                    self.record(lane, context, Work::Operation(Arc::new(operation)))
                });
                recorded.inspect_err(|_| self.invalidate(lane))
            }
        }
    }

    /// Finds out what is to be done with new work for a stream.
    pub(super) fn enter(&mut self, call: &Call, stream: u64) -> Result<Entry, Error> {
        let context = self.check_stream(call.context, stream)?;
        let lane = Lane::new(context, stream, call.thread);
        if lane.is_legacy() {
            self.use_legacy(context)?;
            return Ok(Entry::Free { context });
        }
        match self.captures.state(lane) {
            State::Idle => Ok(Entry::Free { context }),
            State::Active { .. } => Ok(Entry::Captured { context, lane }),
            State::Invalid => Err(Error::STREAM_CAPTURE_INVALIDATED),
        }
    }

    /// Adds a node to a stream's capture.
    pub(super) fn record(&mut self, lane: Lane, context: u64, work: Work) -> Result<(), Error> {
        let State::Active { graph, next, .. } = self.captures.state(lane) else {
            return Err(Error::STREAM_CAPTURE_INVALIDATED);
        };
        let node = self.graphs.add(graph, context, work, next)?;
        if let Some(branch) = self.captures.branches.get_mut(&lane) {
            branch.next = vec![Dependency::on(node)];
        }
        Ok(())
    }

    /// Invalidates the capture that a stream is in.
    pub(super) fn invalidate(&mut self, lane: Lane) {
        self.captures.invalidate_where(|other, _| *other == lane);
    }

    /// Checks that work may be done in the legacy stream: none that is ordered with it may be in a
    /// capture, which would make the two depend on each other.
    pub(super) fn use_legacy(&mut self, context: u64) -> Result<(), Error> {
        let is_ordered =
            |lane: &Lane, branch: &Branch| lane.context == context && branch.is_blocking;
        if self.captures.invalidate_where(is_ordered) {
            return Err(Error::STREAM_CAPTURE_IMPLICIT);
        }
        Ok(())
    }

    /// Checks a stream that somebody wants to wait for, or ask about.
    pub(super) fn await_stream(&mut self, call: &Call, stream: u64) -> Result<(), Error> {
        match self.enter(call, stream)? {
            Entry::Free { .. } => Ok(()),
            Entry::Captured { lane, .. } => {
                self.invalidate(lane);
                Err(Error::STREAM_CAPTURE_UNSUPPORTED)
            }
        }
    }

    /// Begins to capture a stream into a new graph, or with dependencies into one that is there.
    pub(super) fn begin_capture(
        &mut self,
        call: &Call,
        stream: u64,
        into: Option<(u64, Vec<Dependency>)>,
    ) -> Result<(), Error> {
        let context = self.check_stream(call.context, stream)?;
        let lane = Lane::new(context, stream, call.thread);
        if lane.is_legacy() {
            return Err(Error::STREAM_CAPTURE_UNSUPPORTED);
        }
        let is_blocking = self.queues.is_blocking(stream);
        let Some((graph, next)) = into else {
            let graph = self.graphs.create()?;
            let begun = self.captures.begin(lane, is_blocking, graph, None);
            self.graphs.find_mut(graph)?.is_capturing = begun.is_ok();
            return begun.inspect_err(|_| self.graphs.bury(graph));
        };
        self.graphs.check_dependencies(graph, &next)?;
        if self.graphs.find(graph)?.is_capturing {
            return Err(Error::ILLEGAL_STATE);
        }
        self.captures.begin(lane, is_blocking, graph, Some(next))?;
        self.graphs.find_mut(graph)?.is_capturing = true;
        Ok(())
    }

    /// Ends the capture that began in a stream, and hands out its graph.
    pub(super) fn end_capture(&mut self, call: &Call, stream: u64) -> Result<u64, Error> {
        let context = self.check_stream(call.context, stream)?;
        let lane = Lane::new(context, stream, call.thread);
        let branch = self.captures.branches.get(&lane).ok_or(Error::ILLEGAL_STATE)?;
        let number = branch.capture;
        let is_origin =
            self.captures.captures.get(&number).is_some_and(|capture| capture.origin == lane);
        if !is_origin {
            self.captures.invalidate(number);
            return Err(Error::STREAM_CAPTURE_UNMATCHED);
        }
        let (capture, branches) = self.captures.end(number).ok_or(Error::ILLEGAL_STATE)?;
        if let Ok(graph) = self.graphs.find_mut(capture.graph) {
            graph.is_capturing = false;
        }
        let ended = match capture.is_invalid {
            true => Err(Error::STREAM_CAPTURE_INVALIDATED),
            false => self.check_joined(lane, &branches),
        };
        if ended.is_err() && !capture.is_into_graph {
            self.graphs.bury(capture.graph);
        }
        ended.map(|()| capture.graph)
    }

    /// Checks that the stream in which a capture began comes after all work of the others.
    fn check_joined(&self, origin: Lane, branches: &[(Lane, Branch)]) -> Result<(), Error> {
        let last = branches.iter().find(|(lane, _)| *lane == origin);
        let last = last.into_iter().flat_map(|(_, branch)| &branch.next).map(|one| one.node);
        let reached = self.graphs.with_ancestors(last);
        let is_joined = |one: &Dependency| {
            // One that the client has taken out of the graph is nobody's to join.
            self.graphs.node(one.node).is_err() || reached.contains(&one.node)
        };
        let all = branches.iter().flat_map(|(_, branch)| &branch.next).all(is_joined);
        if all { Ok(()) } else { Err(Error::STREAM_CAPTURE_UNJOINED) }
    }

    /// Tells whether a stream is being captured.
    ///
    /// # Errors
    /// STREAM_CAPTURE_IMPLICIT for the legacy stream while one that waits for it is.
    pub(super) fn capture_state(&self, call: &Call, stream: u64) -> Result<State, Error> {
        let context = self.check_stream(call.context, stream)?;
        let lane = Lane::new(context, stream, call.thread);
        let mut others = self.captures.branches.iter();
        if lane.is_legacy()
            && others.any(|(lane, branch)| lane.context == context && branch.is_blocking)
        {
            return Err(Error::STREAM_CAPTURE_IMPLICIT);
        }
        Ok(self.captures.state(lane))
    }

    /// Changes what a stream's next node will depend on: besides what it does, or instead.
    pub(super) fn change_dependencies(
        &mut self,
        call: &Call,
        stream: u64,
        dependencies: Vec<Dependency>,
        is_instead: bool,
    ) -> Result<(), Error> {
        let context = self.check_stream(call.context, stream)?;
        let lane = Lane::new(context, stream, call.thread);
        let graph = match self.captures.state(lane) {
            State::Idle => return Err(Error::ILLEGAL_STATE),
            State::Invalid => return Err(Error::STREAM_CAPTURE_INVALIDATED),
            State::Active { graph, .. } => graph,
        };
        self.graphs.check_dependencies(graph, &dependencies)?;
        let branch = self.captures.branches.get_mut(&lane).ok_or(Error::ILLEGAL_STATE)?;
        if is_instead {
            branch.next.clear();
        }
        branch.next.retain(|old| !dependencies.iter().any(|new| new.node == old.node));
        branch.next.extend(dependencies);
        Ok(())
    }

    /// Takes a stream that is destroyed out of its capture, which cannot succeed any more; one that
    /// began there ends.
    pub(super) fn leave_captures(&mut self, is_gone: impl Fn(Lane) -> bool) {
        self.captures.invalidate_where(|lane, _| is_gone(*lane));
        let captures = self.captures.captures.iter();
        let ended: Vec<u64> = captures
            .filter(|(_, capture)| is_gone(capture.origin))
            .map(|(number, _)| *number)
            .collect();
        for (capture, _) in ended.into_iter().filter_map(|number| self.captures.end(number)) {
            match self.graphs.find_mut(capture.graph) {
                Ok(graph) if capture.is_into_graph => graph.is_capturing = false,
                _ => self.graphs.bury(capture.graph),
            }
        }
        self.captures.branches.retain(|lane, _| !is_gone(*lane));
    }
}

/// What is to be done with new work for a stream.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry {
    /// It is done.
    Free {
        /// The stream's context.
        context: u64,
    },
    /// It is recorded.
    Captured {
        /// The stream's context.
        context: u64,
        /// The stream.
        lane: Lane,
    },
}
