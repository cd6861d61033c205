//! The shared faults in each library's own numbers.

use vgpu_abi::{cublas, cuda, cudart, nvml};

use crate::boundary::Fault;
use crate::session::Failure;

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

impl Fault for cudart::Error {
    const UNKNOWN: Self = Self::UNKNOWN;
    const INVALID_VALUE: Self = Self::INVALID_VALUE;
    const NOT_SUPPORTED: Self = Self::NOT_SUPPORTED;
    const INSUFFICIENT_SIZE: Self = Self::INVALID_VALUE;
    const NOT_INITIALIZED: Self = Self::INITIALIZATION_ERROR;
    const NO_HOST: Self = Self::NO_DEVICE;
    const LOST: Self = Self::DEVICES_UNAVAILABLE;

    fn from_code(code: u32) -> Self {
        Self::new(code).unwrap_or(Self::UNKNOWN)
    }
}

impl Fault for nvml::Error {
    const UNKNOWN: Self = Self::UNKNOWN;
    const INVALID_VALUE: Self = Self::INVALID_ARGUMENT;
    const NOT_SUPPORTED: Self = Self::NOT_SUPPORTED;
    const INSUFFICIENT_SIZE: Self = Self::INSUFFICIENT_SIZE;
    const NOT_INITIALIZED: Self = Self::UNINITIALIZED;
    const NO_HOST: Self = Self::DRIVER_NOT_LOADED;
    const LOST: Self = Self::GPU_IS_LOST;

    fn from_code(code: u32) -> Self {
        Self::new(code).unwrap_or(Self::UNKNOWN)
    }
}

impl Fault for cublas::Error {
    const UNKNOWN: Self = Self::INTERNAL_ERROR;
    const INVALID_VALUE: Self = Self::INVALID_VALUE;
    const NOT_SUPPORTED: Self = Self::NOT_SUPPORTED;
    const INSUFFICIENT_SIZE: Self = Self::INVALID_VALUE;
    const NOT_INITIALIZED: Self = Self::NOT_INITIALIZED;
    const NO_HOST: Self = Self::NOT_INITIALIZED;
    const LOST: Self = Self::EXECUTION_FAILED;

    fn from_code(code: u32) -> Self {
        Self::new(code).unwrap_or(Self::INTERNAL_ERROR)
    }
}

impl From<Failure> for cuda::Error {
    fn from(failure: Failure) -> Self {
        failure.fault()
    }
}

impl From<Failure> for nvml::Error {
    fn from(failure: Failure) -> Self {
        failure.fault()
    }
}
