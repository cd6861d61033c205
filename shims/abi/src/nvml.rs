//! NVML (NVML API Reference Guide).

#[path = "generated/nvml.rs"]
mod generated;

pub use generated::*;
