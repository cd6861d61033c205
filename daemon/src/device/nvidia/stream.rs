//! Streams of the genuine driver: functions of the client's program in them, and their order.

use std::sync::Arc;

use vgpu_abi::cuda::{CUstreamCaptureStatus as Status, Error};
use vgpu_link::wire::cuda::{LaunchHostFunction, StreamSettle};

use super::Nvidia;
use super::foreign::Awaited;
use crate::dispatch::Call;

/// Lets the stream wait for a function. The driver is given a callback and not a function of
/// `cuLaunchHostFunc`, which it would not call if the context broke before: only a callback is
/// always called, with the stream's result code, and nobody waits for ever (CUDA Driver API,
/// `cuStreamAddCallback`, `cuLaunchHostFunc`).
pub(super) fn launch_host_function(
    nvidia: &mut Nvidia,
    call: &Call,
    r: LaunchHostFunction,
) -> Result<(), Error> {
    nvidia.enter(call)?;
    let stream = nvidia.stream(call, r.stream)?;
    let mut status = 0;
    nvidia.driver.stream_is_capturing(stream, &mut status)?;
    if status != Status::NONE.0 {
        // Asking what may not be asked invalidates the capture, as the function would.
        let _ = nvidia.driver.stream_query(stream);
        return Err(Error::NOT_SUPPORTED);
    }
    nvidia.functions.launch()?;
    let awaited = Awaited::new(Arc::clone(&nvidia.functions), r.ticket);
    let added =
        nvidia.driver.stream_add_callback(stream, Awaited::callback(), awaited.address(), 0);
    if added.is_err() {
        awaited.take_back();
        nvidia.functions.withdraw();
    }
    added
}

/// Waits for the stream before the next message is taken: the client goes on as if it had been
/// synchronised. It has copies of captured sources and sets to do only, so that is soon.
pub(super) fn stream_settle(
    nvidia: &mut Nvidia,
    call: &Call,
    r: StreamSettle,
) -> Result<(), Error> {
    nvidia.enter(call)?;
    let stream = nvidia.stream(call, r.stream)?;
    nvidia.driver.stream_synchronize(stream)
}
