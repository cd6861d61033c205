//! Streams of the genuine driver: their order.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::StreamSettle;

use super::Nvidia;
use crate::dispatch::Call;

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
