//! Contexts (CUDA Driver API, Context Management).

use vgpu_abi::cuda::{CUcontext, CUctxCreateParams, CUdevice, CUexecAffinityParam, Error};
use vgpu_guest::current;
use vgpu_guest::wire::cuda::{CtxCreateV2, CtxDestroyV2, CtxSetFlags, CtxSynchronizeV2};

use crate::api::primary::host_device;
use crate::{arrays, captures, code, contexts, devices, handles, ranges, remote, work};

/// Flags that a context may have: scheduling, host mapping, local memory, core dumps, and
/// synchronous copies (CU_CTX_FLAGS_MASK).
const FLAGS_MASK: u32 = 0xff;

/// Version of the interface that contexts are made with (`cuCtxGetApiVersion`): 3020, the one
/// that brought `cuCtxCreate_v2`, as the driver itself answers for contexts of any later version.
const API_VERSION: u32 = 3020;

/// Refuses flags that no context has.
pub(crate) fn check_flags(flags: u32) -> Result<(), Error> {
    if flags & !FLAGS_MASK == 0 { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

/// Makes a context and makes it current.
pub(crate) fn ctx_create_v2(flags: u32, device: CUdevice) -> Result<CUcontext, Error> {
    let dev = host_device(device)?;
    check_flags(flags)?;
    let handle = remote::call_without_context(&CtxCreateV2 { flags, dev })?.pctx;
    contexts::insert(handle, device, flags, false);
    if !current::push(handle) {
        ctx_destroy_v2(CUcontext(handle))?;
        return Err(Error::OUT_OF_MEMORY);
    }
    Ok(CUcontext(handle))
}

/// As [`ctx_create_v2`], under its old name.
pub(crate) fn ctx_create(flags: u32, device: CUdevice) -> Result<CUcontext, Error> {
    ctx_create_v2(flags, device)
}

/// As [`ctx_create_v2`]; a share of the multiprocessors is not carried.
pub(crate) fn ctx_create_v3(
    affinity: *mut CUexecAffinityParam,
    count: i32,
    flags: u32,
    device: CUdevice,
) -> Result<CUcontext, Error> {
    if !affinity.is_null() || count != 0 {
        return Err(Error::NOT_SUPPORTED);
    }
    ctx_create_v2(flags, device)
}

/// As [`ctx_create_v2`]; special kinds of contexts are not carried.
pub(crate) fn ctx_create_v4(
    parameters: *mut CUctxCreateParams,
    flags: u32,
    device: CUdevice,
) -> Result<CUcontext, Error> {
    if !parameters.is_null() {
        return Err(Error::NOT_SUPPORTED);
    }
    ctx_create_v2(flags, device)
}

/// Destroys a context; if it is the calling thread's current one, the one below becomes current.
///
/// Other threads keep it on their stacks, where its use is CONTEXT_IS_DESTROYED. A primary
/// context is not destroyed this way, but released (INVALID_CONTEXT).
pub(crate) fn ctx_destroy_v2(context: CUcontext) -> Result<(), Error> {
    devices::known()?;
    if contexts::find(context.0)?.is_primary {
        return Err(Error::INVALID_CONTEXT);
    }
    remote::call_without_context(&CtxDestroyV2 { ctx: context.0 })?;
    forget(context);
    if current::top() == Some(context.0) {
        current::pop();
    }
    Ok(())
}

/// As [`ctx_destroy_v2`], under its old name.
pub(crate) fn ctx_destroy(context: CUcontext) -> Result<(), Error> {
    ctx_destroy_v2(context)
}

/// Waits for all work of a context, which need not be current; NULL stands for the current one.
pub(crate) fn ctx_synchronize_v2(context: CUcontext) -> Result<(), Error> {
    named_or_current(context)?;
    remote::call_without_context(&CtxSynchronizeV2 { ctx: context.0 })
}

/// Forgets a context that is gone, with what belonged to it.
pub(crate) fn forget(context: CUcontext) {
    contexts::remove(context.0);
    captures::forget_context(context);
    handles::forget_context(context);
    code::forget_context(context);
    ranges::forget_context(context);
    arrays::forget_context(context);
    work::forget_context(context);
}

/// Makes a context current, above the one that is.
pub(crate) fn ctx_push_current_v2(context: CUcontext) -> Result<(), Error> {
    devices::known()?;
    contexts::find(context.0)?;
    if current::push(context.0) { Ok(()) } else { Err(Error::OUT_OF_MEMORY) }
}

/// As [`ctx_push_current_v2`], under its old name.
pub(crate) fn ctx_push_current(context: CUcontext) -> Result<(), Error> {
    ctx_push_current_v2(context)
}

/// Takes the current context off the stack and returns it; none is INVALID_CONTEXT.
pub(crate) fn ctx_pop_current_v2() -> Result<CUcontext, Error> {
    devices::known()?;
    current::pop().map(CUcontext).ok_or(Error::INVALID_CONTEXT)
}

/// As [`ctx_pop_current_v2`], under its old name.
pub(crate) fn ctx_pop_current() -> Result<CUcontext, Error> {
    ctx_pop_current_v2()
}

/// Replaces the current context; NULL takes it off the stack.
pub(crate) fn ctx_set_current(context: CUcontext) -> Result<(), Error> {
    devices::known()?;
    if context.0 == 0 {
        current::replace_top(None);
    } else {
        contexts::find(context.0)?;
        current::replace_top(Some(context.0));
    }
    Ok(())
}

/// Returns the current context, or NULL if there is none.
pub(crate) fn ctx_get_current() -> Result<CUcontext, Error> {
    devices::known()?;
    Ok(CUcontext(current::top().unwrap_or(0)))
}

/// Returns the device of the current context.
pub(crate) fn ctx_get_device() -> Result<CUdevice, Error> {
    devices::known()?;
    Ok(contexts::current()?.1.device)
}

/// Returns the device of a context; NULL stands for the current one.
pub(crate) fn ctx_get_device_v2(context: CUcontext) -> Result<CUdevice, Error> {
    Ok(named_or_current(context)?.device)
}

/// Returns the flags that the current context was made with.
pub(crate) fn ctx_get_flags() -> Result<u32, Error> {
    devices::known()?;
    Ok(contexts::current()?.1.flags)
}

/// Changes the flags of the current context.
pub(crate) fn ctx_set_flags(flags: u32) -> Result<(), Error> {
    devices::known()?;
    let (handle, _) = contexts::current()?;
    check_flags(flags)?;
    remote::call(&CtxSetFlags { flags })?;
    contexts::change_flags(handle, flags);
    Ok(())
}

/// Returns the number of a context, which no other of this process ever had; NULL stands for the
/// current one.
pub(crate) fn ctx_get_id(context: CUcontext) -> Result<u64, Error> {
    Ok(named_or_current(context)?.id)
}

/// Returns the version of the interface that a context was made with; NULL stands for the
/// current one.
pub(crate) fn ctx_get_api_version(context: CUcontext) -> Result<u32, Error> {
    named_or_current(context)?;
    Ok(API_VERSION)
}

fn named_or_current(context: CUcontext) -> Result<contexts::Context, Error> {
    devices::known()?;
    match context.0 {
        0 => contexts::current().map(|(_, context)| context),
        handle => contexts::find(handle),
    }
}
