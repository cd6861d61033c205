//! What the simulated device answers about stream-ordered allocation.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    DeviceGetDefaultMemPool, DeviceGetDefaultMemPoolReply, DeviceGetMemPool, DeviceGetMemPoolReply,
    DeviceSetMemPool, MemAllocAsync, MemAllocAsyncReply, MemAllocFromPoolAsync,
    MemAllocFromPoolAsyncReply, MemFreeAsync, MemPoolDestroy, MemPoolTrimTo, PoolAttribute,
    PoolAttributeReply, PoolChange, PoolCreate, PoolCreateReply, PoolGetAccess, PoolGetAccessReply,
    PoolSetAccess,
};

use super::super::memory::{Owner, accounted};
use crate::device::Sim;
use crate::dispatch::{Call, PoolCalls};

impl PoolCalls for Sim {
    fn device_get_default_mem_pool(
        &mut self,
        _: &Call,
        r: DeviceGetDefaultMemPool,
    ) -> Result<DeviceGetDefaultMemPoolReply, Error> {
        let pool_out = self.pools.default_of(self.device(r.dev)?)?;
        Ok(DeviceGetDefaultMemPoolReply { pool_out })
    }

    fn device_get_mem_pool(
        &mut self,
        _: &Call,
        r: DeviceGetMemPool,
    ) -> Result<DeviceGetMemPoolReply, Error> {
        Ok(DeviceGetMemPoolReply { pool: self.pools.chosen_of(self.device(r.dev)?)? })
    }

    fn device_set_mem_pool(&mut self, _: &Call, r: DeviceSetMemPool) -> Result<(), Error> {
        let device = self.device(r.dev)?;
        self.pools.choose(device, r.pool)
    }

    fn pool_create(&mut self, _: &Call, r: PoolCreate) -> Result<PoolCreateReply, Error> {
        let device = self.device(r.device)?;
        Ok(PoolCreateReply { pool: self.pools.create(device, r.bytes_max)? })
    }

    fn mem_pool_destroy(&mut self, _: &Call, r: MemPoolDestroy) -> Result<(), Error> {
        self.pools.destroy(r.pool)
    }

    fn mem_pool_trim_to(&mut self, _: &Call, r: MemPoolTrimTo) -> Result<(), Error> {
        // It holds no more than what is in use.
        self.pools.find(r.pool).map(drop)
    }

    fn pool_attribute(&mut self, _: &Call, r: PoolAttribute) -> Result<PoolAttributeReply, Error> {
        Ok(PoolAttributeReply { value: self.pools.find(r.pool)?.attribute(r.attribute)? })
    }

    fn pool_change(&mut self, _: &Call, r: PoolChange) -> Result<(), Error> {
        self.pools.find_mut(r.pool)?.change(r.attribute, r.value)
    }

    fn pool_set_access(&mut self, _: &Call, r: PoolSetAccess) -> Result<(), Error> {
        for one in &r.access {
            let device = self.device(one.device)?;
            self.pools.find_mut(r.pool)?.change_access(device, one.flags)?;
        }
        self.pools.find(r.pool).map(drop)
    }

    fn pool_get_access(&mut self, _: &Call, r: PoolGetAccess) -> Result<PoolGetAccessReply, Error> {
        let device = self.device(r.device)?;
        Ok(PoolGetAccessReply { flags: self.pools.find(r.pool)?.access(device) })
    }

    fn mem_alloc_async(
        &mut self,
        call: &Call,
        r: MemAllocAsync,
    ) -> Result<MemAllocAsyncReply, Error> {
        let context = self.check_stream(call.context, r.stream)?;
        let pool = self.pools.chosen_of(self.contexts.find(context)?.device)?;
        Ok(MemAllocAsyncReply { dptr: self.allocate_pooled(call, r.stream, pool, r.bytesize)? })
    }

    fn mem_alloc_from_pool_async(
        &mut self,
        call: &Call,
        r: MemAllocFromPoolAsync,
    ) -> Result<MemAllocFromPoolAsyncReply, Error> {
        let dptr = self.allocate_pooled(call, r.stream, r.pool, r.bytesize)?;
        Ok(MemAllocFromPoolAsyncReply { dptr })
    }

    fn mem_free_async(&mut self, call: &Call, r: MemFreeAsync) -> Result<(), Error> {
        self.check_not_captured(call, r.stream)?;
        if self.memory.owner_at(r.dptr)?.pool == 0 {
            return Err(Error::INVALID_VALUE);
        }
        self.free(call.context, r.dptr)
    }
}

impl Sim {
    fn allocate_pooled(
        &mut self,
        call: &Call,
        stream: u64,
        pool: u64,
        bytes: u64,
    ) -> Result<u64, Error> {
        self.check_not_captured(call, stream)?;
        let context = self.check_stream(call.context, stream)?;
        if bytes == 0 {
            return Err(Error::INVALID_VALUE);
        }
        let room = accounted(bytes).ok_or(Error::OUT_OF_MEMORY)?;
        let found = self.pools.find_mut(pool)?;
        found.take(room)?;
        let owner = Owner { device: found.device, context, pool };
        self.allocate_for(owner, bytes).inspect_err(|_| self.pools.give_back(pool, room))
    }
}
