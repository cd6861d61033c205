//! cuBLAS (cuBLAS Library).

#[path = "generated/cublas.rs"]
mod generated;

pub use generated::*;

/// How a function takes its types: what the `form` of a message says.
pub mod form {
    /// The name tells one type for all (`cublasSgemm`).
    pub const TYPED: u32 = 0;
    /// The name tells the type of scalars, and arguments that of each matrix (`cublasSgemmEx`).
    pub const MIXED: u32 = 1;
    /// Arguments tell all types (`cublasGemmEx`).
    pub const EXTENDED: u32 = 2;
}

/// How a function finds its matrices: what the `batch` of a message says.
pub mod batch {
    /// There is one of each.
    pub const SINGLE: u32 = 0;
    /// Each lies a stride behind the one before.
    pub const STRIDED: u32 = 1;
    /// The address is that of a list of addresses, on the device too.
    pub const LISTED: u32 = 2;
}
