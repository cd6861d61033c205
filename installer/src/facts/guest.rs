//! What is known of the way to the host, and of what stands beside it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::location::Location;
use crate::object::Object;

/// The group that owns what carries the link: the socket, or the device.
pub const GROUP: &str = "vgpu";

/// What the guest has of the way to its host.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
pub struct Guest {
    /// The link that `/etc/vgpu/guest.toml` names; none where it leaves the choice to us.
    pub link: Option<String>,
    /// What is wrong with that file.
    pub problem: Option<String>,
    /// True if there is a group `vgpu`, which owns the socket or device of the link.
    pub group: bool,
    /// PCI devices that carry a link or bear NVIDIA's number.
    pub devices: Vec<PciDevice>,
    /// True if NVIDIA's device node `/dev/nvidiactl` is there.
    pub nvidia_node: bool,
}

/// A PCI device of the guest, as sysfs shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
pub struct PciDevice {
    /// Its address: `0000:00:05.0`.
    pub address: String,
    /// Its directory, every link resolved.
    pub path: Location,
    /// Vendor, in hexadecimal without a prefix: `10de`.
    pub vendor: String,
    /// Device.
    pub device: String,
    /// Vendor and device of the subsystem: `10de:16c1`.
    pub subsystem: String,
    /// The driver that is bound to it.
    pub driver: Option<String>,
}

impl PciDevice {
    /// True for QEMU's shared memory, which carries the link `pci`.
    #[must_use]
    pub fn is_shared_memory(&self) -> bool {
        (self.vendor.as_str(), self.device.as_str()) == ("1af4", "1110")
    }

    /// True for the stub that an emulator shows under the number of an H100. Its subsystem is
    /// its own; a genuine card has another.
    #[must_use]
    pub fn is_stub(&self) -> bool {
        let id = (self.vendor.as_str(), self.device.as_str(), self.subsystem.as_str());
        id == ("10de", "2331", "10de:16c1")
    }
}

/// What decides who wins in ld.so's cache, for scope `system`.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
pub struct LdCache {
    /// What lies at the place of our file in `/etc/ld.so.conf.d`.
    pub conf: Object,
    /// The directories on the way to it that do not exist, outermost first.
    pub missing_dirs: Vec<Location>,
    /// True if `/etc/ld.so.conf` would read our file.
    pub is_included: bool,
    /// Copies of our names that would come before ours.
    pub rivals: Vec<Rival>,
    /// True if the cache leads each of our names to our directory by now.
    pub is_current: bool,
    /// True if ldconfig can be run: this is the running machine.
    pub is_running: bool,
}

/// A library that would come before ours in the cache.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Rival {
    /// The name that programs ask for.
    pub name: String,
    /// The path that they would get.
    pub path: Location,
    /// The file whose line is before ours; none for a copy in a `glibc-hwcaps` directory, which
    /// comes before all plain ones.
    pub conf: Option<Location>,
}
