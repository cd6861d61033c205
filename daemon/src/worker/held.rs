//! Messages that are held while streams wait for functions of the client's program.
//!
//! What is behind a function in its stream waits, and what depends on that. The function may wait
//! for another thread of the program, so what need not wait is done meanwhile, and a query is
//! answered at once.

use std::collections::{HashSet, VecDeque};
use std::mem;
use std::time::Instant;

use vgpu_abi::cuda::CUstream_flags;
use vgpu_link::wire::{Header, Kind, Request, cuda};

use super::touch::{Lane, Touch};
use crate::device::{Functions, Holds};

/// Calls that are done whatever streams do.
const PASSING: &[u32] = &[
    cuda::MemAllocV2::OPCODE,
    cuda::MemAllocPitchV2::OPCODE,
    cuda::MemGetInfoV2::OPCODE,
    cuda::StreamCreate::OPCODE,
    cuda::StreamCreateWithPriority::OPCODE,
    cuda::StreamGetPriority::OPCODE,
    cuda::EventCreate::OPCODE,
    cuda::CtxGetLimit::OPCODE,
    cuda::CtxGetCacheConfig::OPCODE,
    cuda::CtxGetStreamPriorityRange::OPCODE,
    cuda::StandInRead::OPCODE,
    cuda::StandInWrite::OPCODE,
    cuda::SpanPin::OPCODE,
    // What is launched of a graph does not need it any more.
    cuda::GraphCreate::OPCODE,
    cuda::GraphClone::OPCODE,
    cuda::GraphDestroy::OPCODE,
    cuda::GraphNodes::OPCODE,
    cuda::GraphEdges::OPCODE,
    cuda::GraphNodeEdges::OPCODE,
    cuda::GraphAddNode::OPCODE,
    cuda::GraphNodeParams::OPCODE,
    cuda::GraphNodeGetType::OPCODE,
];

/// Calls that only ask how far something is.
const ASKING: [u32; 2] = [cuda::StreamQuery::OPCODE, cuda::EventQuery::OPCODE];

/// Launches of graphs, of whose events nobody here knows: their nodes may record some, and wait for
/// others as they are recorded at the launch.
const GRAPHS: [u32; 2] = [cuda::GraphLaunch::OPCODE, cuda::GraphRun::OPCODE];

/// Most bytes that are held: 256 MiB, what a client may well post behind a function.
pub(super) const BYTES_MAX: usize = 256 << 20;

/// What a held message takes besides its parts, in bytes.
const OVERHEAD_BYTES: usize = 256;

/// One message that is held.
#[derive(Debug)]
pub(crate) struct Message {
    pub header: Header,
    pub payload: Vec<u8>,
    pub bulk: Vec<u8>,
    pub touch: Touch,
    /// When it came, where that is counted.
    pub since: Option<Instant>,
}

impl Message {
    fn bytes(&self) -> usize {
        self.payload.len() + self.bulk.len() + OVERHEAD_BYTES
    }
}

/// What to do with a message that comes while streams wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is done at once.
    Passes,
    /// It waits for its turn.
    Waits,
    /// It asks, and the answer is that work is not ready.
    NotReady,
    /// It would wait, but there is no room.
    NoRoom,
}

/// A function that has not returned, or a run of a graph with functions.
#[derive(Debug)]
struct Pending {
    ticket: u64,
    touch: Touch,
}

/// What must not be done before something else that has to wait.
#[derive(Debug, Default)]
struct Blocked {
    lanes: HashSet<Lane>,
    /// Events whose record is held.
    events: HashSet<u64>,
    /// Events that a stream is held to wait for, as they are recorded now.
    awaited: HashSet<u64>,
    /// Whether some events may yet be recorded by a graph, nobody here knows which.
    any_event: bool,
    /// Whether the launch of a graph is held, which may mean any event as it is now.
    any_meant: bool,
    all: bool,
}

impl Blocked {
    fn is_nothing(&self) -> bool {
        !self.all && self.lanes.is_empty()
    }

    /// Says whether a stream has to wait: for its own work, or the legacy stream's, which waits for
    /// every other that is not one of `free`.
    fn stops_lane(&self, lane: Lane, free: &HashSet<u64>) -> bool {
        let is_free = |lane: &Lane| free.contains(&lane.stream());
        if lane.is_legacy() {
            return !self.lanes.iter().all(is_free);
        }
        let of_legacy = || self.lanes.iter().any(|other| other.is_legacy());
        self.lanes.contains(&lane) || !is_free(&lane) && of_legacy()
    }

    /// Says whether something that is held means an event as it is now, so that it must not be
    /// recorded anew, nor end.
    fn is_meant(&self, event: u64) -> bool {
        self.any_meant || self.events.contains(&event) || self.awaited.contains(&event)
    }

