//! What the simulated device answers about sets.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    MemsetD2D8Async, MemsetD2D8V2, MemsetD2D16Async, MemsetD2D16V2, MemsetD2D32Async,
    MemsetD2D32V2, MemsetD8Async, MemsetD8V2, MemsetD16Async, MemsetD16V2, MemsetD32Async,
    MemsetD32V2,
};

use crate::device::Sim;
use crate::dispatch::{Call, SetCalls};

impl SetCalls for Sim {
    fn memset_d8_v2(&mut self, call: &Call, r: MemsetD8V2) -> Result<(), Error> {
        self.check(call)?;
        self.set(r.dst_device, &[r.uc], r.n)
    }

    fn memset_d16_v2(&mut self, call: &Call, r: MemsetD16V2) -> Result<(), Error> {
        self.check(call)?;
        self.set(r.dst_device, &r.us.to_le_bytes(), r.n)
    }

    fn memset_d32_v2(&mut self, call: &Call, r: MemsetD32V2) -> Result<(), Error> {
        self.check(call)?;
        self.set(r.dst_device, &r.ui.to_le_bytes(), r.n)
    }

    fn memset_d2_d8_v2(&mut self, call: &Call, r: MemsetD2D8V2) -> Result<(), Error> {
        self.check(call)?;
        self.set_rows(r.dst_device, r.dst_pitch, &[r.uc], [r.width, r.height])
    }

    fn memset_d2_d16_v2(&mut self, call: &Call, r: MemsetD2D16V2) -> Result<(), Error> {
        self.check(call)?;
        self.set_rows(r.dst_device, r.dst_pitch, &r.us.to_le_bytes(), [r.width, r.height])
    }

    fn memset_d2_d32_v2(&mut self, call: &Call, r: MemsetD2D32V2) -> Result<(), Error> {
        self.check(call)?;
        self.set_rows(r.dst_device, r.dst_pitch, &r.ui.to_le_bytes(), [r.width, r.height])
    }

    fn memset_d8_async(&mut self, call: &Call, r: MemsetD8Async) -> Result<(), Error> {
        self.check_stream(call.context, r.stream)?;
        self.set(r.dst_device, &[r.uc], r.n)
    }

    fn memset_d16_async(&mut self, call: &Call, r: MemsetD16Async) -> Result<(), Error> {
        self.check_stream(call.context, r.stream)?;
        self.set(r.dst_device, &r.us.to_le_bytes(), r.n)
    }

    fn memset_d32_async(&mut self, call: &Call, r: MemsetD32Async) -> Result<(), Error> {
        self.check_stream(call.context, r.stream)?;
        self.set(r.dst_device, &r.ui.to_le_bytes(), r.n)
    }

    fn memset_d2_d8_async(&mut self, call: &Call, r: MemsetD2D8Async) -> Result<(), Error> {
        self.check_stream(call.context, r.stream)?;
        self.set_rows(r.dst_device, r.dst_pitch, &[r.uc], [r.width, r.height])
    }

    fn memset_d2_d16_async(&mut self, call: &Call, r: MemsetD2D16Async) -> Result<(), Error> {
        self.check_stream(call.context, r.stream)?;
        self.set_rows(r.dst_device, r.dst_pitch, &r.us.to_le_bytes(), [r.width, r.height])
    }

    fn memset_d2_d32_async(&mut self, call: &Call, r: MemsetD2D32Async) -> Result<(), Error> {
        self.check_stream(call.context, r.stream)?;
        self.set_rows(r.dst_device, r.dst_pitch, &r.ui.to_le_bytes(), [r.width, r.height])
    }
}
