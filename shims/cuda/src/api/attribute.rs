//! Which attributes of a device are not the device's alone: the way to it has a say.
//!
//! The host tells what its device can. What our libraries do not carry must read as absent, or a
//! program takes a path that ends in NOT_SUPPORTED. Everything else is the host's own value.

use vgpu_abi::cuda::CUdevice_attribute as Attribute;

/// Attributes that are 0 through us, whatever the device can.
const ABSENT: &[Attribute] = &[
    // Pinned memory lies in the guest, where the device does not see it.
    Attribute::CAN_MAP_HOST_MEMORY,
    Attribute::CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM,
    Attribute::HOST_NATIVE_ATOMIC_SUPPORTED,
    Attribute::READ_ONLY_HOST_REGISTER_SUPPORTED,
    // Nor does it see the guest's other memory, or move pages there and back.
    Attribute::MANAGED_MEMORY,
    Attribute::CONCURRENT_MANAGED_ACCESS,
    Attribute::DIRECT_MANAGED_MEM_ACCESS_FROM_HOST,
    Attribute::PAGEABLE_MEMORY_ACCESS,
    Attribute::PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES,
    // Not carried: memory that other processes are given, memory of the host, compression,
    // sparse arrays.
    Attribute::HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED,
    Attribute::HANDLE_TYPE_FABRIC_SUPPORTED,
    Attribute::GENERIC_COMPRESSION_SUPPORTED,
    Attribute::MEMPOOL_SUPPORTED_HANDLE_TYPES,
    Attribute::HOST_MEMORY_POOLS_SUPPORTED,
    Attribute::HOST_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
    Attribute::HOST_NUMA_MEMORY_POOLS_SUPPORTED,
    Attribute::HOST_NUMA_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
    Attribute::HOST_NUMA_MULTINODE_IPC_SUPPORTED,
    Attribute::HOST_ALLOC_DMA_BUF_SUPPORTED,
    Attribute::MULTICAST_SUPPORTED,
    Attribute::SPARSE_CUDA_ARRAY_SUPPORTED,
    Attribute::DEFERRED_MAPPING_CUDA_ARRAY_SUPPORTED,
    // Not carried: what other processes, other devices or the program's own polling would need.
    Attribute::IPC_EVENT_SUPPORTED,
    Attribute::TIMELINE_SEMAPHORE_INTEROP_SUPPORTED,
    Attribute::GPU_DIRECT_RDMA_SUPPORTED,
    Attribute::GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED,
    Attribute::DMA_BUF_SUPPORTED,
    Attribute::CAN_USE_STREAM_MEM_OPS_V1,
    Attribute::CAN_USE_64_BIT_STREAM_MEM_OPS_V1,
    Attribute::CAN_USE_STREAM_WAIT_VALUE_NOR_V1,
    Attribute::CAN_USE_64_BIT_STREAM_MEM_OPS,
    Attribute::CAN_USE_STREAM_WAIT_VALUE_NOR,
    Attribute::D3D12_CIG_SUPPORTED,
    Attribute::VULKAN_CIG_SUPPORTED,
];

/// Says what a program is told of an attribute that the host knows as `value`.
pub(crate) fn through_us(attribute: Attribute, value: i32) -> i32 {
    if ABSENT.contains(&attribute) { 0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_do_not_carry_reads_as_absent_and_the_rest_as_the_host_says() {
        assert_eq!(through_us(Attribute::VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 1), 1);
        assert_eq!(through_us(Attribute::CAN_MAP_HOST_MEMORY, 1), 0);
        assert_eq!(through_us(Attribute::MEMORY_POOLS_SUPPORTED, 1), 1);
        assert_eq!(through_us(Attribute::MULTIPROCESSOR_COUNT, 132), 132);
        assert_eq!(through_us(Attribute::COMPUTE_CAPABILITY_MAJOR, 9), 9);
        assert_eq!(through_us(Attribute::UNIFIED_ADDRESSING, 1), 1);
    }
}
