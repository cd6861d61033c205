//! What the simulated device answers about sets.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    MemsetD2D8Async, MemsetD2D8V2, MemsetD2D16Async, MemsetD2D16V2, MemsetD2D32Async,
    MemsetD2D32V2, MemsetD8Async, MemsetD8V2, MemsetD16Async, MemsetD16V2, MemsetD32Async,
    MemsetD32V2, NodeSet,
};

use super::super::operation::Operation;
use crate::device::Sim;
use crate::dispatch::{Call, SetCalls};

impl SetCalls for Sim {
    fn memset_d8_v2(&mut self, call: &Call, r: MemsetD8V2) -> Result<(), Error> {
        self.set_now(call, Operation::set(r.dst_device, r.uc.into(), 1, r.n))
    }

    fn memset_d8_async(&mut self, call: &Call, r: MemsetD8Async) -> Result<(), Error> {
        let set = Operation::set(r.dst_device, r.uc.into(), 1, r.n);
        self.submit(call, r.stream, set)
    }

    fn memset_d2_d8_v2(&mut self, call: &Call, r: MemsetD2D8V2) -> Result<(), Error> {
        self.set_now(call, rows((r.dst_device, r.dst_pitch), r.uc.into(), 1, (r.width, r.height)))
    }

    fn memset_d2_d8_async(&mut self, call: &Call, r: MemsetD2D8Async) -> Result<(), Error> {
        let set = rows((r.dst_device, r.dst_pitch), r.uc.into(), 1, (r.width, r.height));
        self.submit(call, r.stream, set)
    }

    fn memset_d16_v2(&mut self, call: &Call, r: MemsetD16V2) -> Result<(), Error> {
        self.set_now(call, Operation::set(r.dst_device, r.us.into(), 2, r.n))
    }

    fn memset_d16_async(&mut self, call: &Call, r: MemsetD16Async) -> Result<(), Error> {
        let set = Operation::set(r.dst_device, r.us.into(), 2, r.n);
        self.submit(call, r.stream, set)
    }

    fn memset_d2_d16_v2(&mut self, call: &Call, r: MemsetD2D16V2) -> Result<(), Error> {
        self.set_now(call, rows((r.dst_device, r.dst_pitch), r.us.into(), 2, (r.width, r.height)))
    }

    fn memset_d2_d16_async(&mut self, call: &Call, r: MemsetD2D16Async) -> Result<(), Error> {
        let set = rows((r.dst_device, r.dst_pitch), r.us.into(), 2, (r.width, r.height));
        self.submit(call, r.stream, set)
    }

    fn memset_d32_v2(&mut self, call: &Call, r: MemsetD32V2) -> Result<(), Error> {
        self.set_now(call, Operation::set(r.dst_device, r.ui, 4, r.n))
    }

    fn memset_d32_async(&mut self, call: &Call, r: MemsetD32Async) -> Result<(), Error> {
        let set = Operation::set(r.dst_device, r.ui, 4, r.n);
        self.submit(call, r.stream, set)
    }

    fn memset_d2_d32_v2(&mut self, call: &Call, r: MemsetD2D32V2) -> Result<(), Error> {
        self.set_now(call, rows((r.dst_device, r.dst_pitch), r.ui, 4, (r.width, r.height)))
    }

    fn memset_d2_d32_async(&mut self, call: &Call, r: MemsetD2D32Async) -> Result<(), Error> {
        let set = rows((r.dst_device, r.dst_pitch), r.ui, 4, (r.width, r.height));
        self.submit(call, r.stream, set)
    }
}

/// Sets rows of elements, each `pitch` bytes behind the one before.
fn rows(
    (to, pitch): (u64, u64),
    value: u32,
    element_bytes: u32,
    (width, height): (u64, u64),
) -> Operation {
    Operation::Set(NodeSet { to, pitch, value, element_bytes, width, height })
}

impl Sim {
    fn set_now(&mut self, call: &Call, set: Operation) -> Result<(), Error> {
        self.check_legacy(call)?;
        self.perform(call.context, &set)
    }
}
