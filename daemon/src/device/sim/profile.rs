//! The simulated device's facts, from its data file.

use std::collections::BTreeMap;

use serde::Deserialize;
use vgpu_abi::cuda::CUdevice_attribute;
use vgpu_link::wire::Text;
use vgpu_link::wire::control::{Clocks, DeviceFacts, DeviceStateReply, SnapshotReply};

use crate::desk::Usage;
use crate::device::CAPABILITIES;

const DATA: &str = include_str!("h100.toml");

/// CUdevice_attribute of the PCI bus, device and domain: they differ between ordinals.
const PCI_BUS: u32 = 33;
const PCI_DEVICE: u32 = 34;
const PCI_DOMAIN: u32 = 50;

/// The data file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    name: String,
    uuid: String,
    total_memory: u64,
    pci_device_id: u32,
    pci_subsystem_id: u32,
    vbios_version: String,
    driver_version: i32,
    nvml_driver_version: String,
    nvml_version: String,
    state: State,
    attributes: BTreeMap<String, i32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    temperature_c: u32,
    power_mw: u32,
    power_limit_mw: u32,
    performance_state: u32,
    clocks: Rates,
    clocks_max: Rates,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rates {
    graphics_mhz: u32,
    sm_mhz: u32,
    memory_mhz: u32,
    video_mhz: u32,
}

impl From<Rates> for Clocks {
    fn from(Rates { graphics_mhz, sm_mhz, memory_mhz, video_mhz }: Rates) -> Self {
        Self { graphics_mhz, sm_mhz, memory_mhz, video_mhz }
    }
}

/// Everything about the simulated devices that does not change.
#[derive(Debug)]
pub(crate) struct Profile {
    /// What the guest is told at its start.
    pub snapshot: SnapshotReply,
    state: State,
}

impl Profile {
    /// Describes `gpus` simulated devices.
    ///
    /// # Panics
    /// If the data file, which is part of this program, is wrong; a test reads it.
    pub fn load(gpus: u32) -> Self {
        let data: Data = toml::from_str(DATA).expect("a test reads the file that is built in");
        let devices = (0..gpus).map(|ordinal| device(&data, ordinal)).collect();
        let snapshot = SnapshotReply {
            driver_version: data.driver_version,
            nvml_driver_version: Text::cut(&data.nvml_driver_version),
            nvml_version: Text::cut(&data.nvml_version),
            capabilities: CAPABILITIES,
            devices,
        };
        Self { snapshot, state: data.state }
    }

    /// The compute capability of all devices: major and minor.
    pub fn capability(&self) -> (u32, u32) {
        let of = |attribute: CUdevice_attribute| {
            let device = self.snapshot.devices.first();
            let value = device.and_then(|device| device.attribute(attribute.0));
            u32::try_from(value.unwrap_or(0)).unwrap_or(0)
        };
        (
            of(CUdevice_attribute::COMPUTE_CAPABILITY_MAJOR),
            of(CUdevice_attribute::COMPUTE_CAPABILITY_MINOR),
        )
    }

    /// Describes the present state of a device, given what its memory is used for. Nothing is
    /// ever computed, so the rest is that of an idle one.
    pub fn state(&self, usage: Usage) -> DeviceStateReply {
        DeviceStateReply {
            memory_total: usage.total,
            memory_free: usage.free,
            memory_used: usage.used,
            gpu_utilisation: 0,
            memory_utilisation: 0,
            temperature_c: Some(self.state.temperature_c),
            power_mw: Some(self.state.power_mw),
            power_limit_mw: Some(self.state.power_limit_mw),
            // An SXM board is cooled by its server.
            fan_percent: None,
            performance_state: self.state.performance_state,
            clocks: self.state.clocks.into(),
            clocks_max: self.state.clocks_max.into(),
            processes: usage.processes,
        }
    }
}

fn device(data: &Data, ordinal: u32) -> DeviceFacts {
    let ordinal_byte = u8::try_from(ordinal).expect("the configuration allows 64 devices");
    let mut uuid = uuid(&data.uuid).expect("a test reads the file that is built in");
    uuid[15] += ordinal_byte;
    let (pci_domain, pci_bus, pci_device) = (0, 1 + ordinal_byte, 0);
    let mut attributes: BTreeMap<u32, i32> = data
        .attributes
        .iter()
        .map(|(number, &value)| (number.parse().expect("a test reads the file"), value))
        .collect();
    attributes.insert(PCI_BUS, i32::from(pci_bus));
    attributes.insert(PCI_DEVICE, i32::from(pci_device));
    attributes.insert(PCI_DOMAIN, 0);
    DeviceFacts {
        name: Text::cut(&data.name),
        uuid,
        pci_domain,
        pci_bus,
        pci_device,
        pci_device_id: data.pci_device_id,
        pci_subsystem_id: data.pci_subsystem_id,
        total_memory: data.total_memory,
        minor_number: ordinal,
        serial: Text::default(),
        vbios_version: Text::cut(&data.vbios_version),
        attributes: attributes.into_iter().collect(),
    }
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|&c| c != '-').collect();
    let bytes: Option<Vec<u8>> = (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok())
        .collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use vgpu_link::wire::control::Capabilities;

    use super::*;

    #[test]
    fn the_data_file_describes_an_h100() {
        let snapshot = Profile::load(1).snapshot;
        let device = &snapshot.devices[0];
        assert_eq!(device.name.as_str(), "NVIDIA H100 80GB HBM3 (Simulated)");
        assert_eq!(device.total_memory, 85_899_345_920);
        for (number, value) in [(75, 9), (76, 0), (16, 132), (97, 232_448), (10, 32), (18, 0)] {
            assert_eq!(device.attribute(number), Some(value), "attribute {number}");
        }
        let numbers: Vec<u32> = device.attributes.iter().map(|&(number, _)| number).collect();
        assert_eq!(numbers, (1..=145).collect::<Vec<u32>>(), "all that CUDA 13.0 defines");
    }

    #[test]
    fn what_is_not_simulated_is_not_announced() {
        let snapshot = Profile::load(1).snapshot;
        for number in [19, 83, 89, 96, 103, 107, 110, 119, 125, 127, 132] {
            assert_eq!(snapshot.devices[0].attribute(number), Some(0), "attribute {number}");
        }
    }

    #[test]
    fn modules_and_graphs_are_announced() {
        let capabilities = Profile::load(1).snapshot.capabilities;
        assert!(capabilities.contains(Capabilities::MODULES));
        assert!(capabilities.contains(Capabilities::GRAPHS));
    }

    #[test]
    fn two_devices_differ_in_identity_only() {
        let devices = Profile::load(64).snapshot.devices;
        let uuids: std::collections::HashSet<[u8; 16]> =
            devices.iter().map(|device| device.uuid).collect();
        let buses: std::collections::HashSet<u8> =
            devices.iter().map(|device| device.pci_bus).collect();
        assert_eq!((uuids.len(), buses.len()), (64, 64));
        assert!(devices.iter().all(|device| {
            device.attribute(PCI_BUS) == Some(i32::from(device.pci_bus))
                && device.attribute(75) == Some(9)
        }));
    }
}
