//! One conversation over a link: requests, answers, and what must agree between them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use vgpu_link::wire::control::{Snapshot, SnapshotReply};
use vgpu_link::wire::{Header, Kind, Payload, Request, Writer};
use vgpu_link::{Bulk, Link, LinkError, handshake};

use crate::current::Caller;
use crate::session::Failure;
use crate::{count, current, log};

/// Most parts of a copy that are under way: 4. One is being sent, one lies in the socket, one is
/// being done, and one answer is on its way back; more only fills memory.
const PARTS_UNDER_WAY_MAX: usize = 4;

/// Speaks with the host after the handshake.
pub(crate) struct Conversation {
    link: Box<dyn Link>,
    sequence: u32,
    payload: Vec<u8>,
    snapshot: Option<Arc<SnapshotReply>>,
}

/// A part of the program's memory that travels in one direction.
pub(crate) trait Part {
    /// What goes to the host.
    fn outgoing(&self) -> &[u8];
    /// Where what comes from the host belongs.
    fn incoming(&mut self) -> &mut [u8];
}

impl Part for &[u8] {
    fn outgoing(&self) -> &[u8] {
        self
    }

    fn incoming(&mut self) -> &mut [u8] {
        &mut []
    }
}

impl Part for &mut [u8] {
    fn outgoing(&self) -> &[u8] {
        &[]
    }

    fn incoming(&mut self) -> &mut [u8] {
        self
    }
}

/// What an answer must repeat.
#[derive(Debug, Clone, Copy)]
struct Asked {
    opcode: u32,
    sequence: u32,
}

impl Conversation {
    /// Continues where the handshake ended.
    pub(crate) fn new(link: Box<dyn Link>) -> Self {
        // The introduction was request 0.
        Self { link, sequence: 1, payload: Vec::new(), snapshot: None }
    }

    /// Continues where the handshake ended, and asks for the snapshot, all before `limit`: a host
    /// that shakes hands and then says nothing must not hold up who only looks for devices.
    pub(crate) fn begin(link: Box<dyn Link>, limit: Instant) -> Result<Self, LinkError> {
        let mut begun = Self::new(link);
        begun.link.wait_until(Some(limit));
        let asked = begun.try_send(Kind::Call, current::caller(), &Snapshot, &[])?;
        match begun.try_answer::<Snapshot>(asked, &mut [])? {
            Ok(snapshot) => begun.snapshot = Some(Arc::new(snapshot)),
            Err(_) => {
                let expected = "the description of its devices";
                return Err(LinkError::Unexpected { opcode: asked.opcode, expected });
            }
        }
        begun.link.wait_until(None);
        Ok(begun)
    }

    pub(crate) fn snapshot(&mut self, caller: Caller) -> Result<Arc<SnapshotReply>, Failure> {
        if let Some(snapshot) = &self.snapshot {
            return Ok(Arc::clone(snapshot));
        }
        let snapshot = Arc::new(self.call(caller, &Snapshot)?);
        self.snapshot = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    pub(crate) fn call<R: Request>(
        &mut self,
        caller: Caller,
        request: &R,
    ) -> Result<R::Reply, Failure> {
        let began = Instant::now();
        let asked = self.send(Kind::Call, caller, request, &[])?;
        let reply = self.answer::<R>(asked, &mut []);
        count::note_wait(began.elapsed());
        reply
    }

    pub(crate) fn post<R: Request>(
        &mut self,
        caller: Caller,
        request: &R,
        bulk: &[u8],
    ) -> Result<(), Failure> {
        self.send(Kind::Post, caller, request, bulk).map(drop)
    }

    /// Does a request for each part, several at once; after the first refusal no further one is
    /// begun, but all that are under way are ended.
    pub(crate) fn exchange_parts<R: Request, P: Part>(
        &mut self,
        caller: Caller,
        mut parts: impl Iterator<Item = (R, P)>,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let mut under_way = VecDeque::new();
        let mut refusal = None;
        loop {
            while refusal.is_none() && under_way.len() < PARTS_UNDER_WAY_MAX {
                let Some((request, part)) = parts.next() else { break };
                let asked = self.send(Kind::Call, caller, &request, part.outgoing())?;
                under_way.push_back((asked, part));
            }
            let Some((asked, mut part)) = under_way.pop_front() else { break };
            match self.answer::<R>(asked, part.incoming()) {
                Err(Failure::Lost) => return Err(Failure::Lost),
                Err(failure) => refusal = refusal.or(Some(failure)),
                Ok(_) => {}
            }
        }
        count::note_wait(began.elapsed());
        refusal.map_or(Ok(()), Err)
    }

    fn send<R: Request>(
        &mut self,
        kind: Kind,
        caller: Caller,
        request: &R,
        bulk: &[u8],
    ) -> Result<Asked, Failure> {
        self.try_send(kind, caller, request, bulk).map_err(|error| self.end(&error))
    }

    fn try_send<R: Request>(
        &mut self,
        kind: Kind,
        caller: Caller,
        request: &R,
        bulk: &[u8],
    ) -> Result<Asked, LinkError> {
        self.payload.clear();
        request.write(&mut Writer::new(&mut self.payload));
        let asked = Asked { opcode: R::OPCODE, sequence: self.sequence };
        self.sequence = self.sequence.wrapping_add(1);
        // The link fills in the sizes, and refuses what is too long for a frame.
        let header = Header {
            sequence: asked.sequence,
            context: caller.context,
            thread: caller.thread,
            ..Header::new(kind, R::OPCODE)
        };
        self.link.send(&header, &self.payload, bulk).map(|()| asked)
    }

    fn answer<R: Request>(&mut self, asked: Asked, place: &mut [u8]) -> Result<R::Reply, Failure> {
        match self.try_answer::<R>(asked, place) {
            Ok(answered) => answered.map_err(|code| Failure::Refused { code }),
            Err(error) => Err(self.end(&error)),
        }
    }

    /// Receives the answer, or the code of a refusal; its bulk part must fill `place`.
    fn try_answer<R: Request>(
        &mut self,
        asked: Asked,
        place: &mut [u8],
    ) -> Result<Result<R::Reply, u16>, LinkError> {
        let room = place.len();
        let header = self.link.receive(&mut self.payload, Bulk::Into(place))?;
        let (opcode, sequence) = (header.opcode, header.sequence);
        if (header.kind, opcode, sequence) != (Kind::Reply, asked.opcode, asked.sequence) {
            let expected = "the answer to what was asked";
            return Err(LinkError::Unexpected { opcode, expected });
        }
        if header.status != 0 {
            return Ok(Err(header.status));
        }
        let bytes = header.bulk_bytes as usize;
        if bytes != room {
            return Err(LinkError::BulkMismatch { bytes, room });
        }
        let malformed = |source| LinkError::Malformed { what: "answer", source };
        R::Reply::from_payload(&self.payload).map(Ok).map_err(malformed)
    }

    /// Ends the conversation: tells the host what it did wrong, if it did, and the log.
    fn end(&mut self, error: &LinkError) -> Failure {
        // Whether the host hears it or not, the connection is over.
        let _ = handshake::part(&mut *self.link, error);
        let mut causes = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            causes.push_str(": ");
            causes.push_str(&cause.to_string());
            source = cause.source();
        }
        log::warn(format_args!(
            "the connection to the GPU host is lost ({causes}); this process cannot use the GPU \
             any more: look at the host's log and start the program again"
        ));
        Failure::Lost
    }
}

#[cfg(test)]
mod tests;
