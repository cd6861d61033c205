//! Checks that most functions make, in the words of the documentation: "INVALID_VALUE if m, n < 0".

use vgpu_abi::cublas::{
    Error, cublasDiagType_t, cublasFillMode_t, cublasOperation_t, cublasPointerMode_t,
    cublasSideMode_t, cudaDataType_t as Data,
};
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

/// Checks on which side a matrix stands.
pub(crate) fn check_side(side: cublasSideMode_t) -> Result<(), Error> {
    require(side.0 <= cublasSideMode_t::RIGHT.0)
}

/// Checks which half of a matrix is given.
pub(crate) fn check_uplo(uplo: cublasFillMode_t) -> Result<(), Error> {
    require(uplo.0 <= cublasFillMode_t::UPPER.0)
}

/// Checks whether the diagonal of a matrix is given.
pub(crate) fn check_diag(diag: cublasDiagType_t) -> Result<(), Error> {
    require(diag.0 <= cublasDiagType_t::UNIT.0)
}

/// Returns the type that vectors of a type are computed in (cuBLAS Library, `cublasAxpyEx`);
/// NOT_SUPPORTED for one that vectors do not have.
pub(crate) fn compute_of(kind: Data) -> Result<Data, Error> {
    match kind {
        Data::R_16F | Data::R_16BF => Ok(Data::R_32F),
        Data::R_32F | Data::R_64F | Data::C_32F | Data::C_64F => Ok(kind),
        _ => Err(Error::NOT_SUPPORTED),
    }
}

/// Returns the type of the parts of complex numbers.
pub(crate) fn real_of(kind: Data) -> Data {
    match kind {
        Data::C_32F => Data::R_32F,
        Data::C_64F => Data::R_64F,
        real => real,
    }
}

/// Returns the size of a factor or result in bytes; NOT_SUPPORTED for types that none has.
pub(crate) fn scalar_bytes(kind: Data) -> Result<usize, Error> {
    match kind {
        Data::R_16F | Data::R_16BF => Ok(2),
        Data::R_32F | Data::R_32I => Ok(4),
        Data::R_64F | Data::C_32F | Data::R_64I => Ok(8),
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

/// Stands for a factor in operations that have none.
pub(crate) fn no_scalar() -> Scalar {
    Scalar { kind: Data::R_32F.0, device: 0, value: [0; 16] }
}

/// Stands for a second vector or matrix in operations that have one.
pub(crate) fn no_operand() -> Operand {
    Operand { address: 0, kind: Data::R_32F.0, step: 1, stride: 0 }
}
