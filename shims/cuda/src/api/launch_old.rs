//! The oldest way to launch: a function is prepared step by step (CUDA Driver API, Execution
//! Control, deprecated).

use vgpu_abi::cuda::{CUfunction, CUstream, Error};
use vgpu_guest::convert::Memory;
use vgpu_guest::wire::cuda::{Dim3, KernelLaunch};

use crate::api::{function, launch};

/// Longest arguments of these functions: 4,096 bytes (CUDA C++ Programming Guide, before 12.1).
const ARGUMENT_BYTES_MAX: usize = 4096;

/// Chooses the threads of a block.
pub(crate) fn func_set_block_shape(
    handle: CUfunction,
    x: i32,
    y: i32,
    z: i32,
) -> Result<(), Error> {
    let (known, _) = function::on_device(handle)?;
    let size = |size: i32| u32::try_from(size).ok().filter(|size| *size > 0);
    let block = [size(x), size(y), size(z)].map(|size| size.ok_or(Error::INVALID_VALUE));
    let [x, y, z] = block;
    known.prepared().block = [x?, y?, z?];
    Ok(())
}

/// Chooses the dynamic shared memory of a block.
pub(crate) fn func_set_shared_size(handle: CUfunction, bytes: u32) -> Result<(), Error> {
    let (known, _) = function::on_device(handle)?;
    known.prepared().shared_bytes = bytes;
    Ok(())
}

/// Chooses the length of all arguments.
pub(crate) fn param_set_size(handle: CUfunction, bytes: u32) -> Result<(), Error> {
    let (known, _) = function::on_device(handle)?;
    if bytes as usize > ARGUMENT_BYTES_MAX {
        return Err(Error::INVALID_VALUE);
    }
    known.prepared().arguments.resize(bytes as usize, 0);
    Ok(())
}

/// Puts an integer among the arguments.
pub(crate) fn param_seti(handle: CUfunction, offset: i32, value: u32) -> Result<(), Error> {
    put(handle, offset, &value.to_ne_bytes())
}

/// Puts a float among the arguments.
pub(crate) fn param_setf(handle: CUfunction, offset: i32, value: f32) -> Result<(), Error> {
    put(handle, offset, &value.to_ne_bytes())
}

/// Puts some bytes among the arguments.
pub(crate) fn param_setv(
    handle: CUfunction,
    offset: i32,
    bytes: Memory<'_>,
    count: u32,
) -> Result<(), Error> {
    put(handle, offset, bytes.bytes::<Error>((count as usize).min(ARGUMENT_BYTES_MAX + 1))?)
}

fn put(handle: CUfunction, offset: i32, bytes: &[u8]) -> Result<(), Error> {
    let (known, _) = function::on_device(handle)?;
    let offset = usize::try_from(offset).map_err(|_| Error::INVALID_VALUE)?;
    let end = offset.checked_add(bytes.len()).filter(|end| *end <= ARGUMENT_BYTES_MAX);
    let end = end.ok_or(Error::INVALID_VALUE)?;
    let mut prepared = known.prepared();
    if prepared.arguments.len() < end {
        prepared.arguments.resize(end, 0);
    }
    prepared.arguments[offset..end].copy_from_slice(bytes);
    Ok(())
}

/// Launches one block of what was prepared.
pub(crate) fn launch(handle: CUfunction) -> Result<(), Error> {
    launch_grid(handle, 1, 1)
}

/// Launches a grid of what was prepared.
pub(crate) fn launch_grid(handle: CUfunction, width: i32, height: i32) -> Result<(), Error> {
    launch_grid_async(handle, width, height, CUstream(0))
}

/// Launches a grid of what was prepared, behind what the stream does already.
pub(crate) fn launch_grid_async(
    handle: CUfunction,
    width: i32,
    height: i32,
    stream: CUstream,
) -> Result<(), Error> {
    function::on_device(handle)?;
    let (known, device) = launch::on_stream(handle, stream)?;
    let size = |size: i32| u32::try_from(size).map_err(|_| Error::INVALID_VALUE);
    let prepared = known.prepared().clone();
    let mut arguments = prepared.arguments;
    if arguments.len() < known.argument_bytes() {
        return Err(Error::INVALID_VALUE);
    }
    arguments.truncate(known.argument_bytes());
    let [x, y, z] = prepared.block;
    let launch = KernelLaunch {
        function: handle.0,
        grid: Dim3 { x: size(width)?, y: size(height)?, z: 1 },
        block: Dim3 { x, y, z },
        shared_bytes: prepared.shared_bytes,
        attributes: Vec::new(),
        arguments,
    };
    launch::post(launch, stream, &known, device)
}
