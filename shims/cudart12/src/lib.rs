//! `libcudart.so.12`: the exported names of the CUDA runtime 12; the bodies are in `vgpu_cudart`.

#[path = "generated/exports.rs"]
mod exports;
