//! Variables of the program's code (CUDA Runtime API, "Memory Management").
//!
//! The program names one by the address of its shadow, which the compiler registered. Host code
//! of CUDA before 5 gave names instead; they are refused, as by NVIDIA's runtime since.

use std::ffi::c_void;

use vgpu_abi::cudart::cudaMemcpyKind;
use vgpu_guest::convert::Memory;

use super::copy::{Kind, Order, linear};
use super::memory::address;
use super::registration;
use crate::driver::{Address, Stream};
use crate::primary;
use crate::result::{Error, Result};

/// Returns the address of a variable on the thread's device.
pub fn get_symbol_address(symbol: Memory<'_>) -> Result<*mut c_void> {
    find(&symbol).map(|(place, _)| address(place))
}

/// Returns the size of a variable in bytes.
pub fn get_symbol_size(symbol: Memory<'_>) -> Result<usize> {
    find(&symbol).map(|(_, bytes)| bytes)
}

/// Copies `count` bytes into a variable.
pub fn memcpy_to_symbol(
    symbol: Memory<'_>,
    source: Memory<'_>,
    count: usize,
    offset: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    write(&symbol, source, count, offset, kind, Order::Legacy)
}

/// As [`memcpy_to_symbol`], on the thread's own default stream.
pub fn memcpy_to_symbol_ptds(
    symbol: Memory<'_>,
    source: Memory<'_>,
    count: usize,
    offset: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    write(&symbol, source, count, offset, kind, Order::PerThread)
}

/// As [`memcpy_to_symbol`], in stream order.
pub fn memcpy_to_symbol_async(
    symbol: Memory<'_>,
    source: Memory<'_>,
    count: usize,
    offset: usize,
    kind: cudaMemcpyKind,
    stream: Stream,
) -> Result<()> {
    write(&symbol, source, count, offset, kind, Order::Stream(stream))
}

/// Copies `count` bytes out of a variable.
pub fn memcpy_from_symbol(
    target: Memory<'_>,
    symbol: Memory<'_>,
    count: usize,
    offset: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    read(target, &symbol, count, offset, kind, Order::Legacy)
}

/// As [`memcpy_from_symbol`], on the thread's own default stream.
pub fn memcpy_from_symbol_ptds(
    target: Memory<'_>,
    symbol: Memory<'_>,
    count: usize,
    offset: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    read(target, &symbol, count, offset, kind, Order::PerThread)
}

/// As [`memcpy_from_symbol`], in stream order.
pub fn memcpy_from_symbol_async(
    target: Memory<'_>,
    symbol: Memory<'_>,
    count: usize,
    offset: usize,
    kind: cudaMemcpyKind,
    stream: Stream,
) -> Result<()> {
    read(target, &symbol, count, offset, kind, Order::Stream(stream))
}

fn write(
    symbol: &Memory<'_>,
    source: Memory<'_>,
    count: usize,
    offset: usize,
    kind: cudaMemcpyKind,
    order: Order,
) -> Result<()> {
    let kind = kind_into(kind)?;
    linear(part(symbol, count, offset)?, source.into(), count, kind, order)
}

fn read(
    target: Memory<'_>,
    symbol: &Memory<'_>,
    count: usize,
    offset: usize,
    kind: cudaMemcpyKind,
    order: Order,
) -> Result<()> {
    let kind = kind_out_of(kind)?;
    linear(target.into(), part(symbol, count, offset)?, count, kind, order)
}

/// Reads the kind of a copy into a variable.
///
/// # Errors
/// `INVALID_MEMCPY_DIRECTION` for one that goes elsewhere.
pub(super) fn kind_into(kind: cudaMemcpyKind) -> Result<Kind> {
    match Kind::new(kind)? {
        Kind::HostToHost | Kind::DeviceToHost => Err(Error::INVALID_MEMCPY_DIRECTION),
        kind => Ok(kind),
    }
}

/// Reads the kind of a copy out of a variable.
///
/// # Errors
/// As [`kind_into`].
pub(super) fn kind_out_of(kind: cudaMemcpyKind) -> Result<Kind> {
    match Kind::new(kind)? {
        Kind::HostToHost | Kind::HostToDevice => Err(Error::INVALID_MEMCPY_DIRECTION),
        kind => Ok(kind),
    }
}

/// Returns where a part of a variable lies on the thread's device.
///
/// # Errors
/// `INVALID_VALUE` for a part that is not wholly within the variable, and those of [`find`].
pub(super) fn part(symbol: &Memory<'_>, count: usize, offset: usize) -> Result<Address> {
    let (place, bytes) = find(symbol)?;
    if offset.checked_add(count).is_none_or(|end| end > bytes) {
        return Err(Error::INVALID_VALUE);
    }
    Ok(Address::found(place).offset(offset))
}

/// Returns the address of a variable on the thread's device, and its size in bytes.
///
/// # Errors
/// `INVALID_SYMBOL` if nobody registered it or its image lacks it; those of loading the image.
fn find(symbol: &Memory<'_>) -> Result<(u64, usize)> {
    let variable = registration::variable(symbol.address()).ok_or(Error::INVALID_SYMBOL)?;
    let driver = primary::current()?;
    let library = variable.image.library()?;
    let (mut place, mut bytes) = (0, 0);
    let found = driver.library_get_global(&mut place, &mut bytes, library, variable.name);
    found.map_err(|error| match error {
        Error::SYMBOL_NOT_FOUND => Error::INVALID_SYMBOL,
        error => error,
    })?;
    // The smaller of what the program and the image say: a copy stays within both.
    Ok((place, bytes.min(variable.bytes)))
}
