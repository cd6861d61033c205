//! Kernels of libraries (CUDA Driver API, Library Management).

use std::ffi::c_char;

use vgpu_abi::cuda::{
    CUdevice, CUfunc_cache, CUfunction, CUfunction_attribute as Attribute, CUkernel, CUlibrary,
    Error,
};
use vgpu_guest::wire::cuda::{KernelGetFunction, KernelSetAttribute, KernelSetCacheConfig};

use crate::api::function::{check_cache, parameter};
use crate::code::function::kernel;
use crate::code::{self, Function};
use crate::{contexts, devices, remote};

/// Returns a kernel as a function of the current context; the host is asked once for each.
pub(crate) fn kernel_get_function(handle: CUkernel) -> Result<CUfunction, Error> {
    remote::ready()?;
    let known = kernel(handle.0)?;
    let (context, _) = contexts::current()?;
    if let Some(function) = code::of_kernel(handle.0, context) {
        return Ok(CUfunction(function));
    }
    let reply = remote::call_without_context(&KernelGetFunction { kernel: handle.0 })?;
    let name = known.name.to_bytes().to_vec();
    let function = Function::new(name, reply.facts, context, [None, known.library])?;
    code::insert_of_kernel(handle.0, context, reply.function, function);
    Ok(CUfunction(reply.function))
}

/// Returns an attribute of a kernel on a device.
pub(crate) fn kernel_get_attribute(
    attribute: Attribute,
    handle: CUkernel,
    device: CUdevice,
) -> Result<i32, Error> {
    devices::known()?.facts(device)?;
    kernel(handle.0)?.attribute(handle.0, attribute, device)
}

/// Changes an attribute of a kernel on a device.
pub(crate) fn kernel_set_attribute(
    attribute: Attribute,
    value: i32,
    handle: CUkernel,
    device: CUdevice,
) -> Result<(), Error> {
    let ordinal = devices::known()?.host_ordinal(device)?;
    let known = kernel(handle.0)?;
    remote::call_without_context(&KernelSetAttribute {
        attrib: attribute.0,
        val: value,
        kernel: handle.0,
        dev: ordinal as i32,
    })?;
    known.changed(device, attribute, value);
    for function in code::all_of_kernel(handle.0, device) {
        function.changed(device, attribute, value);
    }
    Ok(())
}

/// Chooses how a kernel splits cache and shared memory on a device.
pub(crate) fn kernel_set_cache_config(
    handle: CUkernel,
    config: CUfunc_cache,
    device: CUdevice,
) -> Result<(), Error> {
    let ordinal = devices::known()?.host_ordinal(device)?;
    kernel(handle.0)?;
    check_cache(config)?;
    let dev = ordinal as i32;
    remote::post_without_context(&KernelSetCacheConfig { kernel: handle.0, config: config.0, dev })
}

/// Returns the kernel's name, which stays until its library is unloaded.
pub(crate) fn kernel_get_name(handle: CUkernel) -> Result<*const c_char, Error> {
    devices::known()?;
    Ok(kernel(handle.0)?.name.as_ptr())
}

/// Returns the library of a kernel.
pub(crate) fn kernel_get_library(handle: CUkernel) -> Result<CUlibrary, Error> {
    devices::known()?;
    kernel(handle.0)?.library.map(CUlibrary).ok_or(Error::INVALID_HANDLE)
}

/// Returns how many parameters a kernel has.
pub(crate) fn kernel_get_param_count(handle: CUkernel) -> Result<usize, Error> {
    devices::known()?;
    Ok(kernel(handle.0)?.parameters.len())
}

/// Returns where a parameter lies among the packed arguments, and its size.
pub(crate) fn kernel_get_param_info(
    handle: CUkernel,
    index: usize,
) -> Result<(usize, usize), Error> {
    devices::known()?;
    let known = kernel(handle.0)?;
    parameter(&known, index)
}
