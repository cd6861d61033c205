//! Errors of posts: nobody waits for them, so they are reported at a later call.

use std::collections::HashMap;

use vgpu_abi::cuda::Error;
use vgpu_link::wire::{Request, cuda};

/// Calls that wait for earlier work, and so "may also return error codes from previous,
/// asynchronous launches" (CUDA Driver API, their notes).
const SYNCHRONISING: [u32; 10] = [
    cuda::CtxSynchronize::OPCODE,
    cuda::CtxSynchronizeV2::OPCODE,
    cuda::StreamSynchronize::OPCODE,
    cuda::StreamQuery::OPCODE,
    cuda::EventSynchronize::OPCODE,
    cuda::EventQuery::OPCODE,
    cuda::MemcpyHtoDV2::OPCODE,
    cuda::MemcpyDtoHV2::OPCODE,
    cuda::MemcpyDtoDV2::OPCODE,
    cuda::MemcpyDtoHAsyncV2::OPCODE,
];

/// Most contexts whose error is kept. Clients have one or two; only one that makes up contexts
/// comes here, and learns of its first thousand errors.
const CONTEXTS_MAX: usize = 1024;

/// The first unreported error of each context; later ones of the same context are its
/// consequence more often than not, and CUDA reports one.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    errors: HashMap<u64, Error>,
}

impl Deferred {
    /// Keeps what a post ran into.
    pub fn keep(&mut self, context: u64, error: Error) {
        if self.errors.len() < CONTEXTS_MAX {
            self.errors.entry(context).or_insert(error);
        }
    }

    /// Forgets the errors of contexts that have ended: a primary one comes back under its old
    /// handle, and has nothing to do with its former life.
    pub fn forget(&mut self, has_ended: impl Fn(u64) -> bool) {
        self.errors.retain(|&context, _| !has_ended(context));
    }

    /// Hands out a context's error where this call is to report it, once.
    pub fn report(&mut self, context: u64, opcode: u32) -> Option<Error> {
        if self.errors.is_empty() || !SYNCHRONISING.contains(&opcode) {
            return None;
        }
        self.errors.remove(&context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_of_a_context_is_reported_once_by_a_call_that_waits() {
        let mut deferred = Deferred::default();
        deferred.keep(7, Error::INVALID_VALUE);
        deferred.keep(7, Error::INVALID_HANDLE);
        let (waits, asks) = (cuda::StreamSynchronize::OPCODE, cuda::MemGetInfoV2::OPCODE);
        assert_eq!(deferred.report(7, asks), None);
        assert_eq!(deferred.report(8, waits), None, "another context's");
        assert_eq!(deferred.report(7, waits), Some(Error::INVALID_VALUE));
        assert_eq!(deferred.report(7, waits), None);
    }

    #[test]
    fn the_error_of_a_context_ends_with_it() {
        let mut deferred = Deferred::default();
        deferred.keep(7, Error::INVALID_VALUE);
        deferred.keep(8, Error::INVALID_HANDLE);
        deferred.forget(|context| context == 7);
        let waits = cuda::CtxSynchronize::OPCODE;
        assert_eq!(deferred.report(7, waits), None);
        assert_eq!(deferred.report(8, waits), Some(Error::INVALID_HANDLE));
    }

    #[test]
    fn made_up_contexts_do_not_fill_the_memory() {
        let mut deferred = Deferred::default();
        for context in 0..100_000 {
            deferred.keep(context, Error::INVALID_CONTEXT);
        }
        assert_eq!(deferred.errors.len(), CONTEXTS_MAX);
    }
}
