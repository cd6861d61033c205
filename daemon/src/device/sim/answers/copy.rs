//! What the simulated device answers about copies.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    MemcpyDtoDAsyncV2, MemcpyDtoDV2, MemcpyDtoHAsyncV2, MemcpyDtoHV2, MemcpyHtoDAsyncV2,
    MemcpyHtoDV2,
};

use super::super::operation::Operation;
use crate::device::Sim;
use crate::dispatch::{Call, CopyCalls, Wait};

impl CopyCalls for Sim {
    fn memcpy_hto_d_v2(
        &mut self,
        call: &Call,
        r: MemcpyHtoDV2,
        bulk: &[u8],
    ) -> Result<Wait<()>, Error> {
        self.check_legacy(call)?;
        self.store(r.dst_device, bulk).map(Wait::Done)
    }

    fn memcpy_dto_h_v2(
        &mut self,
        call: &Call,
        r: MemcpyDtoHV2,
        bulk: &mut Vec<u8>,
    ) -> Result<Wait<()>, Error> {
        self.check_legacy(call)?;
        self.fetch(r.src_device, r.byte_count, bulk).map(Wait::Done)
    }

    fn memcpy_dto_d_v2(&mut self, call: &Call, r: MemcpyDtoDV2) -> Result<Wait<()>, Error> {
        self.check_legacy(call)?;
        self.memory.copy(r.dst_device, r.src_device, r.byte_count).map(Wait::Done)
    }

    fn memcpy_hto_d_async_v2(
        &mut self,
        call: &Call,
        r: MemcpyHtoDAsyncV2,
        bulk: &[u8],
    ) -> Result<(), Error> {
        self.check_not_captured(call, r.stream)?;
        self.store(r.dst_device, bulk)
    }

    fn memcpy_dto_h_async_v2(
        &mut self,
        call: &Call,
        r: MemcpyDtoHAsyncV2,
        bulk: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.check_not_captured(call, r.stream)?;
        self.fetch(r.src_device, r.byte_count, bulk)
    }

    fn memcpy_dto_d_async_v2(&mut self, call: &Call, r: MemcpyDtoDAsyncV2) -> Result<(), Error> {
        let (to, from, bytes) = (r.dst_device, r.src_device, r.byte_count);
        self.submit(call, r.stream, Operation::Copy { to, from, bytes })
    }
}
