//! The types that names tell (cuBLAS Library, "General Description").

use vgpu_abi::cublas::cudaDataType_t;

/// What the letters in a function's name say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The type of vectors and matrices.
    pub element: cudaDataType_t,
    /// The type of factors or of the result, where it is another.
    pub scalar: cudaDataType_t,
}

impl Kind {
    /// Single precision.
    pub const S: Self = Self::of(cudaDataType_t::R_32F, cudaDataType_t::R_32F);
    /// Double precision.
    pub const D: Self = Self::of(cudaDataType_t::R_64F, cudaDataType_t::R_64F);
    /// Complex.
    pub const C: Self = Self::of(cudaDataType_t::C_32F, cudaDataType_t::C_32F);
    /// Complex in double precision.
    pub const Z: Self = Self::of(cudaDataType_t::C_64F, cudaDataType_t::C_64F);
    /// Half precision.
    pub const H: Self = Self::of(cudaDataType_t::R_16F, cudaDataType_t::R_16F);
    /// Complex with a real factor.
    pub const CS: Self = Self::of(cudaDataType_t::C_32F, cudaDataType_t::R_32F);
    /// Complex in double precision with a real factor.
    pub const ZD: Self = Self::of(cudaDataType_t::C_64F, cudaDataType_t::R_64F);
    /// A real result of complex elements.
    pub const SC: Self = Self::CS;
    /// A real result of complex elements in double precision.
    pub const DZ: Self = Self::ZD;

    const fn of(element: cudaDataType_t, scalar: cudaDataType_t) -> Self {
        Self { element, scalar }
    }
}
