//! Types, constants and result codes of the libraries that the shims stand for. No logic.
//!
//! What comes from the public headers is generated (`generated/`); names are C's where C has one.

#![forbid(unsafe_code)]
#![allow(non_camel_case_types, non_snake_case, reason = "the names are C's")]

mod code;
pub mod cublas;
pub mod cuda;
pub mod cudart;
pub mod cudart12;
pub mod cudart13;
pub mod nvml;
