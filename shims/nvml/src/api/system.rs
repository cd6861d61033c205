//! System queries and error texts (NVML API).

use std::ffi::CStr;

use vgpu_abi::nvml::{Error, nvmlReturn_t, text_of};
use vgpu_guest::convert::TextBuffer;

use crate::library;

/// Returns what a result code means.
pub(crate) fn error_string(result: nvmlReturn_t) -> &'static CStr {
    let code = result.map_or_else(Error::code, |()| 0);
    text_of(code).unwrap_or(c"Unknown Error")
}

/// Writes the version of the host's driver, such as `580.95.05`.
pub(crate) fn system_get_driver_version(mut version: TextBuffer<'_>) -> Result<(), Error> {
    version.store(library::known()?.snapshot.nvml_driver_version.as_str())
}

/// Writes the version of the host's NVML.
pub(crate) fn system_get_nvml_version(mut version: TextBuffer<'_>) -> Result<(), Error> {
    version.store(library::known()?.snapshot.nvml_version.as_str())
}

/// Returns the version of the host's CUDA, as `cuDriverGetVersion` does.
pub(crate) fn system_get_cuda_driver_version_v2() -> Result<i32, Error> {
    Ok(library::known()?.snapshot.driver_version)
}

/// As [`system_get_cuda_driver_version_v2`], under its old name.
pub(crate) fn system_get_cuda_driver_version() -> Result<i32, Error> {
    system_get_cuda_driver_version_v2()
}

/// Writes the name of a program that uses a device; any other process is NOT_FOUND.
pub(crate) fn system_get_process_name(pid: u32, mut name: TextBuffer<'_>) -> Result<(), Error> {
    let known = library::known()?;
    for index in 0..known.count() {
        let Some(device) = known.handle(index) else { break };
        let state = known.state(device)?;
        if let Some(process) = state.processes.iter().find(|process| process.pid == pid) {
            return name.store(process.name.as_str());
        }
    }
    Err(Error::NOT_FOUND)
}
