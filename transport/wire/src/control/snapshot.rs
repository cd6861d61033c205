//! Everything about the devices that does not change while the host runs.

use crate::codec::{Malformed, Reader, Writer};
use crate::control::opcode;
use crate::limits::{
    ATTRIBUTES_MAX, DEVICE_NAME_BYTES_MAX, DEVICES_MAX, PART_BYTES_MAX, VERSION_BYTES_MAX,
};
use crate::message::{Payload, Request};
use crate::text::Text;

/// Asks for everything that does not change: asked once per process, answered locally after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot;

impl Payload for Snapshot {
    fn write(&self, _: &mut Writer<'_>) {}

    fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self)
    }
}

impl Request for Snapshot {
    const OPCODE: u32 = opcode::SNAPSHOT;
    type Reply = SnapshotReply;
}

/// Says which groups of driver functions the host really does; unknown bits are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// Contexts, device memory, copies, sets, streams and events.
    pub const MEMORY: Self = Self(1);
    /// Modules, functions and launches.
    pub const MODULES: Self = Self(1 << 1);
    /// Stream capture and graphs.
    pub const GRAPHS: Self = Self(1 << 2);

    /// Tells whether all groups of `other` are there.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Describes the host's driver and devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotReply {
    /// What `cuDriverGetVersion` answers: 1000 × major + 10 × minor, 13000 for CUDA 13.0.
    pub driver_version: i32,
    /// What `nvmlSystemGetDriverVersion` answers, such as `580.95.05`.
    pub nvml_driver_version: Text<VERSION_BYTES_MAX>,
    /// What `nvmlSystemGetNVMLVersion` answers, such as `13.580.95.05`.
    pub nvml_version: Text<VERSION_BYTES_MAX>,
    /// Groups of driver functions that the host does.
    pub capabilities: Capabilities,
    /// Devices by ordinal; at most [`DEVICES_MAX`].
    pub devices: Vec<DeviceFacts>,
}

/// Describes one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFacts {
    /// What `cuDeviceGetName` and `nvmlDeviceGetName` answer.
    pub name: Text<DEVICE_NAME_BYTES_MAX>,
    /// The UUID's bytes, as `cuDeviceGetUuid` answers; NVML shows them as `GPU-…`.
    pub uuid: [u8; 16],
    /// PCI domain.
    pub pci_domain: u32,
    /// PCI bus.
    pub pci_bus: u8,
    /// PCI device (slot).
    pub pci_device: u8,
    /// PCI device id in the upper, vendor id in the lower half, as NVML's `pciDeviceId`.
    pub pci_device_id: u32,
    /// The same of the subsystem.
    pub pci_subsystem_id: u32,
    /// Memory in bytes, as `cuDeviceTotalMem` answers.
    pub total_memory: u64,
    /// Number of the device node, as `nvmlDeviceGetMinorNumber` answers.
    pub minor_number: u32,
    /// Serial number; empty if the device has none.
    pub serial: Text<PART_BYTES_MAX>,
    /// Version of the video BIOS; empty if unknown.
    pub vbios_version: Text<VERSION_BYTES_MAX>,
    /// `(CUdevice_attribute, value)`, ascending, without doubles; at most [`ATTRIBUTES_MAX`].
    /// An attribute that is not listed is one that the host does not know (INVALID_VALUE).
    pub attributes: Vec<(u32, i32)>,
}

impl DeviceFacts {
    /// Looks an attribute up by its number.
    pub fn attribute(&self, number: u32) -> Option<i32> {
        let at = self.attributes.binary_search_by_key(&number, |&(number, _)| number).ok()?;
        Some(self.attributes[at].1)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        assert!(self.attributes.len() <= ATTRIBUTES_MAX, "a device has at most 256 attributes");
        self.name.write(writer);
        writer.fixed(&self.uuid);
        writer.u32(self.pci_domain);
        writer.u8(self.pci_bus);
        writer.u8(self.pci_device);
        writer.u32(self.pci_device_id);
        writer.u32(self.pci_subsystem_id);
        writer.u64(self.total_memory);
        writer.u32(self.minor_number);
        self.serial.write(writer);
        self.vbios_version.write(writer);
        writer.count(self.attributes.len());
        for &(number, value) in &self.attributes {
            writer.u32(number);
            writer.i32(value);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            name: Text::read(reader)?,
            uuid: reader.fixed()?,
            pci_domain: reader.u32()?,
            pci_bus: reader.u8()?,
            pci_device: reader.u8()?,
            pci_device_id: reader.u32()?,
            pci_subsystem_id: reader.u32()?,
            total_memory: reader.u64()?,
            minor_number: reader.u32()?,
            serial: Text::read(reader)?,
            vbios_version: Text::read(reader)?,
            attributes: attributes(reader)?,
        })
    }
}

fn attributes(reader: &mut Reader<'_>) -> Result<Vec<(u32, i32)>, Malformed> {
    let count = reader.count(ATTRIBUTES_MAX)?;
    let mut attributes = Vec::with_capacity(count);
    for _ in 0..count {
        let malformed = reader.malformed("an attribute number above the one before");
        let number = reader.u32()?;
        if attributes.last().is_some_and(|&(before, _)| number <= before) {
            return Err(malformed);
        }
        attributes.push((number, reader.i32()?));
    }
    Ok(attributes)
}

impl Payload for SnapshotReply {
    fn write(&self, writer: &mut Writer<'_>) {
        assert!(self.devices.len() <= DEVICES_MAX, "a snapshot has at most 64 devices");
        writer.i32(self.driver_version);
        self.nvml_driver_version.write(writer);
        self.nvml_version.write(writer);
        writer.u64(self.capabilities.0);
        writer.count(self.devices.len());
        for device in &self.devices {
            device.write(writer);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let driver_version = reader.i32()?;
        let nvml_driver_version = Text::read(reader)?;
        let nvml_version = Text::read(reader)?;
        let capabilities = Capabilities(reader.u64()?);
        let devices = (0..reader.count(DEVICES_MAX)?)
            .map(|_| DeviceFacts::read(reader))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { driver_version, nvml_driver_version, nvml_version, capabilities, devices })
    }
}
