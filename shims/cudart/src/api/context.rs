//! Limits and settings of the thread's device ("Device Management"); the numbers of limits and
//! settings are the driver's own.

use vgpu_abi::cudart::{cudaFuncCache, cudaLimit, cudaSharedMemConfig};

use crate::primary;
use crate::result::Result;

/// Returns a limit.
pub fn device_get_limit(limit: cudaLimit) -> Result<usize> {
    let mut value = 0;
    primary::current()?.ctx_get_limit(&mut value, limit.0)?;
    Ok(value)
}

/// Sets a limit.
pub fn device_set_limit(limit: cudaLimit, value: usize) -> Result<()> {
    primary::current()?.ctx_set_limit(limit.0, value)
}

/// Returns the preferred split between cache and shared memory.
pub fn device_get_cache_config() -> Result<cudaFuncCache> {
    let mut config = 0;
    primary::current()?.ctx_get_cache_config(&mut config)?;
    Ok(cudaFuncCache(config))
}

/// Sets the preferred split between cache and shared memory.
pub fn device_set_cache_config(config: cudaFuncCache) -> Result<()> {
    primary::current()?.ctx_set_cache_config(config.0)
}

/// Returns the bank size of shared memory.
pub fn device_get_shared_mem_config() -> Result<cudaSharedMemConfig> {
    let mut config = 0;
    primary::current()?.ctx_get_shared_mem_config(&mut config)?;
    Ok(cudaSharedMemConfig(config))
}

/// Sets the bank size of shared memory.
pub fn device_set_shared_mem_config(config: cudaSharedMemConfig) -> Result<()> {
    primary::current()?.ctx_set_shared_mem_config(config.0)
}

/// Returns the least and the greatest priority of streams.
pub fn device_get_stream_priority_range() -> Result<(i32, i32)> {
    let (mut least, mut greatest) = (0, 0);
    primary::current()?.ctx_get_stream_priority_range(&mut least, &mut greatest)?;
    Ok((least, greatest))
}

/// Turns lines that persist in the L2 cache back into normal ones.
pub fn ctx_reset_persisting_l2_cache() -> Result<()> {
    primary::current()?.ctx_reset_persisting_l2_cache()
}

/// As [`device_get_limit`]: its name before CUDA 4.
pub fn thread_get_limit(limit: cudaLimit) -> Result<usize> {
    device_get_limit(limit)
}

/// As [`device_set_limit`]: its name before CUDA 4.
pub fn thread_set_limit(limit: cudaLimit, value: usize) -> Result<()> {
    device_set_limit(limit, value)
}

/// As [`device_get_cache_config`]: its name before CUDA 4.
pub fn thread_get_cache_config() -> Result<cudaFuncCache> {
    device_get_cache_config()
}

/// As [`device_set_cache_config`]: its name before CUDA 4.
pub fn thread_set_cache_config(config: cudaFuncCache) -> Result<()> {
    device_set_cache_config(config)
}
