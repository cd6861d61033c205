//! The CUDA runtime API, written over the driver API as any client would use it.

pub mod api;
