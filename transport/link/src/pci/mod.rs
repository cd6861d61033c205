//! Devices on a guest's PCI bus that carry a link.
//!
//! [`find`] tells which are there, and which of the many reasons keeps one from being used.

pub mod find;
pub mod ivshmem;
mod obstacle;
pub mod original;

use std::path::Path;
use std::time::Instant;

pub use find::{Device, Kind, Region, pick, scan};
pub use obstacle::Obstacle;

use crate::{Link, LinkError, PciAddress, StreamLink, Uri};

/// Where the kernel shows its devices.
pub const SYSFS: &str = "/sys";

/// Opens the link that goes by the device at `wanted`, or by the only one there is; `sysfs` is
/// [`SYSFS`], but for tests.
///
/// # Errors
/// [`LinkError::Pci`] with what keeps a device from being used, [`LinkError::Connect`] if no host
/// serves it, [`LinkError::Refused`] if all its slots are taken, [`LinkError::TimedOut`] if the
/// host does not answer, [`LinkError::Original`] with what is wrong with the original device.
pub fn connect(
    sysfs: &Path,
    wanted: Option<PciAddress>,
    limit: Instant,
) -> Result<Box<dyn Link>, LinkError> {
    let blocked = |source| LinkError::Pci { uri: Uri::Pci(wanted).to_string(), source };
    let found = pick(sysfs, wanted).map_err(|source| blocked(source.into()))?;
    match found.kind {
        Kind::Ivshmem => Ok(Box::new(StreamLink::new(ivshmem::connect(&found, limit)?))),
        Kind::Original => Ok(Box::new(original::connect(&found, limit)?)),
        Kind::TooOld => Err(blocked(Obstacle::TooOld { address: found.address }.into())),
    }
}