    /// Says whether something that is held is about some event.
    fn has_events(&self) -> bool {
        self.any_meant || !self.events.is_empty() || !self.awaited.is_empty()
    }

    fn stops(&self, touch: Touch, opcode: u32, free: &HashSet<u64>) -> bool {
        self.all
            || match touch {
                Touch::Stream(lane) => {
                    GRAPHS.contains(&opcode) && self.has_events() || self.stops_lane(lane, free)
                }
                Touch::Record(lane, event) => self.is_meant(event) || self.stops_lane(lane, free),
                Touch::Wait(lane, event) => {
                    self.any_event || self.events.contains(&event) || self.stops_lane(lane, free)
                }
                Touch::Event(event) => {
                    let waits = opcode == cuda::EventSynchronize::OPCODE;
                    let ends = opcode == cuda::EventDestroyV2::OPCODE;
                    waits && self.any_event
                        || ends && self.is_meant(event)
                        || self.events.contains(&event)
                }
                Touch::Anything => !self.is_nothing(),
            }
    }

    /// Takes up what waits for its turn. Who waits for the answer to a call that is about anything
    /// cannot tell it from others that came a moment earlier: it goes before nothing.
    fn add(&mut self, kind: Kind, touch: Touch, opcode: u32) {
        if GRAPHS.contains(&opcode) {
            (self.any_event, self.any_meant) = (true, true);
        }
        self.lanes.extend(touch.lane());
        match touch {
            Touch::Record(_, event) => drop(self.events.insert(event)),
            Touch::Wait(_, event) => drop(self.awaited.insert(event)),
            Touch::Anything if kind == Kind::Post => self.all = true,
            _ => {}
        }
    }
}

/// The messages of one client that wait for their turn, and what they wait for.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pending: Vec<Pending>,
    messages: VecDeque<Message>,
    bytes: usize,
    /// Threads whose calls are among them.
    callers: HashSet<u32>,
    blocked: Blocked,
    /// The streams that do not wait for the legacy one.
    free: HashSet<u64>,
}

impl Held {
    /// Says whether nothing waits, and nothing is to be waited for.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.messages.is_empty()
    }

    /// Takes up a stream that the client has made, if it is one that does not block.
    pub fn created(&mut self, stream: u64, flags: u32) {
        if flags & CUstream_flags::NON_BLOCKING.0 != 0 {
            self.free.insert(stream);
        }
    }

    /// Forgets a stream that has gone.
    pub fn destroyed(&mut self, stream: u64) {
        self.free.remove(&stream);
    }

    /// Says whether a guest thread waits for the answer to a call that is held.
    pub fn holds_call_of(&self, thread: u32) -> bool {
        self.callers.contains(&thread)
    }

    /// Says whether there is no room for more.
    pub fn is_full(&self) -> bool {
        self.bytes >= BYTES_MAX
    }

    /// Takes up what a function that was launched holds up until it has returned.
    pub fn wait_for(&mut self, ticket: u64, touch: Touch, functions: &Functions) {
        if functions.holds(ticket).is_some() {
            self.pending.push(Pending { ticket, touch });
            self.block(functions);
        }
    }

    fn block(&mut self, functions: &Functions) {
        for pending in &self.pending {
            let holds = functions.holds(pending.ticket);
            // It is launched already, and `holds` says whether it may yet record events.
            self.blocked.lanes.extend(pending.touch.lane());
            self.blocked.any_event |= holds == Some(Holds::Run);
            self.blocked.all |= holds == Some(Holds::All);
        }
    }

    /// Judges a message of the driver API.
    pub fn judge(&self, header: &Header, touch: Touch) -> Verdict {
        let is_call = header.kind == Kind::Call;
        if is_call && PASSING.contains(&header.opcode)
            || !self.blocked.stops(touch, header.opcode, &self.free)
        {
            Verdict::Passes
        } else if is_call && ASKING.contains(&header.opcode) {
            Verdict::NotReady
        } else if self.is_full() {
            Verdict::NoRoom
        } else {
            Verdict::Waits
        }
    }

    /// Holds a message back.
    pub fn push(&mut self, message: Message) {
        self.bytes += message.bytes();
        if message.header.kind == Kind::Call {
            self.callers.insert(message.header.thread);
        }
        self.blocked.add(message.header.kind, message.touch, message.header.opcode);
        self.messages.push_back(message);
    }

    /// Takes all messages out, to be judged anew in their order: a function has returned.
    pub fn reopen(&mut self, functions: &Functions) -> VecDeque<Message> {
        self.pending.retain(|pending| functions.holds(pending.ticket).is_some());
        self.blocked = Blocked::default();
        self.block(functions);
        self.bytes = 0;
        self.callers.clear();
        mem::take(&mut self.messages)
    }
}

#[cfg(test)]
mod tests;
