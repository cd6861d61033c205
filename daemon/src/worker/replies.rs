//! What goes back to the client: one frame at a time, from several threads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::Error;
use vgpu_link::wire::control::{Reason, Refusal};
use vgpu_link::wire::{Header, Kind};
use vgpu_link::{Closer, LinkError, Sender, handshake};

use super::deferred::Deferred;
use crate::dispatch::Answer;

/// The sending half of the connection, and the errors that wait to be told.
pub(crate) struct Replies {
    /// `None` after the last frame.
    sender: Mutex<Option<Box<dyn Sender>>>,
    closer: Closer,
    deferred: Mutex<Deferred>,
}

impl Replies {
    /// Takes over the sending half.
    pub fn new(sender: Box<dyn Sender>) -> Self {
        let closer = sender.closer();
        Self { sender: Mutex::new(Some(sender)), closer, deferred: Mutex::default() }
    }

    /// The errors that wait to be told.
    pub fn deferred(&self) -> MutexGuard<'_, Deferred> {
        // Every change is one insertion or removal, so a holder's panic leaves nothing half done.
        self.deferred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a call, or keeps the error of a post; `context` is the one that it worked on.
    ///
    /// # Errors
    /// [`LinkError`] if the client is gone.
    pub fn conclude(
        &self,
        request: &Header,
        context: u64,
        answer: &Answer,
    ) -> Result<(), LinkError> {
        let error = Error::new(answer.status);
        match (request.kind, error) {
            (Kind::Post, None) => Ok(()),
            (Kind::Post, Some(error)) => {
                self.deferred().keep(context, error);
                Ok(())
            }
            (_, error) => {
                if let Some(error) = error {
                    self.deferred().notice(context, error);
                }
                self.send(request, code(answer.status), &answer.payload, &answer.bulk)
            }
        }
    }

    /// Sends the reply to a call.
    ///
    /// # Errors
    /// [`LinkError`] if the client is gone.
    pub fn send(
        &self,
        call: &Header,
        status: u16,
        payload: &[u8],
        bulk: &[u8],
    ) -> Result<(), LinkError> {
        let reply = Header { kind: Kind::Reply, status, ..*call };
        match &mut *self.sender() {
            Some(sender) => sender.send(&reply, payload, bulk),
            None => Err(LinkError::Closed),
        }
    }

    /// Refuses the client, as the last frame.
    pub fn turn_away(&self, refusal: Refusal, text: &str) {
        if let Some(mut sender) = self.sender().take() {
            // One that is gone needs no answer.
            let _ = handshake::refuse(&mut *sender, refusal, text);
        }
    }

    /// Tells the client what it did wrong, where it may still listen, as the last frame.
    pub fn part(&self, error: &LinkError) {
        if let Some(mut sender) = self.sender().take() {
            // Whether the client hears it or not, what it did is the error to report.
            let _ = handshake::part(&mut *sender, error);
        }
    }

    /// Ends the connection in good order, with the last frame.
    pub fn goodbye(&self, reason: Reason, text: &str) {
        if let Some(mut sender) = self.sender().take() {
            // The client may be gone as well, which is an end too.
            let _ = handshake::goodbye(&mut *sender, reason, text);
        }
    }

    /// Ends the connection without a word, for a thread that cannot go on.
    pub fn close(&self) {
        self.closer.close();
    }

    fn sender(&self) -> MutexGuard<'_, Option<Box<dyn Sender>>> {
        self.sender.lock().unwrap_or_else(|poisoned| {
            // In the middle of a frame, perhaps: nothing sensible can follow.
            let mut sender = poisoned.into_inner();
            *sender = None;
            sender
        })
    }
}

/// Puts a driver code into a header. The largest documented one is 999.
pub(crate) fn code(status: u32) -> u16 {
    u16::try_from(status).expect("the device answers with documented codes, at most 999")
}
