//! Addresses and physical memory apart from one another (CUDA Driver API, Virtual Memory
//! Management). None of it needs a current context, or belongs to one.

use vgpu_abi::cuda::{
    CUdevice, CUdeviceptr, CUmemAccessDesc, CUmemAllocationGranularity_flags as Granularity,
    CUmemAllocationHandleType, CUmemAllocationProp, CUmemAllocationType,
    CUmemGenericAllocationHandle, CUmemLocation, CUmemLocationType, Error,
};
use vgpu_guest::convert::Memory;
use vgpu_guest::reserve;
use vgpu_guest::wire::cuda::{
    DeviceAccess, MemAddressFree, MemAddressReserve, MemCreate, MemGetAccess, MemGranularity,
    MemMap, MemRelease, MemRetainHandle, MemSetAccess, MemUnmap,
};

use crate::api::memory::allocate_apart;
use crate::api::primary::host_device;
use crate::physical::{self, Physical};
use crate::{devices, ranges, remote};

/// Most devices whose access one call changes: a host has at most 64.
const DEVICES_MAX: usize = 64;

/// Reserves addresses of the host that are none of the program's own.
pub(crate) fn mem_address_reserve(
    bytes: usize,
    alignment: usize,
    wish: CUdeviceptr,
    flags: u64,
) -> Result<CUdeviceptr, Error> {
    let request =
        MemAddressReserve { size: bytes as u64, alignment: alignment as u64, addr: wish, flags };
    let reserve_there = || {
        let start = remote::call_without_context(&request)?.ptr;
        Ok((start, bytes as u64, start))
    };
    let (found, in_the_way) = allocate_apart(reserve_there, reserve::reserve);
    for start in in_the_way {
        remote::call_without_context(&MemAddressFree { ptr: start, size: bytes as u64 })?;
    }
    found.map(|(start, ..)| start)
}

/// Ends a reservation, by exactly what was reserved.
pub(crate) fn mem_address_free(start: CUdeviceptr, bytes: usize) -> Result<(), Error> {
    remote::call_without_context(&MemAddressFree { ptr: start, size: bytes as u64 })
}

/// Creates physical memory of a device, which no other process can be given.
pub(crate) fn mem_create(
    bytes: usize,
    wanted: CUmemAllocationProp,
    flags: u64,
) -> Result<CUmemGenericAllocationHandle, Error> {
    let device = device_of(&wanted)?;
    if flags != 0 {
        return Err(Error::INVALID_VALUE);
    }
    let request = MemCreate { bytes: bytes as u64, device: host_device(device)? };
    let handle = remote::call_without_context(&request)?.handle;
    physical::insert(handle, Physical { bytes: bytes as u64, device });
    Ok(handle)
}

/// Gives a handle back; the memory stays while it is mapped.
pub(crate) fn mem_release(handle: CUmemGenericAllocationHandle) -> Result<(), Error> {
    devices::known()?;
    physical::find(handle)?;
    remote::call_without_context(&MemRelease { handle })?;
    physical::release(handle);
    Ok(())
}

/// Maps physical memory at reserved addresses, for no device yet.
pub(crate) fn mem_map(
    start: CUdeviceptr,
    bytes: usize,
    offset: usize,
    handle: CUmemGenericAllocationHandle,
    flags: u64,
) -> Result<(), Error> {
    devices::known()?;
    let physical = physical::find(handle)?;
    let (size, offset) = (bytes as u64, offset as u64);
    remote::call_without_context(&MemMap { ptr: start, size, offset, handle, flags })?;
    ranges::insert_mapping(start, size, physical.device);
    Ok(())
}

/// Unmaps a range that is made of whole mappings.
pub(crate) fn mem_unmap(start: CUdeviceptr, bytes: usize) -> Result<(), Error> {
    devices::known()?;
    // Forgotten first: once the host has unmapped them, another thread may map there anew.
    let forgotten = ranges::take_mappings(start, bytes as u64);
    let unmapped = remote::call_without_context(&MemUnmap { ptr: start, size: bytes as u64 });
    if unmapped.is_err() {
        ranges::restore(forgotten);
    }
    unmapped
}

/// Changes what devices may do with a range that is made of whole mappings.
pub(crate) fn mem_set_access(
    start: CUdeviceptr,
    bytes: usize,
    wanted: &[CUmemAccessDesc],
) -> Result<(), Error> {
    devices::known()?;
    if wanted.is_empty() || wanted.len() > DEVICES_MAX {
        return Err(Error::INVALID_VALUE);
    }
    let one = |wanted: &CUmemAccessDesc| {
        let device = host_device(device_at(wanted.location)?)?;
        Ok(DeviceAccess { device, flags: wanted.flags.0 })
    };
    let access = wanted.iter().map(one).collect::<Result<Vec<_>, Error>>()?;
    remote::call_without_context(&MemSetAccess { start, bytes: bytes as u64, access })
}

