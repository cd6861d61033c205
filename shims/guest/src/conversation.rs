//! One conversation over a link: requests, answers, and what must agree between them.
//!
//! Any number of threads speak at once. A request is sent under one lock, so that the order of
//! sending is the order of the requests; an answer is waited for as [`inbox`] says.
//!
//! **Nobody who waits to send leaves answers unread that could fill the link**: the host, held up
//! by them, would not read either, and both sides would wait for each other. So all requests for
//! memory contents go out at once before the first answer is waited for, and who has small answers
//! due, and finds another thread sending, reads before it goes on.

mod inbox;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError};
use std::time::Instant;

use vgpu_link::wire::control::{Collect, Collected, Snapshot, SnapshotReply};
use vgpu_link::wire::header::BULK_BYTES_MAX;
use vgpu_link::wire::{Header, Kind, Payload, Request, Writer};
use vgpu_link::{Closer, Link, LinkError, Sender, handshake};

use crate::current::Caller;
use crate::destination::Destination;
use crate::fork::Kept;
use crate::session::Failure;
use crate::shared::Shared;
use crate::{count, current, log};
use inbox::{Asked, Inbox, Silence};

/// Most parts of a copy to the host that are under way: 4. One is being sent, one lies in the
/// socket, one is being done, and one answer is on its way back; more only fills memory.
const PARTS_SENT_MAX: usize = 4;

/// Most parts of a copy from the host that are asked for at once: 8, together 64 MiB. The next
/// ones are asked for when all are there; 64 MiB take a thousand times as long as to ask.
const PARTS_FETCHED_MAX: usize = 8;

/// Speaks with the host after the handshake.
pub(crate) struct Conversation {
    // First, so that it is dropped before the link is closed: no child may give up what the
    // number names then.
    _kept: Kept,
    outbox: Mutex<Outbox>,
    inbox: Inbox,
    closer: Closer,
    /// Memory that the host sees, too.
    shared: Option<Arc<Shared>>,
    snapshot: OnceLock<Arc<SnapshotReply>>,
}

/// The sending half.
struct Outbox {
    sender: Box<dyn Sender>,
    sequence: u32,
    payload: Vec<u8>,
}

