//! From a message to the device and back; knows neither links nor what a device is.

mod generated;

pub use generated::*;

use std::fmt;

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
    /// 0, or the code of what went wrong: that of the library that was called, and for a post that
    /// of the driver API, which reports it.
    pub status: u32,
    /// Fields of the reply; empty unless the status is 0.
    pub payload: Vec<u8>,
    /// Memory contents of the reply; empty unless the status is 0.
    pub bulk: Vec<u8>,
}

/// What a device answers to a call that may have to wait for earlier work.
pub enum Wait<T, E = Error> {
    /// There was nothing to wait for.
    Done(T),
    /// The work is on its way; this waits for it.
    Later(Later<T, E>),
}

/// Waits, without the device, and answers; the buffer takes the memory contents of the reply.
///
/// Runs on a thread that belongs to the guest's thread for as long: what several calls of one guest
/// thread leave for later happens in the order of the calls. It is run, whatever becomes of the
/// client, unless the worker ends.
pub type Later<T, E = Error> = Box<dyn FnOnce(&mut Vec<u8>) -> Result<T, E> + Send>;

/// Completes an answer beside the dispatch thread.
pub type Finish = Box<dyn FnOnce(&mut Answer) + Send>;

impl<T: fmt::Debug, E> fmt::Debug for Wait<T, E> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(reply) => to.debug_tuple("Done").field(reply).finish(),
            Self::Later(_) => to.write_str("Later"),
        }
    }
}

impl<T: 'static, E: 'static> Wait<T, E> {
    /// Defers an answer to what `wait` finds out.
    pub fn later(wait: impl FnOnce(&mut Vec<u8>) -> Result<T, E> + Send + 'static) -> Self {
        Self::Later(Box::new(wait))
    }

    /// Names what goes wrong meanwhile in another library's numbers.
    pub fn map_err<F: 'static>(self, name: impl FnOnce(E) -> F + Send + 'static) -> Wait<T, F> {
        match self {
            Self::Done(reply) => Wait::Done(reply),
            Self::Later(wait) => Wait::later(move |bulk| wait(bulk).map_err(name)),
        }
    }
}

impl Answer {
    /// Decodes the request, asks, and keeps the outcome.
    fn done<Q: Payload, A: Payload, E: Into<u32>>(
        &mut self,
        payload: &[u8],
        ask: impl FnOnce(Q, &mut Vec<u8>) -> Result<A, E>,
    ) -> Result<Option<Finish>, Malformed> {
        let request = Q::from_payload(payload)?;
        self.keep(|bulk| ask(request, bulk).map(Some));
        Ok(None)
    }

    /// The same for a request whose answer may have to wait.
    pub(crate) fn wait<Q: Payload, A: Payload + 'static, E: Into<u32> + 'static>(
        &mut self,
        payload: &[u8],
        ask: impl FnOnce(Q, &mut Vec<u8>) -> Result<Wait<A, E>, E>,
    ) -> Result<Option<Finish>, Malformed> {
        let request = Q::from_payload(payload)?;
        let mut later = None;
        self.keep(|bulk| match ask(request, bulk) {
            Ok(Wait::Done(reply)) => Ok(Some(reply)),
            Ok(Wait::Later(wait)) => {
                later = Some(wait);
                Ok(None)
            }
            Err(error) => Err(error),
        });
        Ok(later.map(|wait| -> Finish {
            Box::new(move |answer| answer.keep(|bulk| wait(bulk).map(Some)))
        }))
    }

    /// Keeps an outcome; `None` leaves the answer to later.
    fn keep<A: Payload, E: Into<u32>>(
        &mut self,
        ask: impl FnOnce(&mut Vec<u8>) -> Result<Option<A>, E>,
    ) {
        self.status = 0;
        self.payload.clear();
        self.bulk.clear();
        match ask(&mut self.bulk) {
            Ok(Some(reply)) => reply.write(&mut Writer::new(&mut self.payload)),
            Ok(None) => {}
            Err(error) => self.refuse(error),
        }
    }

    /// Answers with nothing but an error.
    fn refuse(&mut self, error: impl Into<u32>) {
        self.status = error.into();
        self.payload.clear();
        self.bulk.clear();
    }
}
