//! The logger of cuBLAS (cuBLAS Library, `cublasLoggerConfigure`): there is none here.
//!
//! To be left off is granted; whoever asks for a log learns that none will be written. What this
//! library has to say goes where `VGPU_LOG` says.

use std::ffi::{c_char, c_void};

use vgpu_abi::cublas::Error;

/// Turns the logger off; it cannot be turned on.
pub fn logger_configure(on: i32, _: i32, _: i32, _: *const c_char) -> Result<(), Error> {
    if on == 0 { Ok(()) } else { Err(Error::NOT_SUPPORTED) }
}

/// Removes the callback of the logger; none can be set.
pub fn set_logger_callback(callback: *mut c_void) -> Result<(), Error> {
    if callback.is_null() { Ok(()) } else { Err(Error::NOT_SUPPORTED) }
}

/// Returns the callback of the logger, of which there is none.
pub fn get_logger_callback() -> Result<*mut c_void, Error> {
    Ok(std::ptr::null_mut())
}
