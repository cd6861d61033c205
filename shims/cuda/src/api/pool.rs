//! Stream-ordered allocation (CUDA Driver API, Stream Ordered Memory Allocator).

use vgpu_abi::cuda::{
    CUdevice, CUdeviceptr, CUmemAccess_flags, CUmemAccessDesc, CUmemAllocationHandleType,
    CUmemAllocationType, CUmemLocation, CUmemPool_attribute as Attribute, CUmemPoolProps,
    CUmemoryPool, CUstream, Error,
};
use vgpu_guest::convert::Memory;
use vgpu_guest::reserve;
use vgpu_guest::wire::cuda::{
    DeviceAccess, DeviceGetDefaultMemPool, DeviceGetMemPool, DeviceSetMemPool, MemAllocAsync,
    MemAllocFromPoolAsync, MemFreeAsync, MemFreeV2, PoolAttribute, PoolChange, PoolCreate,
    PoolGetAccess, PoolSetAccess,
};

use super::capture;
use crate::api::memory::allocate_apart;
use crate::api::primary::host_device;
use crate::api::virtual_memory::device_at;
use crate::ranges::Origin;
use crate::{contexts, devices, handles, ranges, remote};

/// Most devices whose access one call changes: a host has at most 64.
const DEVICES_MAX: usize = 64;

/// Returns the pool that a device has from the beginning.
pub(crate) fn device_get_default_mem_pool(device: CUdevice) -> Result<CUmemoryPool, Error> {
    let dev = host_device(device)?;
    let reply = remote::call_without_context(&DeviceGetDefaultMemPool { dev })?;
    Ok(CUmemoryPool(reply.pool_out))
}

/// Returns the pool that a device allocates from.
pub(crate) fn device_get_mem_pool(device: CUdevice) -> Result<CUmemoryPool, Error> {
    let dev = host_device(device)?;
    Ok(CUmemoryPool(remote::call_without_context(&DeviceGetMemPool { dev })?.pool))
}

/// Chooses the pool that a device allocates from.
pub(crate) fn device_set_mem_pool(device: CUdevice, pool: CUmemoryPool) -> Result<(), Error> {
    let dev = host_device(device)?;
    remote::call_without_context(&DeviceSetMemPool { dev, pool: pool.0 })
}

/// Makes a pool of a device's memory, which no other process can be given.
pub(crate) fn mem_pool_create(wanted: CUmemPoolProps) -> Result<CUmemoryPool, Error> {
    devices::known()?;
    match wanted.allocType {
        CUmemAllocationType::PINNED => {}
        CUmemAllocationType::MANAGED => return Err(Error::NOT_SUPPORTED),
        _ => return Err(Error::INVALID_VALUE),
    }
    let is_plain = wanted.usage == 0 && wanted.gpuDirectRDMACapable == 0;
    if wanted.handleTypes != CUmemAllocationHandleType::NONE || !is_plain {
        return Err(Error::NOT_SUPPORTED);
    }
    let device = host_device(device_at(wanted.location)?)?;
    let request = PoolCreate { device, bytes_max: wanted.maxSize as u64 };
    Ok(CUmemoryPool(remote::call_without_context(&request)?.pool))
}

/// Writes an attribute of a pool: an `int` or 64 bits, by the attribute.
pub(crate) fn mem_pool_get_attribute(
    pool: CUmemoryPool,
    attribute: Attribute,
    place: Memory<'_>,
) -> Result<(), Error> {
    devices::known()?;
    let is_long = is_long(attribute)?;
    let request = PoolAttribute { pool: pool.0, attribute: attribute.0 };
    let value = remote::call_without_context(&request)?.value;
    if is_long { place.store(&[value]) } else { place.store(&[value as u32]) }
}

/// Changes an attribute of a pool.
pub(crate) fn mem_pool_set_attribute(
    pool: CUmemoryPool,
    attribute: Attribute,
    place: Memory<'_>,
) -> Result<(), Error> {
    devices::known()?;
    let value = if is_long(attribute)? {
        let bytes = place.bytes::<Error>(8)?;
        u64::from_ne_bytes(bytes.try_into().map_err(|_| Error::INVALID_VALUE)?)
    } else {
        let bytes = place.bytes::<Error>(4)?;
        u32::from_ne_bytes(bytes.try_into().map_err(|_| Error::INVALID_VALUE)?).into()
    };
    let request = PoolChange { pool: pool.0, attribute: attribute.0, value };
    remote::call_without_context(&request)
}

