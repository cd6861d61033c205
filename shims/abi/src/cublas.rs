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

/// What becomes of vectors: what the `operation` of a message says.
pub mod operation {
    /// `y = alpha x + y`.
    pub const AXPY: u32 = 0;
    /// `x = alpha x`.
    pub const SCAL: u32 = 1;
    /// `y = x`.
    pub const COPY: u32 = 2;
    /// `x` and `y` change places.
    pub const SWAP: u32 = 3;
    /// The sum of the products of elements.
    pub const DOT: u32 = 4;
    /// The same with the conjugates of the first vector's.
    pub const DOT_CONJUGATE: u32 = 5;
    /// The Euclidean length.
    pub const NRM2: u32 = 6;
    /// The sum of absolute values; of a complex number that of both parts.
    pub const ASUM: u32 = 7;
    /// The place, from 1, of the first element with the largest absolute value (that of ASUM).
    pub const AMAX: u32 = 8;
    /// The same with the smallest.
    pub const AMIN: u32 = 9;
}
