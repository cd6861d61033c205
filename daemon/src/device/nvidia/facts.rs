//! Opening the genuine driver, and what it says of its devices.

use std::ffi::CString;
use std::path::Path;
use std::sync::Arc;

use vgpu_abi::cuda::Error;
use vgpu_abi::nvml;
use vgpu_link::wire::Text;
use vgpu_link::wire::control::{DeviceFacts, SnapshotReply};
use vgpu_link::wire::limits::{DEVICES_MAX, VERSION_BYTES_MAX};

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
    /// Opens both libraries, which [`super::find`] has looked at, and asks for the devices: for
    /// everything, or whether they are the `known` ones.
    ///
    /// # Errors
    /// [`DaemonError`] that names the library and what it said.
    pub fn open(
        cuda: &Path,
        nvml: &Path,
        known: Option<&SnapshotReply>,
    ) -> Result<Self, DaemonError> {
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
        let found = Identity::of(&driver, &nvml)?;
        let snapshot = match known.filter(|known| found.is_of(known)) {
            Some(known) => known.clone(),
            None => found.describe(&driver, &nvml)?,
        };
        let named =
            found.devices.iter().zip(&snapshot.devices).map(|(device, facts)| {
                Ok(Named { cuda: device.cuda, nvml: handle(&nvml, facts)? })
            });
        let devices = named.collect::<Result<_, DaemonError>>()?;
        Ok(Self { driver, tells_layouts, nvml, snapshot, devices })
    }
}

/// What tells a driver and its devices from others. While none of it changes, nothing does that a
/// guest is told, but for what an administrator changes on a device in use (`nvidia-smi -c`).
struct Identity {
    version: i32,
    /// Version of the kernel's module, which an update changes and the other one need not.
    module: Text<VERSION_BYTES_MAX>,
    devices: Vec<DeviceIdentity>,
}

/// The same of one device.
struct DeviceIdentity {
    /// The driver's CUdevice.
    cuda: i32,
    uuid: [u8; 16],
    total_memory: u64,
}

impl Identity {
    fn of(driver: &Driver, nvml: &Nvml) -> Result<Self, DaemonError> {
        let (mut version, mut count) = (0, 0);
        driver.driver_get_version(&mut version).map_err(asking)?;
        driver.device_get_count(&mut count).map_err(asking)?;
        let count = usize::try_from(count).unwrap_or(0).min(DEVICES_MAX);
        if count == 0 {
            return Err(asking(Error::NO_DEVICE));
        }
        let module = text(|to, room| nvml.system_get_driver_version(to, room))?;
        let devices = (0..count).map(|ordinal| DeviceIdentity::of(driver, ordinal as i32));
        Ok(Self { version, module, devices: devices.collect::<Result<_, _>>()? })
    }

    /// Says whether these are the devices that were described before.
    fn is_of(&self, known: &SnapshotReply) -> bool {
        self.version == known.driver_version
            && self.module == known.nvml_driver_version
            && self.devices.len() == known.devices.len()
            && self.devices.iter().zip(&known.devices).all(|(device, facts)| {
                (device.uuid, device.total_memory) == (facts.uuid, facts.total_memory)
            })
    }

    /// Asks for everything else.
    fn describe(&self, driver: &Driver, nvml: &Nvml) -> Result<SnapshotReply, DaemonError> {
        let devices = self.devices.iter().enumerate();
        let devices = devices.map(|(ordinal, device)| device.describe(driver, nvml, ordinal));
        Ok(SnapshotReply {
            driver_version: self.version,
            nvml_driver_version: self.module.clone(),
            nvml_version: text(|to, room| nvml.system_get_nvml_version(to, room))?,
            capabilities: CAPABILITIES,
            devices: devices.collect::<Result<_, _>>()?,
        })
    }
}

fn asking(source: Error) -> DaemonError {
    DaemonError::Driver { verb: "asking the driver for its devices", source }
}

fn asking_nvml(source: nvml::Error) -> DaemonError {
    DaemonError::Nvml { verb: "asking NVML for the devices", source }
}

impl DeviceIdentity {
    fn of(driver: &Driver, ordinal: i32) -> Result<Self, DaemonError> {
        let mut cuda = 0;
        driver.device_get(&mut cuda, ordinal).map_err(asking)?;
        let mut uuid = Bytes([0; 16]);
        driver.device_get_uuid_v2(&mut uuid, cuda).map_err(asking)?;
        let mut total_memory = 0;
        driver.device_total_mem_v2(&mut total_memory, cuda).map_err(asking)?;
        Ok(Self { cuda, uuid: uuid.0, total_memory: total_memory as u64 })
    }

    fn describe(
        &self,
        driver: &Driver,
        nvml: &Nvml,
        ordinal: usize,
    ) -> Result<DeviceFacts, DaemonError> {
        let mut name = [0; 256];
        let room = name.len() as i32 - 1;
        driver.device_get_name(Raw::write(&mut name), room, self.cuda).map_err(asking)?;
        let mut facts = DeviceFacts {
            name: Text::cut(&until_zero(&name)),
            uuid: self.uuid,
            pci_domain: 0,
            pci_bus: 0,
            pci_device: 0,
            pci_device_id: 0,
            pci_subsystem_id: 0,
            total_memory: self.total_memory,
            minor_number: ordinal as u32,
            serial: Text::default(),
            vbios_version: Text::default(),
            attributes: attributes(driver, self.cuda),
        };
        let attribute = |number| facts.attribute(number).unwrap_or(0) as u32;
        let (bus, slot) = (attribute(PCI_BUS), attribute(PCI_DEVICE));
        facts.pci_domain = attribute(PCI_DOMAIN);
        (facts.pci_bus, facts.pci_device) = (bus as u8, slot as u8);
        let handle = handle(nvml, &facts)?;
        let mut pci = Bytes([0; 68]);
        nvml.device_get_pci_info_v3(handle, &mut pci).map_err(asking_nvml)?;
        // nvmlPciInfo_t: pciDeviceId at 28, pciSubSystemId at 32.
        facts.pci_device_id = word(&pci.0, 28);
        facts.pci_subsystem_id = word(&pci.0, 32);
        // A device in a mode without device nodes has none; the ordinal stands for it.
        let _ = nvml.device_get_minor_number(handle, &mut facts.minor_number);
        // Boards for desktops have no serial number.
        facts.serial =
            text(|to, room| nvml.device_get_serial(handle, to, room)).unwrap_or_default();
        facts.vbios_version =
            text(|to, room| nvml.device_get_vbios_version(handle, to, room)).unwrap_or_default();
        Ok(facts)
    }
}

/// What NVML calls a device; each process has a handle of its own.
fn handle(nvml: &Nvml, facts: &DeviceFacts) -> Result<Pointer, DaemonError> {
    let DeviceFacts { pci_domain, pci_bus, pci_device, .. } = facts;
    let bus_id = CString::new(format!("{pci_domain:08x}:{pci_bus:02x}:{pci_device:02x}.0"))
        .expect("digits hold no zero byte");
    let mut handle = Pointer::default();
    nvml.device_get_handle_by_pci_bus_id_v2(&bus_id, &mut handle).map_err(asking_nvml)?;
    Ok(handle)
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
