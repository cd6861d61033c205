//! Devices, answered from the snapshot (NVML API, Device Queries).

use std::ffi::CStr;

use vgpu_abi::cuda::CUdevice_attribute as Attribute;
use vgpu_abi::nvml::{Error, nvmlComputeMode_t, nvmlDevice_t, nvmlPciInfo_t};
use vgpu_guest::convert::{Memory, TextBuffer};
use vgpu_guest::identity::{PciPlace, uuid_text};
use vgpu_guest::wire::control::DeviceFacts;

use crate::library;

/// Returns the number of devices.
pub(crate) fn device_get_count_v2() -> Result<u32, Error> {
    Ok(library::known()?.count())
}

/// As [`device_get_count_v2`], under its old name.
pub(crate) fn device_get_count() -> Result<u32, Error> {
    device_get_count_v2()
}

/// Returns the device with this index, in the order of the PCI bus.
pub(crate) fn device_get_handle_by_index_v2(index: u32) -> Result<nvmlDevice_t, Error> {
    library::known()?.handle(index).ok_or(Error::INVALID_ARGUMENT)
}

/// As [`device_get_handle_by_index_v2`], under its old name.
pub(crate) fn device_get_handle_by_index(index: u32) -> Result<nvmlDevice_t, Error> {
    device_get_handle_by_index_v2(index)
}

/// Finds a device by its UUID, `GPU-…`.
pub(crate) fn device_get_handle_by_uuid(uuid: &CStr) -> Result<nvmlDevice_t, Error> {
    let asked = uuid.to_bytes();
    library::known()?.find(|facts| uuid_text(&facts.uuid).as_bytes().eq_ignore_ascii_case(asked))
}

/// Finds a device by its place on the PCI bus, in any of the documented forms.
pub(crate) fn device_get_handle_by_pci_bus_id_v2(place: &CStr) -> Result<nvmlDevice_t, Error> {
    let known = library::known()?;
    let asked = place.to_str().ok().and_then(PciPlace::parse).ok_or(Error::INVALID_ARGUMENT)?;
    known.find(|facts| PciPlace::of(facts) == asked)
}

/// As [`device_get_handle_by_pci_bus_id_v2`], under its old name.
pub(crate) fn device_get_handle_by_pci_bus_id(place: &CStr) -> Result<nvmlDevice_t, Error> {
    device_get_handle_by_pci_bus_id_v2(place)
}

/// Finds a device by its serial number.
pub(crate) fn device_get_handle_by_serial(serial: &CStr) -> Result<nvmlDevice_t, Error> {
    let known = library::known()?;
    let asked = serial.to_bytes();
    if asked.is_empty() {
        return Err(Error::INVALID_ARGUMENT);
    }
    known.find(|facts| facts.serial.as_str().as_bytes() == asked)
}

/// Writes the name.
pub(crate) fn device_get_name(device: nvmlDevice_t, mut name: TextBuffer<'_>) -> Result<(), Error> {
    name.store(library::known()?.facts(device)?.name.as_str())
}

/// Writes the UUID, `GPU-…`.
pub(crate) fn device_get_uuid(device: nvmlDevice_t, mut uuid: TextBuffer<'_>) -> Result<(), Error> {
    uuid.store(&uuid_text(&library::known()?.facts(device)?.uuid))
}

/// Returns the place on the PCI bus, and what kind of device it is there.
pub(crate) fn device_get_pci_info_v3(device: nvmlDevice_t) -> Result<nvmlPciInfo_t, Error> {
    let known = library::known()?;
    let facts = known.facts(device)?;
    let place = PciPlace::of(facts);
    Ok(nvmlPciInfo_t {
        busIdLegacy: field(&place.nvml_legacy_text()),
        domain: place.domain,
        bus: place.bus,
        device: place.device,
        pciDeviceId: facts.pci_device_id,
        pciSubSystemId: facts.pci_subsystem_id,
        busId: field(&place.nvml_text()),
    })
}

/// As [`device_get_pci_info_v3`], for programs whose structure ends at the subsystem: the long
/// `busId` is not written, because there is no room for it.
pub(crate) fn device_get_pci_info_v2(device: nvmlDevice_t, pci: Memory<'_>) -> Result<(), Error> {
    let info = device_get_pci_info_v3(device)?;
    let numbers = [info.domain, info.bus, info.device, info.pciDeviceId, info.pciSubSystemId];
    store_old(&info, &numbers, pci)
}

/// As [`device_get_pci_info_v2`], for a structure that ends at the device's id.
pub(crate) fn device_get_pci_info(device: nvmlDevice_t, pci: Memory<'_>) -> Result<(), Error> {
    let info = device_get_pci_info_v3(device)?;
    store_old(&info, &[info.domain, info.bus, info.device, info.pciDeviceId], pci)
}

fn store_old(info: &nvmlPciInfo_t, numbers: &[u32], pci: Memory<'_>) -> Result<(), Error> {
    let mut bytes = info.busIdLegacy.to_vec();
    bytes.extend(numbers.iter().flat_map(|number| number.to_ne_bytes()));
    pci.store::<u8, Error>(&bytes)
}

/// Puts a text and its end mark into a field of a structure.
fn field<const BYTES: usize>(text: &str) -> [u8; BYTES] {
    let mut field = [0; BYTES];
    let kept = text.len().min(BYTES - 1);
    field[..kept].copy_from_slice(&text.as_bytes()[..kept]);
    field
}

