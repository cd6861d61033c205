//! Setting memory to a byte (CUDA Runtime API, "Memory Management").
//!
//! The API takes an `int` and uses its lowest byte. Setting nothing is done at once.

use vgpu_guest::convert::Memory;

use crate::driver::Stream;
use crate::primary;
use crate::result::{Error, Result};

/// Sets `count` bytes.
pub fn memset(target: Memory<'_>, value: i32, count: usize) -> Result<()> {
    let driver = primary::current()?;
    if count == 0 { Ok(()) } else { driver.memset_d8(target.address(), value as u8, count) }
}

/// Sets `count` bytes on the thread's own default stream.
pub fn memset_ptds(target: Memory<'_>, value: i32, count: usize) -> Result<()> {
    let driver = primary::current()?;
    if count == 0 { Ok(()) } else { driver.memset_d8_ptds(target.address(), value as u8, count) }
}

/// Sets `count` bytes in stream order.
pub fn memset_async(target: Memory<'_>, value: i32, count: usize, stream: Stream) -> Result<()> {
    let driver = primary::current()?;
    if count == 0 {
        Ok(())
    } else {
        driver.memset_d8_async(target.address(), value as u8, count, stream)
    }
}

/// Sets `height` rows of `width` bytes that lie `pitch` bytes apart.
pub fn memset2_d(
    target: Memory<'_>,
    pitch: usize,
    value: i32,
    width: usize,
    height: usize,
) -> Result<()> {
    let driver = primary::current()?;
    if check_rows(pitch, width, height)? {
        driver.memset_d2d8(target.address(), pitch, value as u8, width, height)?;
    }
    Ok(())
}

/// As [`memset2_d`], on the thread's own default stream.
pub fn memset2_d_ptds(
    target: Memory<'_>,
    pitch: usize,
    value: i32,
    width: usize,
    height: usize,
) -> Result<()> {
    let driver = primary::current()?;
    if check_rows(pitch, width, height)? {
        driver.memset_d2d8_ptds(target.address(), pitch, value as u8, width, height)?;
    }
    Ok(())
}

/// As [`memset2_d`], in stream order.
pub fn memset2_d_async(
    target: Memory<'_>,
    pitch: usize,
    value: i32,
    width: usize,
    height: usize,
    stream: Stream,
) -> Result<()> {
    let driver = primary::current()?;
    if check_rows(pitch, width, height)? {
        driver.memset_d2d8_async(target.address(), pitch, value as u8, width, height, stream)?;
    }
    Ok(())
}

/// Tells whether there is anything to set; rows that overlap are refused.
fn check_rows(pitch: usize, width: usize, height: usize) -> Result<bool> {
    if width > pitch && height > 1 {
        return Err(Error::INVALID_VALUE);
    }
    Ok(width > 0 && height > 0)
}
