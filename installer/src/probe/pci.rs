//! PCI devices that a link to the host could go by, as sysfs shows them.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// Where the kernel lists PCI devices.
const DEVICES: &str = "/sys/bus/pci/devices";
/// ivshmem of stock QEMU: Red Hat's vendor id (docs of QEMU, "Inter-VM Shared Memory").
const SHARED_MEMORY: (u32, u32) = (0x1af4, 0x1110);
/// The original stub device, which shows an H100's numbers.
const STUB: (u32, u32) = (0x10de, 0x2331);
/// Most devices that are looked at: 4096, above what a bus of one domain holds in practice.
const DEVICES_MAX: usize = 4096;

/// One device that could carry a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its address, as `0000:00:05.0`.
    pub address: String,
    /// Vendor and device.
    pub id: (u32, u32),
    /// The kernel driver that is bound to it.
    pub driver: Option<String>,
    /// Why it is not used.
    pub refused: String,
}

/// Lists the candidates; none where there is no PCI bus.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the probe looks at its own machine, in a child")]
pub fn candidates() -> Vec<Candidate> {
    let Ok(entries) = std::fs::read_dir(DEVICES) else { return Vec::new() };
    let mut found: Vec<Candidate> =
        entries.take(DEVICES_MAX).filter_map(|entry| candidate(&entry.ok()?.path())).collect();
    found.sort_by(|a, b| a.address.cmp(&b.address));
    found
}

#[expect(clippy::disallowed_methods, reason = "the probe looks at its own machine, in a child")]
fn candidate(device: &Path) -> Option<Candidate> {
    let number = |name: &str| {
        let text = std::fs::read_to_string(device.join(name)).ok()?;
        u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
    };
    let id = (number("vendor")?, number("device")?);
    if id != SHARED_MEMORY && id != STUB {
        return None;
    }
    let driver = std::fs::read_link(device.join("driver")).ok();
    let driver = driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let refused = match (&driver, id) {
        (Some(name), _) if name.starts_with("nvidia") => {
            "NVIDIA's kernel module is bound to it".to_owned()
        }
        _ => "this version has no link by PCI".to_owned(),
    };
    let address = device.file_name()?.to_string_lossy().into_owned();
    Some(Candidate { address, id, driver, refused })
}
