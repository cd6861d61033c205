//! The runtime API of CUDA 12: the shared types, and the structures with a layout of its own.

#[path = "generated/cudart12.rs"]
mod generated;

pub use crate::cudart::*;
pub use generated::*;
