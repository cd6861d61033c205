//! Who reads what the host sends, and how each thread gets the answer that is due to it.
//!
//! There is no thread of ours that reads. Of the threads that wait, one **leads**: it reads frames,
//! hands the others theirs through buffers, and reads its own memory contents straight into their
//! place. When its own answer is there it leaves the lead to another one that waits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use vgpu_link::wire::control::{Collect, Collected};
use vgpu_link::wire::{Header, Kind, Payload, Request};
use vgpu_link::{LAST_WORDS_LIMIT, LinkError, Receiver};

use crate::deliveries::Deliveries;

/// Says why an answer did not come.
#[derive(Debug)]
pub(crate) enum Silence {
    /// The calling thread found out that the connection is over, and is to end it.
    Ended(LinkError),
    /// Another thread found out, and has told.
    Lost,
}

impl From<LinkError> for Silence {
    fn from(error: LinkError) -> Self {
        Self::Ended(error)
    }
}

/// What is due from the host, and its half of the link.
pub(crate) struct Inbox {
    /// Copies whose contents come with an answer to `Collect`, whoever asked for it.
    pub(crate) deliveries: Deliveries,
    state: Mutex<State>,
    /// Told when the connection is lost.
    over: Condvar,
}

struct State {
    /// Away while a thread leads.
    receiver: Option<Box<dyn Receiver>>,
    due: Vec<Due>,
    is_lost: bool,
}

/// One answer that is due.
struct Due {
    sequence: u32,
    opcode: u32,
    /// Bytes of memory contents that it may bring.
    room: usize,
    progress: Progress,
}

enum Progress {
    /// Its asker does something else as yet.
    Expected,
    /// Its asker sleeps until this is told.
    Awaited(Arc<Condvar>),
    Here(Answer),
    /// Its asker went: it is read and dropped.
    Unwanted,
}

/// An answer: its memory contents are here, or in the place that the asker gave.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The frame's header.
    pub header: Header,
    /// The frame's payload.
    pub payload: Vec<u8>,
    bulk: Vec<u8>,
}

/// A request whose answer is due; an answer that nobody waits for any more is dropped.
#[must_use = "the answer is dropped unless it is waited for"]
pub(crate) struct Asked<'a> {
    inbox: &'a Inbox,
    sequence: u32,
    opcode: u32,
    is_due: bool,
}

impl Inbox {
    /// Takes over the receiving half of a link.
    pub(crate) fn new(receiver: Box<dyn Receiver>) -> Self {
        let state = State { receiver: Some(receiver), due: Vec::new(), is_lost: false };
        let deliveries = Deliveries::default();
        Self { deliveries, state: Mutex::new(state), over: Condvar::new() }
    }

    /// Limits the waits of whoever leads from now on; `None` lifts the limit.
    pub(crate) fn limit_waits(&self, limit: Option<Instant>) {
        if let Ok(mut state) = self.state.lock()
            && let Some(receiver) = &mut state.receiver
        {
            receiver.limit_waits(limit);
        }
    }

    /// Expects an answer, which brings at most `room` bytes of memory contents. Called before the
    /// request is sent, because the answer may be read by another thread at once.
    pub(crate) fn expect(
        &self,
        sequence: u32,
        opcode: u32,
        room: usize,
    ) -> Result<Asked<'_>, Silence> {
        let mut state = self.lock()?;
        state.due.push(Due { sequence, opcode, room, progress: Progress::Expected });
        Ok(Asked { inbox: self, sequence, opcode, is_due: true })
    }

    /// Notes that the connection is over and wakes everybody; `false` if it was noted before.
    pub(crate) fn lose(&self) -> bool {
        let Ok(mut state) = self.state.lock() else { return false };
        let is_first = !state.is_lost;
        state.is_lost = true;
        for due in &state.due {
            if let Progress::Awaited(asker) = &due.progress {
                asker.notify_one();
            }
        }
        self.over.notify_all();
        is_first
    }

    /// Looks for the reason after a send has failed: reads on, or lets the thread that leads.
    pub(crate) fn last_words(&self) -> Silence {
        let Ok(mut state) = self.lock() else { return Silence::Lost };
        if let Some(mut receiver) = state.receiver.take() {
            drop(state);
            return Silence::Ended(receiver.last_words());
        }
        let waited = self.over.wait_timeout_while(state, LAST_WORDS_LIMIT, |state| !state.is_lost);
        match waited {
            Ok((_, timeout)) if timeout.timed_out() => Silence::Ended(LinkError::Closed),
            _ => Silence::Lost,
        }
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>, Silence> {
        match self.state.lock() {
            Ok(state) if !state.is_lost => Ok(state),
            _ => Err(Silence::Lost),
        }
    }
}

impl State {
    fn find(&mut self, sequence: u32) -> Option<(usize, &mut Due)> {
        self.due.iter_mut().enumerate().find(|(_, due)| due.sequence == sequence)
    }

    /// Wakes one thread that waits, so that it leads.
    fn wake_another(&self) {
        let waits = self.due.iter().find_map(|due| match &due.progress {
            Progress::Awaited(asker) => Some(asker),
            _ => None,
        });
        if let Some(asker) = waits {
            asker.notify_one();
        }
    }
}

