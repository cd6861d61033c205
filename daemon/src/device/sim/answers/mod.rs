//! What the simulated device answers to each message, one module a noun.

mod blas;
mod capture;
mod context;
mod copy;
mod event;
mod function;
mod graph;
mod graph_exec;
mod host_function;
mod kernel;
mod launch;
mod library;
mod linker;
mod memory;
mod module;
mod peer;
mod pinned;
mod pool;
mod set;
mod stream;
mod virtual_memory;
mod volume;

use vgpu_abi::cuda::Error;

use super::Sim;
use super::capture::Entry;
use crate::dispatch::Call;

/// Reads the one flag of `cuEventRecordWithFlags` and `cuStreamWaitEvent` (CU_EVENT_RECORD_EXTERNAL
/// and CU_EVENT_WAIT_EXTERNAL, both 1).
fn is_external(flags: u32) -> Result<bool, Error> {
    if flags <= 1 { Ok(flags == 1) } else { Err(Error::INVALID_VALUE) }
}

impl Sim {
    /// Checks that the caller has a context.
    fn check(&self, call: &Call) -> Result<(), Error> {
        self.contexts.find(call.context).map(drop)
    }

    /// Checks what a synchronous copy or set needs besides its ranges: it is work of the legacy
    /// default stream.
    fn check_legacy(&mut self, call: &Call) -> Result<(), Error> {
        self.check(call)?;
        self.use_legacy(call.context)
    }

    /// Checks a stream for work that cannot become a node.
    fn check_not_captured(&mut self, call: &Call, stream: u64) -> Result<(), Error> {
        match self.enter(call, stream)? {
            Entry::Free { .. } => Ok(()),
            Entry::Captured { lane, .. } => {
                self.invalidate(lane);
                Err(Error::NOT_SUPPORTED)
            }
        }
    }

    fn fetch(&self, address: u64, bytes: u64, out: &mut Vec<u8>) -> Result<(), Error> {
        // More than a frame holds could not be answered; the guest asks in pieces.
        if bytes > vgpu_link::wire::header::BULK_BYTES_MAX as u64 {
            return Err(Error::INVALID_VALUE);
        }
        out.extend_from_slice(self.memory.read(address, bytes)?);
        Ok(())
    }

    fn store(&mut self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        self.memory.write(address, bytes.len() as u64).map(|to| to.copy_from_slice(bytes))
    }
}
