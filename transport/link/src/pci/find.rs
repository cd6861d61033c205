//! Finds the devices, by what the kernel's PCI directory says of them; touches no device.
//!
//! The files are those of the kernel's "sysfs-pci" documentation. Every one of them but the regions
//! is readable by everybody.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::Obstacle;
use super::obstacle::{not_mapped, not_opened};
use crate::uri::PciAddress;

/// Regions of a PCI function (PCI Local Bus Specification, "Base Addresses").
const REGIONS: usize = 6;

/// Most devices that are looked at: 4,096, above what any machine has.
const DEVICES_MAX: usize = 4096;

/// Longest attribute that is read: 4 KiB, a page, as sysfs gives at most.
const ATTRIBUTE_BYTES_MAX: u64 = 4096;

/// Regions are mapped by whole pages, of at least 4 KiB.
const PAGE_BYTES: u64 = 4096;

/// Bit of the COMMAND register that lets the device answer accesses to its memory.
const COMMAND_MEMORY: u16 = 1 << 1;

/// Flags in `resource` (the kernel's ioport.h): memory; and never given an address.
const FLAG_MEMORY: u64 = 0x200;
const FLAG_UNSET: u64 = 0x2000_0000;

/// Sizes of the original device's two regions: 4 KiB of registers, 16 MiB of data.
const ORIGINAL_REGIONS: [u64; 2] = [4 << 10, 16 << 20];

/// What kind of device carries, or cannot carry, a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Shared memory of stock QEMU, 1af4:1110: its third region is the memory.
    Ivshmem,
    /// The original system's device: shows an H100's number, 10de:2331, with subsystem 10de:16c1,
    /// revision a1, registers of 4 KiB and 16 MiB of data.
    Original,
    /// The original device's older generation, 1af4:1111, which has no region for data.
    TooOld,
}

impl Kind {
    /// Tells whether a link can go by such a device.
    pub fn carries(self) -> bool {
        self != Self::TooOld
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ivshmem => "shared memory of QEMU (ivshmem)",
            Self::Original => "the original vgpu-cuda device",
            Self::TooOld => "an older generation of the original vgpu-cuda device",
        })
    }
}

/// A region of a device's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Region {
    /// Its size; 0 if there is no such region.
    pub bytes: u64,
    /// True if it is memory with an address.
    pub is_reachable: bool,
    /// Where it begins within its page: small regions may share one.
    pub page_offset: usize,
}

/// A device that a link could go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its place on the bus.
    pub address: PciAddress,
    /// Its directory in sysfs.
    pub directory: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Its regions.
    pub regions: [Region; REGIONS],
    /// The kernel's driver that is bound to it.
    pub driver: Option<String>,
    /// True if it answers accesses to its memory.
    pub decodes_memory: bool,
    /// Where sysfs is, for what else it tells.
    sysfs: PathBuf,
}

