//! What keeps a link from going by a PCI device.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::uri::PciAddress;

/// Says why no PCI device, or not this one, can carry a link.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Obstacle {
    /// There is no PCI bus to look at.
    #[error("looking for PCI devices in {directory}", directory = directory.display())]
    NoBus {
        /// The directory in sysfs.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No device carries a link.
    #[error("no device in {directory} carries a link", directory = directory.display())]
    NoDevice {
        /// The directory in sysfs.
        directory: PathBuf,
    },
    /// There is nothing at the address that was named.
    #[error("there is no device at {directory}", directory = directory.display())]
    NotThere {
        /// The directory in sysfs.
        directory: PathBuf,
    },
    /// The device at the address that was named is another one.
    #[error("the device at {directory} carries no link: it is {id}",
        directory = directory.display())]
    Stranger {
        /// The directory in sysfs.
        directory: PathBuf,
        /// What it is.
        id: String,
    },
    /// Several devices could carry the link.
    #[error("several devices carry a link: {devices}")]
    Several {
        /// Their addresses and kinds.
        devices: String,
    },
    /// Only the original device's older generation is there.
    #[error(
        "the device at {address} is an older generation of the original device, \
        which cannot carry a link"
    )]
    TooOld {
        /// Its address.
        address: PciAddress,
    },
    /// An attribute cannot be understood.
    #[error("understanding {path}", path = path.display())]
    Attribute {
        /// The file.
        path: PathBuf,
    },
    /// A region was never given an address.
    #[error("region {region} of the device at {address} has no address")]
    Unassigned {
        /// The device's address.
        address: PciAddress,
        /// The region.
        region: usize,
    },
    /// A driver that takes the device for its own is bound to it.
    #[error("the kernel module {driver} is bound to the device at {address}")]
    Bound {
        /// The device's address.
        address: PciAddress,
        /// The driver.
        driver: String,
    },
    /// The device does not answer accesses to its memory.
    #[error("the device at {address} does not answer: memory decoding is off")]
    DecodingOff {
        /// The device's address.
        address: PciAddress,
    },
    /// The file's mode and owner shut this user out.
    #[error("opening {path}: mode {mode:04o}, owner {owner}, group {group} leave this user out",
        path = path.display())]
    Denied {
        /// The region's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        owner: u32,
        /// Its group.
        group: u32,
    },
    /// Mode and owner would let this user in, and something else does not.
    #[error("opening {path}: its mode {mode:04o} allows it, and a sandbox does not",
        path = path.display())]
    Sandboxed {
        /// The region's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Sysfs is mounted read-only here.
    #[error("opening {path}: it is read-only here", path = path.display())]
    ReadOnly {
        /// The region's file.
        path: PathBuf,
    },
    /// The kernel is locked down, as it is under UEFI Secure Boot.
    #[error("mapping {path}: this kernel is locked down ({mode}), which shuts out even root",
        path = path.display())]
    LockedDown {
        /// The region's file.
        path: PathBuf,
        /// The lockdown's mode.
        mode: String,
    },
    /// Mapping was refused although the kernel is not locked down.
    #[error("mapping {path}: a security policy forbids it", path = path.display())]
    Forbidden {
        /// The region's file.
        path: PathBuf,
    },
    /// A driver keeps the region for itself.
    #[error("mapping {path}: a driver of the kernel keeps it for itself", path = path.display())]
    Claimed {
        /// The region's file.
        path: PathBuf,
    },
    /// The system failed us otherwise.
    #[error("{verb} {path}", path = path.display())]
    File {
        /// What was being done, such as "reading".
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Obstacle {
    /// Tells whether the way to the host is not there at all, rather than shut.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NoBus { .. } | Self::NoDevice { .. } | Self::NotThere { .. })
    }

    /// Tells whether the way is there and this user, or this process, may not use it.
    pub fn is_denied(&self) -> bool {
        matches!(
            self,
            Self::Denied { .. }
                | Self::Sandboxed { .. }
                | Self::ReadOnly { .. }
                | Self::LockedDown { .. }
                | Self::Forbidden { .. }
        )
    }

    /// Gives the remedy, as one whole sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoBus { .. } => "Use unix:, vsock: or tls: here: this system shows no PCI bus.",
            Self::NoDevice { .. } => {
                "Give the virtual machine an ivshmem device, as docs/pci.md says, or use another \
                 link."
            }
            Self::NotThere { .. } | Self::Stranger { .. } => {
                "Write pci:auto, or the address that lspci shows of the device."
            }
            Self::Several { .. } => "Name one of them, such as pci:0000:00:05.0.",
            Self::TooOld { .. } => "Give the virtual machine the current device, or ivshmem.",
            Self::Attribute { .. } => "Report this file's contents: the kernel writes it.",
            Self::Unassigned { .. } => {
                "Give the virtual machine's firmware room for the device: see its log."
            }
            Self::Bound { .. } => {
                "Keep NVIDIA's module from it by the udev rule of this package: udevadm trigger, \
                 then unbind the device or restart the guest."
            }
            Self::DecodingOff { .. } => {
                "Switch it on as root by writing 1 to the device's file enable; the udev rule of \
                 this package does so at start."
            }
            Self::Denied { .. } => {
                "Put this user into the group vgpu, and let the udev rule of this package give \
                 the file to it: udevadm trigger --subsystem-match=pci --action=add."
            }
            Self::Sandboxed { .. } | Self::ReadOnly { .. } => {
                "Let the unit write there: ReadWritePaths= with the device's directory, which \
                 vgpu-install adds; in a container, mount /sys for writing."
            }
            Self::LockedDown { .. } => {
                "Switch Secure Boot off for this virtual machine on its host, or use vsock: or \
                 tls:, which it does not concern."
            }
            Self::Forbidden { .. } => {
                "See the system's log for what AppArmor, SELinux or seccomp refused."
            }
            Self::Claimed { .. } => "Unbind the driver, or use another link.",
            Self::File { .. } => "Check that the device is still there: lspci shows it.",
        }
    }
}

