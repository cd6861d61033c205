//! Functions of the driver by name (CUDA Runtime API, "Driver Entry Point Access").

use std::ffi::{CStr, c_void};

use vgpu_abi::cudart::cudaDriverEntryPointQueryResult as Status;

use super::memory::address;
use crate::driver;
use crate::result::{Error, Result};
use crate::runtime;

/// `cudaEnablePerThreadDefaultStream`.
const PER_THREAD: u64 = 2;

/// Finds a function as this version of the runtime knows it; returns it and how it went.
///
/// A driver that is older, but of the same major, is asked for what it knows itself.
pub fn get_driver_entry_point(symbol: &CStr, flags: u64) -> Result<(*mut c_void, Status)> {
    find(symbol, runtime::version().min(driver_version()?), flags)
}

/// As [`get_driver_entry_point`]; without flags the per-thread variant is preferred.
pub fn get_driver_entry_point_ptsz(symbol: &CStr, flags: u64) -> Result<(*mut c_void, Status)> {
    get_driver_entry_point(symbol, preferring_per_thread(flags))
}

/// Finds a function as a version of CUDA knows it; returns it and how it went.
///
/// # Errors
/// `INVALID_VALUE` if the version is newer than the driver.
pub fn get_driver_entry_point_by_version(
    symbol: &CStr,
    version: u32,
    flags: u64,
) -> Result<(*mut c_void, Status)> {
    let version = i32::try_from(version).map_err(|_| Error::INVALID_VALUE)?;
    if version > driver_version()? {
        return Err(Error::INVALID_VALUE);
    }
    find(symbol, version, flags)
}

/// As [`get_driver_entry_point_by_version`]; without flags the per-thread variant is preferred.
pub fn get_driver_entry_point_by_version_ptsz(
    symbol: &CStr,
    version: u32,
    flags: u64,
) -> Result<(*mut c_void, Status)> {
    get_driver_entry_point_by_version(symbol, version, preferring_per_thread(flags))
}

fn preferring_per_thread(flags: u64) -> u64 {
    if flags == 0 { PER_THREAD } else { flags }
}

fn driver_version() -> Result<i32> {
    let mut version = 0;
    driver::library()?.driver_get_version(&mut version)?;
    Ok(version)
}

/// A name that the driver does not know is success with NULL and a status, as documented.
fn find(symbol: &CStr, version: i32, flags: u64) -> Result<(*mut c_void, Status)> {
    let driver = driver::initialised()?;
    let (mut function, mut status) = (0, 0);
    match driver.proc_address(symbol.into(), &mut function, version, flags, &mut status) {
        Ok(()) => Ok((address(function), Status(status))),
        Err(Error::SYMBOL_NOT_FOUND) => {
            Ok((address(0), Status(status).max(Status::SYMBOL_NOT_FOUND)))
        }
        Err(error) => Err(error),
    }
}
