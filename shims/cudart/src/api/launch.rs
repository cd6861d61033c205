//! The configuration of a launch, between the `<<<>>>` and the call of the kernel's stub.
//!
//! The compiler pushes it before it evaluates the kernel's arguments and pops it in the stub.

use vgpu_abi::cudart::{cudaStream_t, dim3};

use crate::result::Result;
use crate::thread::{self, Launch};

/// Keeps a configuration.
///
/// # Errors
/// `MEMORY_ALLOCATION` if more are kept than any program nests.
pub fn push_call_configuration(
    grid: dim3,
    block: dim3,
    shared_bytes: usize,
    stream: cudaStream_t,
) -> Result<()> {
    thread::push_launch(Launch { grid, block, shared_bytes, stream })
}

/// Returns the configuration that was kept last: grid, block, shared memory in bytes, stream.
pub fn pop_call_configuration() -> Result<(dim3, dim3, usize, cudaStream_t)> {
    let launch = thread::pop_launch()?;
    Ok((launch.grid, launch.block, launch.shared_bytes, launch.stream))
}
