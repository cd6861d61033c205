//! Checks that most functions make, in the words of the documentation: "INVALID_VALUE if m, n < 0".

use vgpu_abi::cublas::{Error, cublasOperation_t, cublasPointerMode_t, cudaDataType_t as Data};
use vgpu_guest::convert::Memory;
use vgpu_guest::wire::cublas::{Operand, Scalar};

use crate::handles::State;

/// Turns what must hold into a result.
pub(crate) fn require(holds: bool) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

/// Checks an operation on a matrix: as it is, transposed or conjugate-transposed.
pub(crate) fn check_operation(operation: cublasOperation_t) -> Result<(), Error> {
    require(operation.0 <= cublasOperation_t::C.0)
}

/// Returns the size of a factor in bytes; NOT_SUPPORTED for types that no factor has.
fn scalar_bytes(kind: Data) -> Result<usize, Error> {
    match kind {
        Data::R_16F | Data::R_16BF => Ok(2),
        Data::R_32F | Data::R_32I => Ok(4),
        Data::R_64F | Data::C_32F => Ok(8),
        Data::C_64F => Ok(16),
        _ => Err(Error::NOT_SUPPORTED),
    }
}

/// Takes a factor: by value from the program's memory, or by its address on the device. NULL is
/// INVALID_VALUE.
pub(crate) fn scalar(state: &State, kind: Data, memory: Memory<'_>) -> Result<Scalar, Error> {
    let bytes = scalar_bytes(kind)?;
    require(memory.address() != 0)?;
    let mut value = [0; 16];
    let mut device = 0;
    if state.pointer_mode == cublasPointerMode_t::DEVICE {
        device = memory.address();
    } else {
        value[..bytes].copy_from_slice(memory.bytes::<Error>(bytes)?);
    }
    Ok(Scalar { kind: kind.0, device, value })
}

/// Describes a matrix or vector on the device.
pub(crate) fn operand(memory: &Memory<'_>, kind: Data, step: i64, stride: i64) -> Operand {
    Operand { address: memory.address(), kind: kind.0, step, stride }
}
