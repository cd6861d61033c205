//! Versions of the driver and of the runtime (CUDA Runtime API, "Version Management").

use crate::driver;
use crate::result::Result;
use crate::runtime;

/// Returns the newest CUDA version that the driver supports; 0 where there is no driver, which
/// the documentation names as success.
pub fn driver_get_version() -> Result<i32> {
    let Ok(driver) = driver::library() else { return Ok(0) };
    let mut version = 0;
    driver.driver_get_version(&mut version)?;
    Ok(version)
}

/// Returns the version of the runtime API that this library stands for.
pub fn runtime_get_version() -> Result<i32> {
    Ok(runtime::version())
}
