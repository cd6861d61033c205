//! What a launch is checked against before it is sent, so that it need not wait.

use std::sync::OnceLock;

use vgpu_abi::cuda::{
    CUdevice, CUdevice_attribute as Device, CUevent, CUfunction_attribute as Attribute,
    CUlaunchAttributeID as Id, Error,
};
use vgpu_guest::wire::cuda::{Dim3, KernelLaunch, LaunchAttribute};

use super::Function;
use super::function::Attributes;
use crate::{devices, handles};

/// Largest cluster that every device with clusters takes: 8 blocks (CUDA C++ Programming Guide,
/// Thread Block Clusters).
const PORTABLE_CLUSTER_BLOCKS: u64 = 8;

/// Largest cluster of any device: 16 blocks, where the function asks for it.
const CLUSTER_BLOCKS_MAX: u64 = 16;

/// The limits of one device.
#[derive(Debug, Clone, Copy)]
struct Limits {
    grid: [u32; 3],
    block: [u32; 3],
    block_threads: u32,
}

fn of_device(device: CUdevice) -> Result<Limits, Error> {
    static ALL: OnceLock<Vec<Limits>> = OnceLock::new();
    let devices = devices::known()?;
    let all = ALL.get_or_init(|| {
        let one = |facts: &vgpu_guest::wire::control::DeviceFacts| {
            // A host that does not say is one that decides.
            let of = |attribute: Device| {
                facts.attribute(attribute.0).map_or(u32::MAX, |value| value.max(0) as u32)
            };
            Limits {
                grid: [Device::MAX_GRID_DIM_X, Device::MAX_GRID_DIM_Y, Device::MAX_GRID_DIM_Z]
                    .map(of),
                block: [Device::MAX_BLOCK_DIM_X, Device::MAX_BLOCK_DIM_Y, Device::MAX_BLOCK_DIM_Z]
                    .map(of),
                block_threads: of(Device::MAX_THREADS_PER_BLOCK),
            }
        };
        devices.iter().map(|(_, facts)| one(facts)).collect()
    });
    all.get(device as usize).copied().ok_or(Error::INVALID_DEVICE)
}

/// Checks a launch against the device and the function.
///
/// Sizes of 0 or above the device's are INVALID_VALUE, as is more shared memory than the function
/// may have; more threads than the function's registers allow are LAUNCH_OUT_OF_RESOURCES (CUDA
/// Driver API, `cuLaunchKernel` and the texts of its error codes).
pub(crate) fn check(
    launch: &KernelLaunch,
    function: &Function,
    device: CUdevice,
) -> Result<(), Error> {
    let limits = of_device(device)?;
    let within = |dim: &Dim3, max: [u32; 3]| {
        let sizes = [dim.x, dim.y, dim.z];
        sizes.iter().zip(max).all(|(size, max)| (1..=max).contains(size))
    };
    let threads = count(&launch.block);
    if !within(&launch.grid, limits.grid)
        || !within(&launch.block, limits.block)
        || threads > u64::from(limits.block_threads)
    {
        return Err(Error::INVALID_VALUE);
    }
    let attributes = function.attributes(launch.function, device)?;
    let of = |attribute: Attribute| attributes.get(&attribute.0).map(|value| *value as u32);
    if of(Attribute::MAX_THREADS_PER_BLOCK).is_some_and(|max| threads > u64::from(max)) {
        return Err(Error::LAUNCH_OUT_OF_RESOURCES);
    }
    if of(Attribute::MAX_DYNAMIC_SHARED_SIZE_BYTES).is_some_and(|max| launch.shared_bytes > max) {
        return Err(Error::INVALID_VALUE);
    }
    launch.attributes.iter().try_for_each(|one| check_attribute(one, launch, &attributes, device))
}

