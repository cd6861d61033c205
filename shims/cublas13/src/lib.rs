//! `libcublas.so.13`: the exported names of cuBLAS 13; the bodies are in `vgpu_cublas`.

use vgpu_abi::cublas::Error;
use vgpu_guest::{Counter, unimplemented};

#[path = "generated/exports.rs"]
mod exports;

/// The version whose names these are (`CUBLAS_VERSION` of its headers).
const VERSION: i32 = 131_000;

fn boundary(
    counter: &'static Counter,
    body: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    vgpu_cublas::boundary(VERSION, counter, body)
}

fn boundary_value<T>(counter: &'static Counter, otherwise: T, body: impl FnOnce() -> T) -> T {
    vgpu_cublas::boundary_value(VERSION, counter, otherwise, body)
}
