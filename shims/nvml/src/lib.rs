//! `libnvidia-ml.so.1`: NVML, answered from what the host tells about its devices.
//!
//! `generated/exports.rs` holds every exported name; `api` holds the bodies of those that are
//! implemented. A body does not know that it is called from C. What the host does not tell is
//! NOT_SUPPORTED, never a guess. NVML does not know CUDA_VISIBLE_DEVICES.

mod api;
#[path = "generated/exports.rs"]
mod exports;
mod library;
