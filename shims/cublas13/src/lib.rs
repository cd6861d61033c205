//! `libcublas.so.13`: the exported names of cuBLAS 13; the bodies are in `vgpu_cublas`.

#[path = "generated/exports.rs"]
mod exports;
