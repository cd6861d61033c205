//! Initialisation and versions (CUDA Driver API, Initialization, Version Management).

use vgpu_abi::cuda::{CUmoduleLoadingMode, Error};

use crate::devices;

/// Connects to the host and learns its devices; `flags` must be 0.
///
/// No host, and no device that this process sees, are NO_DEVICE.
pub(crate) fn init(flags: u32) -> Result<(), Error> {
    if flags != 0 {
        return Err(Error::INVALID_VALUE);
    }
    devices::learn()
}

/// Returns the host's CUDA version, never one of ours. May be asked for before `cuInit`.
pub(crate) fn driver_get_version() -> Result<i32, Error> {
    devices::driver_version()
}

/// Returns how modules are loaded: lazily, unless the program's environment asks otherwise
/// (CUDA C++ Programming Guide, Lazy Loading).
pub(crate) fn module_get_loading_mode() -> Result<CUmoduleLoadingMode, Error> {
    devices::known()?;
    let asked = std::env::var_os("CUDA_MODULE_LOADING");
    let is_eager = asked.is_some_and(|mode| mode.eq_ignore_ascii_case("EAGER"));
    Ok(if is_eager {
        CUmoduleLoadingMode::EAGER_LOADING
    } else {
        CUmoduleLoadingMode::LAZY_LOADING
    })
}
