//! Events of the genuine driver.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{EventElapsedTimeV2, EventElapsedTimeV2Reply};

use super::Nvidia;
use super::handles::Kind;
use crate::dispatch::Call;

/// `cuEventElapsedTime_v2` came with CUDA 12.8; a driver without it has the older function, which
/// measures the same.
pub(super) fn event_elapsed_time_v2(
    nvidia: &mut Nvidia,
    call: &Call,
    r: EventElapsedTimeV2,
) -> Result<EventElapsedTimeV2Reply, Error> {
    nvidia.enter(call)?;
    let start = nvidia.handles.find(Kind::Event, r.start)?;
    let end = nvidia.handles.find(Kind::Event, r.end)?;
    let mut p_milliseconds = 0.0;
    if nvidia.snapshot.driver_version >= 12080 {
        nvidia.driver.event_elapsed_time_v2(&mut p_milliseconds, start, end)?;
    } else {
        nvidia.driver.event_elapsed_time(&mut p_milliseconds, start, end)?;
    }
    Ok(EventElapsedTimeV2Reply { p_milliseconds })
}
