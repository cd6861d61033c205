//! Types, constants and result codes of the libraries that the shims stand for. No logic.
//!
//! What comes from the public headers is generated (`generated/`); names are C's where C has one.

#![forbid(unsafe_code)]

mod code;
pub mod cuda;
