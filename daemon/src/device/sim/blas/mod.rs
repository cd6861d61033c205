//! cuBLAS on the simulated device: plain arithmetic on its memory.
//!
//! What a GPU computes in half precision or TF32 is computed in single precision here, and sums
//! come in another order: results agree as those of two GPUs do, not bit for bit.

mod number;
mod place;
mod product;

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cublas::{Multiply, Setting};

use super::Sim;
use super::handles::{Kind, Table};

/// One piece of work of cuBLAS for a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Work {
    /// A product of matrices.
    Multiply(Multiply),
}

// No message of cuBLAS has a field that is unequal to itself: factors travel as bytes.
impl Eq for Work {}

impl Work {
    fn setting(&self) -> &Setting {
        match self {
            Self::Multiply(asked) => &asked.setting,
        }
    }
}

/// The handles of cuBLAS, each with the context that it belongs to.
#[derive(Debug)]
pub(crate) struct Handles(Table<u64>);

impl Handles {
    /// Starts without any.
    pub fn new() -> Self {
        Self(Table::new(Kind::Blas))
    }

    /// Makes a handle in a context.
    pub fn create(&mut self, context: u64) -> Result<u64, Error> {
        self.0.insert(context)
    }

    /// Ends a handle.
    pub fn destroy(&mut self, handle: u64) -> Result<(), Error> {
        self.0.remove(handle).map(drop).ok_or(Error::INVALID_HANDLE)
    }

    /// Ends the handles of a context.
    pub fn end_context(&mut self, context: u64) {
        self.0.retain(|owner| *owner != context);
    }
}

impl Sim {
    /// Checks what can be known of cuBLAS's work before it is done.
    pub(super) fn examine_blas(&self, work: &Work) -> Result<(), Error> {
        let handle = work.setting().handle;
        self.blas.0.find(handle).map(drop).ok_or(Error::INVALID_HANDLE)
    }

    /// Does a piece of work of cuBLAS.
    pub(super) fn perform_blas(&mut self, work: &Work) -> Result<(), Error> {
        match work {
            Work::Multiply(asked) => product::multiply(&mut self.memory, asked),
        }
    }
}
