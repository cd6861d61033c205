//! `libcudart.so.12`: the exported names of the CUDA runtime 12; the bodies are in `vgpu_cudart`.

use vgpu_cudart::result::Result;
use vgpu_guest::{Counter, boundary_value};

#[path = "generated/exports.rs"]
mod exports;

/// The version whose names and layouts these are (`CUDART_VERSION` of its headers).
const VERSION: i32 = 12_090;

fn boundary(counter: &'static Counter, body: impl FnOnce() -> Result<()>) -> Result<()> {
    vgpu_cudart::boundary(VERSION, counter, body)
}

fn boundary_uninitialised(
    counter: &'static Counter,
    body: impl FnOnce() -> Result<()>,
) -> Result<()> {
    vgpu_cudart::boundary_uninitialised(VERSION, counter, body)
}

fn unimplemented(counter: &'static Counter) -> Result<()> {
    vgpu_cudart::unimplemented(VERSION, counter)
}
