//! `libcudart.so.13`: the exported names of the CUDA runtime 13; the bodies are in `vgpu_cudart`.

#[path = "generated/exports.rs"]
mod exports;