impl Asked<'_> {
    /// Waits for the answer; its memory contents come into `place`, which is as long as was
    /// expected.
    pub(crate) fn wait(mut self, place: &mut [u8]) -> Result<Answer, Silence> {
        let mut state = self.inbox.lock()?;
        loop {
            let (at, _) = state.find(self.sequence).ok_or(Silence::Lost)?;
            if matches!(state.due[at].progress, Progress::Here(_)) {
                let Progress::Here(answer) = state.due.swap_remove(at).progress else {
                    unreachable!("looked at in the line above")
                };
                self.is_due = false;
                drop(state);
                place[..answer.bulk.len()].copy_from_slice(&answer.bulk);
                return Ok(answer);
            }
            if state.receiver.is_some() {
                return self.lead(state, place);
            }
            let asker = Arc::new(Condvar::new());
            state.due[at].progress = Progress::Awaited(Arc::clone(&asker));
            state = asker.wait(state).map_err(|_| Silence::Lost)?;
            if state.is_lost {
                return Err(Silence::Lost);
            }
        }
    }

    fn lead(
        &mut self,
        mut state: MutexGuard<'_, State>,
        place: &mut [u8],
    ) -> Result<Answer, Silence> {
        let receiver = state.receiver.take();
        drop(state);
        let mut lead = Lead { inbox: self.inbox, receiver };
        let answer = lead.read_until(self.sequence, self.opcode, place)?;
        self.is_due = false;
        lead.leave(self.sequence)?;
        Ok(answer)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.is_due
            && let Ok(mut state) = self.inbox.lock()
            && let Some((at, due)) = state.find(self.sequence)
        {
            match due.progress {
                Progress::Here(_) => drop(state.due.swap_remove(at)),
                _ => due.progress = Progress::Unwanted,
            }
        }
    }
}

/// Holds the receiving half; what is read of it and not given back in good order is lost.
struct Lead<'a> {
    inbox: &'a Inbox,
    receiver: Option<Box<dyn Receiver>>,
}

impl Lead<'_> {
    /// Reads frames up to the answer that the leader waits for, and hands out the others.
    fn read_until(
        &mut self,
        sequence: u32,
        opcode: u32,
        place: &mut [u8],
    ) -> Result<Answer, Silence> {
        let receiver = self.receiver.as_mut().ok_or(Silence::Lost)?;
        loop {
            let header = receiver.header()?;
            let mut payload = Vec::new();
            receiver.payload(&header, &mut payload)?;
            let bytes = header.bulk_bytes as usize;
            let is_own = header.sequence == sequence;
            if is_own && header.opcode != Collect::OPCODE {
                check(&header, opcode, place.len())?;
                receiver.bulk(&mut place[..bytes])?;
                return Ok(Answer { header, payload, bulk: Vec::new() });
            }
            let (opcode, room) = match self.inbox.lock()?.find(header.sequence) {
                Some((_, due)) => (due.opcode, due.room),
                None => return Err(unexpected(&header).into()),
            };
            check(&header, opcode, room)?;
            let mut bulk = Vec::new();
            if opcode == Collect::OPCODE {
                deliver(&mut **receiver, &self.inbox.deliveries, &header, &payload)?;
            } else {
                bulk.resize(bytes, 0);
                receiver.bulk(&mut bulk)?;
            }
            if is_own {
                return Ok(Answer { header, payload, bulk });
            }
            let mut state = self.inbox.lock()?;
            let Some((at, due)) = state.find(header.sequence) else { continue };
            match std::mem::replace(
                &mut due.progress,
                Progress::Here(Answer { header, payload, bulk }),
            ) {
                Progress::Awaited(asker) => asker.notify_one(),
                Progress::Unwanted => drop(state.due.swap_remove(at)),
                Progress::Expected => {}
                Progress::Here(_) => return Err(unexpected(&header).into()),
            }
        }
    }

    /// Gives the receiving half back, the leader's own answer being there.
    fn leave(&mut self, sequence: u32) -> Result<(), Silence> {
        let mut state = self.inbox.lock()?;
        if let Some((at, _)) = state.find(sequence) {
            state.due.swap_remove(at);
        }
        state.receiver = self.receiver.take();
        state.wake_another();
        Ok(())
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        // Not given back: an error is told by who made it, but nobody tells of a panic.
        if self.receiver.is_some() && std::thread::panicking() {
            self.inbox.lose();
        }
    }
}

/// Puts the contents of copies into their places.
fn deliver(
    receiver: &mut dyn Receiver,
    deliveries: &Deliveries,
    header: &Header,
    payload: &[u8],
) -> Result<(), LinkError> {
    if header.status != 0 {
        return Err(unexpected(header));
    }
    let malformed = |source| LinkError::Malformed { what: "Collected", source };
    let collected = Collected::from_payload(payload).map_err(malformed)?;
    let mut left = header.bulk_bytes as usize;
    for delivery in &collected.deliveries {
        let bytes = delivery.bytes as usize;
        let place = deliveries.arrive(delivery.ticket).ok_or_else(|| unexpected(header))?;
        // The host could not make the copy, and reports why as the error of a post.
        if bytes == 0 {
            continue;
        }
        if bytes != place.bytes() || bytes > left {
            return Err(LinkError::BulkMismatch { bytes, room: place.bytes().min(left) });
        }
        place.fill(|place| receiver.bulk(place))?;
        left -= bytes;
    }
    if left == 0 { Ok(()) } else { Err(LinkError::BulkMismatch { bytes: left, room: 0 }) }
}

fn check(header: &Header, opcode: u32, room: usize) -> Result<(), LinkError> {
    if (header.kind, header.opcode) != (Kind::Reply, opcode) {
        return Err(unexpected(header));
    }
    let bytes = header.bulk_bytes as usize;
    if bytes > room { Err(LinkError::BulkMismatch { bytes, room }) } else { Ok(()) }
}

fn unexpected(header: &Header) -> LinkError {
    LinkError::Unexpected { opcode: header.opcode, expected: "an answer to what was asked" }
}
