//! The shared faults in each library's own numbers.

use vgpu_abi::cuda;

use crate::boundary::Fault;

impl Fault for cuda::Error {
    const UNKNOWN: Self = Self::UNKNOWN;
    const INVALID_VALUE: Self = Self::INVALID_VALUE;
    const NOT_SUPPORTED: Self = Self::NOT_SUPPORTED;
    const INSUFFICIENT_SIZE: Self = Self::INVALID_VALUE;
    const NOT_INITIALIZED: Self = Self::NOT_INITIALIZED;
    const NO_HOST: Self = Self::NO_DEVICE;
    const LOST: Self = Self::DEVICE_UNAVAILABLE;

    fn from_code(code: u32) -> Self {
        Self::new(code).unwrap_or(Self::UNKNOWN)
    }
}
