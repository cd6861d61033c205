//! The conversation with one client after the handshake.
//!
//! One thread reads the messages and asks the device, in the order in which they came. An answer
//! that has to wait for the device is completed by another thread ([`super::waiters`]).

mod posts;

use std::sync::Arc;

use vgpu_abi::cuda::Error;
use vgpu_link::wire::control::{Collect, DeviceState, NextFunction, Snapshot, opcode, status};
use vgpu_link::wire::{Header, Kind, Payload, Request, cuda};
use vgpu_link::{Bulk, LinkError, Receiver};

use super::Ration;
use super::held::{Held, Message, Verdict};
use super::replies::{Replies, code};
use super::tally::Waits;
use super::touch::{Touch, works_on};
use super::waiters::{Job, Waiters};
use crate::counts::Wait;
use crate::device::{Devices, Holds};
use crate::dispatch::{Answer, Call, Finish};
use posts::{malformed, ticket};

/// Calls that may end a context.
const ENDING: [u32; 3] = [
    cuda::CtxDestroyV2::OPCODE,
    cuda::DevicePrimaryCtxReleaseV2::OPCODE,
    cuda::DevicePrimaryCtxResetV2::OPCODE,
];

/// Serves one client, one message after the other.
pub(crate) struct Session<'a> {
    receiver: Box<dyn Receiver>,
    replies: Arc<Replies>,
    device: &'a mut dyn Devices,
    waiters: Waiters,
    held: Held,
    answer: Answer,
    ration: Option<Ration>,
    waits: Waits,
}

impl<'a> Session<'a> {
    /// Connects a client with a device; `ration` delays its messages.
    pub fn new(
        receiver: Box<dyn Receiver>,
        replies: Arc<Replies>,
        device: &'a mut dyn Devices,
        ration: Option<Ration>,
    ) -> Self {
        let (waiters, held, answer) = (Waiters::new(), Held::default(), Answer::default());
        let waits = Waits::default();
        Self { receiver, replies, device, waiters, held, answer, ration, waits }
    }

    /// Counts what messages wait for.
    pub fn counting(mut self, waits: Waits) -> Self {
        self.waits = waits;
        self
    }

    /// Serves until the client goes.
    ///
    /// # Errors
    /// [`LinkError`]: [`LinkError::Closed`] in the ordinary case; for what the client does wrong
    /// after it was told so.
    pub fn serve(mut self) -> Result<(), LinkError> {
        let (mut payload, mut bulk) = (Vec::new(), Vec::new());
        loop {
            let served = match self.receiver.receive(&mut payload, Bulk::Grow(&mut bulk)) {
                Ok(header) => self.in_time(&header, &payload, &bulk).map_err(|error| match error {
                    LinkError::Closed => self.receiver.last_words(),
                    error => error,
                }),
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                // One that just went may have been cut off by us, who then have something to say.
                if !matches!(error, LinkError::Closed) {
                    self.replies.part(&error);
                }
                return Err(error);
            }
        }
    }

    /// Serves one message when the client may have one. What it sends meanwhile waits in the link,
    /// and when that is full the client does.
    fn in_time(&mut self, header: &Header, payload: &[u8], bulk: &[u8]) -> Result<(), LinkError> {
        if let Some(ration) = &mut self.ration {
            ration.take(&self.waits)?;
        }
        self.one(header, payload, bulk)
    }

