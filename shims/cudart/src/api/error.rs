//! Error codes and the thread's last error (CUDA Runtime API, "Error Handling").

use std::ffi::CStr;

use vgpu_abi::cudart::{cudaError, name_of, text_of};

use crate::result::{Error, Result};
use crate::thread;

/// What CUDA says of a number that is no error code.
const UNRECOGNIZED: &CStr = c"unrecognized error code";

/// Returns the thread's last error and forgets it.
///
/// Where the runtime cannot be initialised, the boundary answers that instead, as NVIDIA's does:
/// it outlives the question.
pub fn get_last_error() -> Result<()> {
    thread::take_error()
}

/// Returns the thread's last error and keeps it.
pub fn peek_at_last_error() -> Result<()> {
    thread::peek_error()
}

/// Returns the name of an error code.
pub fn get_error_name(error: cudaError) -> &'static CStr {
    name_of(code(error)).unwrap_or(UNRECOGNIZED)
}

/// Returns what CUDA says about an error code.
pub fn get_error_string(error: cudaError) -> &'static CStr {
    text_of(code(error)).unwrap_or(UNRECOGNIZED)
}

fn code(error: cudaError) -> u32 {
    error.map_or_else(Error::code, |()| 0)
}
