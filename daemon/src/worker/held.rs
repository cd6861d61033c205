//! Messages that are held while all streams wait for a function of the client's program.
//!
//! The function may wait for another thread of the program, so what need not wait for a stream is
//! done meanwhile, and a query is answered at once.

use std::collections::VecDeque;

use vgpu_link::wire::{Header, Kind, Request, cuda};

/// Calls that are done whatever streams do.
const PASSING: [u32; 10] = [
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
];

/// Calls that only ask how far a stream is.
const ASKING: [u32; 2] = [cuda::StreamQuery::OPCODE, EVENT_QUERY];

/// Asks for an event, which may have happened before the function: the device knows unless the
/// event's record is among what is held.
const EVENT_QUERY: u32 = cuda::EventQuery::OPCODE;

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

/// The messages of one client that wait for their turn.
#[derive(Debug, Default)]
pub(crate) struct Held {
    messages: VecDeque<Message>,
    bytes: usize,
}

impl Held {
    /// Says whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Says whether a guest thread waits for the answer to a call that is held.
    pub fn holds_call_of(&self, thread: u32) -> bool {
        let is_call = |header: &Header| header.kind == Kind::Call && header.thread == thread;
        self.messages.iter().any(|message| is_call(&message.header))
    }

    /// Judges a message of the driver API.
    pub fn judge(&self, header: &Header) -> Verdict {
        let is_call = header.kind == Kind::Call;
        let is_known = header.opcode == EVENT_QUERY && self.is_empty();
        if is_call && (is_known || PASSING.contains(&header.opcode)) {
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
        self.messages.push_back(message);
    }

    /// Takes out the message that waited longest.
    pub fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.bytes();
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(opcode: u32, bulk_bytes: usize) -> Message {
        let header = Header::new(Kind::Post, opcode);
        Message { header, payload: Vec::new(), bulk: vec![0; bulk_bytes] }
    }

    #[test]
    fn what_need_not_wait_for_a_stream_passes() {
        let mut held = Held::default();
        let judge = |held: &Held, kind, opcode| held.judge(&Header::new(kind, opcode));
        assert_eq!(judge(&held, Kind::Call, cuda::MemAllocV2::OPCODE), Verdict::Passes);
        assert_eq!(judge(&held, Kind::Call, cuda::StreamQuery::OPCODE), Verdict::NotReady);
        assert_eq!(judge(&held, Kind::Call, cuda::EventQuery::OPCODE), Verdict::Passes);
        assert_eq!(judge(&held, Kind::Call, cuda::StreamSynchronize::OPCODE), Verdict::Waits);
        assert_eq!(judge(&held, Kind::Post, cuda::MemFreeV2::OPCODE), Verdict::Waits);
        held.push(message(cuda::EventRecord::OPCODE, 0));
        assert_eq!(judge(&held, Kind::Call, cuda::EventQuery::OPCODE), Verdict::NotReady);
    }

    #[test]
    fn no_more_is_held_than_there_is_room_for() {
        let mut held = Held::default();
        while held.judge(&Header::new(Kind::Post, 0x123)) == Verdict::Waits {
            held.push(message(0x123, 8 << 20));
        }
        assert!(held.bytes < BYTES_MAX + (9 << 20), "{}", held.bytes);
        assert!(held.pop().is_some() && !held.is_empty());
        while held.pop().is_some() {}
        assert_eq!(held.bytes, 0);
    }
}