    fn one(&mut self, header: &Header, payload: &[u8], bulk: &[u8]) -> Result<(), LinkError> {
        let unexpected =
            LinkError::Unexpected { opcode: header.opcode, expected: "a call or a post" };
        match (header.kind, header.opcode) {
            (Kind::Call, Snapshot::OPCODE) => {
                Snapshot::from_payload(payload).map_err(malformed("Snapshot"))?;
                let reply = self.device.snapshot().to_payload();
                self.replies.send(header, status::DONE, &reply, &[])
            }
            (Kind::Call, DeviceState::OPCODE) => {
                let asked = DeviceState::from_payload(payload).map_err(malformed("DeviceState"))?;
                match self.device.state(asked.device) {
                    Ok(state) => self.replies.send(header, status::DONE, &state.to_payload(), &[]),
                    Err(error) => self.refuse(header, error),
                }
            }
            (Kind::Call, Collect::OPCODE) => {
                Collect::from_payload(payload).map_err(malformed("Collect"))?;
                self.collect_in_turn(header, payload, bulk)
            }
            (Kind::Call, NextFunction::OPCODE) => {
                let asked = NextFunction::from_payload(payload);
                self.next_function(header, asked.map_err(malformed("NextFunction"))?)
            }
            (Kind::Call | Kind::Post, number)
                if number >= opcode::DRIVER_FIRST && !self.held.is_idle() =>
            {
                self.driver_held(header, payload, bulk)
            }
            (Kind::Call | Kind::Post, number) if number >= opcode::DRIVER_FIRST => {
                self.driver(header, payload, bulk)
            }
            _ => Err(unexpected),
        }
    }

    /// Does a message of the driver API, or reports in its place what an earlier one ran into.
    fn driver(&mut self, header: &Header, payload: &[u8], bulk: &[u8]) -> Result<(), LinkError> {
        let context = works_on(header, payload);
        let due = self.replies.deferred().report(context, header.kind, header.opcode);
        match (header.kind, due) {
            (Kind::Call, Some(error)) if header.opcode == cuda::StreamEndCapture::OPCODE => {
                self.end_capture_badly(header, payload)?;
                return self.refuse(header, error);
            }
            // Its context is broken: nothing is done there any more, and the next call says so.
            (Kind::Post, Some(error)) => return self.forgo(header, payload, error),
            (_, Some(error)) => return self.refuse(header, error),
            (_, None) => {}
        }
        let call = Call { context: header.context, thread: header.thread };
        let answer = &mut self.answer;
        let finish = self.device.answer(&call, header.opcode, payload, bulk, answer);
        self.waits.copied(header.opcode, payload, answer.status);
        if let Some(finish) = finish.map_err(malformed("request"))? {
            self.later(header, context, finish);
            return Ok(());
        }
        if let Some(ticket) = ticket(header, payload)? {
            if self.answer.status != 0 && header.kind == Kind::Post {
                // Fails if the device has come to it already.
                let _ = self.give_up(ticket, self.answer.status);
            }
            self.held.wait_for(ticket, Touch::of(header, payload), self.device.functions());
        }
        self.note_stream(header, payload)?;
        if self.answer.status == 0 && ENDING.contains(&header.opcode) {
            self.replies.deferred().forget(|context| !self.device.is_alive(context));
        }
        self.replies.conclude(header, context, &self.answer)
    }

    /// Takes up which streams there are, when the device has made one or ended one.
    fn note_stream(&mut self, header: &Header, payload: &[u8]) -> Result<(), LinkError> {
        let malformed = malformed("request about a stream");
        let flags = match header.opcode {
            _ if self.answer.status != 0 => return Ok(()),
            cuda::StreamCreate::OPCODE => {
                cuda::StreamCreate::from_payload(payload).map(|r| r.flags)
            }
            cuda::StreamCreateWithPriority::OPCODE => {
                cuda::StreamCreateWithPriority::from_payload(payload).map(|r| r.flags)
            }
            cuda::StreamDestroyV2::OPCODE => {
                let destroyed = cuda::StreamDestroyV2::from_payload(payload).map_err(malformed)?;
                self.held.destroyed(destroyed.stream);
                return Ok(());
            }
            _ => return Ok(()),
        };
        // The answers of both are alike.
        let made = cuda::StreamCreateReply::from_payload(&self.answer.payload);
        let (flags, made) = (flags.map_err(&malformed)?, made.map_err(malformed)?);
        self.held.created(made.stream, flags);
        Ok(())
    }

