//! cuBLAS for both majors.

pub mod api;
