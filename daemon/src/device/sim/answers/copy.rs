//! What the simulated device answers about copies.

use std::sync::Arc;

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    CopyToGuest, MemcpyDtoDAsyncV2, MemcpyDtoDV2, MemcpyDtoHV2, MemcpyHtoDAsyncV2, MemcpyHtoDV2,
    SpanCopy, SpanCopyAsync,
};

use super::super::operation::Operation;
use crate::device::{Copied, Sim};
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

    fn copy_to_guest(&mut self, call: &Call, r: CopyToGuest) -> Result<(), Error> {
        let deliveries = Arc::clone(&self.deliveries);
        deliveries.take_on(call.context, (r.ticket, r.bytes), || {
            self.check_not_captured(call, r.stream)?;
            let contents: Box<dyn Copied> = Box::new(self.memory.read(r.source, r.bytes)?.to_vec());
            Ok(contents)
        })
    }

    fn memcpy_dto_d_async_v2(&mut self, call: &Call, r: MemcpyDtoDAsyncV2) -> Result<(), Error> {
        let copy = Operation::copy(r.dst_device, r.src_device, r.byte_count);
        self.submit(call, r.stream, copy)
    }

    fn span_copy(&mut self, call: &Call, r: SpanCopy) -> Result<Wait<()>, Error> {
        self.check_legacy(call)?;
        self.perform(call.context, &Operation::Copy(r.copy)).map(Wait::Done)
    }

    fn span_copy_async(&mut self, call: &Call, r: SpanCopyAsync) -> Result<(), Error> {
        self.submit(call, r.stream, Operation::Copy(r.copy))
    }
}
