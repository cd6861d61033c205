//! How an answer of the driver becomes one of the runtime.

pub use vgpu_abi::cudart::Error;

/// What a body answers.
pub type Result<T> = std::result::Result<T, Error>;

/// Translates a result code of the driver.
///
/// The two libraries number what they share alike (compared over the headers of 12.9 and 13.5).
/// A code that only the driver has says nothing to a client of the runtime and becomes `UNKNOWN`.
pub fn from_driver(code: u32) -> Result<()> {
    let Some(error) = Error::new(code) else { return Ok(()) };
    Err(if error.name().is_some() { error } else { Error::UNKNOWN })
}

/// Tells whether the process cannot recover from an error.
///
/// Of these the documentation says that the process "must be terminated and relaunched" (CUDA
/// Runtime API, "Data types used by CUDA Runtime", cudaError).
pub fn is_sticky(error: Error) -> bool {
    matches!(
        error,
        Error::CONTAINED
            | Error::ILLEGAL_ADDRESS
            | Error::LAUNCH_TIMEOUT
            | Error::ASSERT
            | Error::HARDWARE_STACK_ERROR
            | Error::ILLEGAL_INSTRUCTION
            | Error::MISALIGNED_ADDRESS
            | Error::INVALID_ADDRESS_SPACE
            | Error::INVALID_PC
            | Error::LAUNCH_FAILURE
            | Error::TENSOR_MEMORY_LEAK
            | Error::MPS_CLIENT_TERMINATED
            | Error::EXTERNAL_DEVICE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_driver_keep_their_number() {
        assert_eq!(from_driver(0), Ok(()));
        for (code, error) in [
            (1, Error::INVALID_VALUE),
            (2, Error::MEMORY_ALLOCATION),
            (3, Error::INITIALIZATION_ERROR),
            (100, Error::NO_DEVICE),
            (400, Error::INVALID_RESOURCE_HANDLE),
            (500, Error::SYMBOL_NOT_FOUND),
            (801, Error::NOT_SUPPORTED),
        ] {
            assert_eq!(from_driver(code), Err(error));
        }
    }

    #[test]
    fn a_code_that_only_the_driver_has_is_unknown() {
        // CUDA_ERROR_CONTEXT_ALREADY_CURRENT and CUDA_ERROR_KEY_ROTATION.
        for code in [202, 916] {
            assert_eq!(from_driver(code), Err(Error::UNKNOWN));
        }
    }
}
