//! What the simulated device answers about pinned memory.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{SpanPin, SpanUnpin};

use crate::device::Sim;
use crate::dispatch::{Call, PinnedCalls};

impl PinnedCalls for Sim {
    fn span_pin(&mut self, call: &Call, r: SpanPin) -> Result<(), Error> {
        self.check(call)?;
        self.spans.may_pin(r.offset, r.bytes)?;
        self.bank.pin(r.bytes)?;
        self.spans.pin(r.offset, r.bytes, ()).inspect_err(|_| self.bank.unpin(r.bytes))
    }

    /// A graph may still name it: its launch is refused then.
    fn span_unpin(&mut self, _: &Call, r: SpanUnpin) -> Result<(), Error> {
        self.spans.unpin(r.offset, r.bytes)?;
        self.bank.unpin(r.bytes);
        Ok(())
    }
}
