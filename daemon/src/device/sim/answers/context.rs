//! What the simulated device answers about contexts.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    CtxCreateV2, CtxCreateV2Reply, CtxDestroyV2, CtxGetCacheConfig, CtxGetCacheConfigReply,
    CtxGetLimit, CtxGetLimitReply, CtxGetStreamPriorityRange, CtxGetStreamPriorityRangeReply,
    CtxSetCacheConfig, CtxSetFlags, CtxSetLimit, CtxSynchronize, CtxSynchronizeV2,
    DevicePrimaryCtxReleaseV2, DevicePrimaryCtxResetV2, DevicePrimaryCtxRetain,
    DevicePrimaryCtxRetainReply, DevicePrimaryCtxSetFlagsV2,
};

use super::super::context::check_flags;
use super::super::queue::PRIORITIES;
use crate::device::Sim;
use crate::dispatch::{Call, ContextCalls, Wait};

impl ContextCalls for Sim {
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

    fn ctx_synchronize(&mut self, call: &Call, _: CtxSynchronize) -> Result<Wait<()>, Error> {
        self.await_context(call.context).map(Wait::Done)
    }

    fn ctx_synchronize_v2(&mut self, call: &Call, r: CtxSynchronizeV2) -> Result<Wait<()>, Error> {
        let context = if r.ctx == 0 { call.context } else { r.ctx };
        self.await_context(context).map(Wait::Done)
    }

    fn ctx_set_limit(&mut self, call: &Call, request: CtxSetLimit) -> Result<(), Error> {
        self.contexts.find_mut(call.context)?.change_limit(request.limit, request.value)
    }

    // How a thread waits, which is all that flags change, is the guest's own affair.
    fn ctx_set_flags(&mut self, call: &Call, r: CtxSetFlags) -> Result<(), Error> {
        self.check(call)?;
        check_flags(r.flags)
    }

    fn device_primary_ctx_set_flags_v2(
        &mut self,
        _: &Call,
        r: DevicePrimaryCtxSetFlagsV2,
    ) -> Result<(), Error> {
        self.device(r.dev)?;
        check_flags(r.flags)
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
}
