//! Occupancy of compute capability 9.0 (CUDA C++ Programming Guide, "Compute Capabilities";
//! Occupancy, as the calculator in NVIDIA's Nsight Compute documentation describes it).

use super::attributes::{SHARED_BYTES_MAX, Settings};
use crate::image::Kernel;

/// Multiprocessors of each group that a cluster stays in: an H100 SXM has 132 in eight.
const GROUPS: [u32; 8] = [18, 18, 16, 16, 16, 16, 16, 16];

/// Largest cluster that every device takes, and the largest of this one.
const CLUSTER_BLOCKS_PORTABLE: u32 = 8;
const CLUSTER_BLOCKS_MAX: u32 = 16;

const WARP_THREADS: u32 = 32;
const BLOCKS_MAX: u32 = 32;
const WARPS_MAX: u32 = 64;
const REGISTERS: u32 = 65_536;
/// Registers are given to warps in units, and to each quarter of a multiprocessor on its own.
const REGISTER_UNIT: u32 = 256;
const QUARTERS: u32 = 4;
const SHARED_BYTES: u32 = 228 << 10;
/// The driver keeps some shared memory of each block for itself.
const SHARED_BYTES_RESERVED: u32 = 1 << 10;
const SHARED_UNIT: u32 = 128;

/// Says how many blocks of a size a multiprocessor holds at once; 0 where one cannot be launched.
pub(crate) fn blocks(kernel: &Kernel, settings: &Settings, threads: u32, dynamic: u64) -> u32 {
    let within_limits = threads >= 1
        && threads <= kernel.max_threads_per_block
        && dynamic <= u64::from(settings.dynamic_shared_bytes);
    let shared = u32::try_from(dynamic).ok().filter(|_| within_limits).and_then(|dynamic| {
        let bytes = kernel.static_shared_bytes.checked_add(dynamic)?;
        bytes.checked_add(SHARED_BYTES_RESERVED)?.checked_next_multiple_of(SHARED_UNIT)
    });
    let Some(shared) = shared else { return 0 };
    let warps = threads.div_ceil(WARP_THREADS);
    BLOCKS_MAX.min(WARPS_MAX / warps).min(by_registers(kernel, warps)).min(SHARED_BYTES / shared)
}

fn by_registers(kernel: &Kernel, warps: u32) -> u32 {
    let of_warp = (kernel.registers.min(255) * WARP_THREADS).next_multiple_of(REGISTER_UNIT);
    if of_warp == 0 {
        return BLOCKS_MAX;
    }
    let held = REGISTERS / QUARTERS / of_warp * QUARTERS;
    held / warps
}

/// Says how much dynamic shared memory each of so many blocks may have.
pub(crate) fn dynamic_shared(
    kernel: &Kernel,
    settings: &Settings,
    count: u32,
    threads: u32,
) -> u32 {
    if count == 0 || blocks(kernel, settings, threads, 0) < count {
        return 0;
    }
    let each = SHARED_BYTES / count / SHARED_UNIT * SHARED_UNIT;
    let own = kernel.static_shared_bytes;
    each.saturating_sub(SHARED_BYTES_RESERVED).min(SHARED_BYTES_MAX).saturating_sub(own)
}

/// Says how many blocks the device holds at once, given those that a multiprocessor holds.
pub(crate) fn blocks_at_once(blocks_held: u32) -> u64 {
    GROUPS.iter().map(|&count| u64::from(count) * u64::from(blocks_held)).sum()
}

/// Says how many clusters of a size the device holds at once, given the blocks that a
/// multiprocessor holds.
pub(crate) fn clusters(blocks_held: u32, cluster_blocks: u32) -> u32 {
    GROUPS.iter().map(|count| count * blocks_held / cluster_blocks.max(1)).sum()
}

/// Says how many blocks the largest cluster may have, no more than the kernel itself says (PTX ISA,
/// ".maxclusterrank").
pub(crate) fn cluster_blocks_max(kernel: &Kernel, settings: &Settings) -> u32 {
    let is_free = settings.non_portable_cluster;
    let max = if is_free { CLUSTER_BLOCKS_MAX } else { CLUSTER_BLOCKS_PORTABLE };
    kernel.maximum_cluster.filter(|said| *said > 0).map_or(max, |said| max.min(said))
}