/// Tells what a device may do with what is mapped at an address.
pub(crate) fn mem_get_access(location: CUmemLocation, address: CUdeviceptr) -> Result<u64, Error> {
    let device = host_device(device_at(location)?)?;
    let reply = remote::call_without_context(&MemGetAccess { address, device })?;
    Ok(u64::from(reply.flags))
}

/// Tells the sizes that physical memory comes in.
pub(crate) fn mem_get_allocation_granularity(
    wanted: CUmemAllocationProp,
    option: Granularity,
) -> Result<usize, Error> {
    let device = host_device(device_of(&wanted)?)?;
    if ![Granularity::MINIMUM, Granularity::RECOMMENDED].contains(&option) {
        return Err(Error::INVALID_VALUE);
    }
    let request = MemGranularity { device, recommended: option.0 };
    Ok(remote::call_without_context(&request)?.bytes as usize)
}

/// Names the physical memory that is mapped at an address once more.
pub(crate) fn mem_retain_allocation_handle(
    place: Memory<'_>,
) -> Result<CUmemGenericAllocationHandle, Error> {
    devices::known()?;
    let address = place.address();
    let range = ranges::find_mapping(address).ok_or(Error::INVALID_VALUE)?;
    let handle = remote::call_without_context(&MemRetainHandle { address })?.handle;
    physical::retain(handle, Physical { bytes: range.bytes, device: range.device });
    Ok(handle)
}

/// Tells what physical memory was created as.
pub(crate) fn mem_get_allocation_properties_from_handle(
    handle: CUmemGenericAllocationHandle,
) -> Result<CUmemAllocationProp, Error> {
    devices::known()?;
    let physical = physical::find(handle)?;
    Ok(CUmemAllocationProp {
        r#type: CUmemAllocationType::PINNED,
        requestedHandleTypes: CUmemAllocationHandleType::NONE,
        location: CUmemLocation {
            r#type: CUmemLocationType::DEVICE,
            unnamed4: [physical.device.cast_unsigned()],
        },
        win32HandleMetaData: std::ptr::null_mut(),
        allocFlags: [0; 4],
    })
}

/// Reads which device is asked for memory; what is more than plain memory of a device is
/// NOT_SUPPORTED, as the attributes say.
fn device_of(wanted: &CUmemAllocationProp) -> Result<CUdevice, Error> {
    devices::known()?;
    match wanted.r#type {
        CUmemAllocationType::PINNED => {}
        CUmemAllocationType::MANAGED => return Err(Error::NOT_SUPPORTED),
        _ => return Err(Error::INVALID_VALUE),
    }
    // The first of the flags' eight bytes asks for compression, which is a wish and stays one.
    let [first, rest @ ..] = wanted.allocFlags.map(u16::to_ne_bytes);
    let is_plain = first[1] == 0 && rest.iter().all(|flags| *flags == [0, 0]);
    if wanted.requestedHandleTypes != CUmemAllocationHandleType::NONE || !is_plain {
        return Err(Error::NOT_SUPPORTED);
    }
    device_at(wanted.location)
}

/// Reads which device a location names; memory of the host is NOT_SUPPORTED.
pub(super) fn device_at(location: CUmemLocation) -> Result<CUdevice, Error> {
    match location.r#type {
        CUmemLocationType::DEVICE => Ok(location.unnamed4[0].cast_signed()),
        CUmemLocationType::HOST
        | CUmemLocationType::HOST_NUMA
        | CUmemLocationType::HOST_NUMA_CURRENT => Err(Error::NOT_SUPPORTED),
        _ => Err(Error::INVALID_VALUE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_device_or_refused_by_its_kind() {
        let at = |kind, id| device_at(CUmemLocation { r#type: kind, unnamed4: [id] });
        assert_eq!(at(CUmemLocationType::DEVICE, 3), Ok(3));
        assert_eq!(at(CUmemLocationType::HOST, 0), Err(Error::NOT_SUPPORTED));
        assert_eq!(at(CUmemLocationType::INVALID, 0), Err(Error::INVALID_VALUE));
        assert_eq!(at(CUmemLocationType(77), 0), Err(Error::INVALID_VALUE));
    }
}
