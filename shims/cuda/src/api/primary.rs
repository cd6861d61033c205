//! Primary contexts (CUDA Driver API, Primary Context Management).
//!
//! One per device and process, shared by all who retain it. The guest counts them; the host makes
//! the context for the first and destroys it after the last.

use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::{CUcontext, CUdevice, Error};
use vgpu_guest::wire::cuda::{
    DevicePrimaryCtxReleaseV2, DevicePrimaryCtxResetV2, DevicePrimaryCtxRetain,
    DevicePrimaryCtxSetFlagsV2,
};

use crate::api::context;
use crate::{contexts, devices, remote};

/// Held while a count and the host's context change together.
static CHANGE: Mutex<()> = Mutex::new(());

fn change() -> Result<MutexGuard<'static, ()>, Error> {
    // First, for who holds it may wait for a stream that waits for a function which asks here.
    remote::ready_without_context()?;
    Ok(CHANGE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Retains the primary context of a device, and makes it for the first.
pub(crate) fn device_primary_ctx_retain(device: CUdevice) -> Result<CUcontext, Error> {
    let dev = host_device(device)?;
    let _change = change()?;
    let primary = contexts::primary(device);
    if primary.retained > 0 {
        contexts::change_primary(device, |primary| primary.retained += 1);
        return Ok(CUcontext(primary.handle));
    }
    let handle = remote::call_without_context(&DevicePrimaryCtxRetain { dev })?.pctx;
    contexts::insert(handle, device, primary.flags, true);
    contexts::change_primary(device, |primary| {
        primary.handle = handle;
        primary.retained = 1;
    });
    Ok(CUcontext(handle))
}

/// Gives a retained context back; the last one destroys it.
pub(crate) fn device_primary_ctx_release_v2(device: CUdevice) -> Result<(), Error> {
    let dev = host_device(device)?;
    let _change = change()?;
    let primary = contexts::primary(device);
    if primary.retained == 0 {
        return Err(Error::INVALID_CONTEXT);
    }
    if primary.retained == 1 {
        remote::call_without_context(&DevicePrimaryCtxReleaseV2 { dev })?;
        context::forget(CUcontext(primary.handle));
    }
    contexts::change_primary(device, |primary| {
        primary.retained -= 1;
        if primary.retained == 0 {
            primary.handle = 0;
        }
    });
    Ok(())
}

/// Destroys what the primary context holds. Who retained it must not use it any more, except by
/// retaining it again.
pub(crate) fn device_primary_ctx_reset_v2(device: CUdevice) -> Result<(), Error> {
    let dev = host_device(device)?;
    let _change = change()?;
    let primary = contexts::primary(device);
    if primary.retained > 0 {
        remote::call_without_context(&DevicePrimaryCtxResetV2 { dev })?;
        context::forget(CUcontext(primary.handle));
    }
    contexts::change_primary(device, |primary| {
        primary.handle = 0;
        primary.retained = 0;
        primary.flags = 0;
    });
    Ok(())
}

/// As [`device_primary_ctx_release_v2`], under its old name.
pub(crate) fn device_primary_ctx_release(device: CUdevice) -> Result<(), Error> {
    device_primary_ctx_release_v2(device)
}

/// As [`device_primary_ctx_reset_v2`], under its old name.
pub(crate) fn device_primary_ctx_reset(device: CUdevice) -> Result<(), Error> {
    device_primary_ctx_reset_v2(device)
}

/// Sets the flags of the primary context, alive or not.
pub(crate) fn device_primary_ctx_set_flags_v2(device: CUdevice, flags: u32) -> Result<(), Error> {
    let dev = host_device(device)?;
    context::check_flags(flags)?;
    let _change = change()?;
    remote::call_without_context(&DevicePrimaryCtxSetFlagsV2 { dev, flags })?;
    contexts::change_primary(device, |primary| primary.flags = flags);
    contexts::change_flags(contexts::primary(device).handle, flags);
    Ok(())
}

/// As [`device_primary_ctx_set_flags_v2`], under its old name.
pub(crate) fn device_primary_ctx_set_flags(device: CUdevice, flags: u32) -> Result<(), Error> {
    device_primary_ctx_set_flags_v2(device, flags)
}

/// Returns the flags of the primary context, and whether somebody retains it.
pub(crate) fn device_primary_ctx_get_state(device: CUdevice) -> Result<(u32, i32), Error> {
    host_device(device)?;
    let primary = contexts::primary(device);
    Ok((primary.flags, i32::from(primary.retained > 0)))
}

/// Names the device as the host does.
pub(crate) fn host_device(device: CUdevice) -> Result<CUdevice, Error> {
    let ordinal = devices::known()?.host_ordinal(device)?;
    CUdevice::try_from(ordinal).map_err(|_| Error::INVALID_DEVICE)
}