impl Outbox {
    /// Sends a request; with a room for its memory contents an answer is due.
    fn send<'a, R: Request>(
        &mut self,
        inbox: &'a Inbox,
        caller: Caller,
        request: &R,
        bulk: &[u8],
        room: Option<usize>,
    ) -> Result<Option<Asked<'a>>, Silence> {
        self.payload.clear();
        request.write(&mut Writer::new(&mut self.payload));
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let asked = room.map(|room| inbox.expect(sequence, request.opcode(), room)).transpose()?;
        let kind = if asked.is_some() { Kind::Call } else { Kind::Post };
        // The link fills in the sizes, and refuses what is too long for a frame.
        let header = Header {
            sequence,
            context: caller.context,
            thread: caller.thread,
            ..Header::new(kind, request.opcode())
        };
        match self.sender.send(&header, &self.payload, bulk) {
            Ok(()) => Ok(asked),
            Err(LinkError::Closed) => Err(inbox.last_words()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Conversation {
    /// Continues where the handshake ended.
    pub(crate) fn new(link: Box<dyn Link>) -> Self {
        let closer = link.closer();
        let kept = Kept::from_children(&link.descriptors());
        let shared = link.area().map(|area| Arc::new(Shared::new(area)));
        let (sender, receiver) = link.split();
        // The introduction was request 0.
        let outbox = Outbox { sender, sequence: 1, payload: Vec::new() };
        let inbox = Inbox::new(receiver);
        let outbox = Mutex::new(outbox);
        Self { _kept: kept, outbox, inbox, closer, shared, snapshot: OnceLock::new() }
    }

    /// Continues where the handshake ended, and asks for the snapshot, all before `limit`: a host
    /// that shakes hands and then says nothing must not hold up who only looks for devices.
    pub(crate) fn begin(mut link: Box<dyn Link>, limit: Instant) -> Result<Self, LinkError> {
        link.wait_until(Some(limit));
        let begun = Self::new(link);
        let lost = |silence| match silence {
            Silence::Ended(error) => error,
            Silence::Lost => LinkError::Closed,
        };
        let snapshot = begun.try_call(current::caller(), &Snapshot).map_err(lost)?;
        let opcode = Snapshot::OPCODE;
        let expected = "the description of its devices";
        let snapshot = snapshot.map_err(|_| LinkError::Unexpected { opcode, expected })?;
        begun.snapshot.get_or_init(|| Arc::new(snapshot));
        if let Ok(mut outbox) = begun.outbox.lock() {
            outbox.sender.limit_sends(None);
        }
        begun.inbox.limit_waits(None);
        Ok(begun)
    }

    /// Returns the memory that the host sees, too, if there is any.
    pub(crate) fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }

    pub(crate) fn snapshot(&self, caller: Caller) -> Result<Arc<SnapshotReply>, Failure> {
        if let Some(snapshot) = self.snapshot.get() {
            return Ok(Arc::clone(snapshot));
        }
        let snapshot = Arc::new(self.call(caller, &Snapshot)?);
        Ok(Arc::clone(self.snapshot.get_or_init(|| snapshot)))
    }

    pub(crate) fn call<R: Request>(
        &self,
        caller: Caller,
        request: &R,
    ) -> Result<R::Reply, Failure> {
        let began = Instant::now();
        let answered = self.try_call(caller, request).map_err(|silence| self.end(silence))?;
        count::note_wait(began.elapsed());
        answered.map_err(|code| Failure::Refused { code })
    }

    pub(crate) fn post<R: Request>(
        &self,
        caller: Caller,
        request: &R,
        bulk: &[u8],
    ) -> Result<(), Failure> {
        count::note_post();
        let sent = self.outbox()?.send(&self.inbox, caller, request, bulk, None);
        sent.map(drop).map_err(|silence| self.end(silence))
    }

    /// Asks for a copy into the program's memory, whose contents come at a later synchronisation;
    /// `false` if there is no room for it.
    pub(crate) fn post_copy<R: Request>(
        &self,
        caller: Caller,
        place: Destination,
        request: impl FnOnce(u64) -> R,
    ) -> Result<bool, Failure> {
        // Under the lock, so that a collecting thread finds in the table what was sent before.
        let mut outbox = self.outbox()?;
        let Some(ticket) = self.inbox.deliveries.expect(place) else { return Ok(false) };
        count::note_post();
        let sent = outbox.send(&self.inbox, caller, &request(ticket), &[], None);
        drop(outbox);
        sent.map(|_| true).map_err(|silence| self.end(silence))
    }

    /// Says how many bytes of copies into the program's memory are under way.
    pub(crate) fn copies_bytes(&self) -> Option<usize> {
        self.inbox.deliveries.bytes()
    }

    /// Says whether a copy is under way into any of `bytes` bytes from `address`.
    pub(crate) fn copies_into(&self, address: u64, bytes: u64) -> bool {
        self.inbox.deliveries.reach(address, bytes)
    }

    /// Drops what comes for any of `bytes` bytes from `address`.
    pub(crate) fn give_up_copies_into(&self, address: u64, bytes: u64) {
        self.inbox.deliveries.give_up(address, bytes);
    }

    /// Asks for what synchronises, if anything, and in the same wait for the contents of the copies
    /// that are complete then.
    pub(crate) fn collect<R: Request>(
        &self,
        caller: Caller,
        request: Option<&R>,
    ) -> Result<Option<R::Reply>, Failure> {
        let began = Instant::now();
        let collected = self.try_collect(caller, request).map_err(|silence| self.end(silence))?;
        count::note_wait(began.elapsed());
        collected.transpose().map_err(|code| Failure::Refused { code })
    }

    fn try_collect<R: Request>(
        &self,
        caller: Caller,
        request: Option<&R>,
    ) -> Result<Option<Result<R::Reply, u16>>, Silence> {
        let collect = |outbox: &mut Outbox| {
            outbox.send(&self.inbox, caller, &Collect, &[], Some(BULK_BYTES_MAX))
        };
        let mut outbox = self.outbox.lock().map_err(|_| Silence::Lost)?;
        let asked = match request {
            Some(request) => outbox.send(&self.inbox, caller, request, &[], Some(0))?,
            None => None,
        };
        let frames = self.copies_bytes().unwrap_or(0).div_ceil(BULK_BYTES_MAX);
        let mut due = VecDeque::new();
        for _ in 0..frames.clamp(1, PARTS_FETCHED_MAX) {
            due.extend(collect(&mut outbox)?);
        }
        drop(outbox);
        let answered = asked.map(|asked| answer::<R>(asked, &mut [])).transpose()?;
        while let Some(asked) = due.pop_front() {
            // The contents are in their places: who read the answer has put them there.
            let collected = Collected::from_payload(&asked.wait(&mut [])?.payload);
            let malformed = |source| LinkError::Malformed { what: "Collected", source };
            if collected.map_err(malformed)?.has_more && due.is_empty() {
                due.extend(collect(&mut *self.outbox.lock().map_err(|_| Silence::Lost)?)?);
            }
        }
        Ok(answered)
    }

    /// Sends a request for each part, several at once; after the first refusal no further one is
    /// begun, but all that are under way are ended.
    pub(crate) fn send_parts<'a, R: Request>(
        &self,
        caller: Caller,
        parts: impl Iterator<Item = (R, &'a [u8])>,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let sent = self.try_send_parts::<R>(caller, parts).map_err(|silence| self.end(silence))?;
        count::note_wait(began.elapsed());
        sent.map_err(|code| Failure::Refused { code })
    }

    fn try_send_parts<'a, R: Request>(
        &self,
        caller: Caller,
        mut parts: impl Iterator<Item = (R, &'a [u8])>,
    ) -> Result<Result<(), u16>, Silence> {
        let mut due = VecDeque::new();
        let mut refusal = Ok(());
        loop {
            while refusal.is_ok() && due.len() < PARTS_SENT_MAX {
                // Who has answers due does not wait for the others to send.
                let outbox = match self.outbox.try_lock() {
                    Err(TryLockError::WouldBlock) if due.is_empty() => self.outbox.lock(),
                    Err(TryLockError::WouldBlock) => break,
                    Ok(outbox) => Ok(outbox),
                    Err(TryLockError::Poisoned(poisoned)) => Err(poisoned),
                };
                let mut outbox = outbox.map_err(|_| Silence::Lost)?;
                let Some((request, part)) = parts.next() else { break };
                let asked = outbox.send(&self.inbox, caller, &request, part, Some(0))?;
                due.extend(asked);
            }
            let Some(asked) = due.pop_front() else { return Ok(refusal) };
            refusal = refusal.and(answer::<R>(asked, &mut [])?.map(drop));
        }
    }

    /// Fetches memory contents into the given places; after the first refusal no further ones are
    /// asked for, but all that are under way are received.
    pub(crate) fn fetch_parts<'a, R: Request>(
        &self,
        caller: Caller,
        parts: impl Iterator<Item = (R, &'a mut [u8])>,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let fetched = self.try_fetch_parts(caller, parts).map_err(|silence| self.end(silence))?;
        count::note_wait(began.elapsed());
        fetched.map_err(|code| Failure::Refused { code })
    }

    fn try_fetch_parts<'a, R: Request>(
        &self,
        caller: Caller,
        mut parts: impl Iterator<Item = (R, &'a mut [u8])>,
    ) -> Result<Result<(), u16>, Silence> {
        let mut refusal = Ok(());
        while refusal.is_ok() {
            let mut due = Vec::with_capacity(PARTS_FETCHED_MAX);
            let mut outbox = self.outbox.lock().map_err(|_| Silence::Lost)?;
            for (request, place) in parts.by_ref().take(PARTS_FETCHED_MAX) {
                let room = Some(place.len());
                let asked = outbox.send(&self.inbox, caller, &request, &[], room)?;
                due.extend(asked.map(|asked| (asked, place)));
            }
            drop(outbox);
            if due.is_empty() {
                break;
            }
            for (asked, place) in due {
                refusal = refusal.and(answer::<R>(asked, place)?.map(drop));
            }
        }
        Ok(refusal)
    }

    fn outbox(&self) -> Result<MutexGuard<'_, Outbox>, Failure> {
        // A panic in the middle of a frame leaves the conversation out of step: it counts as lost.
        self.outbox.lock().map_err(|_| Failure::Lost)
    }

    fn try_call<R: Request>(
        &self,
        caller: Caller,
        request: &R,
    ) -> Result<Result<R::Reply, u16>, Silence> {
        let mut outbox = self.outbox.lock().map_err(|_| Silence::Lost)?;
        let asked = outbox.send(&self.inbox, caller, request, &[], Some(0))?;
        drop(outbox);
        answer::<R>(asked.ok_or(Silence::Lost)?, &mut [])
    }

    /// Ends the conversation: tells the host what it did wrong, if it did, and the log.
    fn end(&self, silence: Silence) -> Failure {
        let Silence::Ended(error) = silence else { return Failure::Lost };
        if !self.inbox.lose() {
            return Failure::Lost;
        }
        // Heard or not, the connection is over, and whoever sends just now is not waited for.
        if let Ok(mut outbox) = self.outbox.try_lock() {
            let _ = handshake::part(&mut *outbox.sender, &error);
        }
        self.closer.close();
        let mut causes = error.to_string();
        let mut source = std::error::Error::source(&error);
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

/// Waits for an answer, or the code of a refusal; its memory contents must fill `place`.
fn answer<R: Request>(
    asked: Asked<'_>,
    place: &mut [u8],
) -> Result<Result<R::Reply, u16>, Silence> {
    let room = place.len();
    let answer = asked.wait(place)?;
    if answer.header.status != 0 {
        return Ok(Err(answer.header.status));
    }
    let bytes = answer.header.bulk_bytes as usize;
    if bytes != room {
        return Err(LinkError::BulkMismatch { bytes, room }.into());
    }
    let malformed = |source| LinkError::Malformed { what: "answer", source };
    Ok(Ok(R::Reply::from_payload(&answer.payload).map_err(malformed)?))
}

#[cfg(test)]
mod tests;
