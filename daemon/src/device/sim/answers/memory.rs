//! What the simulated device answers about memory.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    MemAllocPitchV2, MemAllocPitchV2Reply, MemAllocV2, MemAllocV2Reply, MemFreeV2, MemGetInfoV2,
    MemGetInfoV2Reply,
};

use super::super::memory;
use crate::device::Sim;
use crate::dispatch::{Call, MemoryCalls};

impl MemoryCalls for Sim {
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
        Ok(MemGetInfoV2Reply { free: usage.free, total: usage.total })
    }
}