/// Says why a region could not be opened.
pub(super) fn not_opened(path: PathBuf, source: io::Error) -> Obstacle {
    let meta = std::fs::metadata(&path);
    match (source.kind(), meta) {
        (io::ErrorKind::ReadOnlyFilesystem, _) => Obstacle::ReadOnly { path },
        (io::ErrorKind::PermissionDenied, Ok(meta)) => {
            let mode = meta.mode() & 0o7777;
            if Who::now().may_write(&meta) {
                Obstacle::Sandboxed { path, mode }
            } else {
                Obstacle::Denied { path, mode, owner: meta.uid(), group: meta.gid() }
            }
        }
        _ => Obstacle::File { verb: "opening", path, source },
    }
}

/// Says why an open region could not be mapped. `lockdown` is what the kernel says of that, such
/// as `none [integrity] confidentiality`.
pub(super) fn not_mapped(path: PathBuf, source: io::Error, lockdown: &str) -> Obstacle {
    let chosen = lockdown.split_whitespace();
    let mut chosen = chosen.filter_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    let mode = chosen.next().filter(|mode| *mode != "none");
    match (source.raw_os_error().map(Errno::from_raw_os_error), mode) {
        (Some(Errno::PERM), Some(mode)) => Obstacle::LockedDown { path, mode: mode.to_owned() },
        (Some(Errno::PERM | Errno::ACCESS), _) => Obstacle::Forbidden { path },
        // The kernel answers so for a range that a driver holds exclusively.
        (Some(Errno::INVAL), _) => Obstacle::Claimed { path },
        _ => Obstacle::File { verb: "mapping", path, source },
    }
}

/// Whom the mode of a file is held against.
struct Who {
    uid: u32,
    groups: Vec<u32>,
}

impl Who {
    fn now() -> Self {
        let mut groups = vec![rustix::process::getegid().as_raw()];
        // Without them a member of the group is told of a sandbox as being left out.
        groups.extend(rustix::process::getgroups().unwrap_or_default().iter().map(|g| g.as_raw()));
        Self { uid: rustix::process::geteuid().as_raw(), groups }
    }

    fn may_write(&self, file: &Metadata) -> bool {
        self.may(file.mode(), file.uid(), file.gid())
    }

    fn may(&self, mode: u32, owner: u32, group: u32) -> bool {
        let bits = match () {
            () if self.uid == 0 => return true,
            () if self.uid == owner => mode >> 6,
            () if self.groups.contains(&group) => mode >> 3,
            () => mode,
        };
        bits & 0o6 == 0o6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(errno: Errno) -> io::Error {
        errno.into()
    }

    #[test]
    fn lockdown_is_told_from_other_refusals_to_map() {
        let path = || PathBuf::from("/sys/resource0");
        let of = |errno, lockdown| not_mapped(path(), failure(errno), lockdown);
        let locked = of(Errno::PERM, "none [integrity] confidentiality\n");
        assert!(matches!(&locked, Obstacle::LockedDown { mode, .. } if mode == "integrity"));
        assert!(locked.hint().contains("Secure Boot") && locked.is_denied());
        for open in ["[none] integrity confidentiality\n", ""] {
            let other = of(Errno::PERM, open);
            assert!(matches!(other, Obstacle::Forbidden { .. }), "{open:?}: {other}");
        }
        assert!(matches!(of(Errno::INVAL, "[integrity]"), Obstacle::Claimed { .. }));
        assert!(matches!(of(Errno::NOMEM, "[integrity]"), Obstacle::File { .. }));
    }

    #[test]
    fn a_mode_that_shuts_out_is_told_from_a_sandbox() {
        let member = Who { uid: 1000, groups: vec![100, 900] };
        for (mode, owner, group, expected) in [
            (0o600, 0, 0, false),
            (0o660, 0, 900, true),
            (0o640, 0, 900, false),
            (0o666, 0, 0, true),
            (0o600, 1000, 0, true),
            // The first class that fits decides, as in the kernel.
            (0o066, 1000, 900, false),
        ] {
            assert_eq!(member.may(mode, owner, group), expected, "{mode:o} {owner}:{group}");
        }
        assert!(Who { uid: 0, groups: Vec::new() }.may(0o000, 5, 5), "root needs no bits");
    }

    #[test]
    fn a_read_only_sysfs_is_told_from_a_file_that_is_gone() {
        let gone = || PathBuf::from("/nonexistent/resource0");
        assert!(matches!(not_opened(gone(), failure(Errno::ROFS)), Obstacle::ReadOnly { .. }));
        let error = not_opened(gone(), failure(Errno::NOENT));
        assert!(matches!(error, Obstacle::File { verb: "opening", .. }), "{error}");
    }
}