/// Returns the index.
pub(crate) fn device_get_index(device: nvmlDevice_t) -> Result<u32, Error> {
    library::known()?.index(device)
}

/// Returns the number of the host's device node.
pub(crate) fn device_get_minor_number(device: nvmlDevice_t) -> Result<u32, Error> {
    Ok(library::known()?.facts(device)?.minor_number)
}

/// Writes the serial number, if the device has one.
pub(crate) fn device_get_serial(device: nvmlDevice_t, serial: TextBuffer<'_>) -> Result<(), Error> {
    told(serial, library::known()?.facts(device)?.serial.as_str())
}

/// Writes the version of the video BIOS, if the host tells it.
pub(crate) fn device_get_vbios_version(
    device: nvmlDevice_t,
    version: TextBuffer<'_>,
) -> Result<(), Error> {
    told(version, library::known()?.facts(device)?.vbios_version.as_str())
}

fn told(mut place: TextBuffer<'_>, text: &str) -> Result<(), Error> {
    if text.is_empty() { Err(Error::NOT_SUPPORTED) } else { place.store(text) }
}

/// Returns the compute capability.
pub(crate) fn device_get_cuda_compute_capability(
    device: nvmlDevice_t,
) -> Result<(i32, i32), Error> {
    compute_capability(library::known()?.facts(device)?)
}

fn compute_capability(facts: &DeviceFacts) -> Result<(i32, i32), Error> {
    Ok((
        attribute(facts, Attribute::COMPUTE_CAPABILITY_MAJOR)?,
        attribute(facts, Attribute::COMPUTE_CAPABILITY_MINOR)?,
    ))
}

fn attribute(facts: &DeviceFacts, attribute: Attribute) -> Result<i32, Error> {
    facts.attribute(attribute.0).ok_or(Error::NOT_SUPPORTED)
}

/// Returns the architecture, which the compute capability determines (NVML_DEVICE_ARCH_*).
pub(crate) fn device_get_architecture(device: nvmlDevice_t) -> Result<u32, Error> {
    let known = library::known()?;
    Ok(architecture(compute_capability(known.facts(device)?)?))
}

fn architecture(capability: (i32, i32)) -> u32 {
    match capability {
        (3, _) => 2,
        (5, _) => 3,
        (6, _) => 4,
        (7, 5) => 6,
        (7, _) => 5,
        (8, 9) => 8,
        (8, _) => 7,
        (9, _) => 9,
        (10 | 12, _) => 10,
        _ => u32::MAX,
    }
}

/// Returns the number of cores: multiprocessors times what one of this compute capability has
/// (CUDA C++ Programming Guide, Compute Capabilities).
pub(crate) fn device_get_num_gpu_cores(device: nvmlDevice_t) -> Result<u32, Error> {
    let known = library::known()?;
    let facts = known.facts(device)?;
    let each = match compute_capability(facts)? {
        (6, 0) | (7, _) | (8, 0) => 64,
        (5, _) | (6, _) | (8, _) | (9, _) | (10, _) | (12, _) => 128,
        _ => return Err(Error::NOT_SUPPORTED),
    };
    let count = number(attribute(facts, Attribute::MULTIPROCESSOR_COUNT)?)?;
    count.checked_mul(each).ok_or(Error::UNKNOWN)
}

fn number(value: i32) -> Result<u32, Error> {
    u32::try_from(value).map_err(|_| Error::UNKNOWN)
}

/// Returns the width of the memory bus in bits.
pub(crate) fn device_get_memory_bus_width(device: nvmlDevice_t) -> Result<u32, Error> {
    let known = library::known()?;
    number(attribute(known.facts(device)?, Attribute::GLOBAL_MEMORY_BUS_WIDTH)?)
}

/// Tells whether the device shares its board with others.
pub(crate) fn device_get_multi_gpu_board(device: nvmlDevice_t) -> Result<u32, Error> {
    let known = library::known()?;
    number(attribute(known.facts(device)?, Attribute::MULTI_GPU_BOARD)?)
}

/// Returns who may compute on the device; CUDA and NVML have the same numbers for it.
pub(crate) fn device_get_compute_mode(device: nvmlDevice_t) -> Result<nvmlComputeMode_t, Error> {
    let known = library::known()?;
    let mode = number(attribute(known.facts(device)?, Attribute::COMPUTE_MODE)?)?;
    Ok(nvmlComputeMode_t(mode))
}

/// Tells that a handle is that of a whole device: parts are not handed out.
pub(crate) fn device_is_mig_device_handle(device: nvmlDevice_t) -> Result<u32, Error> {
    library::known()?.index(device)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_architecture_follows_the_compute_capability() {
        let cases = [((9, 0), 9), ((8, 9), 8), ((8, 6), 7), ((7, 5), 6), ((12, 0), 10)];
        for (capability, expected) in cases {
            assert_eq!(architecture(capability), expected, "{capability:?}");
        }
        assert_eq!(architecture((99, 0)), u32::MAX);
    }

    #[test]
    fn a_text_that_is_too_long_for_its_field_still_ends() {
        assert_eq!(field::<4>("abcdef"), *b"abc\0");
        assert_eq!(field::<4>("ab"), *b"ab\0\0");
    }
}
