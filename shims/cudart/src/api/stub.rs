//! What the stubs of kernels call.
//!
//! A stub asks for the handle of its kernel once in the life of the process and keeps the answer,
//! whatever it is. So the handle is made of nothing that can fail or end: it is the address of the
//! stub, and the kernel is found when it is launched.

use vgpu_abi::cudart::dim3;
use vgpu_guest::convert::Memory;

use super::launch::Shape;
use crate::code;
use crate::driver::{Kernel, Stream};
use crate::result::Result;

/// Returns the handle by which a stub launches its kernel: its own address, as NVIDIA's does (seen
/// with 12.9 and 13.5, also for an address that nobody registered).
pub fn get_kernel(stub: Memory<'_>) -> Result<Kernel> {
    Ok(Kernel(stub.address()))
}

/// Launches the kernel of a stub.
pub fn launch_kernel(
    handle: Kernel,
    grid: dim3,
    block: dim3,
    parameters: Memory<'_>,
    shared_bytes: usize,
    stream: Stream,
) -> Result<()> {
    let code = code::of(handle.0)?;
    Shape { grid, block, shared_bytes, stream }.launch(code, parameters)
}
