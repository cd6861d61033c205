//! How many blocks of a kernel fit (CUDA Runtime API, "Occupancy").

use vgpu_abi::cudart::cudaLaunchConfig_t;
use vgpu_guest::convert::{Memory, Pointing};

use super::launch::Shape;
use crate::code;
use crate::primary;
use crate::result::Result;

/// Returns how many blocks fit on a multiprocessor.
pub fn occupancy_max_active_blocks_per_multiprocessor(
    function: Memory<'_>,
    block_size: i32,
    shared_bytes: usize,
) -> Result<i32> {
    occupancy_max_active_blocks_per_multiprocessor_with_flags(function, block_size, shared_bytes, 0)
}

/// Returns how many blocks fit on a multiprocessor; flags are the driver's own.
pub fn occupancy_max_active_blocks_per_multiprocessor_with_flags(
    function: Memory<'_>,
    block_size: i32,
    shared_bytes: usize,
    flags: u32,
) -> Result<i32> {
    let code = code::of(function.address())?;
    let driver = primary::current()?;
    let mut blocks = 0;
    driver.occupancy_max_active_blocks(
        &mut blocks,
        code.entry(),
        block_size,
        shared_bytes,
        flags,
    )?;
    Ok(blocks)
}

/// Returns how much dynamic shared memory a block may have if so many are to fit.
pub fn occupancy_available_dynamic_s_mem_per_block(
    function: Memory<'_>,
    blocks: i32,
    block_size: i32,
) -> Result<usize> {
    let code = code::of(function.address())?;
    let driver = primary::current()?;
    let mut bytes = 0;
    driver.occupancy_available_shared(&mut bytes, code.entry(), blocks, block_size)?;
    Ok(bytes)
}

/// Returns how large a cluster of the configuration's blocks may be.
pub fn occupancy_max_potential_cluster_size(
    function: Memory<'_>,
    config: Pointing<'_, cudaLaunchConfig_t>,
) -> Result<i32> {
    let code = code::of(function.address())?;
    let driver = primary::current()?;
    let config = Shape::of(&config).config(&config)?;
    let mut size = 0;
    driver.occupancy_max_potential_cluster_size(&mut size, code.entry(), &config)?;
    Ok(size)
}

/// Returns how many clusters of the configuration fit on the device.
pub fn occupancy_max_active_clusters(
    function: Memory<'_>,
    config: Pointing<'_, cudaLaunchConfig_t>,
) -> Result<i32> {
    let code = code::of(function.address())?;
    let driver = primary::current()?;
    let config = Shape::of(&config).config(&config)?;
    let mut clusters = 0;
    driver.occupancy_max_active_clusters(&mut clusters, code.entry(), &config)?;
    Ok(clusters)
}