    /// Ends a capture of which some work failed before it came to the device: the stream is an
    /// ordinary one again, and nobody gets the graph.
    fn end_capture_badly(&mut self, header: &Header, payload: &[u8]) -> Result<(), LinkError> {
        self.ask(header, header.opcode, payload)?;
        if self.answer.status != 0 {
            return Ok(());
        }
        let ended = cuda::StreamEndCaptureReply::from_payload(&self.answer.payload);
        let graph = ended.map_err(malformed("answer"))?.graph;
        self.ask(header, cuda::GraphDestroy::OPCODE, &cuda::GraphDestroy { graph }.to_payload())
    }

    /// Does not do a post. A function that comes with it is told: callbacks are called in a broken
    /// context, too (CUDA Driver API, `cuStreamAddCallback`).
    fn forgo(&mut self, header: &Header, payload: &[u8], error: Error) -> Result<(), LinkError> {
        let Some(ticket) = ticket(header, payload)? else { return Ok(()) };
        if let Err(error) = self.give_up(ticket, error.code()) {
            self.replies.deferred().keep(header.context, error);
        }
        self.held.wait_for(ticket, Touch::of(header, payload), self.device.functions());
        Ok(())
    }

    /// Comes to a function that no stream will come to, with what went wrong: the client keeps it,
    /// and lets copies wait for it, until it is told.
    fn give_up(&self, ticket: u64, code: u32) -> Result<(), Error> {
        let functions = self.device.functions();
        functions.launch(ticket, Holds::Stream)?;
        functions.come_to(ticket, code);
        Ok(())
    }

    /// Lets the device do something that does not wait.
    fn ask(&mut self, header: &Header, opcode: u32, payload: &[u8]) -> Result<(), LinkError> {
        let call = Call { context: header.context, thread: header.thread };
        let finish = self.device.answer(&call, opcode, payload, &[], &mut self.answer);
        finish.map(drop).map_err(malformed("request"))
    }

    /// Does, or holds, a message that comes while streams wait for functions.
    fn driver_held(
        &mut self,
        header: &Header,
        payload: &[u8],
        bulk: &[u8],
    ) -> Result<(), LinkError> {
        let touch = Touch::of(header, payload);
        match (self.held.judge(header, touch), header.kind) {
            (Verdict::Passes, _) => return self.driver(header, payload, bulk),
            (Verdict::Waits, _) => self.hold(header, payload, bulk, touch),
            (Verdict::NotReady, _) => return self.refuse(header, Error::NOT_READY),
            (Verdict::NoRoom, Kind::Post) => {
                self.replies.deferred().keep(header.context, Error::OUT_OF_MEMORY);
                return self.forgo(header, payload, Error::OUT_OF_MEMORY);
            }
            (Verdict::NoRoom, _) => return self.refuse(header, Error::OUT_OF_MEMORY),
        }
        Ok(())
    }

    fn hold(&mut self, header: &Header, payload: &[u8], bulk: &[u8], touch: Touch) {
        let (payload, bulk) = (payload.to_vec(), bulk.to_vec());
        let since = self.waits.begin();
        self.held.push(Message { header: *header, payload, bulk, touch, since });
    }

    /// Does a message that was held, or holds it further.
    fn again(&mut self, message: Message) -> Result<(), LinkError> {
        let Message { header, payload, bulk, touch, since } = &message;
        if header.opcode == Collect::OPCODE && !self.held.holds_call_of(header.thread) {
            self.waits.end(Wait::Function, *since);
            return self.collect(header);
        }
        if header.opcode != Collect::OPCODE && self.held.judge(header, *touch) == Verdict::Passes {
            self.waits.end(Wait::Function, *since);
            return self.driver(header, payload, bulk);
        }
        self.held.push(message);
        Ok(())
    }

