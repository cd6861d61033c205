//! Devices, answered from the snapshot (CUDA Driver API, Device Management).

use std::ffi::CStr;

use vgpu_abi::cuda::{CUdevice, CUdevice_attribute as Attribute, CUdevprop, CUuuid, Error};
use vgpu_guest::convert::TextBuffer;
use vgpu_guest::identity::PciPlace;

use crate::api::attribute;
use crate::devices;

/// Returns the handle of the device with this number, which is the number.
pub(crate) fn device_get(ordinal: i32) -> Result<CUdevice, Error> {
    devices::known()?.facts(ordinal)?;
    Ok(ordinal)
}

/// Returns how many devices this process sees.
pub(crate) fn device_get_count() -> Result<i32, Error> {
    Ok(i32::try_from(devices::known()?.count()).unwrap_or(i32::MAX))
}

/// Writes the device's name, shortened to the buffer.
pub(crate) fn device_get_name(mut name: TextBuffer<'_>, device: CUdevice) -> Result<(), Error> {
    name.store_shortened(devices::known()?.facts(device)?.name.as_str());
    Ok(())
}

/// Returns the device's UUID.
pub(crate) fn device_get_uuid(device: CUdevice) -> Result<CUuuid, Error> {
    Ok(CUuuid { bytes: devices::known()?.facts(device)?.uuid })
}

/// Returns the device's UUID. The newer name differs for parts of a device only, which we do not
/// have.
pub(crate) fn device_get_uuid_v2(device: CUdevice) -> Result<CUuuid, Error> {
    device_get_uuid(device)
}

/// Returns the device's memory in bytes, as far as the old 32-bit interface can tell.
pub(crate) fn device_total_mem(device: CUdevice) -> Result<u32, Error> {
    Ok(u32::try_from(device_total_mem_v2(device)?).unwrap_or(u32::MAX))
}

/// Returns the device's memory in bytes.
pub(crate) fn device_total_mem_v2(device: CUdevice) -> Result<usize, Error> {
    Ok(devices::known()?.facts(device)?.total_memory as usize)
}

/// Returns an attribute; one that the host does not know is INVALID_VALUE.
pub(crate) fn device_get_attribute(attribute: Attribute, device: CUdevice) -> Result<i32, Error> {
    let facts = devices::known()?.facts(device)?;
    let value = facts.attribute(attribute.0).ok_or(Error::INVALID_VALUE)?;
    Ok(attribute::through_us(attribute, value))
}

/// Writes the device's place on the PCI bus; a buffer that is too small is INVALID_VALUE.
pub(crate) fn device_get_pci_bus_id(
    mut place: TextBuffer<'_>,
    device: CUdevice,
) -> Result<(), Error> {
    place.store(&PciPlace::of(devices::known()?.facts(device)?).to_string())
}

/// Finds a device by its place on the PCI bus.
pub(crate) fn device_get_by_pci_bus_id(place: &CStr) -> Result<CUdevice, Error> {
    let devices = devices::known()?;
    let asked = place.to_str().ok().and_then(PciPlace::parse).ok_or(Error::INVALID_VALUE)?;
    let found = devices.iter().find(|(_, facts)| PciPlace::of(facts) == asked);
    found.map(|(device, _)| device).ok_or(Error::INVALID_DEVICE)
}

/// Returns the compute capability (deprecated by CUDA, but asked for).
pub(crate) fn device_compute_capability(device: CUdevice) -> Result<(i32, i32), Error> {
    let of = |attribute| device_get_attribute(attribute, device);
    Ok((of(Attribute::COMPUTE_CAPABILITY_MAJOR)?, of(Attribute::COMPUTE_CAPABILITY_MINOR)?))
}

/// Returns the few properties of the oldest interface (deprecated by CUDA).
pub(crate) fn device_get_properties(device: CUdevice) -> Result<CUdevprop, Error> {
    let of = |attribute| device_get_attribute(attribute, device);
    let dim = [Attribute::MAX_BLOCK_DIM_X, Attribute::MAX_BLOCK_DIM_Y, Attribute::MAX_BLOCK_DIM_Z];
    let grid = [Attribute::MAX_GRID_DIM_X, Attribute::MAX_GRID_DIM_Y, Attribute::MAX_GRID_DIM_Z];
    Ok(CUdevprop {
        maxThreadsPerBlock: of(Attribute::MAX_THREADS_PER_BLOCK)?,
        maxThreadsDim: [of(dim[0])?, of(dim[1])?, of(dim[2])?],
        maxGridSize: [of(grid[0])?, of(grid[1])?, of(grid[2])?],
        sharedMemPerBlock: of(Attribute::MAX_SHARED_MEMORY_PER_BLOCK)?,
        totalConstantMemory: of(Attribute::TOTAL_CONSTANT_MEMORY)?,
        SIMDWidth: of(Attribute::WARP_SIZE)?,
        memPitch: of(Attribute::MAX_PITCH)?,
        regsPerBlock: of(Attribute::MAX_REGISTERS_PER_BLOCK)?,
        clockRate: of(Attribute::CLOCK_RATE)?,
        textureAlign: of(Attribute::TEXTURE_ALIGNMENT)?,
    })
}
