//! Names and texts of statuses (cuBLAS Library, "cublasGetStatusName" and "cublasGetStatusString").

use std::ffi::CStr;

use vgpu_abi::cublas::{name_of, text_of};

/// Returns the name of a status, as the documentation spells it.
pub fn get_status_name(status: u32) -> &'static CStr {
    name_of(status).unwrap_or(c"unrecognized status code")
}

/// Returns what cuBLAS says about a status.
pub fn get_status_string(status: u32) -> &'static CStr {
    text_of(status).unwrap_or(c"unrecognized status code")
}
