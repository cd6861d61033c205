//! The link by the original PCI device, over a model of it: what the device does, what can go wrong
//! with it, and what its emulator may throw at the host.

#![forbid(unsafe_code)]

#[path = "../device/mod.rs"]
mod device;

mod emulator;
mod mapped;
mod registers;
mod wrong;
