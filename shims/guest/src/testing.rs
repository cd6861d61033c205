//! A result type for the tests of the shared code, which knows none of the libraries.

use crate::boundary::Fault;

/// Stands for the error type of a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TestError(pub u32);

impl Fault for TestError {
    const UNKNOWN: Self = Self(999);
    const INVALID_VALUE: Self = Self(1);
    const NOT_SUPPORTED: Self = Self(801);
    const INSUFFICIENT_SIZE: Self = Self(2);
    const NOT_INITIALIZED: Self = Self(3);
    const NO_HOST: Self = Self(100);
    const LOST: Self = Self(46);

    fn from_code(code: u32) -> Self {
        Self(code)
    }
}
