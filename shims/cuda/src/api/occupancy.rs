//! Occupancy (CUDA Driver API, Occupancy): the host answers, and the guest keeps the answers.

use vgpu_abi::cuda::{
    CUdevice, CUdevice_attribute as Device, CUfunction, CUfunction_attribute as Attribute,
    CUlaunchConfig, CUoccupancy_flags as Flags, CUoccupancyB2DSize, Error,
};
use vgpu_guest::convert::Pointing;
use vgpu_guest::wire::cuda::{
    BlockShape, KernelLaunch, OccupancyAvailableDynamicSMemPerBlock, OccupancyBlocks,
    OccupancyClusterSize, OccupancyClusters,
};

use crate::api::{device, function, launch};
use crate::callback::shared_bytes_of;
use crate::code::{Function, limits};
use crate::remote;

/// Returns how many blocks of a size a multiprocessor holds at once.
pub(crate) fn occupancy_max_active_blocks_per_multiprocessor(
    handle: CUfunction,
    threads: i32,
    shared_bytes: usize,
) -> Result<i32, Error> {
    occupancy_max_active_blocks_per_multiprocessor_with_flags(handle, threads, shared_bytes, 0)
}

/// As [`occupancy_max_active_blocks_per_multiprocessor`], with flags.
pub(crate) fn occupancy_max_active_blocks_per_multiprocessor_with_flags(
    handle: CUfunction,
    threads: i32,
    shared_bytes: usize,
    flags: u32,
) -> Result<i32, Error> {
    let (known, _) = function::on_device(handle)?;
    check_flags(flags)?;
    if threads <= 0 {
        return Err(Error::INVALID_VALUE);
    }
    blocks(handle, &known, threads, shared_bytes as u64, flags)
}

fn check_flags(flags: u32) -> Result<(), Error> {
    let known = flags & !Flags::DISABLE_CACHING_OVERRIDE.0 == 0;
    if known { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

fn blocks(
    handle: CUfunction,
    known: &Function,
    threads: i32,
    shared_bytes: u64,
    flags: u32,
) -> Result<i32, Error> {
    let shape = (threads, shared_bytes, flags);
    if let Some(blocks) = known.occupancy(shape) {
        return Ok(blocks);
    }
    let shapes = vec![BlockShape { threads, shared_bytes }];
    let asked = OccupancyBlocks { function: handle.0, flags, shapes };
    let blocks = *remote::call_without_context(&asked)?.blocks.first().ok_or(Error::UNKNOWN)?;
    known.keep_occupancy(shape, blocks);
    Ok(blocks)
}

/// Checks that all blocks of a launch are on the device at once, as a cooperative one needs it;
/// else COOPERATIVE_LAUNCH_TOO_LARGE.
pub(crate) fn check_at_once(
    launch: &KernelLaunch,
    known: &Function,
    device: CUdevice,
) -> Result<(), Error> {
    // The block's size was checked: it is at most some thousands.
    let threads = limits::count(&launch.block) as i32;
    let handle = CUfunction(launch.function);
    let held = blocks(handle, known, threads, u64::from(launch.shared_bytes), 0)?;
    let multiprocessors = device::device_get_attribute(Device::MULTIPROCESSOR_COUNT, device)?;
    let room = u64::from(held.max(0) as u32) * u64::from(multiprocessors.max(0) as u32);
    if limits::count(&launch.grid) <= room {
        Ok(())
    } else {
        Err(Error::COOPERATIVE_LAUNCH_TOO_LARGE)
    }
}

/// Returns the smallest grid that fills the device, and the size of block that does it best.
pub(crate) fn occupancy_max_potential_block_size(
    handle: CUfunction,
    shared_bytes_of_size: CUoccupancyB2DSize,
    shared_bytes: usize,
    limit: i32,
) -> Result<(i32, i32), Error> {
    occupancy_max_potential_block_size_with_flags(
        handle,
        shared_bytes_of_size,
        shared_bytes,
        limit,
        0,
    )
}

/// As [`occupancy_max_potential_block_size`], with flags.
///
/// All sizes that are whole warps, and the limit itself, are asked for at once; the one with the
/// most threads on a multiprocessor is chosen, of equal ones the largest.
pub(crate) fn occupancy_max_potential_block_size_with_flags(
    handle: CUfunction,
    shared_bytes_of_size: CUoccupancyB2DSize,
    shared_bytes: usize,
    limit: i32,
    flags: u32,
) -> Result<(i32, i32), Error> {
    let (known, on) = function::on_device(handle)?;
    check_flags(flags)?;
    let of = |attribute| device::device_get_attribute(attribute, on);
    let warp = of(Device::WARP_SIZE)?.max(1);
    let function_max = known.attribute(handle.0, Attribute::MAX_THREADS_PER_BLOCK, on)?;
    let mut max = function_max.min(of(Device::MAX_THREADS_PER_BLOCK)?);
    if limit > 0 {
        max = max.min(limit);
    }
    let whole = (1..=max / warp).map(|warps| warps * warp);
    let sizes = whole.chain((max % warp > 0).then_some(max)).rev();
    let shapes: Vec<BlockShape> = sizes
        .map(|threads| {
            let bytes = shared_bytes_of(shared_bytes_of_size, threads, shared_bytes);
            BlockShape { threads, shared_bytes: bytes as u64 }
        })
        .collect();
    let asked = OccupancyBlocks { function: handle.0, flags, shapes: shapes.clone() };
    let answered = remote::call_without_context(&asked)?.blocks;
    let (mut best, mut size, mut held) = (0, 0, 0);
    for (shape, blocks) in shapes.iter().zip(answered) {
        let threads = shape.threads.saturating_mul(blocks);
        if threads > best {
            (best, size, held) = (threads, shape.threads, blocks);
        }
    }
    Ok((held.saturating_mul(of(Device::MULTIPROCESSOR_COUNT)?), size))
}

/// Returns how much dynamic shared memory a block may have where so many are to be held at once.
pub(crate) fn occupancy_available_dynamic_s_mem_per_block(
    handle: CUfunction,
    blocks: i32,
    threads: i32,
) -> Result<usize, Error> {
    function::on_device(handle)?;
    if blocks <= 0 || threads <= 0 {
        return Err(Error::INVALID_VALUE);
    }
    let asked = OccupancyAvailableDynamicSMemPerBlock {
        func: handle.0,
        num_blocks: blocks,
        block_size: threads,
    };
    Ok(remote::call(&asked)?.dynamic_smem_size as usize)
}

/// Returns how many clusters of a launch's shape the device holds at once.
pub(crate) fn occupancy_max_active_clusters(
    handle: CUfunction,
    config: Pointing<'_, CUlaunchConfig>,
) -> Result<i32, Error> {
    remote::ready()?;
    let (shape, stream) = launch::configured(&config, handle)?;
    launch::on_stream(handle, stream)?;
    Ok(remote::call_without_context(&OccupancyClusters { launch: shape, stream: stream.0 })?
        .clusters)
}

/// Returns how many blocks the largest cluster of a launch's shape may have.
pub(crate) fn occupancy_max_potential_cluster_size(
    handle: CUfunction,
    config: Pointing<'_, CUlaunchConfig>,
) -> Result<i32, Error> {
    remote::ready()?;
    let (shape, stream) = launch::configured(&config, handle)?;
    launch::on_stream(handle, stream)?;
    Ok(remote::call_without_context(&OccupancyClusterSize { launch: shape, stream: stream.0 })?
        .blocks)
}
