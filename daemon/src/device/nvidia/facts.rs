//! Opening the genuine driver, and what it says of its devices.

use std::ffi::CString;
use std::path::Path;
use std::sync::Arc;

use vgpu_abi::cuda::Error;
use vgpu_abi::nvml;
use vgpu_link::wire::Text;
use vgpu_link::wire::control::{DeviceFacts, SnapshotReply};
use vgpu_link::wire::limits::DEVICES_MAX;

use super::attributes::attributes;
use super::foreign::{Bytes, Library, Pointer, Raw};
use super::generated::driver::Driver;
use super::generated::nvml::Nvml;
use crate::device::CAPABILITIES;
use crate::error::DaemonError;

/// CUdevice_attribute of the PCI bus, device and domain.
const PCI_BUS: u32 = 33;
const PCI_DEVICE: u32 = 34;
const PCI_DOMAIN: u32 = 50;

/// What the libraries call one device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named {
    /// The driver's CUdevice.
    pub cuda: i32,
    /// NVML's handle.
    pub nvml: Pointer,
}

/// The genuine driver, initialised, with no context yet.
#[derive(Debug)]
pub(crate) struct Genuine {
    pub(super) driver: Arc<Driver>,
    /// Whether it says where parameters lie, as drivers do since CUDA 12.4.
    pub(super) tells_layouts: bool,
    pub(super) nvml: Box<Nvml>,
    /// What the guest is told at its start.
    pub snapshot: SnapshotReply,
    pub(in crate::device) devices: Vec<Named>,
}

impl Genuine {
    /// Opens both libraries, which [`super::find`] has looked at, and asks for the devices.
    ///
    /// # Errors
    /// [`DaemonError`] that names the library and what it said.
    pub fn open(cuda: &Path, nvml: &Path) -> Result<Self, DaemonError> {
        let library = Library::open(cuda)?;
        let driver = Arc::new(Driver::of(&library));
        let tellers = [c"cuFuncGetParamInfo", c"cuKernelGetParamInfo"];
        let tells_layouts = tellers.into_iter().all(|name| library.has(name));
        library.keep();
        driver.init(0).map_err(|error| match error {
            Error::STUB_LIBRARY => DaemonError::DriverIsStub { path: cuda.into() },
            source => DaemonError::Driver { verb: "initialising the driver", source },
        })?;
        let library = Library::open(nvml)?;
        let nvml = Box::new(Nvml::of(&library));
        library.keep();
        nvml.init_v2().map_err(|source| DaemonError::Nvml { verb: "initialising NVML", source })?;
        let (mut driver_version, mut count) = (0, 0);
        driver.driver_get_version(&mut driver_version).map_err(asking)?;
        driver.device_get_count(&mut count).map_err(asking)?;
        let count = usize::try_from(count).unwrap_or(0).min(DEVICES_MAX);
        if count == 0 {
            return Err(asking(Error::NO_DEVICE));
        }
        let (mut devices, mut facts) = (Vec::new(), Vec::new());
        for ordinal in 0..count {
            let (named, described) = describe(&driver, &nvml, ordinal)?;
            devices.push(named);
            facts.push(described);
        }
        let snapshot = SnapshotReply {
            driver_version,
            nvml_driver_version: text(|to, room| nvml.system_get_driver_version(to, room))?,
            nvml_version: text(|to, room| nvml.system_get_nvml_version(to, room))?,
            capabilities: CAPABILITIES,
            devices: facts,
        };
        Ok(Self { driver, tells_layouts, nvml, snapshot, devices })
    }
}

fn asking(source: Error) -> DaemonError {
    DaemonError::Driver { verb: "asking the driver for its devices", source }
}

fn asking_nvml(source: nvml::Error) -> DaemonError {
    DaemonError::Nvml { verb: "asking NVML for the devices", source }
}

fn describe(
    driver: &Driver,
    nvml: &Nvml,
    ordinal: usize,
) -> Result<(Named, DeviceFacts), DaemonError> {
    let mut device = 0;
    driver.device_get(&mut device, ordinal as i32).map_err(asking)?;
    let mut name = [0; 256];
    let room = name.len() as i32 - 1;
    driver.device_get_name(Raw::write(&mut name), room, device).map_err(asking)?;
    let mut uuid = Bytes([0; 16]);
    driver.device_get_uuid_v2(&mut uuid, device).map_err(asking)?;
    let mut total_memory = 0;
    driver.device_total_mem_v2(&mut total_memory, device).map_err(asking)?;
    let attributes = attributes(driver, device);
    let attribute = |number| {
        let at = attributes.binary_search_by_key(&number, |&(number, _)| number);
        at.map_or(0, |at| attributes[at].1 as u32)
    };
    let (domain, bus) = (attribute(PCI_DOMAIN), attribute(PCI_BUS));
    let slot = attribute(PCI_DEVICE);
    let bus_id = CString::new(format!("{domain:08x}:{bus:02x}:{slot:02x}.0"))
        .expect("digits hold no zero byte");
    let mut handle = Pointer::default();
    nvml.device_get_handle_by_pci_bus_id_v2(&bus_id, &mut handle).map_err(asking_nvml)?;
    let mut pci = Bytes([0; 68]);
    nvml.device_get_pci_info_v3(handle, &mut pci).map_err(asking_nvml)?;
    let mut minor_number = ordinal as u32;
    // A device in a mode without device nodes has none; the ordinal stands for it.
    let _ = nvml.device_get_minor_number(handle, &mut minor_number);
    let facts = DeviceFacts {
        name: Text::cut(&until_zero(&name)),
        uuid: uuid.0,
        pci_domain: domain,
        pci_bus: bus as u8,
        pci_device: slot as u8,
        // nvmlPciInfo_t: pciDeviceId at 28, pciSubSystemId at 32.
        pci_device_id: word(&pci.0, 28),
        pci_subsystem_id: word(&pci.0, 32),
        total_memory: total_memory as u64,
        minor_number,
        // Boards for desktops have no serial number.
        serial: text(|to, room| nvml.device_get_serial(handle, to, room)).unwrap_or_default(),
        vbios_version: text(|to, room| nvml.device_get_vbios_version(handle, to, room))
            .unwrap_or_default(),
        attributes,
    };
    Ok((Named { cuda: device, nvml: handle }, facts))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn until_zero(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Asks NVML for a text. The longest buffer that it documents is 96 bytes.
fn text<const MAX: usize>(
    ask: impl FnOnce(Raw<'_>, u32) -> Result<(), nvml::Error>,
) -> Result<Text<MAX>, DaemonError> {
    let mut bytes = [0; 128];
    let room = bytes.len() as u32 - 1;
    ask(Raw::write(&mut bytes), room).map_err(asking_nvml)?;
    Ok(Text::cut(&until_zero(&bytes)))
}
