//! What the simulated device does with launches, and what it says about them beforehand.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    LaunchKernel, OccupancyAvailableDynamicSMemPerBlock,
    OccupancyAvailableDynamicSMemPerBlockReply, OccupancyBlocks, OccupancyBlocksReply,
    OccupancyClusterSize, OccupancyClusterSizeReply, OccupancyClusters, OccupancyClustersReply,
};

use super::super::code::occupancy;
use super::super::operation::Operation;
use crate::device::Sim;
use crate::dispatch::{Call, LaunchCalls, OccupancyCalls};

impl LaunchCalls for Sim {
    fn launch_kernel(&mut self, call: &Call, r: LaunchKernel) -> Result<(), Error> {
        self.submit(call, r.stream, Operation::Launch(r.launch.into()))
    }
}

impl OccupancyCalls for Sim {
    fn occupancy_blocks(
        &mut self,
        call: &Call,
        r: OccupancyBlocks,
    ) -> Result<OccupancyBlocksReply, Error> {
        let resolved = self.resolve(call.context, r.function)?;
        let blocks = r.shapes.iter().map(|shape| {
            let threads = u32::try_from(shape.threads).unwrap_or(0);
            let (kernel, settings) = (resolved.kernel(), &resolved.settings);
            occupancy::blocks(kernel, settings, threads, shape.shared_bytes) as i32
        });
        Ok(OccupancyBlocksReply { blocks: blocks.collect() })
    }

    fn occupancy_available_dynamic_s_mem_per_block(
        &mut self,
        call: &Call,
        r: OccupancyAvailableDynamicSMemPerBlock,
    ) -> Result<OccupancyAvailableDynamicSMemPerBlockReply, Error> {
        let resolved = self.resolve(call.context, r.func)?;
        let size = |size: i32| u32::try_from(size).map_err(|_| Error::INVALID_VALUE);
        let (count, threads) = (size(r.num_blocks)?, size(r.block_size)?);
        let bytes =
            occupancy::dynamic_shared(resolved.kernel(), &resolved.settings, count, threads);
        Ok(OccupancyAvailableDynamicSMemPerBlockReply { dynamic_smem_size: u64::from(bytes) })
    }

    fn occupancy_clusters(
        &mut self,
        call: &Call,
        r: OccupancyClusters,
    ) -> Result<OccupancyClustersReply, Error> {
        self.check_stream(call.context, r.stream)?;
        let clusters = self.clusters_held(call.context, &r.launch.into())? as i32;
        Ok(OccupancyClustersReply { clusters })
    }

    fn occupancy_cluster_size(
        &mut self,
        call: &Call,
        r: OccupancyClusterSize,
    ) -> Result<OccupancyClusterSizeReply, Error> {
        self.check_stream(call.context, r.stream)?;
        let blocks = self.cluster_blocks(call.context, &r.launch.into())? as i32;
        Ok(OccupancyClusterSizeReply { blocks })
    }
}
