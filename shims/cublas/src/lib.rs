//! cuBLAS for both majors.

#![forbid(unsafe_code)]

pub mod api;