/// Lists the devices that a link could go by, in the order of their addresses.
///
/// # Errors
/// [`Obstacle::NoBus`] if there is no PCI bus to look at, [`Obstacle::Attribute`] if what the
/// kernel says of such a device cannot be understood.
pub fn scan(sysfs: &Path) -> Result<Vec<Device>, Obstacle> {
    let bus = sysfs.join("bus/pci/devices");
    let no_bus = |source| Obstacle::NoBus { directory: bus.clone(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&bus).map_err(no_bus)?.take(DEVICES_MAX) {
        let name = entry.map_err(no_bus)?.file_name();
        let Some(address) = name.to_str().and_then(PciAddress::parse) else { continue };
        found.extend(device(sysfs, bus.join(name), address)?);
    }
    found.sort_by_key(|device| device.address);
    Ok(found)
}

/// Finds the device that a link goes by: the one at `wanted`, or the only one there is.
///
/// # Errors
/// An [`Obstacle`] that says why there is none, or why the one there is cannot be used.
pub fn pick(sysfs: &Path, wanted: Option<PciAddress>) -> Result<Device, Obstacle> {
    let bus = sysfs.join("bus/pci/devices");
    if let Some(address) = wanted {
        let directory = bus.join(address.to_string());
        if !directory.exists() {
            return Err(Obstacle::NotThere { directory });
        }
        let found = device(sysfs, directory.clone(), address)?;
        let found = found.ok_or_else(|| Obstacle::Stranger { id: id(&directory), directory })?;
        return found.check().map(|()| found);
    }
    let (carriers, others): (Vec<_>, Vec<_>) =
        scan(sysfs)?.into_iter().partition(|device| device.kind.carries());
    match (carriers.as_slice(), others.as_slice()) {
        ([one], _) => one.check().map(|()| one.clone()),
        ([], [old, ..]) => Err(Obstacle::TooOld { address: old.address }),
        ([], []) => Err(Obstacle::NoDevice { directory: bus }),
        (several, _) => {
            let named = several.iter().map(|it| format!("{} ({})", it.address, it.kind));
            Err(Obstacle::Several { devices: named.collect::<Vec<_>>().join(" and ") })
        }
    }
}

impl Device {
    /// Looks for what keeps the device from being used, without opening anything.
    ///
    /// # Errors
    /// [`Obstacle::TooOld`], [`Obstacle::Bound`], [`Obstacle::Unassigned`] or
    /// [`Obstacle::DecodingOff`].
    pub fn check(&self) -> Result<(), Obstacle> {
        let address = self.address;
        if !self.kind.carries() {
            return Err(Obstacle::TooOld { address });
        }
        if let Some(driver) = &self.driver
            && (driver.starts_with("nvidia") || driver == "nouveau")
        {
            return Err(Obstacle::Bound { address, driver: driver.clone() });
        }
        for region in self.kind.regions() {
            if !self.regions[region].is_reachable {
                return Err(Obstacle::Unassigned { address, region });
            }
        }
        if !self.decodes_memory {
            return Err(Obstacle::DecodingOff { address });
        }
        Ok(())
    }

    /// Names the file by which a region is mapped.
    pub fn region_file(&self, region: usize) -> PathBuf {
        self.directory.join(format!("resource{region}"))
    }

    /// Opens a region for reading and writing.
    ///
    /// # Errors
    /// [`Obstacle::Denied`], [`Obstacle::Sandboxed`], [`Obstacle::ReadOnly`], or
    /// [`Obstacle::File`] with what else the system says.
    pub fn open(&self, region: usize) -> Result<File, Obstacle> {
        let path = self.region_file(region);
        let opened = File::options().read(true).write(true).open(&path);
        opened.map_err(|error| not_opened(path, error))
    }

    /// Says why an open region could not be mapped.
    pub fn not_mapped(&self, region: usize, error: io::Error) -> Obstacle {
        // Absent on kernels without the module, which never lock down.
        let path = self.sysfs.join("kernel/security/lockdown");
        let lockdown = std::fs::read_to_string(path).unwrap_or_default();
        not_mapped(self.region_file(region), error, &lockdown)
    }
}

impl Kind {
    /// Names the regions that a link needs: registers and memory.
    pub fn regions(self) -> [usize; 2] {
        match self {
            Self::Ivshmem => [0, 2],
            Self::Original | Self::TooOld => [0, 1],
        }
    }
}

/// Reads what the kernel says of one device; `None` if it is none of ours.
fn device(
    sysfs: &Path,
    directory: PathBuf,
    address: PciAddress,
) -> Result<Option<Device>, Obstacle> {
    let hex = |name: &str| number(&directory.join(name));
    let (vendor, device) = (hex("vendor")?, hex("device")?);
    let kind = match (vendor, device) {
        (0x1af4, 0x1110) => Kind::Ivshmem,
        // 1af4 is the maker of many a device: of this number only an accelerator was the stub.
        (0x1af4, 0x1111) if hex("class")? >> 8 == 0x1200 => Kind::TooOld,
        (0x10de, 0x2331) => {
            let subsystem = (hex("subsystem_vendor")?, hex("subsystem_device")?);
            if subsystem != (0x10de, 0x16c1) || hex("revision")? != 0xa1 {
                return Ok(None);
            }
            Kind::Original
        }
        _ => return Ok(None),
    };
    let regions = regions(&directory.join("resource"))?;
    // A genuine card has more, and is not to be written to whatever its numbers are.
    if kind == Kind::Original && [regions[0].bytes, regions[1].bytes] != ORIGINAL_REGIONS {
        return Ok(None);
    }
    let driver = std::fs::read_link(directory.join("driver")).ok();
    let driver = driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let decodes_memory = decodes_memory(&directory)?;
    let sysfs = sysfs.to_owned();
    Ok(Some(Device { address, directory, kind, regions, driver, decodes_memory, sysfs }))
}

/// Vendor and device of a stranger, for messages.
fn id(directory: &Path) -> String {
    let part = |name: &str| number(&directory.join(name)).ok();
    match (part("vendor"), part("device"), part("subsystem_vendor"), part("subsystem_device")) {
        (Some(0x10de), Some(device), Some(vendor), Some(sub)) => {
            format!("a device of NVIDIA, 10de:{device:04x}, subsystem {vendor:04x}:{sub:04x}")
        }
        (Some(vendor), Some(device), ..) => format!("{vendor:04x}:{device:04x}"),
        _ => "a device without numbers".to_owned(),
    }
}

/// Reads an attribute whole, however much it claims to be.
fn attribute(path: &Path) -> Result<Vec<u8>, Obstacle> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(ATTRIBUTE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|source| Obstacle::File { verb: "reading", path: path.to_owned(), source })
}

/// Reads a number as sysfs writes it: `0x10de`.
fn number(path: &Path) -> Result<u64, Obstacle> {
    let bytes = attribute(path)?;
    let text = str::from_utf8(&bytes).ok().map(str::trim);
    text.and_then(hex).ok_or_else(|| Obstacle::Attribute { path: path.to_owned() })
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// Reads the sizes of the regions: a line each with first byte, last byte, and flags.
fn regions(path: &Path) -> Result<[Region; REGIONS], Obstacle> {
    let wrong = || Obstacle::Attribute { path: path.to_owned() };
    let bytes = attribute(path)?;
    let text = str::from_utf8(&bytes).map_err(|_| wrong())?;
    let mut regions = [Region::default(); REGIONS];
    for (region, line) in regions.iter_mut().zip(text.lines()) {
        let mut words = line.split_whitespace().map(hex);
        let mut word = || words.next().flatten().ok_or_else(wrong);
        let (first, last, flags) = (word()?, word()?, word()?);
        if (first, last, flags) == (0, 0, 0) {
            continue;
        }
        let bytes = last.checked_sub(first).and_then(|less| less.checked_add(1));
        region.bytes = bytes.ok_or_else(wrong)?;
        region.page_offset = (first % PAGE_BYTES) as usize;
        region.is_reachable = flags & FLAG_MEMORY != 0 && flags & FLAG_UNSET == 0;
    }
    Ok(regions)
}

/// Reads whether the device answers accesses to its memory, from its COMMAND register.
fn decodes_memory(directory: &Path) -> Result<bool, Obstacle> {
    let path = directory.join("config");
    let config = attribute(&path)?;
    match config.get(4..6) {
        Some(command) => Ok(u16::from_le_bytes([command[0], command[1]]) & COMMAND_MEMORY != 0),
        None => Err(Obstacle::Attribute { path }),
    }
}
