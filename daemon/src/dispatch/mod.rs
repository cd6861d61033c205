//! From a message to the device and back; knows neither links nor what a device is.

mod generated;

pub use generated::*;

use vgpu_abi::cuda::Error;
use vgpu_link::wire::{Malformed, Payload, Writer};

/// Says which context and which thread of the client a message comes from (its frame's header).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Handle of the thread's current context; 0 for none.
    pub context: u64,
    /// Number of the thread, for its own default stream.
    pub thread: u32,
}

/// What goes back to the client. Reused from call to call.
#[derive(Debug, Default)]
pub struct Answer {
    /// 0, or the driver API's code of what went wrong.
    pub status: u32,
    /// Fields of the reply; empty unless the status is 0.
    pub payload: Vec<u8>,
    /// Memory contents of the reply; empty unless the status is 0.
    pub bulk: Vec<u8>,
}

impl Answer {
    /// Decodes the request, asks, and keeps the outcome.
    fn plain<Q: Payload, A: Payload>(
        &mut self,
        payload: &[u8],
        ask: impl FnOnce(Q) -> Result<A, Error>,
    ) -> Result<(), Malformed> {
        self.bulk(payload, |request, _| ask(request))
    }

    /// The same for a request whose answer has a bulk part.
    fn bulk<Q: Payload, A: Payload>(
        &mut self,
        payload: &[u8],
        ask: impl FnOnce(Q, &mut Vec<u8>) -> Result<A, Error>,
    ) -> Result<(), Malformed> {
        self.status = 0;
        self.payload.clear();
        self.bulk.clear();
        match ask(Q::from_payload(payload)?, &mut self.bulk) {
            Ok(reply) => reply.write(&mut Writer::new(&mut self.payload)),
            Err(error) => self.refuse(error),
        }
        Ok(())
    }

    /// Answers with nothing but an error.
    fn refuse(&mut self, error: Error) {
        self.status = error.code();
        self.payload.clear();
        self.bulk.clear();
    }
}
