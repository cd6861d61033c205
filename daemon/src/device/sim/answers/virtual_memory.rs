//! What the simulated device answers about virtual memory management.

use vgpu_abi::cuda::{CUmemAccess_flags, Error};
use vgpu_link::wire::cuda::{
    MemAddressFree, MemAddressReserve, MemAddressReserveReply, MemCreate, MemCreateReply,
    MemGetAccess, MemGetAccessReply, MemGranularity, MemGranularityReply, MemMap, MemRelease,
    MemRetainHandle, MemRetainHandleReply, MemSetAccess, MemUnmap,
};

use super::super::physical::{GRANULARITY, Gone};
use crate::device::Sim;
use crate::dispatch::{Call, VirtualMemoryCalls};

impl VirtualMemoryCalls for Sim {
    fn mem_address_reserve(
        &mut self,
        _: &Call,
        r: MemAddressReserve,
    ) -> Result<MemAddressReserveReply, Error> {
        let aligned = r.alignment == 0 || r.alignment.is_power_of_two();
        if r.size == 0 || !is_granular(r.size) || !aligned || r.flags != 0 {
            return Err(Error::INVALID_VALUE);
        }
        let ptr = self.memory.reserve(r.size, r.alignment.max(GRANULARITY), r.addr)?;
        Ok(MemAddressReserveReply { ptr })
    }

    fn mem_address_free(&mut self, _: &Call, r: MemAddressFree) -> Result<(), Error> {
        self.memory.end_reservation(r.ptr, r.size)
    }

    fn mem_create(&mut self, _: &Call, r: MemCreate) -> Result<MemCreateReply, Error> {
        let device = self.device(r.device)?;
        if r.bytes == 0 || !is_granular(r.bytes) {
            return Err(Error::INVALID_VALUE);
        }
        self.bank.reserve(device, r.bytes)?;
        let created = self.physical.create(device, r.bytes);
        let handle = created.inspect_err(|_| self.bank.release(device, r.bytes))?;
        Ok(MemCreateReply { handle })
    }

    fn mem_release(&mut self, _: &Call, r: MemRelease) -> Result<(), Error> {
        let gone = self.physical.release(r.handle)?;
        self.account_for(gone);
        Ok(())
    }

    fn mem_map(&mut self, _: &Call, r: MemMap) -> Result<(), Error> {
        // Offsets and flags "must be zero" (CUDA Driver API, `cuMemMap`).
        if !is_granular(r.ptr) || !is_granular(r.size) || r.offset != 0 || r.flags != 0 {
            return Err(Error::INVALID_VALUE);
        }
        let pages = self.physical.to_map(r.handle, r.size)?;
        let (offset, reservation) = self.memory.reservation_mut(r.ptr)?;
        reservation.map(offset, r.size, r.handle, pages)?;
        self.physical.mapped(r.handle);
        Ok(())
    }

    fn mem_unmap(&mut self, _: &Call, r: MemUnmap) -> Result<(), Error> {
        let (offset, reservation) = self.memory.reservation_mut(r.ptr)?;
        for handle in reservation.unmap(offset, r.size)? {
            let gone = self.physical.unmapped(handle);
            self.account_for(gone);
        }
        Ok(())
    }

    fn mem_set_access(&mut self, _: &Call, r: MemSetAccess) -> Result<(), Error> {
        let known = |flags| {
            [CUmemAccess_flags::NONE, CUmemAccess_flags::READ, CUmemAccess_flags::READWRITE]
                .contains(&CUmemAccess_flags(flags))
        };
        let mut access = Vec::with_capacity(r.access.len());
        for one in &r.access {
            if !known(one.flags) {
                return Err(Error::INVALID_VALUE);
            }
            access.push((self.device(one.device)?, one.flags));
        }
        let (offset, reservation) = self.memory.reservation_mut(r.start)?;
        reservation.change_access(offset, r.bytes, &access)
    }

    fn mem_get_access(&mut self, _: &Call, r: MemGetAccess) -> Result<MemGetAccessReply, Error> {
        let device = self.device(r.device)?;
        let (offset, reservation) = self.memory.reservation(r.address)?;
        Ok(MemGetAccessReply { flags: reservation.access(offset, device)? })
    }

    fn mem_granularity(
        &mut self,
        _: &Call,
        r: MemGranularity,
    ) -> Result<MemGranularityReply, Error> {
        self.device(r.device)?;
        Ok(MemGranularityReply { bytes: GRANULARITY })
    }

    fn mem_retain_handle(
        &mut self,
        _: &Call,
        r: MemRetainHandle,
    ) -> Result<MemRetainHandleReply, Error> {
        let (offset, reservation) = self.memory.reservation(r.address)?;
        let handle = reservation.handle(offset).ok_or(Error::INVALID_VALUE)?;
        Ok(MemRetainHandleReply { handle: self.physical.retain(handle)? })
    }
}

fn is_granular(value: u64) -> bool {
    value.is_multiple_of(GRANULARITY)
}

impl Sim {
    /// Checks a device's ordinal.
    pub(super) fn device(&self, ordinal: i32) -> Result<u32, Error> {
        let device = u32::try_from(ordinal).map_err(|_| Error::INVALID_DEVICE)?;
        let is_there = (device as usize) < self.profile.snapshot.devices.len();
        if is_there { Ok(device) } else { Err(Error::INVALID_DEVICE) }
    }

    fn account_for(&mut self, gone: Option<Gone>) {
        if let Some(gone) = gone {
            self.bank.release(gone.device, gone.bytes);
        }
    }
}
