//! `libcuda.so.1`: the CUDA driver API, answered in the guest or by the host.
//!
//! `generated/exports.rs` holds every exported name; `api` holds the bodies of those that need
//! more than a message. A body does not know that it is called from C.

mod api;
#[path = "generated/exports.rs"]
mod exports;
mod remote;
