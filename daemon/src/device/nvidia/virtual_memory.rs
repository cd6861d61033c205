//! Virtual memory management of the genuine driver: addresses and physical memory apart.

use std::collections::{BTreeMap, HashMap};
use std::mem::offset_of;

use vgpu_abi::cuda::{CUmemAccessDesc, CUmemAllocationProp, CUmemLocation, Error};
use vgpu_link::wire::cuda::{
    DeviceAccess, MemCreate, MemCreateReply, MemGetAccess, MemGetAccessReply, MemGranularity,
    MemGranularityReply, MemMap, MemRelease, MemRetainHandle, MemRetainHandleReply, MemSetAccess,
    MemUnmap,
};

use super::Nvidia;
use super::foreign::{Bytes, Pointer, Raw};
use super::handles::Kind;
use crate::dispatch::Call;

/// CU_MEM_ALLOCATION_TYPE_PINNED and CU_MEM_LOCATION_TYPE_DEVICE: the only ones that are carried.
pub(super) const PINNED: u32 = 1;
const ON_A_DEVICE: u32 = 1;

const PROPERTIES_BYTES: usize = size_of::<CUmemAllocationProp>();
const LOCATION_BYTES: usize = size_of::<CUmemLocation>();
const ACCESS_BYTES: usize = size_of::<CUmemAccessDesc>();

/// Physical memory, which lasts until no handle names it and it is mapped nowhere.
#[derive(Debug)]
struct Physical {
    device: u32,
    bytes: u64,
    named: u32,
    mapped: u32,
}

/// The physical memory of a client, by what the driver calls it, and where it is mapped.
#[derive(Debug, Default)]
pub(super) struct PhysicalMemory {
    living: HashMap<Pointer, Physical>,
    /// By first address: bytes, and what is mapped.
    mappings: BTreeMap<u64, (u64, Pointer)>,
}

impl PhysicalMemory {
    /// Counts a handle or a mapping less; returns device and bytes if that was the last.
    fn drop_one(
        &mut self,
        memory: Pointer,
        count: impl FnOnce(&mut Physical) -> &mut u32,
    ) -> Option<(u32, u64)> {
        let physical = self.living.get_mut(&memory)?;
        let counted = count(physical);
        *counted = counted.saturating_sub(1);
        if physical.named > 0 || physical.mapped > 0 {
            return None;
        }
        self.living.remove(&memory).map(|physical| (physical.device, physical.bytes))
    }
}

