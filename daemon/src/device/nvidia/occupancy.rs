//! Occupancy on the genuine devices.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    OccupancyBlocks, OccupancyBlocksReply, OccupancyClusterSize, OccupancyClusterSizeReply,
    OccupancyClusters, OccupancyClustersReply,
};

use super::Nvidia;
use crate::dispatch::Call;

pub(super) fn occupancy_blocks(
    nvidia: &mut Nvidia,
    call: &Call,
    r: OccupancyBlocks,
) -> Result<OccupancyBlocksReply, Error> {
    nvidia.enter(call)?;
    let function = nvidia.function(r.function)?;
    let mut blocks = Vec::with_capacity(r.shapes.len());
    for shape in &r.shapes {
        let mut count = 0;
        nvidia.driver.occupancy_max_active_blocks_per_multiprocessor_with_flags(
            &mut count,
            function,
            shape.threads,
            shape.shared_bytes as usize,
            r.flags,
        )?;
        blocks.push(count);
    }
    Ok(OccupancyBlocksReply { blocks })
}

pub(super) fn occupancy_clusters(
    nvidia: &mut Nvidia,
    call: &Call,
    r: OccupancyClusters,
) -> Result<OccupancyClustersReply, Error> {
    nvidia.enter(call)?;
    let function = nvidia.function(r.launch.function)?;
    let mut config = nvidia.config(call, r.stream, &r.launch)?;
    let mut clusters = 0;
    nvidia.driver.occupancy_max_active_clusters(&mut clusters, function, &mut config.bytes)?;
    Ok(OccupancyClustersReply { clusters })
}

pub(super) fn occupancy_cluster_size(
    nvidia: &mut Nvidia,
    call: &Call,
    r: OccupancyClusterSize,
) -> Result<OccupancyClusterSizeReply, Error> {
    nvidia.enter(call)?;
    let function = nvidia.function(r.launch.function)?;
    let mut config = nvidia.config(call, r.stream, &r.launch)?;
    let mut blocks = 0;
    let size = &mut config.bytes;
    nvidia.driver.occupancy_max_potential_cluster_size(&mut blocks, function, size)?;
    Ok(OccupancyClusterSizeReply { blocks })
}