/// Says whether an attribute has 64 bits; one that no pool has is INVALID_VALUE.
fn is_long(attribute: Attribute) -> Result<bool, Error> {
    match attribute {
        Attribute::REUSE_FOLLOW_EVENT_DEPENDENCIES
        | Attribute::REUSE_ALLOW_OPPORTUNISTIC
        | Attribute::REUSE_ALLOW_INTERNAL_DEPENDENCIES => Ok(false),
        Attribute::RELEASE_THRESHOLD
        | Attribute::RESERVED_MEM_CURRENT
        | Attribute::RESERVED_MEM_HIGH
        | Attribute::USED_MEM_CURRENT
        | Attribute::USED_MEM_HIGH => Ok(true),
        _ => Err(Error::INVALID_VALUE),
    }
}

/// Changes what devices may do with a pool's memory.
pub(crate) fn mem_pool_set_access(
    pool: CUmemoryPool,
    wanted: &[CUmemAccessDesc],
) -> Result<(), Error> {
    devices::known()?;
    if wanted.len() > DEVICES_MAX {
        return Err(Error::INVALID_VALUE);
    }
    let one = |wanted: &CUmemAccessDesc| {
        let device = host_device(device_at(wanted.location)?)?;
        Ok(DeviceAccess { device, flags: wanted.flags.0 })
    };
    let access = wanted.iter().map(one).collect::<Result<Vec<_>, Error>>()?;
    remote::call_without_context(&PoolSetAccess { pool: pool.0, access })
}

/// Tells what a device may do with a pool's memory.
pub(crate) fn mem_pool_get_access(
    pool: CUmemoryPool,
    location: CUmemLocation,
) -> Result<CUmemAccess_flags, Error> {
    let device = host_device(device_at(location)?)?;
    let request = PoolGetAccess { pool: pool.0, device };
    Ok(CUmemAccess_flags(remote::call_without_context(&request)?.flags))
}

/// Allocates from the pool of the stream's device, behind what the stream does already.
pub(crate) fn mem_alloc_async(bytes: usize, stream: CUstream) -> Result<CUdeviceptr, Error> {
    remote::ready()?;
    let context = handles::stream(stream)?.context;
    let device = contexts::find(context)?.device;
    let pool = device_get_mem_pool(device)?;
    let request = MemAllocAsync { bytesize: bytes as u64, stream: stream.0 };
    allocate(bytes, pool, stream, || Ok(remote::call_unseen(stream, &request)?.dptr))
}

/// Allocates from a pool, behind what the stream does already.
pub(crate) fn mem_alloc_from_pool_async(
    bytes: usize,
    pool: CUmemoryPool,
    stream: CUstream,
) -> Result<CUdeviceptr, Error> {
    remote::ready()?;
    handles::stream(stream)?;
    let request = MemAllocFromPoolAsync { bytesize: bytes as u64, pool: pool.0, stream: stream.0 };
    allocate(bytes, pool, stream, || Ok(remote::call_unseen(stream, &request)?.dptr))
}

fn allocate(
    bytes: usize,
    pool: CUmemoryPool,
    stream: CUstream,
    ask: impl Fn() -> Result<CUdeviceptr, Error>,
) -> Result<CUdeviceptr, Error> {
    if bytes == 0 {
        return Err(Error::INVALID_VALUE);
    }
    // As a node of a graph it would have its own address in each launch, which is not carried.
    capture::check_not_capturing(stream)?;
    let context = handles::stream(stream)?.context;
    let ask = || ask().map(|start| (start, bytes as u64, start));
    let (found, in_the_way) = allocate_apart(ask, reserve::reserve);
    for start in in_the_way {
        remote::post(&MemFreeV2 { dptr: start })?;
    }
    let (start, bytes, answer) = found?;
    ranges::insert_from(start, bytes, context, Origin::Pool(pool.0));
    Ok(answer)
}

/// Frees memory of a pool behind what the stream does already; other memory is INVALID_VALUE.
pub(crate) fn mem_free_async(start: CUdeviceptr, stream: CUstream) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    if start == 0 {
        return Ok(());
    }
    capture::check_not_capturing(stream)?;
    let range = ranges::remove_pooled(start)?;
    let request = MemFreeAsync { dptr: start, stream: stream.0 };
    remote::post_to(stream, &request).inspect_err(|_| ranges::restore(vec![range]))
}
