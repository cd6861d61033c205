//! Stream-ordered allocation of the genuine driver, and its pools.

use std::mem::offset_of;

use vgpu_abi::cuda::{CUmemPoolProps, Error};
use vgpu_link::wire::cuda::{
    MemAllocAsync, MemAllocAsyncReply, MemAllocFromPoolAsync, MemAllocFromPoolAsyncReply,
    MemFreeAsync, PoolAttribute, PoolAttributeReply, PoolChange, PoolCreate, PoolCreateReply,
    PoolGetAccess, PoolGetAccessReply, PoolSetAccess,
};

use super::Nvidia;
use super::foreign::{Bytes, Pointer, Raw};
use super::handles::Kind;
use super::virtual_memory::{PINNED, accesses, location};
use crate::dispatch::Call;

pub(super) fn pool_create(
    nvidia: &mut Nvidia,
    _: &Call,
    r: PoolCreate,
) -> Result<PoolCreateReply, Error> {
    type Properties = CUmemPoolProps;
    let mut properties = Bytes([0; size_of::<Properties>()]);
    let location = location(nvidia.device(r.device)?);
    properties.put(offset_of!(Properties, allocType), PINNED.to_ne_bytes());
    properties.put(offset_of!(Properties, location), location.0);
    properties.put(offset_of!(Properties, maxSize), r.bytes_max.to_ne_bytes());
    let mut pool = Pointer::default();
    nvidia.driver.mem_pool_create(&mut pool, &mut properties)?;
    Ok(PoolCreateReply { pool: nvidia.handles.keep(Kind::Pool, pool, 0)? })
}

/// Attributes are of 4 or 8 bytes; the longer place holds either (little-endian, as all that CUDA
/// runs on).
pub(super) fn pool_attribute(
    nvidia: &mut Nvidia,
    _: &Call,
    r: PoolAttribute,
) -> Result<PoolAttributeReply, Error> {
    let pool = nvidia.handles.find(Kind::Pool, r.pool)?;
    let mut value = [0];
    nvidia.driver.mem_pool_get_attribute(pool, r.attribute, Raw::write(&mut value))?;
    Ok(PoolAttributeReply { value: value[0] })
}

pub(super) fn pool_change(nvidia: &mut Nvidia, _: &Call, r: PoolChange) -> Result<(), Error> {
    let pool = nvidia.handles.find(Kind::Pool, r.pool)?;
    nvidia.driver.mem_pool_set_attribute(pool, r.attribute, Raw::read(&[r.value]))
}

pub(super) fn pool_set_access(
    nvidia: &mut Nvidia,
    _: &Call,
    r: PoolSetAccess,
) -> Result<(), Error> {
    let pool = nvidia.handles.find(Kind::Pool, r.pool)?;
    let list = accesses(nvidia, &r.access)?;
    nvidia.driver.mem_pool_set_access(pool, Raw::read(&list), list.len())
}

pub(super) fn pool_get_access(
    nvidia: &mut Nvidia,
    _: &Call,
    r: PoolGetAccess,
) -> Result<PoolGetAccessReply, Error> {
    let pool = nvidia.handles.find(Kind::Pool, r.pool)?;
    let mut location = location(nvidia.device(r.device)?);
    let mut flags = 0;
    nvidia.driver.mem_pool_get_access(&mut flags, pool, &mut location)?;
    Ok(PoolGetAccessReply { flags })
}

pub(super) fn mem_alloc_async(
    nvidia: &mut Nvidia,
    call: &Call,
    r: MemAllocAsync,
) -> Result<MemAllocAsyncReply, Error> {
    nvidia.enter(call)?;
    let stream = nvidia.stream(call, r.stream)?;
    let dptr = nvidia.allocate(call, r.bytesize, |nvidia| {
        let mut address = 0;
        nvidia.driver.mem_alloc_async(&mut address, r.bytesize as usize, stream)?;
        Ok(address)
    })?;
    Ok(MemAllocAsyncReply { dptr })
}

pub(super) fn mem_alloc_from_pool_async(
    nvidia: &mut Nvidia,
    call: &Call,
    r: MemAllocFromPoolAsync,
) -> Result<MemAllocFromPoolAsyncReply, Error> {
    nvidia.enter(call)?;
    let stream = nvidia.stream(call, r.stream)?;
    let pool = nvidia.handles.find(Kind::Pool, r.pool)?;
    let dptr = nvidia.allocate(call, r.bytesize, |nvidia| {
        let (mut address, bytes) = (0, r.bytesize as usize);
        nvidia.driver.mem_alloc_from_pool_async(&mut address, bytes, pool, stream)?;
        Ok(address)
    })?;
    Ok(MemAllocFromPoolAsyncReply { dptr })
}

pub(super) fn mem_free_async(
    nvidia: &mut Nvidia,
    call: &Call,
    r: MemFreeAsync,
) -> Result<(), Error> {
    nvidia.enter(call)?;
    let stream = nvidia.stream(call, r.stream)?;
    nvidia.driver.mem_free_async(r.dptr, stream)?;
    nvidia.give_back(r.dptr);
    Ok(())
}
