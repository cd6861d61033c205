//! Handles (cuBLAS Library, "cuBLAS Helper Function Reference").

use vgpu_abi::cublas::{
    Error, cublasAtomicsMode_t, cublasHandle_t, cublasMath_t, cublasPointerMode_t, cudaStream_t,
    libraryPropertyType,
};
use vgpu_guest::convert::Memory;
use vgpu_guest::wire::cublas::{CreateHandle, DestroyHandle};

use super::argument::require;
use crate::{driver, handles, version};

/// A workspace begins at a multiple of this (cuBLAS Library, `cublasSetWorkspace`).
const WORKSPACE_ALIGNMENT: u64 = 256;

/// Makes a handle on the host.
pub fn create_v2() -> Result<cublasHandle_t, Error> {
    let major = version::version().unsigned_abs() / 10_000;
    let handle = cublasHandle_t(driver::call(&CreateHandle { major })?.handle);
    handles::insert(handle);
    Ok(handle)
}

/// Destroys a handle when its work is done.
pub fn destroy_v2(handle: cublasHandle_t) -> Result<(), Error> {
    handles::remove(handle)?;
    driver::post(&DestroyHandle { handle: handle.0 })
}

/// Returns the version of the library. NVIDIA's answers without a handle, too.
pub fn get_version_v2(_: cublasHandle_t) -> Result<i32, Error> {
    Ok(version::version())
}

/// Returns a part of the version.
pub fn get_property(kind: libraryPropertyType) -> Result<i32, Error> {
    let version = version::version();
    match kind {
        libraryPropertyType::MAJOR_VERSION => Ok(version / 10_000),
        libraryPropertyType::MINOR_VERSION => Ok(version / 100 % 100),
        libraryPropertyType::PATCH_LEVEL => Ok(version % 100),
        _ => Err(Error::INVALID_VALUE),
    }
}

/// Returns the version of the runtime that belongs to the library: the first of its major, for
/// there is none in it.
pub fn get_cudart_version() -> usize {
    version::version().unsigned_abs() as usize / 10_000 * 1_000
}

/// Sets the stream of later operations, and takes the program's workspace back (as documented).
pub fn set_stream_v2(handle: cublasHandle_t, stream: cudaStream_t) -> Result<(), Error> {
    handles::change(handle, |state| {
        state.stream = stream;
        state.workspace = (0, 0);
    })
}

/// Returns the stream.
pub fn get_stream_v2(handle: cublasHandle_t) -> Result<cudaStream_t, Error> {
    Ok(handles::state(handle)?.stream)
}

/// Gives cuBLAS memory on the device to work in.
pub fn set_workspace_v2(
    handle: cublasHandle_t,
    workspace: Memory<'_>,
    bytes: usize,
) -> Result<(), Error> {
    handles::state(handle)?;
    let address = workspace.address();
    require(address.is_multiple_of(WORKSPACE_ALIGNMENT) && (address != 0 || bytes == 0))?;
    handles::change(handle, |state| state.workspace = (address, bytes as u64))
}

/// Says where scalars lie.
pub fn set_pointer_mode_v2(handle: cublasHandle_t, mode: cublasPointerMode_t) -> Result<(), Error> {
    handles::state(handle)?;
    require(mode.0 <= cublasPointerMode_t::DEVICE.0)?;
    handles::change(handle, |state| state.pointer_mode = mode)
}

/// Returns where scalars lie.
pub fn get_pointer_mode_v2(handle: cublasHandle_t) -> Result<cublasPointerMode_t, Error> {
    Ok(handles::state(handle)?.pointer_mode)
}

/// Says how exact arithmetic is: one of the modes, with or without the flag.
pub fn set_math_mode(handle: cublasHandle_t, mode: cublasMath_t) -> Result<(), Error> {
    handles::state(handle)?;
    let flag = cublasMath_t::MATH_DISALLOW_REDUCED_PRECISION_REDUCTION.0;
    require(mode.0 & !flag <= cublasMath_t::TF32_TENSOR_OP_MATH.0)?;
    handles::change(handle, |state| state.math_mode = mode)
}

/// Returns how exact arithmetic is.
pub fn get_math_mode(handle: cublasHandle_t) -> Result<cublasMath_t, Error> {
    Ok(handles::state(handle)?.math_mode)
}

/// Says whether sums may come in any order.
pub fn set_atomics_mode(handle: cublasHandle_t, mode: cublasAtomicsMode_t) -> Result<(), Error> {
    handles::state(handle)?;
    require(mode.0 <= cublasAtomicsMode_t::ALLOWED.0)?;
    handles::change(handle, |state| state.atomics_mode = mode)
}

/// Returns whether sums may come in any order.
pub fn get_atomics_mode(handle: cublasHandle_t) -> Result<cublasAtomicsMode_t, Error> {
    Ok(handles::state(handle)?.atomics_mode)
}

/// Says how many multiprocessors to use; 0 for all.
pub fn set_sm_count_target(handle: cublasHandle_t, count: i32) -> Result<(), Error> {
    handles::state(handle)?;
    require(count >= 0)?;
    handles::change(handle, |state| state.sm_count_target = count)
}

/// Returns how many multiprocessors to use.
pub fn get_sm_count_target(handle: cublasHandle_t) -> Result<i32, Error> {
    Ok(handles::state(handle)?.sm_count_target)
}
