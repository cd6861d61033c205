//! What the simulated device answers to each message.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::*;

use super::queue::PRIORITIES;
use super::{Sim, memory};
use crate::dispatch::{Call, Device};

/// CU_EVENT_RECORD_EXTERNAL and CU_EVENT_WAIT_EXTERNAL are for captures, of which there are none.
fn check_not_external(flags: u32) -> Result<(), Error> {
    if flags == 0 { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

impl Sim {
    /// Checks what a synchronous copy or set needs besides its ranges.
    fn check(&self, call: &Call) -> Result<(), Error> {
        self.contexts.find(call.context).map(drop)
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

impl Device for Sim {
    fn device_primary_ctx_retain(
        &mut self,
        _: &Call,
        request: DevicePrimaryCtxRetain,
    ) -> Result<DevicePrimaryCtxRetainReply, Error> {
        let pctx = self.contexts.retain_primary(request.dev)?;
        Ok(DevicePrimaryCtxRetainReply { pctx })
    }

    fn device_primary_ctx_release_v2(
        &mut self,
        _: &Call,
        request: DevicePrimaryCtxReleaseV2,
    ) -> Result<(), Error> {
        if let Some(ended) = self.contexts.release_primary(request.dev)? {
            self.bury_context(ended);
        }
        Ok(())
    }

    fn device_primary_ctx_reset_v2(
        &mut self,
        _: &Call,
        request: DevicePrimaryCtxResetV2,
    ) -> Result<(), Error> {
        if let Some(ended) = self.contexts.reset_primary(request.dev)? {
            self.bury_context(ended);
        }
        Ok(())
    }

    fn ctx_create_v2(&mut self, _: &Call, r: CtxCreateV2) -> Result<CtxCreateV2Reply, Error> {
        Ok(CtxCreateV2Reply { pctx: self.contexts.create(r.dev, r.flags)? })
    }

    fn ctx_destroy_v2(&mut self, _: &Call, request: CtxDestroyV2) -> Result<(), Error> {
        self.contexts.destroy(request.ctx)?;
        self.bury_context(request.ctx);
        Ok(())
    }

    fn ctx_synchronize(&mut self, call: &Call, _: CtxSynchronize) -> Result<(), Error> {
        self.check(call)
    }

    fn ctx_synchronize_v2(&mut self, call: &Call, r: CtxSynchronizeV2) -> Result<(), Error> {
        let context = if r.ctx == 0 { call.context } else { r.ctx };
        self.contexts.find(context).map(drop)
    }

    fn ctx_set_limit(&mut self, call: &Call, request: CtxSetLimit) -> Result<(), Error> {
        self.contexts.find_mut(call.context)?.change_limit(request.limit, request.value)
    }

    fn ctx_get_limit(&mut self, call: &Call, r: CtxGetLimit) -> Result<CtxGetLimitReply, Error> {
        Ok(CtxGetLimitReply { pvalue: self.contexts.find(call.context)?.limit(r.limit)? })
    }

    fn ctx_get_cache_config(
        &mut self,
        call: &Call,
        _: CtxGetCacheConfig,
    ) -> Result<CtxGetCacheConfigReply, Error> {
        Ok(CtxGetCacheConfigReply { pconfig: self.contexts.find(call.context)?.cache_config })
    }

    fn ctx_set_cache_config(&mut self, call: &Call, r: CtxSetCacheConfig) -> Result<(), Error> {
        let context = self.contexts.find_mut(call.context)?;
        // CU_FUNC_CACHE_PREFER_EQUAL is the last.
        if r.config > 3 {
            return Err(Error::INVALID_VALUE);
        }
        context.cache_config = r.config;
        Ok(())
    }

    fn ctx_get_stream_priority_range(
        &mut self,
        call: &Call,
        _: CtxGetStreamPriorityRange,
    ) -> Result<CtxGetStreamPriorityRangeReply, Error> {
        self.check(call)?;
        let (least_priority, greatest_priority) = PRIORITIES;
        Ok(CtxGetStreamPriorityRangeReply { least_priority, greatest_priority })
    }

    fn mem_alloc_v2(&mut self, call: &Call, r: MemAllocV2) -> Result<MemAllocV2Reply, Error> {
        Ok(MemAllocV2Reply { dptr: self.allocate(call.context, r.bytesize)? })
    }

    fn mem_free_v2(&mut self, call: &Call, request: MemFreeV2) -> Result<(), Error> {
        self.free(call.context, request.dptr)
    }

    fn mem_alloc_pitch_v2(
        &mut self,
        call: &Call,
        r: MemAllocPitchV2,
    ) -> Result<MemAllocPitchV2Reply, Error> {
        // CUDA Driver API, `cuMemAllocPitch`: elements of 4, 8 or 16 bytes.
        if r.width_in_bytes == 0 || ![4, 8, 16].contains(&r.element_size_bytes) {
            return Err(Error::INVALID_VALUE);
        }
        let pitch = memory::accounted(r.width_in_bytes).ok_or(Error::OUT_OF_MEMORY)?;
        let bytes = pitch.checked_mul(r.height).ok_or(Error::OUT_OF_MEMORY)?;
        Ok(MemAllocPitchV2Reply { dptr: self.allocate(call.context, bytes)?, p_pitch: pitch })
    }

    fn mem_get_info_v2(
        &mut self,
        call: &Call,
        _: MemGetInfoV2,
    ) -> Result<MemGetInfoV2Reply, Error> {
        let usage = self.bank.usage(self.contexts.find(call.context)?.device)?;
        Ok(MemGetInfoV2Reply { free: usage.total - usage.used, total: usage.total })
    }

    fn memcpy_hto_d_v2(&mut self, call: &Call, r: MemcpyHtoDV2, bulk: &[u8]) -> Result<(), Error> {
        self.check(call)?;
        self.store(r.dst_device, bulk)
    }

    fn memcpy_dto_h_v2(
        &mut self,
        call: &Call,
        r: MemcpyDtoHV2,
        bulk: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.check(call)?;
        self.fetch(r.src_device, r.byte_count, bulk)
    }

    fn memcpy_dto_d_v2(&mut self, call: &Call, r: MemcpyDtoDV2) -> Result<(), Error> {
        self.check(call)?;
        self.memory.copy(r.dst_device, r.src_device, r.byte_count)
    }

    fn memcpy_hto_d_async_v2(
        &mut self,
        call: &Call,
        r: MemcpyHtoDAsyncV2,
        bulk: &[u8],
    ) -> Result<(), Error> {
        self.check_stream(call.context, r.stream)?;
        self.store(r.dst_device, bulk)
    }

    fn memcpy_dto_h_async_v2(
        &mut self,
        call: &Call,
        r: MemcpyDtoHAsyncV2,
        bulk: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.check_stream(call.context, r.stream)?;
        self.fetch(r.src_device, r.byte_count, bulk)
    }

    fn memcpy_dto_d_async_v2(&mut self, call: &Call, r: MemcpyDtoDAsyncV2) -> Result<(), Error> {
        self.check_stream(call.context, r.stream)?;
        self.memory.copy(r.dst_device, r.src_device, r.byte_count)
    }

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

    fn stream_create(&mut self, call: &Call, r: StreamCreate) -> Result<StreamCreateReply, Error> {
        self.check(call)?;
        let stream = self.queues.create_stream(call.context, r.flags, PRIORITIES.0)?;
        Ok(StreamCreateReply { stream })
    }

    fn stream_create_with_priority(
        &mut self,
        call: &Call,
        r: StreamCreateWithPriority,
    ) -> Result<StreamCreateWithPriorityReply, Error> {
        self.check(call)?;
        let stream = self.queues.create_stream(call.context, r.flags, r.priority)?;
        Ok(StreamCreateWithPriorityReply { stream })
    }

    fn stream_destroy_v2(&mut self, _: &Call, request: StreamDestroyV2) -> Result<(), Error> {
        self.queues.destroy_stream(request.stream)
    }

    fn stream_synchronize(&mut self, call: &Call, r: StreamSynchronize) -> Result<(), Error> {
        self.check_stream(call.context, r.stream).map(drop)
    }

    fn stream_query(&mut self, call: &Call, r: StreamQuery) -> Result<(), Error> {
        self.check_stream(call.context, r.stream).map(drop)
    }

    fn stream_wait_event(&mut self, call: &Call, r: StreamWaitEvent) -> Result<(), Error> {
        check_not_external(r.flags)?;
        self.check_stream(call.context, r.stream)?;
        self.queues.check_event(r.event)
    }

    fn stream_get_priority(
        &mut self,
        call: &Call,
        r: StreamGetPriority,
    ) -> Result<StreamGetPriorityReply, Error> {
        self.check_stream(call.context, r.stream)?;
        Ok(StreamGetPriorityReply { priority: self.queues.priority(r.stream)? })
    }

    fn event_create(&mut self, call: &Call, r: EventCreate) -> Result<EventCreateReply, Error> {
        self.check(call)?;
        Ok(EventCreateReply { event: self.queues.create_event(call.context, r.flags)? })
    }

    fn event_destroy_v2(&mut self, _: &Call, request: EventDestroyV2) -> Result<(), Error> {
        self.queues.destroy_event(request.event)
    }

    fn event_record(&mut self, call: &Call, r: EventRecord) -> Result<(), Error> {
        let context = self.check_stream(call.context, r.stream)?;
        self.queues.record(r.event, context)
    }

    fn event_record_with_flags(
        &mut self,
        call: &Call,
        r: EventRecordWithFlags,
    ) -> Result<(), Error> {
        check_not_external(r.flags)?;
        let context = self.check_stream(call.context, r.stream)?;
        self.queues.record(r.event, context)
    }

    fn event_synchronize(&mut self, _: &Call, request: EventSynchronize) -> Result<(), Error> {
        self.queues.check_event(request.event)
    }

    fn event_query(&mut self, _: &Call, request: EventQuery) -> Result<(), Error> {
        self.queues.check_event(request.event)
    }

    fn event_elapsed_time_v2(
        &mut self,
        _: &Call,
        r: EventElapsedTimeV2,
    ) -> Result<EventElapsedTimeV2Reply, Error> {
        Ok(EventElapsedTimeV2Reply { p_milliseconds: self.queues.elapsed_ms(r.start, r.end)? })
    }
}
