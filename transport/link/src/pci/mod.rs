//! Devices on a guest's PCI bus that carry a link.
//!
//! [`find`] tells which are there, and which of the many reasons keeps one from being used.

pub mod find;
pub mod ivshmem;
mod obstacle;

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
/// host does not answer.
pub fn connect(
    sysfs: &Path,
    wanted: Option<PciAddress>,
    limit: Instant,
) -> Result<Box<dyn Link>, LinkError> {
    let uri = || Uri::Pci(wanted).to_string();
    let found = pick(sysfs, wanted)
        .map_err(|source| LinkError::Pci { uri: uri(), source: source.into() })?;
    match found.kind {
        Kind::Ivshmem => Ok(Box::new(StreamLink::new(ivshmem::connect(&found, limit)?))),
        Kind::Original | Kind::TooOld => {
            let available = "unix:, vsock:, tls: and ivshmem devices";
            Err(LinkError::NotBuilt { uri: uri(), available })
        }
    }
}
