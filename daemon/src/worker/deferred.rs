//! Errors of posts: nobody waits for them, so they are reported at a later call.

use std::collections::HashMap;

use vgpu_abi::cuda::Error;
use vgpu_link::wire::{Kind, Request, cuda};

/// Calls that tell how far earlier work is, beside those that wait for it, or what became of it: a
/// graph that lacks work which could not be captured is not handed out.
const ASKING: [u32; 3] =
    [cuda::StreamQuery::OPCODE, cuda::EventQuery::OPCODE, cuda::StreamEndCapture::OPCODE];

/// Calls of the guest itself, of whose answer no thread of the program hears.
const UNHEARD: [u32; 2] = [cuda::StandInRead::OPCODE, cuda::StandInWrite::OPCODE];

/// Calls that do not work on the caller's current context: they are done though it is broken.
const ELSEWHERE: [u32; 5] = [
    cuda::CtxCreateV2::OPCODE,
    cuda::CtxDestroyV2::OPCODE,
    cuda::DevicePrimaryCtxRetain::OPCODE,
    cuda::DevicePrimaryCtxReleaseV2::OPCODE,
    cuda::DevicePrimaryCtxResetV2::OPCODE,
];

/// Most contexts whose error is kept. Clients have one or two; only one that makes up contexts
/// comes here, and learns of its first thousand errors.
const CONTEXTS_MAX: usize = 1024;

/// What each context has to report: the first error of its posts, because later ones are its
/// consequence more often than not and CUDA reports one; or the one that broke it, for good.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    errors: HashMap<u64, Error>,
}

impl Deferred {
    /// Keeps what a post ran into, for a call to report.
    pub fn keep(&mut self, context: u64, error: Error) {
        if let Some(kept) = self.errors.get_mut(&context) {
            if error.breaks_the_context() && !kept.breaks_the_context() {
                *kept = error;
            }
        } else if self.errors.len() < CONTEXTS_MAX {
            self.errors.insert(context, error);
        }
    }

    /// Keeps an error that a call has reported, if it broke the context.
    pub fn notice(&mut self, context: u64, error: Error) {
        if error.breaks_the_context() {
            self.keep(context, error);
        }
    }

    /// Forgets the errors of contexts that have ended: a primary one comes back under its old
    /// handle, and has nothing to do with its former life.
    pub fn forget(&mut self, has_ended: impl Fn(u64) -> bool) {
        self.errors.retain(|&context, _| !has_ended(context));
    }

    /// Hands out a context's error where this message is to report it: once, at a call that waits
    /// for earlier work or asks for it; of a broken context at every one, which is then not done.
    pub fn report(&mut self, context: u64, kind: Kind, opcode: u32) -> Option<Error> {
        let error = *self.errors.get(&context)?;
        if error.breaks_the_context() {
            return (!ELSEWHERE.contains(&opcode)).then_some(error);
        }
        if UNHEARD.contains(&opcode) {
            return None;
        }
        if kind != Kind::Call || !(cuda::WAITING.contains(&opcode) || ASKING.contains(&opcode)) {
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
        assert_eq!(deferred.report(7, Kind::Call, asks), None);
        assert_eq!(deferred.report(8, Kind::Call, waits), None, "another context's");
        assert_eq!(deferred.report(7, Kind::Call, waits), Some(Error::INVALID_VALUE));
        assert_eq!(deferred.report(7, Kind::Call, waits), None);
    }

    #[test]
    fn the_error_of_a_context_ends_with_it() {
        let mut deferred = Deferred::default();
        deferred.keep(7, Error::INVALID_VALUE);
        deferred.keep(8, Error::INVALID_HANDLE);
        deferred.forget(|context| context == 7);
        let waits = cuda::CtxSynchronize::OPCODE;
        assert_eq!(deferred.report(7, Kind::Call, waits), None);
        assert_eq!(deferred.report(8, Kind::Call, waits), Some(Error::INVALID_HANDLE));
    }

    #[test]
    fn made_up_contexts_do_not_fill_the_memory() {
        let mut deferred = Deferred::default();
        for context in 0..100_000 {
            deferred.keep(context, Error::INVALID_CONTEXT);
        }
        assert_eq!(deferred.errors.len(), CONTEXTS_MAX);
    }

    #[test]
    fn a_broken_context_answers_its_error_to_everything_until_it_ends() {
        let mut deferred = Deferred::default();
        deferred.keep(7, Error::INVALID_VALUE);
        deferred.keep(7, Error::ILLEGAL_ADDRESS);
        deferred.keep(7, Error::ASSERT);
        deferred.notice(8, Error::OUT_OF_MEMORY);
        let (asks, waits) = (cuda::MemGetInfoV2::OPCODE, cuda::StreamSynchronize::OPCODE);
        for _ in 0..2 {
            for kind in [Kind::Call, Kind::Post] {
                assert_eq!(deferred.report(7, kind, asks), Some(Error::ILLEGAL_ADDRESS));
            }
            assert_eq!(deferred.report(7, Kind::Call, waits), Some(Error::ILLEGAL_ADDRESS));
        }
        assert_eq!(deferred.report(8, Kind::Call, waits), None, "it was told, and breaks nothing");
        let ends = cuda::DevicePrimaryCtxResetV2::OPCODE;
        assert_eq!(deferred.report(7, Kind::Call, ends), None);
        deferred.forget(|context| context == 7);
        assert_eq!(deferred.report(7, Kind::Call, waits), None);
        deferred.notice(7, Error::LAUNCH_FAILED);
        assert_eq!(deferred.report(7, Kind::Call, asks), Some(Error::LAUNCH_FAILED));
    }
}
