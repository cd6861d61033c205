//! What every shim shares in the guest: boundary, conversion, session, local answers.
//!
//! A call comes in from C through an exported function. [`boundary`] catches what must not leave
//! Rust, [`convert`] turns raw arguments into safe types, and a safe body answers: from what the
//! guest already knows, or through the host.
//!
//! Each shim library links its own copy of this crate, so "process-wide" here means: once per
//! shim library in a process. Nothing happens when a library is loaded; the first call that needs
//! something makes it.
//!
//! Unsafe code stands in [`convert`], [`destination`], [`pages`], [`reach`], [`reserve`], `fork`
//! and `process` only.

pub mod boundary;
mod connect;
mod conversation;
pub mod convert;
pub mod count;
pub mod current;
mod deliveries;
pub mod destination;

mod fault;
mod fork;
pub mod identity;
pub mod log;
mod mark;
pub mod pages;
pub mod process;
pub mod reach;
pub mod relay;
pub mod reserve;
pub mod session;
pub mod shared;
#[cfg(test)]
mod testing;
pub mod visible;

pub use boundary::{Fault, boundary, boundary_uninitialised, boundary_value, unimplemented};
pub use count::Counter;
pub use session::Failure;
pub use vgpu_link::wire;
