//! Functions (CUDA Driver API, Execution Control and Module Management).

use std::ffi::c_char;
use std::sync::Arc;

use vgpu_abi::cuda::{
    CUdevice, CUfunc_cache, CUfunction, CUfunction_attribute as Attribute,
    CUfunctionLoadingState as LoadingState, CUmodule, CUsharedconfig, Error,
};
use vgpu_guest::wire::cuda::{
    FuncIsLoaded, FuncLoad, FuncSetAttribute, FuncSetCacheConfig, FuncSetSharedMemConfig,
    FunctionDescribe,
};

use crate::code::function::function;
use crate::code::{self, Function, Owner};
use crate::{contexts, remote};

/// Finds a function, or a kernel in its place, and the device that it is meant on: that of its
/// context, or of the current one.
pub(crate) fn on_device(handle: CUfunction) -> Result<(Arc<Function>, CUdevice), Error> {
    remote::ready()?;
    let known = function(handle.0)?;
    let context = match known.context {
        Some(context) => contexts::find(context)?,
        None => contexts::current()?.1,
    };
    Ok((known, context.device))
}

/// Returns an attribute of a function.
pub(crate) fn func_get_attribute(attribute: Attribute, handle: CUfunction) -> Result<i32, Error> {
    let (known, device) = on_device(handle)?;
    known.attribute(handle.0, attribute, device)
}

/// Changes an attribute of a function.
pub(crate) fn func_set_attribute(
    handle: CUfunction,
    attribute: Attribute,
    value: i32,
) -> Result<(), Error> {
    let (known, device) = on_device(handle)?;
    remote::call(&FuncSetAttribute { hfunc: handle.0, attrib: attribute.0, value })?;
    known.changed(device, attribute, value);
    Ok(())
}

/// Chooses how a function splits cache and shared memory.
pub(crate) fn func_set_cache_config(handle: CUfunction, config: CUfunc_cache) -> Result<(), Error> {
    on_device(handle)?;
    check_cache(config)?;
    remote::post(&FuncSetCacheConfig { hfunc: handle.0, config: config.0 })
}

/// Refuses a split of cache and shared memory that there is none of.
pub(crate) fn check_cache(config: CUfunc_cache) -> Result<(), Error> {
    if config <= CUfunc_cache::EQUAL { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

/// Chooses the width of shared memory's banks, of which newer devices have one only.
pub(crate) fn func_set_shared_mem_config(
    handle: CUfunction,
    config: CUsharedconfig,
) -> Result<(), Error> {
    on_device(handle)?;
    if config > CUsharedconfig::EIGHT_BYTE_BANK_SIZE {
        return Err(Error::INVALID_VALUE);
    }
    remote::post(&FuncSetSharedMemConfig { hfunc: handle.0, config: config.0 })
}

/// Loads a function onto the device, if it is not yet.
pub(crate) fn func_load(handle: CUfunction) -> Result<(), Error> {
    on_device(handle)?;
    remote::call(&FuncLoad { function: handle.0 })
}

/// Says whether a function is loaded onto the device.
pub(crate) fn func_is_loaded(handle: CUfunction) -> Result<LoadingState, Error> {
    on_device(handle)?;
    Ok(LoadingState(remote::call(&FuncIsLoaded { function: handle.0 })?.state))
}

/// Returns the module of a function.
pub(crate) fn func_get_module(handle: CUfunction) -> Result<CUmodule, Error> {
    let (known, _) = on_device(handle)?;
    if let Some(module) = known.module {
        return Ok(CUmodule(module));
    }
    let context = known.context.ok_or(Error::INVALID_HANDLE)?;
    let module = remote::call_without_context(&FunctionDescribe { function: handle.0 })?.module;
    code::insert_owner(module, Owner { context: Some(context), library: known.library });
    Ok(CUmodule(module))
}

/// Returns the function's name, which stays until its module is unloaded.
pub(crate) fn func_get_name(handle: CUfunction) -> Result<*const c_char, Error> {
    Ok(on_device(handle)?.0.name.as_ptr())
}

/// Returns how many parameters a function has.
pub(crate) fn func_get_param_count(handle: CUfunction) -> Result<usize, Error> {
    Ok(on_device(handle)?.0.parameters.len())
}

/// Returns where a parameter lies among the packed arguments, and its size.
pub(crate) fn func_get_param_info(
    handle: CUfunction,
    index: usize,
) -> Result<(usize, usize), Error> {
    let (known, _) = on_device(handle)?;
    parameter(&known, index)
}

/// Returns offset and size of a parameter; one that there is not is INVALID_VALUE.
pub(crate) fn parameter(function: &Function, index: usize) -> Result<(usize, usize), Error> {
    let parameter = function.parameters.get(index).ok_or(Error::INVALID_VALUE)?;
    Ok((parameter.offset as usize, parameter.bytes as usize))
}
