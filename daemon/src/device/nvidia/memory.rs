//! Memory of the genuine driver, and its account.

use std::collections::BTreeMap;

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    MemAllocPitchV2, MemAllocPitchV2Reply, MemAllocV2, MemAllocV2Reply, MemFreeV2, MemGetInfoV2,
    MemGetInfoV2Reply,
};

use super::{Nvidia, state};
use crate::dispatch::Call;

/// Allocations are accounted in multiples of this: what `cuMemAlloc` aligns to on current devices.
const ALIGNMENT: u64 = 512;

/// Widest alignment of a pitch that is reserved for ahead of the call: 512 bytes on current
/// devices (CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT).
const PITCH_ALIGNMENT: u64 = 512;

#[derive(Debug)]
struct Allocation {
    device: u32,
    context: u64,
    /// As accounted.
    bytes: u64,
}

/// What one client has allocated, by address.
#[derive(Debug, Default)]
pub(super) struct Allocations {
    living: BTreeMap<u64, Allocation>,
}

impl Allocations {
    /// Forgets what belonged to a context that ended; returns devices and accounted bytes.
    pub fn end_context(&mut self, context: u64) -> Vec<(u32, u64)> {
        let mut ended = Vec::new();
        self.living.retain(|_, allocation| {
            if allocation.context == context {
                ended.push((allocation.device, allocation.bytes));
            }
            allocation.context != context
        });
        ended
    }
}

impl Nvidia {
    /// Finds the device of a context.
    pub(super) fn device_of(&mut self, call: &Call) -> Result<u32, Error> {
        self.enter(call)?;
        let mut device = 0;
        self.driver.ctx_get_device(&mut device)?;
        let ordinal = self.devices.iter().position(|named| named.cuda == device);
        ordinal.map(|ordinal| ordinal as u32).ok_or(Error::INVALID_CONTEXT)
    }

    /// Takes an allocation that was freed off the account.
    pub(super) fn give_back(&mut self, address: u64) {
        if let Some(freed) = self.allocations.living.remove(&address) {
            self.bank.release(freed.device, freed.bytes);
        }
    }

    /// Reserves memory with the bank, allocates it, and keeps its account.
    pub(super) fn allocate(
        &mut self,
        call: &Call,
        bytes: u64,
        allocate: impl FnOnce(&Self) -> Result<u64, Error>,
    ) -> Result<u64, Error> {
        let device = self.device_of(call)?;
        let bytes = bytes.checked_next_multiple_of(ALIGNMENT).ok_or(Error::OUT_OF_MEMORY)?;
        self.bank.reserve(device, bytes)?;
        let address = allocate(self).inspect_err(|_| self.bank.release(device, bytes))?;
        let allocation = Allocation { device, context: call.context, bytes };
        self.allocations.living.insert(address, allocation);
        Ok(address)
    }
}

pub(super) fn mem_alloc_v2(
    nvidia: &mut Nvidia,
    call: &Call,
    r: MemAllocV2,
) -> Result<MemAllocV2Reply, Error> {
    let dptr = nvidia.allocate(call, r.bytesize, |nvidia| {
        let mut address = 0;
        nvidia.driver.mem_alloc_v2(&mut address, r.bytesize as usize)?;
        Ok(address)
    })?;
    Ok(MemAllocV2Reply { dptr })
}

pub(super) fn mem_alloc_pitch_v2(
    nvidia: &mut Nvidia,
    call: &Call,
    r: MemAllocPitchV2,
) -> Result<MemAllocPitchV2Reply, Error> {
    let row = r.width_in_bytes.checked_next_multiple_of(PITCH_ALIGNMENT);
    let bytes = row.and_then(|row| row.checked_mul(r.height)).ok_or(Error::OUT_OF_MEMORY)?;
    let mut pitch = 0;
    let dptr = nvidia.allocate(call, bytes, |nvidia| {
        let mut address = 0;
        let (width, height) = (r.width_in_bytes as usize, r.height as usize);
        let element = r.element_size_bytes;
        nvidia.driver.mem_alloc_pitch_v2(&mut address, &mut pitch, width, height, element)?;
        Ok(address)
    })?;
    Ok(MemAllocPitchV2Reply { dptr, p_pitch: pitch as u64 })
}

pub(super) fn mem_free_v2(nvidia: &mut Nvidia, call: &Call, r: MemFreeV2) -> Result<(), Error> {
    nvidia.enter(call)?;
    nvidia.driver.mem_free_v2(r.dptr)?;
    nvidia.give_back(r.dptr);
    Ok(())
}

/// The client's share: what the account leaves, and no more than the device has. Who only looks
/// gets no context for it: NVML knows what is free, too.
pub(super) fn mem_get_info_v2(
    nvidia: &mut Nvidia,
    call: &Call,
    _: MemGetInfoV2,
) -> Result<MemGetInfoV2Reply, Error> {
    let known = nvidia.promised_of(call.context).and_then(|ordinal| {
        let free = state::free_memory(&nvidia.nvml, nvidia.devices[ordinal].nvml)?;
        Some((ordinal as u32, free))
    });
    let (device, free) = match known {
        Some(known) => known,
        None => {
            let device = nvidia.device_of(call)?;
            let (mut free, mut total) = (0, 0);
            nvidia.driver.mem_get_info_v2(&mut free, &mut total)?;
            (device, free as u64)
        }
    };
    let usage = nvidia.bank.usage(device)?;
    Ok(MemGetInfoV2Reply { free: usage.free.min(free), total: usage.total })
}
