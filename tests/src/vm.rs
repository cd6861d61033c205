//! A virtual machine for tests: stock QEMU without KVM, a Debian with its own kernel and systemd,
//! and a channel through which commands reach it.
//!
//! Like the container of the system test it does not know what the shims do. QEMU and what stands
//! beside it are children of the test and end with it.

mod channel;
mod disk;
mod image;
mod junction;
mod listing;
mod machine;
mod monitor;
mod vsock;

pub use disk::Disk;
pub use image::{Image, MACHINE_PACKAGES};
pub use junction::Junction;
pub use listing::Listing;
pub use machine::Vm;
pub use vsock::{CARRIER, CID, DEVICE, VsockDevice};
