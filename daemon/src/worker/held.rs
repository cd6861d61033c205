//! Messages that are held while streams wait for functions of the client's program.
//!
//! What is behind a function in its stream waits, and what depends on that. The function may wait
//! for another thread of the program, so what need not wait is done meanwhile, and a query is
//! answered at once.

use std::collections::{HashSet, VecDeque};
use std::mem;

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

/// Most bytes that are held: 256 MiB, what a client may well post behind a function.
const BYTES_MAX: usize = 256 << 20;

/// What a held message takes besides its parts, in bytes.
const OVERHEAD_BYTES: usize = 256;

/// One message that is held.
#[derive(Debug)]
pub(crate) struct Message {
    pub header: Header,
    pub payload: Vec<u8>,
    pub bulk: Vec<u8>,
    pub touch: Touch,
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
        self.events.contains(&event) || self.awaited.contains(&event)
    }

    fn stops(&self, touch: Touch, opcode: u32, free: &HashSet<u64>) -> bool {
        self.all
            || match touch {
                Touch::Stream(lane) => self.stops_lane(lane, free),
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
    fn add(&mut self, kind: Kind, touch: Touch) {
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
            self.blocked.add(Kind::Post, pending.touch);
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
        } else if self.bytes >= BYTES_MAX {
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
        self.blocked.add(message.header.kind, message.touch);
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
mod tests {
    use vgpu_link::wire::Payload;

    use super::*;

    /// A stream of the client with a function that has not come back.
    const BUSY: u64 = 70;
    const OTHER: u64 = 71;
    const TICKET: u64 = 5;

    fn waiting(holds: Holds) -> (Held, Functions) {
        in_stream(BUSY, holds)
    }

    fn in_stream(stream: u64, holds: Holds) -> (Held, Functions) {
        let (mut held, functions) = (Held::default(), Functions::default());
        functions.launch(TICKET, holds).expect("there is room");
        let launch = cuda::LaunchHostFunction { stream, ticket: TICKET };
        let opcode = cuda::LaunchHostFunction::OPCODE;
        let touch = Touch::of(&Header::new(Kind::Post, opcode), &launch.to_payload());
        held.wait_for(TICKET, touch, &functions);
        (held, functions)
    }

    fn message<R: Request>(kind: Kind, request: &R) -> Message {
        let header = Header::new(kind, R::OPCODE);
        let payload = request.to_payload();
        let touch = Touch::of(&header, &payload);
        Message { header, payload, bulk: Vec::new(), touch }
    }

    fn judge<R: Request>(held: &Held, kind: Kind, request: &R) -> Verdict {
        let message = message(kind, request);
        held.judge(&message.header, message.touch)
    }

    fn record(stream: u64) -> cuda::EventRecord {
        cuda::EventRecord { event: 9, stream }
    }

    fn wait(stream: u64, event: u64) -> cuda::StreamWaitEvent {
        cuda::StreamWaitEvent { event, stream, flags: 0 }
    }

    #[test]
    fn what_is_not_behind_the_function_passes() {
        let (held, _) = waiting(Holds::Stream);
        let [call, post] = [Kind::Call, Kind::Post];
        let bytesize = 1;
        assert_eq!(judge(&held, call, &cuda::MemAllocV2 { bytesize }), Verdict::Passes);
        assert_eq!(judge(&held, post, &record(OTHER)), Verdict::Passes);
        assert_eq!(judge(&held, post, &record(BUSY)), Verdict::Waits);
        assert_eq!(judge(&held, post, &record(0)), Verdict::Waits);
        let [busy, other] = [BUSY, OTHER].map(|stream| cuda::StreamQuery { stream });
        assert_eq!(judge(&held, call, &busy), Verdict::NotReady);
        assert_eq!(judge(&held, call, &other), Verdict::Passes);
        assert_eq!(judge(&held, call, &cuda::EventQuery { event: 9 }), Verdict::Passes);
        assert_eq!(judge(&held, call, &cuda::CtxSynchronize {}), Verdict::Waits);
        assert_eq!(judge(&held, post, &cuda::MemFreeV2 { dptr: 1 }), Verdict::Waits);
    }

    /// An event was recorded anew, or ended, before the work that was held and meant the old one:
    /// a stream then waited for the wrong work, or found no event.
    #[test]
    fn an_event_that_is_meant_by_what_is_held_is_neither_recorded_anew_nor_ended() {
        let destroy = cuda::EventDestroyV2 { event: 9 };
        let query = cuda::EventQuery { event: 9 };
        for first in [message(Kind::Post, &record(BUSY)), message(Kind::Post, &wait(BUSY, 9))] {
            let (mut held, _) = waiting(Holds::Stream);
            let is_record = first.header.opcode == cuda::EventRecord::OPCODE;
            held.push(first);
            assert_eq!(judge(&held, Kind::Post, &record(OTHER)), Verdict::Waits);
            assert_eq!(judge(&held, Kind::Post, &destroy), Verdict::Waits);
            let asked = if is_record { Verdict::NotReady } else { Verdict::Passes };
            assert_eq!(judge(&held, Kind::Call, &query), asked);
        }
        let (held, _) = waiting(Holds::Stream);
        assert_eq!(judge(&held, Kind::Post, &destroy), Verdict::Passes);
    }

    #[test]
    fn the_legacy_stream_and_those_that_block_wait_for_each_other() {
        let free = CUstream_flags::NON_BLOCKING.0;
        let (mut held, _) = in_stream(1, Holds::Stream);
        held.created(OTHER, free);
        held.created(72, 0);
        assert_eq!(judge(&held, Kind::Post, &record(0)), Verdict::Waits);
        assert_eq!(judge(&held, Kind::Post, &record(OTHER)), Verdict::Passes);
        assert_eq!(judge(&held, Kind::Post, &record(72)), Verdict::Waits);
        let (mut held, _) = waiting(Holds::Stream);
        assert_eq!(judge(&held, Kind::Post, &record(0)), Verdict::Waits);
        held.created(BUSY, free);
        assert_eq!(judge(&held, Kind::Post, &record(0)), Verdict::Passes);
        held.destroyed(BUSY);
        assert_eq!(judge(&held, Kind::Post, &record(0)), Verdict::Waits);
    }

    #[test]
    fn what_depends_on_what_is_held_is_held() {
        let (mut held, _) = waiting(Holds::Stream);
        held.push(message(Kind::Call, &cuda::CtxSynchronize {}));
        assert_eq!(judge(&held, Kind::Post, &wait(OTHER, 9)), Verdict::Passes);
        held.push(message(Kind::Post, &record(BUSY)));
        let asked = judge(&held, Kind::Call, &cuda::EventQuery { event: 9 });
        assert_eq!(asked, Verdict::NotReady);
        assert_eq!(judge(&held, Kind::Post, &wait(OTHER, 8)), Verdict::Passes);
        held.push(message(Kind::Post, &wait(OTHER, 9)));
        assert_eq!(judge(&held, Kind::Post, &record(OTHER)), Verdict::Waits);
        let other = cuda::EventRecord { event: 8, stream: 72 };
        assert_eq!(judge(&held, Kind::Post, &other), Verdict::Passes);
        held.push(message(Kind::Post, &cuda::MemFreeV2 { dptr: 1 }));
        assert_eq!(judge(&held, Kind::Post, &other), Verdict::Waits, "the free comes first");
    }

    #[test]
    fn a_run_may_record_any_event_and_a_device_that_waits_does_nothing_else() {
        let (held, _) = waiting(Holds::Run);
        assert_eq!(judge(&held, Kind::Post, &wait(OTHER, 9)), Verdict::Waits);
        assert_eq!(judge(&held, Kind::Post, &record(OTHER)), Verdict::Passes);
        let (held, _) = waiting(Holds::All);
        assert_eq!(judge(&held, Kind::Post, &record(OTHER)), Verdict::Waits);
        let read = cuda::StandInRead { source: 1, bytes: 1 };
        assert_eq!(judge(&held, Kind::Call, &read), Verdict::Passes);
    }

    #[test]
    fn all_is_judged_anew_when_a_function_has_returned() {
        let (mut held, functions) = waiting(Holds::Stream);
        held.push(message(Kind::Call, &cuda::CtxSynchronize {}));
        held.push(message(Kind::Post, &record(BUSY)));
        assert!(held.holds_call_of(0));
        functions.withdraw(TICKET);
        let opcodes: Vec<u32> =
            held.reopen(&functions).iter().map(|message| message.header.opcode).collect();
        assert_eq!(opcodes, [cuda::CtxSynchronize::OPCODE, cuda::EventRecord::OPCODE]);
        assert!(held.is_idle() && !held.holds_call_of(0));
        assert_eq!(judge(&held, Kind::Post, &record(BUSY)), Verdict::Passes);
    }

    #[test]
    fn no_more_is_held_than_there_is_room_for() {
        let (mut held, functions) = waiting(Holds::Stream);
        while judge(&held, Kind::Post, &record(BUSY)) == Verdict::Waits {
            held.push(Message { bulk: vec![0; 8 << 20], ..message(Kind::Post, &record(BUSY)) });
        }
        assert!(held.bytes < BYTES_MAX + (9 << 20), "{}", held.bytes);
        assert!(!held.reopen(&functions).is_empty());
        assert_eq!(held.bytes, 0);
    }
}
