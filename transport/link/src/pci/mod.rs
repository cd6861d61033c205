//! Devices on a guest's PCI bus that carry a link.
//!
//! [`find`] tells which are there, and which of the many reasons keeps one from being used.

pub mod find;
mod obstacle;

pub use find::{Device, Kind, Region, pick, scan};
pub use obstacle::Obstacle;

/// Where the kernel shows its devices.
pub const SYSFS: &str = "/sys";
