//! Managed memory, answered as for a device without it (CUDA Driver API, Unified Memory). Why
//! there is none: decision 0021.

use std::ffi::c_void;

use vgpu_abi::cuda::{
    CUdevice, CUdeviceptr, CUmem_advise, CUmem_range_attribute, CUmemAttach_flags, CUmemLocation,
    CUmemLocationType, CUstream, Error,
};
use vgpu_guest::log;

use crate::api::primary::host_device;
use crate::{handles, remote};

/// The program's side, in place of a device (`CU_DEVICE_CPU`).
const CPU: CUdevice = -1;

/// Refuses managed memory: "if managed memory is not supported by the device, NOT_SUPPORTED".
pub(crate) fn mem_alloc_managed(bytes: usize, flags: u32) -> Result<CUdeviceptr, Error> {
    remote::ready()?;
    let attached = [CUmemAttach_flags::GLOBAL, CUmemAttach_flags::HOST];
    if bytes == 0 || !attached.contains(&CUmemAttach_flags(flags)) {
        return Err(Error::INVALID_VALUE);
    }
    static SAID: log::Once = log::Once::new();
    SAID.warn(format_args!(
        "this program asks for memory that it shares with the GPU, and they share none here; try: \
         unset GGML_CUDA_ENABLE_UNIFIED_MEMORY, if that is set"
    ));
    Err(Error::NOT_SUPPORTED)
}

/// Refuses to move what is no managed memory.
pub(crate) fn mem_prefetch_async(
    _: CUdeviceptr,
    _: usize,
    device: CUdevice,
    stream: CUstream,
) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    Err(refusal(device))
}

/// Refuses to move what is no managed memory.
pub(crate) fn mem_prefetch_async_v2(
    _: CUdeviceptr,
    _: usize,
    location: CUmemLocation,
    _: u32,
    stream: CUstream,
) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    Err(refusal(device_at(location)))
}

/// Refuses advice about what is no managed memory.
pub(crate) fn mem_advise(
    _: CUdeviceptr,
    _: usize,
    _: CUmem_advise,
    device: CUdevice,
) -> Result<(), Error> {
    remote::ready()?;
    Err(refusal(device))
}

/// Refuses advice about what is no managed memory.
pub(crate) fn mem_advise_v2(
    _: CUdeviceptr,
    _: usize,
    _: CUmem_advise,
    location: CUmemLocation,
) -> Result<(), Error> {
    remote::ready()?;
    Err(refusal(device_at(location)))
}

/// Knows nothing of ranges of managed memory: there are none.
pub(crate) fn mem_range_get_attribute(
    _: *mut c_void,
    _: usize,
    _: CUmem_range_attribute,
    _: CUdeviceptr,
    _: usize,
) -> Result<(), Error> {
    remote::ready()?;
    Err(Error::INVALID_VALUE)
}

/// Knows nothing of ranges of managed memory: there are none.
pub(crate) fn mem_range_get_attributes(
    _: *mut *mut c_void,
    _: *mut usize,
    _: *mut CUmem_range_attribute,
    _: usize,
    _: CUdeviceptr,
    _: usize,
) -> Result<(), Error> {
    remote::ready()?;
    Err(Error::INVALID_VALUE)
}

/// A device must have concurrent managed access, or it is INVALID_DEVICE; for the program's side
/// it is the range that is wrong.
fn refusal(device: CUdevice) -> Error {
    if device == CPU {
        Error::INVALID_VALUE
    } else {
        host_device(device).err().unwrap_or(Error::INVALID_DEVICE)
    }
}

fn device_at(location: CUmemLocation) -> CUdevice {
    match location.r#type {
        CUmemLocationType::DEVICE => location.unnamed4[0].cast_signed(),
        _ => CPU,
    }
}
