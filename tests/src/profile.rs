//! What the simulated device must show, in whatever interface it is looked at.
//!
//! Written down a second time on purpose: a change of the daemon's profile that nobody meant fails
//! here.

/// Name, with the word that tells everybody what it is.
pub const NAME: &str = "NVIDIA H100 80GB HBM3 (Simulated)";

/// Total memory: 80 GiB in bytes.
pub const TOTAL_MEMORY: u64 = 80 << 30;

/// Compute capability.
pub const COMPUTE: (i32, i32) = (9, 0);

/// Streaming multiprocessors.
pub const MULTIPROCESSORS: i32 = 132;

/// Largest shared memory of a block that asks for it, in bytes: 227 KiB.
pub const SHARED_MEMORY_OPTIN: i32 = 232_448;

/// CUDA version of the driver, as `cuDriverGetVersion` codes it.
pub const CUDA_VERSION: i32 = 13_000;
