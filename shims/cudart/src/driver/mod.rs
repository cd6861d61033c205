//! The CUDA driver library, found as any client finds it.
//!
//! `libcuda.so.1` is opened at the first call that needs it and never closed. Every function is
//! looked up under its documented name, so this module neither knows nor cares whether a genuine
//! driver answers or ours. It knows nothing of the runtime API.

/// Fails the build unless a structure is laid out as the headers' one, field by field.
macro_rules! laid_out_as {
    ($theirs:ident, $ours:ident: $($($field:ident).+ = $of_theirs:ident,)*) => {
        const _: () = {
            use std::mem::offset_of;
            use vgpu_abi::cuda::$theirs;
            assert!(size_of::<$ours>() == size_of::<$theirs>());
            $(assert!(offset_of!($ours, $($field).+) == offset_of!($theirs, $of_theirs));)*
        };
    };
}

mod copies;
#[allow(unsafe_code)]
mod entries;
mod structs;

use std::sync::OnceLock;

use vgpu_guest::log::Once;

use crate::result::{Error, Result};
use crate::runtime;

pub use copies::{ArrayShape, Copy2D, Copy3D, MemorySide, Side2D, Side3D};
pub use entries::Driver;
pub use structs::{
    Address, CodeLibrary, Context, Entry, Event, Function, Kernel, KernelNode, LaunchConfig,
    Location, Stream,
};

static DRIVER: OnceLock<Driver> = OnceLock::new();
static INITIALISED: OnceLock<Vec<i32>> = OnceLock::new();

/// Returns the driver library, opened but perhaps not initialised.
///
/// # Errors
/// `INSUFFICIENT_DRIVER` if there is no `libcuda.so.1`, which is what CUDA's own runtime answers.
/// A library that is missing now may be there at the next call, so only success is remembered.
pub fn library() -> Result<&'static Driver> {
    if let Some(driver) = DRIVER.get() {
        return Ok(driver);
    }
    let opened = Driver::open()?;
    Ok(DRIVER.get_or_init(|| opened))
}

/// Returns the initialised driver.
///
/// # Errors
/// Those of [`library`]; `INSUFFICIENT_DRIVER` if the driver is of an older major version than
/// this runtime (CUDA Compatibility, "Minor Version Compatibility"); else the code of `cuInit`.
pub fn initialised() -> Result<&'static Driver> {
    devices().map(|(driver, _)| driver)
}

/// Returns the initialised driver and the handles of its devices, by ordinal.
///
/// # Errors
/// Those of [`initialised`], and `NO_DEVICE` if the driver lists none.
pub fn devices() -> Result<(&'static Driver, &'static [i32])> {
    let driver = library()?;
    if let Some(devices) = INITIALISED.get() {
        return Ok((driver, devices));
    }
    let mut version = 0;
    driver.driver_get_version(&mut version)?;
    if version / 1000 < runtime::version() / 1000 {
        tell_of_older(version);
        return Err(Error::INSUFFICIENT_DRIVER);
    }
    driver.init(0)?;
    let mut count = 0;
    driver.device_get_count(&mut count)?;
    let handles = (0..count).map(|ordinal| {
        let mut handle = 0;
        driver.device_get(&mut handle, ordinal).map(|()| handle)
    });
    let handles: Vec<i32> = handles.collect::<Result<_>>()?;
    if handles.is_empty() {
        return Err(Error::NO_DEVICE);
    }
    Ok((driver, INITIALISED.get_or_init(|| handles)))
}

/// Says, once, that the driver is of an older major version than this runtime.
fn tell_of_older(driver: i32) {
    static TOLD: Once = Once::new();
    let text = |version: i32| format!("{}.{}", version / 1000, version % 1000 / 10);
    let (driver, runtime) = (text(driver), text(runtime::version()));
    let major = &driver[..driver.find('.').unwrap_or(driver.len())];
    TOLD.warn(format_args!(
        "the driver is for CUDA {driver} and this program's runtime is {runtime}: nothing is done \
         (cudaErrorInsufficientDriver, 35); install a newer driver on the host, or use the \
         program's build for CUDA {major}"
    ));
}

/// Returns the driver's handle of a device of the runtime.
///
/// # Errors
/// `INVALID_DEVICE` for an ordinal that no device has, and those of [`devices`].
pub fn device(ordinal: i32) -> Result<(&'static Driver, i32)> {
    let (driver, handles) = devices()?;
    let index = usize::try_from(ordinal).map_err(|_| Error::INVALID_DEVICE)?;
    let handle = handles.get(index).ok_or(Error::INVALID_DEVICE)?;
    Ok((driver, *handle))
}

/// Returns the ordinal of a device handle of the driver.
pub fn ordinal(handle: i32) -> Result<i32> {
    let (_, handles) = devices()?;
    let index = handles.iter().position(|known| *known == handle);
    index.and_then(|index| i32::try_from(index).ok()).ok_or(Error::INVALID_DEVICE)
}
