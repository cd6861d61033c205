//! cuBLAS (cuBLAS Library).

#[path = "generated/cublas.rs"]
mod generated;

pub use generated::*;
