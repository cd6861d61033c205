//! What an address is (CUDA Driver API, Unified Addressing).

use vgpu_abi::cuda::{CUdeviceptr, CUmemorytype, CUpointer_attribute as Attribute, Error};
use vgpu_guest::convert::Memory;

use crate::{contexts, devices, pinned, ranges};

/// Writes an attribute of an address of device memory or of pinned memory; any other address is
/// INVALID_VALUE, as is an attribute that such memory does not have.
pub(crate) fn pointer_get_attribute(
    place: Memory<'_>,
    attribute: Attribute,
    address: CUdeviceptr,
) -> Result<(), Error> {
    devices::known()?;
    let value = match ranges::find(address) {
        Some(range) => of_device(attribute, address, &range)?,
        None => of_pinned(attribute, address)?,
    };
    match value {
        Value::Flag(value) => store(place, &[u8::from(value)]),
        Value::Word(value) => store(place, &value.to_ne_bytes()),
        Value::Long(value) => store(place, &value.to_ne_bytes()),
    }
}

/// A value in the width that C has for the attribute.
enum Value {
    Flag(bool),
    Word(u32),
    Long(u64),
}

fn store(place: Memory<'_>, value: &[u8]) -> Result<(), Error> {
    place.bytes_mut::<Error>(value.len())?.copy_from_slice(value);
    Ok(())
}

fn of_device(
    attribute: Attribute,
    address: CUdeviceptr,
    range: &ranges::Range,
) -> Result<Value, Error> {
    let device = contexts::find(range.context)?.device;
    Ok(match attribute {
        Attribute::CONTEXT => Value::Long(range.context),
        Attribute::MEMORY_TYPE => Value::Word(CUmemorytype::DEVICE.0),
        Attribute::DEVICE_POINTER => Value::Long(address),
        Attribute::BUFFER_ID => Value::Long(range.id),
        Attribute::DEVICE_ORDINAL => Value::Word(device.cast_unsigned()),
        Attribute::RANGE_START_ADDR => Value::Long(range.start),
        Attribute::RANGE_SIZE => Value::Long(range.bytes),
        Attribute::IS_MANAGED
        | Attribute::IS_LEGACY_CUDA_IPC_CAPABLE
        | Attribute::IS_GPU_DIRECT_RDMA_CAPABLE => Value::Flag(false),
        Attribute::MAPPED => Value::Flag(true),
        Attribute::ALLOWED_HANDLE_TYPES => Value::Long(0),
        _ => return Err(Error::INVALID_VALUE),
    })
}

fn of_pinned(attribute: Attribute, address: u64) -> Result<Value, Error> {
    let (_, start, bytes) = pinned::find(address).ok_or(Error::INVALID_VALUE)?;
    Ok(match attribute {
        Attribute::MEMORY_TYPE => Value::Word(CUmemorytype::HOST.0),
        Attribute::HOST_POINTER => Value::Long(address),
        Attribute::RANGE_START_ADDR => Value::Long(start),
        Attribute::RANGE_SIZE => Value::Long(bytes),
        Attribute::IS_MANAGED | Attribute::IS_LEGACY_CUDA_IPC_CAPABLE | Attribute::MAPPED => {
            Value::Flag(false)
        }
        _ => return Err(Error::INVALID_VALUE),
    })
}
