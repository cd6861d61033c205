//! The CUDA runtime API, written over the driver API.
//!
//! A local translation: each call becomes calls of documented driver functions, found in
//! whatever `libcuda.so.1` the program finds. There is no session with a host here, no message,
//! no thread and nothing that runs when the library is loaded; over a genuine driver the same
//! code does the same. Shared by `vgpu-cudart12` and `vgpu-cudart13`, which hold what really
//! differs between the majors: the exported names, their version node, and the version.
//!
//! Unsafe code stands in `driver/entries.rs` and the tables below it only.

#![deny(unsafe_code)]

pub mod api;
mod boundary;
mod code;
mod driver;
mod primary;
pub mod result;
mod runtime;
mod thread;

pub use boundary::{boundary, boundary_uninitialised, unimplemented};
