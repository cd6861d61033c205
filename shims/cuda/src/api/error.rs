//! Names and texts of result codes (CUDA Driver API, Error Handling).

use std::ffi::{CStr, c_char};
use std::ptr;

use vgpu_abi::cuda::{self, CUresult, Error};

/// Answers the name of a result code; for a number that is none, NULL and INVALID_VALUE.
pub(crate) fn get_error_name(error: CUresult, name: &mut *const c_char) -> Result<(), Error> {
    answer(cuda::name_of(number(error)), name)
}

/// Answers what a result code means; for a number that is none, NULL and INVALID_VALUE.
pub(crate) fn get_error_string(error: CUresult, text: &mut *const c_char) -> Result<(), Error> {
    answer(cuda::text_of(number(error)), text)
}

fn number(error: CUresult) -> u32 {
    error.map_or_else(Error::code, |()| 0)
}

fn answer(text: Option<&'static CStr>, place: &mut *const c_char) -> Result<(), Error> {
    *place = text.map_or(ptr::null(), CStr::as_ptr);
    text.map(drop).ok_or(Error::INVALID_VALUE)
}
