//! Contexts of the genuine driver.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    CtxCreateV2, CtxCreateV2Reply, CtxDestroyV2, CtxSynchronizeV2, DevicePrimaryCtxReleaseV2,
    DevicePrimaryCtxResetV2, DevicePrimaryCtxRetain, DevicePrimaryCtxRetainReply,
};

use super::Nvidia;
use super::foreign::Pointer;
use super::handles::Kind;
use crate::dispatch::{Call, Wait};

/// The guest counts who retains; here each primary context is retained once, by the first call
/// that works in it: programs that only look at devices retain contexts, too.
pub(super) fn device_primary_ctx_retain(
    nvidia: &mut Nvidia,
    _: &Call,
    r: DevicePrimaryCtxRetain,
) -> Result<DevicePrimaryCtxRetainReply, Error> {
    let (_, number) = primary(nvidia, r.dev)?;
    nvidia.handles.promise(number);
    Ok(DevicePrimaryCtxRetainReply { pctx: number })
}

pub(super) fn device_primary_ctx_release_v2(
    nvidia: &mut Nvidia,
    _: &Call,
    r: DevicePrimaryCtxReleaseV2,
) -> Result<(), Error> {
    let (device, number) = primary(nvidia, r.dev)?;
    if !nvidia.handles.is_alive(number) {
        return Err(Error::INVALID_CONTEXT);
    }
    end_primary(nvidia, device, number)
}

/// A reset leaves the count of those who retain as it was (CUDA Driver API,
/// `cuDevicePrimaryCtxReset`), so what this device retained is given back first.
pub(super) fn device_primary_ctx_reset_v2(
    nvidia: &mut Nvidia,
    _: &Call,
    r: DevicePrimaryCtxResetV2,
) -> Result<(), Error> {
    let (device, number) = primary(nvidia, r.dev)?;
    if nvidia.handles.is_alive(number) {
        end_primary(nvidia, device, number)?;
    }
    nvidia.driver.device_primary_ctx_reset_v2(device)
}

fn end_primary(nvidia: &mut Nvidia, device: i32, number: u64) -> Result<(), Error> {
    if !nvidia.handles.is_promised(number) {
        nvidia.announce_end(number);
        nvidia.driver.device_primary_ctx_release_v2(device)?;
    }
    nvidia.bury_context(number);
    Ok(())
}

impl Nvidia {
    /// Finds what the driver calls a context; one that was promised is made now.
    pub(super) fn context(&mut self, number: u64) -> Result<Pointer, Error> {
        let known = self.handles.find(Kind::Context, number)?;
        let Some(ordinal) = self.promised_of(number) else { return Ok(known) };
        let mut context = Pointer::default();
        let device = self.devices[ordinal].cuda;
        self.driver.device_primary_ctx_retain(&mut context, device)?;
        self.handles.put(Kind::Context, number, context);
        Ok(context)
    }

    /// Tells whose primary context a number names, if it was retained and not needed yet.
    pub(super) fn promised_of(&self, number: u64) -> Option<usize> {
        let ordinal = self.primaries.iter().position(|&primary| primary == number)?;
        self.handles.is_promised(number).then_some(ordinal)
    }
}

/// Finds what the driver calls a device, and the number of its primary context.
fn primary(nvidia: &Nvidia, ordinal: i32) -> Result<(i32, u64), Error> {
    let device = nvidia.device(ordinal)?;
    // `device` has checked the ordinal.
    Ok((device, nvidia.primaries[ordinal as usize]))
}

pub(super) fn ctx_create_v2(
    nvidia: &mut Nvidia,
    _: &Call,
    r: CtxCreateV2,
) -> Result<CtxCreateV2Reply, Error> {
    let device = nvidia.device(r.dev)?;
    let mut context = Pointer::default();
    nvidia.driver.ctx_create_v2(&mut context, r.flags, device)?;
    // The driver has pushed it onto the stack of this thread, on which there is never more than
    // one: whose turn it is, each call says.
    nvidia.driver.ctx_pop_current_v2(&mut Pointer::default())?;
    Ok(CtxCreateV2Reply { pctx: nvidia.handles.keep(Kind::Context, context, 0)? })
}

pub(super) fn ctx_destroy_v2(nvidia: &mut Nvidia, _: &Call, r: CtxDestroyV2) -> Result<(), Error> {
    if r.ctx == 0 || nvidia.primaries.contains(&r.ctx) {
        return Err(Error::INVALID_CONTEXT);
    }
    let context = nvidia.handles.find(Kind::Context, r.ctx)?;
    nvidia.announce_end(r.ctx);
    nvidia.driver.ctx_destroy_v2(context)?;
    nvidia.bury_context(r.ctx);
    Ok(())
}

/// `cuCtxSynchronize_v2` came with CUDA 13; the older function does it for the current context.
pub(super) fn ctx_synchronize_v2(
    nvidia: &mut Nvidia,
    call: &Call,
    r: CtxSynchronizeV2,
) -> Result<Wait<()>, Error> {
    nvidia.enter_context(if r.ctx == 0 { call.context } else { r.ctx })?;
    Ok(nvidia.later(|driver, _| driver.ctx_synchronize()))
}
