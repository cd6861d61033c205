//! What an address is (CUDA Runtime API, "Unified Addressing").

use vgpu_abi::cudart::cudaMemoryType;
use vgpu_abi::{cudart12, cudart13};
use vgpu_guest::convert::Memory;

use super::memory::address;
use crate::driver::{self, Driver};
use crate::primary;
use crate::result::{Error, Result};

/// Attributes of an address, by the driver's numbers (`CUpointer_attribute`).
const MEMORY_TYPE: u32 = 2;
const DEVICE_POINTER: u32 = 3;
const HOST_POINTER: u32 = 4;
const IS_MANAGED: u32 = 8;
const DEVICE_ORDINAL: u32 = 9;

/// `cudaInvalidDeviceId`: the memory belongs to no device.
const NO_DEVICE: i32 = -2;

/// `localityDomainOrdinal`, an int in a place of eight bytes: -1, bound to no part of the device.
const NO_LOCALITY_DOMAIN: u64 = 0xffff_ffff;

/// Says whose memory an address is (`cudaMemoryType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Memory of the program that CUDA does not know.
    Unregistered = 0,
    /// Pinned memory of the program.
    Host = 1,
    /// Memory of a device.
    Device = 2,
    /// Memory that host and devices share.
    Managed = 3,
}

/// Says what an address is; both layouts of `cudaPointerAttributes` are filled from this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Whose memory it is.
    pub owner: Owner,
    /// The device that it belongs to, or -2.
    pub device: i32,
    /// Where the device sees it, or 0.
    pub device_pointer: u64,
    /// Where the program sees it, or 0.
    pub host_pointer: u64,
}

impl From<Attributes> for cudart12::cudaPointerAttributes {
    fn from(attributes: Attributes) -> Self {
        Self {
            r#type: cudaMemoryType(attributes.owner as u32),
            device: attributes.device,
            devicePointer: address(attributes.device_pointer),
            hostPointer: address(attributes.host_pointer),
        }
    }
}

impl From<Attributes> for cudart13::cudaPointerAttributes {
    fn from(attributes: Attributes) -> Self {
        Self {
            r#type: cudaMemoryType(attributes.owner as u32),
            device: attributes.device,
            devicePointer: address(attributes.device_pointer),
            hostPointer: address(attributes.host_pointer),
            unnamed24: [NO_LOCALITY_DOMAIN],
            reserved: [0; 7],
        }
    }
}

/// Returns what an address is, in the layout of the library's major.
pub fn pointer_get_attributes<A: From<Attributes>>(memory: Memory<'_>) -> Result<A> {
    attributes(memory.address()).map(A::from)
}

/// Returns what an address is.
///
/// Memory that the driver does not know is the program's own, with success, as since CUDA 11.
pub fn attributes(address: u64) -> Result<Attributes> {
    let driver = primary::current()?;
    let unregistered = Attributes {
        owner: Owner::Unregistered,
        device: NO_DEVICE,
        device_pointer: 0,
        host_pointer: address,
    };
    let owner = match query(driver, MEMORY_TYPE, address)? {
        Some(1) => Owner::Host,
        Some(2) => Owner::Device,
        _ => return Ok(unregistered),
    };
    let is_managed = query(driver, IS_MANAGED, address)?.is_some_and(|is| is & 0xff != 0);
    let device = match query(driver, DEVICE_ORDINAL, address)? {
        // An int is written: the upper half of the place is not part of the answer.
        Some(ordinal) => driver::ordinal(ordinal as u32 as i32)?,
        // Pinned memory that no device maps belongs to none in particular.
        None => primary::device()?,
    };
    Ok(Attributes {
        owner: if is_managed { Owner::Managed } else { owner },
        device,
        device_pointer: query(driver, DEVICE_POINTER, address)?.unwrap_or(0),
        host_pointer: query(driver, HOST_POINTER, address)?.unwrap_or(0),
    })
}

/// Returns one attribute; `None` if the driver does not know the address or the attribute of it.
fn query(driver: &Driver, attribute: u32, address: u64) -> Result<Option<u64>> {
    let mut value = 0;
    match driver.pointer_get_attribute(&mut value, attribute, address) {
        Ok(()) => Ok(Some(value)),
        Err(Error::INVALID_VALUE) => Ok(None),
        Err(error) => Err(error),
    }
}
