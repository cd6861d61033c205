//! Writes exports, messages, dispatch and docs from one description.
//!
//! Two stages. **distil** reads NVIDIA's public headers with the C preprocessor and keeps what
//! the headers alone know, in our own form: names, parameter types, constants, layouts
//! (`shims/api/signatures/*.toml`). **generate** needs no headers: it joins that with
//! `shims/api/*.toml`, which says what headers cannot (class, direction, lengths), and writes
//! every generated file of the workspace. This crate knows nothing of how a call is made.

#![forbid(unsafe_code)]

pub mod api;
pub mod command;
mod description;
pub mod distil;
mod emit;
pub mod error;
pub mod family;
pub mod generate;
mod message;
mod model;
mod naming;
mod shims;
pub mod signature;

pub use distil::distil;
pub use error::Error;
pub use generate::{Outputs, generate};
