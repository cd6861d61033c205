//! `libcublas.so.12`: the exported names of cuBLAS 12; the bodies are in `vgpu_cublas`.

#[path = "generated/exports.rs"]
mod exports;
