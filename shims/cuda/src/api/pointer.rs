//! What an address is (CUDA Driver API, Unified Addressing).

use vgpu_abi::cuda::{CUdeviceptr, CUmemorytype, CUpointer_attribute as Attribute, Error};
use vgpu_guest::convert::Memory;

use crate::ranges::Origin;
use crate::{devices, pinned, ranges};

/// Writes an attribute of an address of device memory or of pinned memory; any other address is
/// INVALID_VALUE, as is an attribute that such memory does not have.
pub(crate) fn pointer_get_attribute(
    place: Memory<'_>,
    attribute: Attribute,
    address: CUdeviceptr,
) -> Result<(), Error> {
    devices::known()?;
    store(place, value_of(attribute, address)?)
}

/// Writes several attributes of an address. One that such memory does not have, and all of an
/// address that is neither, are zeros and no error, as the documentation says.
pub(crate) fn pointer_get_attributes(
    attributes: &[Attribute],
    places: Vec<Memory<'_>>,
    address: CUdeviceptr,
) -> Result<(), Error> {
    devices::known()?;
    for (attribute, place) in attributes.iter().zip(places) {
        match value_of(*attribute, address) {
            Ok(value) => store(place, value)?,
            Err(_) => store(place, absent(*attribute)?)?,
        }
    }
    Ok(())
}

fn value_of(attribute: Attribute, address: CUdeviceptr) -> Result<Value, Error> {
    match ranges::find(address) {
        Some(range) => of_device(attribute, address, &range),
        None => of_pinned(attribute, address),
    }
}

/// Returns what stands for "does not have it", in the attribute's width.
fn absent(attribute: Attribute) -> Result<Value, Error> {
    Ok(match attribute {
        Attribute::MEMORY_TYPE => Value::Word(0),
        // CU_DEVICE_INVALID is -2.
        Attribute::DEVICE_ORDINAL => Value::Word((-2i32).cast_unsigned()),
        Attribute::SYNC_MEMOPS
        | Attribute::IS_MANAGED
        | Attribute::IS_LEGACY_CUDA_IPC_CAPABLE
        | Attribute::MAPPED
        | Attribute::IS_GPU_DIRECT_RDMA_CAPABLE => Value::Flag(false),
        Attribute::ACCESS_FLAGS => Value::Word(0),
        Attribute::CONTEXT
        | Attribute::DEVICE_POINTER
        | Attribute::HOST_POINTER
        | Attribute::BUFFER_ID
        | Attribute::RANGE_START_ADDR
        | Attribute::RANGE_SIZE
        | Attribute::ALLOWED_HANDLE_TYPES
        | Attribute::MEMPOOL_HANDLE => Value::Long(0),
        _ => return Err(Error::INVALID_VALUE),
    })
}

/// A value in the width that C has for the attribute.
enum Value {
    Flag(bool),
    Word(u32),
    Long(u64),
}

fn store(place: Memory<'_>, value: Value) -> Result<(), Error> {
    match value {
        Value::Flag(value) => place.store::<bool, Error>(&[value]),
        Value::Word(value) => place.store::<u32, Error>(&[value]),
        Value::Long(value) => place.store::<u64, Error>(&[value]),
    }
}

fn of_device(
    attribute: Attribute,
    address: CUdeviceptr,
    range: &ranges::Range,
) -> Result<Value, Error> {
    Ok(match attribute {
        Attribute::CONTEXT => Value::Long(range.context),
        Attribute::MEMORY_TYPE => Value::Word(CUmemorytype::DEVICE.0),
        Attribute::DEVICE_POINTER => Value::Long(address),
        Attribute::BUFFER_ID => Value::Long(range.id),
        Attribute::DEVICE_ORDINAL => Value::Word(range.device.cast_unsigned()),
        Attribute::RANGE_START_ADDR => Value::Long(range.start),
        Attribute::RANGE_SIZE => Value::Long(range.bytes),
        Attribute::IS_MANAGED
        | Attribute::IS_LEGACY_CUDA_IPC_CAPABLE
        | Attribute::IS_GPU_DIRECT_RDMA_CAPABLE => Value::Flag(false),
        Attribute::MAPPED => Value::Flag(true),
        Attribute::ALLOWED_HANDLE_TYPES => Value::Long(0),
        Attribute::MEMPOOL_HANDLE => match range.origin {
            Origin::Pool(pool) => Value::Long(pool),
            Origin::Allocated | Origin::Mapped => Value::Long(0),
        },
        _ => return Err(Error::INVALID_VALUE),
    })
}

fn of_pinned(attribute: Attribute, address: u64) -> Result<Value, Error> {
    let place = pinned::find(address).ok_or(Error::INVALID_VALUE)?;
    Ok(match attribute {
        Attribute::CONTEXT => Value::Long(place.context),
        Attribute::MEMORY_TYPE => Value::Word(CUmemorytype::HOST.0),
        Attribute::HOST_POINTER => Value::Long(address),
        Attribute::DEVICE_ORDINAL => Value::Word(place.device.cast_unsigned()),
        Attribute::RANGE_START_ADDR => Value::Long(place.start),
        Attribute::RANGE_SIZE => Value::Long(place.bytes),
        Attribute::IS_MANAGED | Attribute::IS_LEGACY_CUDA_IPC_CAPABLE | Attribute::MAPPED => {
            Value::Flag(false)
        }
        _ => return Err(Error::INVALID_VALUE),
    })
}
