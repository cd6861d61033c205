//! Errors of posts: nobody waits for them, so they are reported at a later call.

use std::collections::HashMap;

use vgpu_abi::cuda::Error;
use vgpu_link::wire::{Request, cuda};

/// Calls that wait for earlier work, and so "may also return error codes from previous,
/// asynchronous launches" (CUDA Driver API, their notes).
const SYNCHRONISING: [u32; 3] = [
    <cuda::MemcpyHtoDV2 as Request>::OPCODE,
    <cuda::MemcpyDtoHV2 as Request>::OPCODE,
    <cuda::MemFreeV2 as Request>::OPCODE,
];

/// The first unreported error of each context; later ones of the same context are its
/// consequence more often than not, and CUDA reports one.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    errors: HashMap<u64, Error>,
}

impl Deferred {
    /// Keeps what a post ran into.
    pub fn keep(&mut self, context: u64, error: Error) {
        self.errors.entry(context).or_insert(error);
    }

    /// Hands out a context's error where this call is to report it, once.
    pub fn report(&mut self, context: u64, opcode: u32) -> Option<Error> {
        if self.errors.is_empty() || !SYNCHRONISING.contains(&opcode) {
            return None;
        }
        self.errors.remove(&context)
    }
}