/// Takes up an attribute as the program spelled it, without what lies behind its value: the union
/// has 64 bytes, programs fill in the few that the attribute has, and the rest, whatever was on
/// their stack, is none of the host's business (CUDA Driver API, `CUlaunchAttributeValue`).
pub(crate) fn attribute(id: u32, mut value: [u8; 64]) -> LaunchAttribute {
    let bytes = match Id(id) {
        Id::MEM_SYNC_DOMAIN_MAP => 2,
        Id::COOPERATIVE
        | Id::SYNCHRONIZATION_POLICY
        | Id::CLUSTER_SCHEDULING_POLICY_PREFERENCE
        | Id::PROGRAMMATIC_STREAM_SERIALIZATION
        | Id::PRIORITY
        | Id::MEM_SYNC_DOMAIN
        | Id::PREFERRED_SHARED_MEMORY_CARVEOUT => 4,
        Id::CLUSTER_DIMENSION | Id::PREFERRED_CLUSTER_DIMENSION | Id::LAUNCH_COMPLETION_EVENT => 12,
        Id::PROGRAMMATIC_EVENT | Id::DEVICE_UPDATABLE_KERNEL_NODE => 16,
        Id::ACCESS_POLICY_WINDOW => 32,
        // Newer ones: how long they are, the host knows.
        _ => value.len(),
    };
    value[bytes..].fill(0);
    LaunchAttribute { id, value }
}

fn check_attribute(
    one: &LaunchAttribute,
    launch: &KernelLaunch,
    attributes: &Attributes,
    device: CUdevice,
) -> Result<(), Error> {
    match Id(one.id) {
        Id::COOPERATIVE if one.value[0] != 0 => announced(Device::COOPERATIVE_LAUNCH, device),
        Id::CLUSTER_DIMENSION | Id::PREFERRED_CLUSTER_DIMENSION => {
            announced(Device::CLUSTER_LAUNCH, device)?;
            check_cluster(&cluster(one), &launch.grid, attributes)
        }
        Id::PROGRAMMATIC_EVENT | Id::LAUNCH_COMPLETION_EVENT => {
            let event = one.value.first_chunk::<8>().expect("64 bytes hold 8");
            handles::event(CUevent(u64::from_le_bytes(*event))).map(drop)
        }
        // Answers a node of a graph in the program's own structure, which is not carried.
        Id::DEVICE_UPDATABLE_KERNEL_NODE => Err(Error::NOT_SUPPORTED),
        // Of the newest ones the host decides.
        _ => Ok(()),
    }
}

/// Refuses what the device does not announce (NOT_SUPPORTED).
fn announced(attribute: Device, device: CUdevice) -> Result<(), Error> {
    let facts = devices::known()?.facts(device)?;
    if facts.attribute(attribute.0).unwrap_or(0) != 0 { Ok(()) } else { Err(Error::NOT_SUPPORTED) }
}

fn cluster(attribute: &LaunchAttribute) -> Dim3 {
    let word = |at: usize| {
        let bytes = attribute.value[at..].first_chunk::<4>().expect("64 bytes hold three words");
        u32::from_le_bytes(*bytes)
    };
    Dim3 { x: word(0), y: word(4), z: word(8) }
}

/// A grid that is no whole number of clusters, or a cluster that is too large, is
/// INVALID_CLUSTER_SIZE.
fn check_cluster(cluster: &Dim3, grid: &Dim3, attributes: &Attributes) -> Result<(), Error> {
    let non_portable = Attribute::NON_PORTABLE_CLUSTER_SIZE_ALLOWED;
    let is_free = attributes.get(&non_portable.0).is_some_and(|allowed| *allowed != 0);
    let max = if is_free { CLUSTER_BLOCKS_MAX } else { PORTABLE_CLUSTER_BLOCKS };
    let divides = |size: u32, of: u32| size > 0 && of.is_multiple_of(size);
    let fits = divides(cluster.x, grid.x)
        && divides(cluster.y, grid.y)
        && divides(cluster.z, grid.z)
        && count(cluster) <= max;
    if fits { Ok(()) } else { Err(Error::INVALID_CLUSTER_SIZE) }
}

/// Blocks of a grid, or threads of a block.
pub(crate) fn count(dim: &Dim3) -> u64 {
    [dim.x, dim.y, dim.z].into_iter().map(u64::from).fold(1, u64::saturating_mul)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_behind_the_value_of_an_attribute_stays_in_the_program() {
        let sent =
            |id: Id| attribute(id.0, [7; 64]).value.iter().filter(|&&byte| byte == 7).count();
        assert_eq!(sent(Id::PROGRAMMATIC_STREAM_SERIALIZATION), 4);
        assert_eq!(sent(Id::CLUSTER_DIMENSION), 12);
        assert_eq!(sent(Id::ACCESS_POLICY_WINDOW), 32);
        assert_eq!(sent(Id(1000)), 64, "of an unknown one everything may count");
    }
}