    /// Notes that a function has returned, does what waited for it, and waits for the next one.
    fn next_function(&mut self, header: &Header, asked: NextFunction) -> Result<(), LinkError> {
        let functions = Arc::clone(self.device.functions());
        if functions.returned(asked.done)
            && let Err((context, error)) = self.device.go_on(asked.done)
        {
            self.replies.deferred().keep(context, error);
        }
        for message in self.held.reopen(&functions) {
            self.again(message)?;
        }
        let (header, replies) = (*header, Arc::clone(&self.replies));
        let wait = move |_: &mut Answer| {
            if let Some(function) = functions.next() {
                let due = function.to_payload();
                // Fails if the client is gone, which the dispatch thread finds out as well.
                let _ = replies.send(&header, status::DONE, &due, &[]);
            }
        };
        if self.aside(header.thread, wait).is_err() {
            // Without a thread for it no function would ever return.
            self.replies.close();
        }
        Ok(())
    }

    /// Collects at once, or behind the call that it was sent with. No guest of ours asks for more
    /// than there is room for, and none sends contents along.
    fn collect_in_turn(
        &mut self,
        header: &Header,
        payload: &[u8],
        bulk: &[u8],
    ) -> Result<(), LinkError> {
        if !bulk.is_empty() {
            return Err(LinkError::BulkMismatch { bytes: bulk.len(), room: 0 });
        }
        if !self.held.holds_call_of(header.thread) {
            return self.collect(header);
        }
        if self.held.is_full() {
            let expected = "nothing more that has to be held";
            return Err(LinkError::Unexpected { opcode: header.opcode, expected });
        }
        self.hold(header, payload, bulk, Touch::Anything);
        Ok(())
    }

    /// Sends copies that are complete, behind what the same guest thread waits for.
    fn collect(&mut self, header: &Header) -> Result<(), LinkError> {
        let (header, replies) = (*header, Arc::clone(&self.replies));
        let deliveries = Arc::clone(self.device.deliveries());
        let send = move || {
            let failed = |context, error| {
                // A context that has ended has nobody to tell, and may come back as another one.
                if error != Error::CONTEXT_IS_DESTROYED {
                    replies.deferred().keep(context, error);
                }
            };
            deliveries.collect(failed, |collected, bulk| {
                replies.send(&header, status::DONE, &collected.to_payload(), bulk)
            })
        };
        if !self.waiters.has_left(header.thread) {
            return send();
        }
        // Fails if the client is gone, which the dispatch thread finds out as well.
        if let Err(job) = self.aside(header.thread, move |_| drop(send())) {
            job(&mut self.answer);
        }
        Ok(())
    }

    /// Lets another thread complete the answer; where there is none, this one does.
    fn later(&mut self, header: &Header, context: u64, finish: Finish) {
        let (header, replies, waits) = (*header, Arc::clone(&self.replies), self.waits.clone());
        let began = waits.begin();
        let wait = move |answer: &mut Answer| {
            finish(answer);
            waits.end(Wait::Device, began);
            // Fails if the client is gone, which the dispatch thread finds out as well.
            let _ = replies.conclude(&header, context, answer);
        };
        if let Err(job) = self.aside(header.thread, wait) {
            job(&mut self.answer);
        }
    }

    /// Leaves work to another thread; gives it back if there is none.
    fn aside(
        &self,
        thread: u32,
        work: impl FnOnce(&mut Answer) + Send + 'static,
    ) -> Result<(), Job> {
        let replies = Arc::clone(&self.replies);
        let job: Job = Box::new(move |answer| {
            let unanswered = Unanswered(&replies);
            work(answer);
            std::mem::forget(unanswered);
        });
        self.waiters.run(thread, job)
    }

    fn refuse(&self, call: &Header, error: Error) -> Result<(), LinkError> {
        self.replies.send(call, code(error.code()), &[], &[])
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.device.functions().end();
    }
}

/// Ends the connection if what completes an answer panics: the client would wait for ever.
struct Unanswered<'a>(&'a Replies);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests;