/// Names a device as a place of memory.
pub(super) fn location(device: i32) -> Bytes<LOCATION_BYTES> {
    let mut bytes = Bytes([0; LOCATION_BYTES]);
    bytes.put(offset_of!(CUmemLocation, r#type), ON_A_DEVICE.to_ne_bytes());
    // A union of integers.
    bytes.put(size_of::<u32>(), device.to_ne_bytes());
    bytes
}

fn properties(device: i32) -> Bytes<PROPERTIES_BYTES> {
    let mut bytes = Bytes([0; PROPERTIES_BYTES]);
    bytes.put(offset_of!(CUmemAllocationProp, r#type), PINNED.to_ne_bytes());
    bytes.put(offset_of!(CUmemAllocationProp, location), location(device).0);
    bytes
}

pub(super) fn mem_create(
    nvidia: &mut Nvidia,
    _: &Call,
    r: MemCreate,
) -> Result<MemCreateReply, Error> {
    let mut properties = properties(nvidia.device(r.device)?);
    // `device` has checked the ordinal.
    let device = r.device as u32;
    nvidia.bank.reserve(device, r.bytes)?;
    let mut memory = 0;
    let created = nvidia.driver.mem_create(&mut memory, r.bytes as usize, &mut properties, 0);
    created.inspect_err(|_| nvidia.bank.release(device, r.bytes))?;
    let memory = Pointer(memory as usize);
    let physical = Physical { device, bytes: r.bytes, named: 1, mapped: 0 };
    nvidia.physical.living.insert(memory, physical);
    Ok(MemCreateReply { handle: nvidia.handles.keep(Kind::Memory, memory, 0)? })
}

pub(super) fn mem_release(nvidia: &mut Nvidia, _: &Call, r: MemRelease) -> Result<(), Error> {
    let memory = nvidia.handles.find(Kind::Memory, r.handle)?;
    nvidia.driver.mem_release(memory.0 as u64)?;
    let is_last = nvidia.physical.living.get(&memory).is_none_or(|one| one.named <= 1);
    if is_last {
        nvidia.handles.end(r.handle);
    }
    if let Some((device, bytes)) = nvidia.physical.drop_one(memory, |one| &mut one.named) {
        nvidia.bank.release(device, bytes);
    }
    Ok(())
}

pub(super) fn mem_map(nvidia: &mut Nvidia, _: &Call, r: MemMap) -> Result<(), Error> {
    let memory = nvidia.handles.find(Kind::Memory, r.handle)?;
    let (bytes, offset) = (r.size as usize, r.offset as usize);
    nvidia.driver.mem_map(r.ptr, bytes, offset, memory.0 as u64, r.flags)?;
    nvidia.physical.mappings.insert(r.ptr, (r.size, memory));
    if let Some(physical) = nvidia.physical.living.get_mut(&memory) {
        physical.mapped += 1;
    }
    Ok(())
}

pub(super) fn mem_unmap(nvidia: &mut Nvidia, _: &Call, r: MemUnmap) -> Result<(), Error> {
    nvidia.driver.mem_unmap(r.ptr, r.size as usize)?;
    // The driver takes whole mappings only.
    let range = r.ptr..r.ptr.saturating_add(r.size);
    let starts: Vec<u64> = nvidia.physical.mappings.range(range).map(|(&start, _)| start).collect();
    for start in starts {
        let Some((_, memory)) = nvidia.physical.mappings.remove(&start) else { continue };
        if let Some((device, bytes)) = nvidia.physical.drop_one(memory, |one| &mut one.mapped) {
            nvidia.bank.release(device, bytes);
        }
    }
    Ok(())
}

pub(super) fn mem_set_access(nvidia: &mut Nvidia, _: &Call, r: MemSetAccess) -> Result<(), Error> {
    let list = accesses(nvidia, &r.access)?;
    nvidia.driver.mem_set_access(r.start, r.bytes as usize, Raw::read(&list), list.len())
}

/// Puts what devices may do into the driver's words.
pub(super) fn accesses(
    nvidia: &Nvidia,
    access: &[DeviceAccess],
) -> Result<Vec<[u8; ACCESS_BYTES]>, Error> {
    let one = |one: &DeviceAccess| {
        let mut bytes = Bytes([0; ACCESS_BYTES]);
        let device = nvidia.device(one.device)?;
        bytes.put(offset_of!(CUmemAccessDesc, location), location(device).0);
        bytes.put(offset_of!(CUmemAccessDesc, flags), one.flags.to_ne_bytes());
        Ok(bytes.0)
    };
    access.iter().map(one).collect()
}

pub(super) fn mem_get_access(
    nvidia: &mut Nvidia,
    _: &Call,
    r: MemGetAccess,
) -> Result<MemGetAccessReply, Error> {
    let mut location = location(nvidia.device(r.device)?);
    let mut flags = 0;
    nvidia.driver.mem_get_access(&mut flags, &mut location, r.address)?;
    Ok(MemGetAccessReply { flags: flags as u32 })
}

pub(super) fn mem_granularity(
    nvidia: &mut Nvidia,
    _: &Call,
    r: MemGranularity,
) -> Result<MemGranularityReply, Error> {
    let mut properties = properties(nvidia.device(r.device)?);
    let mut bytes = 0;
    let option = r.recommended;
    nvidia.driver.mem_get_allocation_granularity(&mut bytes, &mut properties, option)?;
    Ok(MemGranularityReply { bytes: bytes as u64 })
}

pub(super) fn mem_retain_handle(
    nvidia: &mut Nvidia,
    _: &Call,
    r: MemRetainHandle,
) -> Result<MemRetainHandleReply, Error> {
    let mut memory = 0;
    let address = Raw::at(r.address as usize);
    nvidia.driver.mem_retain_allocation_handle(&mut memory, address)?;
    let memory = Pointer(memory as usize);
    if let Some(physical) = nvidia.physical.living.get_mut(&memory) {
        physical.named += 1;
    }
    Ok(MemRetainHandleReply { handle: nvidia.handles.keep(Kind::Memory, memory, 0)? })
}
