//! Products of general matrices.

use ndarray::Array2;
use ndarray::linalg::general_mat_mul;
use num_complex::{Complex32, Complex64};
use vgpu_abi::cublas::{batch, cublasComputeType_t as Compute, cublasOperation_t, cudaDataType_t};
use vgpu_abi::cuda::Error;
use vgpu_link::wire::cublas::{Multiply, Operand};

use super::super::memory::Memory;
use super::number::Number;
use super::place::{Place, check_work, factor};

/// Does what a message asks for.
///
/// # Errors
/// As for [`Place::load`].
pub(super) fn multiply(memory: &mut Memory, asked: &Multiply) -> Result<(), Error> {
    match (cudaDataType_t(asked.c.kind), Compute(asked.compute)) {
        (cudaDataType_t::C_32F, _) => multiply_as::<Complex32>(memory, asked),
        (cudaDataType_t::C_64F, _) => multiply_as::<Complex64>(memory, asked),
        // Products and sums of integers are exact in double precision.
        (_, Compute::_64F | Compute::_64F_PEDANTIC | Compute::_32I | Compute::_32I_PEDANTIC) => {
            multiply_as::<f64>(memory, asked)
        }
        // Half precision, TF32 and the like are computed more exactly than asked for.
        _ => multiply_as::<f32>(memory, asked),
    }
}

fn multiply_as<T: Number>(memory: &mut Memory, asked: &Multiply) -> Result<(), Error> {
    check_work(asked.count, [asked.m, asked.n, asked.k])?;
    let (transa, transb) = (cublasOperation_t(asked.transa), cublasOperation_t(asked.transb));
    let turned = |operation, rows, columns| {
        if operation == cublasOperation_t::N { (rows, columns) } else { (columns, rows) }
    };
    let (rows, columns) = turned(transa, asked.m, asked.k);
    let a = Place::matrix(&asked.a, rows, columns)?;
    let (rows, columns) = turned(transb, asked.k, asked.n);
    let b = Place::matrix(&asked.b, rows, columns)?;
    let c = Place::matrix(&asked.c, asked.m, asked.n)?;
    let alpha: T = factor(memory, &asked.alpha)?;
    let beta: T = factor(memory, &asked.beta)?;
    for at in 0..asked.count {
        let place = |memory: &Memory, place, operand: &Operand| {
            member(memory, place, operand, asked.batch, at)
        };
        let c = place(memory, c, &asked.c)?.present(memory)?;
        let mut sum = Array2::from_elem((asked.m as usize, asked.n as usize), T::of(0.0, 0.0));
        if alpha != T::of(0.0, 0.0) && asked.k > 0 {
            let a = load(memory, place(memory, a, &asked.a)?, transa)?;
            let b = load(memory, place(memory, b, &asked.b)?, transb)?;
            general_mat_mul(T::of(1.0, 0.0), &a, &b, T::of(0.0, 0.0), &mut sum);
        }
        add(memory, c, alpha, sum, beta)?;
    }
    Ok(())
}

/// Finds a matrix or vector of a batch.
///
/// # Errors
/// ILLEGAL_ADDRESS where there is none.
pub(super) fn member(
    memory: &Memory,
    first: Place,
    operand: &Operand,
    batch: u32,
    at: i64,
) -> Result<Place, Error> {
    match batch {
        batch::LISTED => listed(memory, first, operand, at),
        batch::STRIDED => Ok(first.at(first.strided(operand.stride, at)?)),
        _ => Ok(first),
    }
}

/// Finds a matrix by the list of addresses that stands on the device.
fn listed(memory: &Memory, place: Place, list: &Operand, at: i64) -> Result<Place, Error> {
    // A batch is limited before it is begun, so that the product is small.
    let address = list.address.checked_add_signed(at * 8).ok_or(Error::ILLEGAL_ADDRESS)?;
    let bytes = memory.read(address, 8).map_err(|_| Error::ILLEGAL_ADDRESS)?;
    let mut address = [0; 8];
    address.copy_from_slice(bytes);
    Ok(place.at(u64::from_le_bytes(address)))
}

/// Reads a matrix and turns it as an operation says.
pub(super) fn load<T: Number>(
    memory: &Memory,
    place: Place,
    operation: cublasOperation_t,
) -> Result<Array2<T>, Error> {
    let values = place.load::<T>(memory)?;
    Ok(turn(values, operation))
}

/// Turns a matrix as an operation says.
pub(super) fn turn<T: Number>(values: Array2<T>, operation: cublasOperation_t) -> Array2<T> {
    match operation {
        cublasOperation_t::N => values,
        cublasOperation_t::T => values.reversed_axes(),
        _ => values.reversed_axes().mapv_into(T::conjugate),
    }
}

/// Stores `alpha sum + beta C`; with a beta of 0 what stands in C is not read (reference BLAS).
pub(super) fn add<T: Number>(
    memory: &mut Memory,
    c: Place,
    alpha: T,
    mut sum: Array2<T>,
    beta: T,
) -> Result<(), Error> {
    sum.mapv_inplace(|value| alpha * value);
    if beta != T::of(0.0, 0.0) {
        sum.zip_mut_with(&c.load::<T>(memory)?, |sum, old| *sum = *sum + beta * *old);
    }
    c.store(memory, &sum)
}
