//! Pools, managed memory, arrays, copies in three dimensions, other processes, host functions.
//!
//! Structures whose layout driver and runtime share, and places for results, are passed on as the
//! caller gave them.

use libloading::os::unix::Library;
use vgpu_abi::cudart::{
    cudaArray_t, cudaEvent_t, cudaHostFn_t, cudaIpcEventHandle_t, cudaIpcMemHandle_t,
    cudaLaunchAttributeID, cudaMemAllocationHandleType, cudaMemAllocationType, cudaMemPool_t,
    cudaMemPoolAttr, cudaMemRangeAttribute, cudaMemoryAdvise, cudaMipmappedArray_t, cudaStream_t,
    cudaStreamCallback_t,
};

use super::Driver;
use crate::driver::copies::{ArrayShape, Copy3D};
use crate::driver::structs::{Address, Location};
use crate::result::{Error, Result, from_driver};

entries! {
    /// Pools, managed memory, arrays, copies in three dimensions, other processes, host functions.
    Memory in memory:

    malloc_async = "cuMemAllocAsync"(pointer: Address, bytes: usize, stream: cudaStream_t);
    malloc_from_pool_async = "cuMemAllocFromPoolAsync"(
        pointer: Address, bytes: usize, pool: cudaMemPool_t, stream: cudaStream_t);
    free_async = "cuMemFreeAsync"(pointer: Address, stream: cudaStream_t);
    mem_pool_create = "cuMemPoolCreate"(pool: Address, properties: Address);
    mem_pool_destroy = "cuMemPoolDestroy"(pool: cudaMemPool_t);
    mem_pool_trim_to = "cuMemPoolTrimTo"(pool: cudaMemPool_t, bytes: usize);
    mem_pool_set_attribute = "cuMemPoolSetAttribute"(
        pool: cudaMemPool_t, attribute: cudaMemPoolAttr, value: Address);
    mem_pool_get_attribute = "cuMemPoolGetAttribute"(
        pool: cudaMemPool_t, attribute: cudaMemPoolAttr, value: Address);
    mem_pool_set_access = "cuMemPoolSetAccess"(pool: cudaMemPool_t, list: Address, count: usize);
    mem_pool_get_access = "cuMemPoolGetAccess"(
        flags: Address, pool: cudaMemPool_t, location: Address);
    mem_pool_export_pointer = "cuMemPoolExportPointer"(description: Address, pointer: Address);
    mem_pool_import_pointer = "cuMemPoolImportPointer"(
        pointer: Address, pool: cudaMemPool_t, description: Address);
    mem_get_default_mem_pool = "cuMemGetDefaultMemPool"(
        pool: Address, location: Address, kind: cudaMemAllocationType);
    mem_get_mem_pool = "cuMemGetMemPool"(
        pool: Address, location: Address, kind: cudaMemAllocationType);
    mem_set_mem_pool = "cuMemSetMemPool"(
        location: Address, kind: cudaMemAllocationType, pool: cudaMemPool_t);
    mem_range_get_attribute = "cuMemRangeGetAttribute"(
        data: Address, bytes: usize, attribute: cudaMemRangeAttribute, pointer: Address,
        count: usize);
    mem_range_get_attributes = "cuMemRangeGetAttributes"(
        data: Address, sizes: Address, attributes: Address, attribute_count: usize,
        pointer: Address, count: usize);
    stream_attach_mem_async = "cuStreamAttachMemAsync"(
        stream: cudaStream_t, pointer: Address, length: usize, flags: u32);
    launch_host_func = "cuLaunchHostFunc"(
        stream: cudaStream_t, function: cudaHostFn_t, data: Address);
    launch_host_func_v2 = "cuLaunchHostFunc_v2"(
        stream: cudaStream_t, function: cudaHostFn_t, data: Address, mode: u32);
    stream_add_callback = "cuStreamAddCallback"(
        stream: cudaStream_t, callback: cudaStreamCallback_t, data: Address, flags: u32);
    ipc_get_mem_handle = "cuIpcGetMemHandle"(handle: Address, pointer: Address);
    ipc_open_mem_handle = "cuIpcOpenMemHandle_v2"(
        pointer: Address, handle: cudaIpcMemHandle_t, flags: u32);
    ipc_close_mem_handle = "cuIpcCloseMemHandle"(pointer: Address);
    ipc_get_event_handle = "cuIpcGetEventHandle"(handle: Address, event: cudaEvent_t);
    ipc_open_event_handle = "cuIpcOpenEventHandle"(event: Address, handle: cudaIpcEventHandle_t);
    stream_get_attribute = "cuStreamGetAttribute"(
        stream: cudaStream_t, attribute: cudaLaunchAttributeID, value: Address);
    stream_set_attribute = "cuStreamSetAttribute"(
        stream: cudaStream_t, attribute: cudaLaunchAttributeID, value: Address);
    stream_copy_attributes = "cuStreamCopyAttributes"(target: cudaStream_t, source: cudaStream_t);
    free_mipmapped_array = "cuMipmappedArrayDestroy"(mipmapped_array: cudaMipmappedArray_t);
    array_get_plane = "cuArrayGetPlane"(
        p_plane_array: Address, h_array: cudaArray_t, plane_idx: u32);

    device_get_default_mem_pool = "cuDeviceGetDefaultMemPool"(pool: Address, device: i32);
    device_get_mem_pool = "cuDeviceGetMemPool"(pool: Address, device: i32);
    device_set_mem_pool = "cuDeviceSetMemPool"(device: i32, pool: cudaMemPool_t);
    mem_pool_export_to_shareable_handle = "cuMemPoolExportToShareableHandle"(
        handle: Address, pool: cudaMemPool_t, kind: cudaMemAllocationHandleType, flags: u64);
    mem_pool_import_from_shareable_handle = "cuMemPoolImportFromShareableHandle"(
        pool: Address, handle: Address, kind: cudaMemAllocationHandleType, flags: u64);
    mem_advise = "cuMemAdvise"(
        pointer: Address, count: usize, advice: cudaMemoryAdvise, device: i32);
    mem_advise_v2 = "cuMemAdvise_v2"(
        pointer: Address, count: usize, advice: cudaMemoryAdvise, location: Location);
    mem_prefetch_async = "cuMemPrefetchAsync"(
        pointer: Address, count: usize, device: i32, stream: cudaStream_t);
    mem_prefetch_async_v2 = "cuMemPrefetchAsync_v2"(
        pointer: Address, count: usize, location: Location, flags: u32, stream: cudaStream_t);
    array_create = "cuArray3DCreate_v2"(array: &mut cudaArray_t, shape: &ArrayShape);
    array_get_shape = "cuArray3DGetDescriptor_v2"(shape: &mut ArrayShape, array: cudaArray_t);
    array_destroy = "cuArrayDestroy"(array: cudaArray_t);
    mipmapped_array_create = "cuMipmappedArrayCreate"(
        array: &mut cudaMipmappedArray_t, shape: &ArrayShape, levels: u32);
    mipmapped_array_get_level = "cuMipmappedArrayGetLevel"(
        array: &mut cudaArray_t, mipmapped: cudaMipmappedArray_t, level: u32);
    memcpy_3d = "cuMemcpy3D_v2"(copy: &Copy3D);
    memcpy_3d_ptds = "cuMemcpy3D_v2_ptds"(copy: &Copy3D);
    memcpy_3d_async = "cuMemcpy3DAsync_v2"(copy: &Copy3D, stream: cudaStream_t);
    memcpy_3d_peer = "cuMemcpy3DPeer"(copy: &Copy3D);
    memcpy_3d_peer_ptds = "cuMemcpy3DPeer_ptds"(copy: &Copy3D);
    memcpy_3d_peer_async = "cuMemcpy3DPeerAsync"(copy: &Copy3D, stream: cudaStream_t);
    flush_gpu_direct_rdma_writes = "cuFlushGPUDirectRDMAWrites"(target: u32, scope: u32);
    profiler_start = "cuProfilerStart"();
    profiler_stop = "cuProfilerStop"();
}
