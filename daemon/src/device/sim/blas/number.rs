//! Numbers as device memory holds them, and as the arithmetic takes them.

use std::ops::Neg;

use half::{bf16, f16};
use ndarray::LinalgScalar;
use num_complex::{Complex32, Complex64};
use vgpu_abi::cublas::cudaDataType_t as Data;
use vgpu_abi::cuda::Error;

use crate::narrow;

/// What arithmetic is done in. Every type that memory holds is exact in one of these.
pub(super) trait Number: LinalgScalar + Neg<Output = Self> + PartialEq {
    /// Makes one of a real and an imaginary part.
    fn of(real: f64, imaginary: f64) -> Self;

    /// Returns its real and its imaginary part.
    fn parts(self) -> (f64, f64);

    /// Turns the sign of the imaginary part.
    fn conjugate(self) -> Self;
}

macro_rules! real {
    ($kind:ty) => {
        impl Number for $kind {
            fn of(real: f64, _: f64) -> Self {
                real as $kind
            }

            fn parts(self) -> (f64, f64) {
                (self.into(), 0.0)
            }

            fn conjugate(self) -> Self {
                self
            }
        }
    };
}

macro_rules! complex {
    ($kind:ty, $part:ty) => {
        impl Number for $kind {
            fn of(real: f64, imaginary: f64) -> Self {
                Self::new(real as $part, imaginary as $part)
            }

            fn parts(self) -> (f64, f64) {
                (self.re.into(), self.im.into())
            }

            fn conjugate(self) -> Self {
                self.conj()
            }
        }
    };
}

real!(f32);
real!(f64);
complex!(Complex32, f32);
complex!(Complex64, f64);

/// Returns the size of an element in bytes; NOT_SUPPORTED for types that cuBLAS does not take.
pub(super) fn size_of_kind(kind: Data) -> Result<usize, Error> {
    match kind {
        Data::R_8I => Ok(1),
        Data::R_16F | Data::R_16BF | Data::C_8I => Ok(2),
        Data::R_32F | Data::R_32I => Ok(4),
        Data::R_64F | Data::C_32F | Data::R_64I => Ok(8),
        Data::C_64F => Ok(16),
        _ => Err(Error::NOT_SUPPORTED),
    }
}

/// Refuses types that only results have.
pub(super) fn check_operand(kind: Data) -> Result<(), Error> {
    if kind == Data::R_64I { Err(Error::NOT_SUPPORTED) } else { size_of_kind(kind).map(drop) }
}

/// Refuses types that no result has.
pub(super) fn check_result(kind: Data) -> Result<(), Error> {
    match kind {
        Data::R_8I | Data::C_8I => Err(Error::NOT_SUPPORTED),
        _ => size_of_kind(kind).map(drop),
    }
}

/// Reads one element, which has as many bytes as [`size_of_kind`] says.
pub(super) fn read<T: Number>(kind: Data, bytes: &[u8]) -> T {
    let single = |at: usize| f64::from(f32::from_le_bytes(array(&bytes[at..])));
    let double = |at: usize| f64::from_le_bytes(array(&bytes[at..]));
    let small = |at: usize| f64::from(bytes[at] as i8);
    let (real, imaginary) = match kind {
        Data::R_8I => (small(0), 0.0),
        Data::C_8I => (small(0), small(1)),
        Data::R_16F => (f16::from_le_bytes(array(bytes)).to_f64(), 0.0),
        Data::R_16BF => (bf16::from_le_bytes(array(bytes)).to_f64(), 0.0),
        Data::R_32I => (i32::from_le_bytes(array(bytes)).into(), 0.0),
        Data::R_32F => (single(0), 0.0),
        Data::C_32F => (single(0), single(4)),
        Data::C_64F => (double(0), double(8)),
        _ => (double(0), 0.0),
    };
    T::of(real, imaginary)
}

/// Writes one element of a type that results have, rounded to what it holds.
pub(super) fn write<T: Number>(kind: Data, value: T, bytes: &mut [u8]) {
    let (real, imaginary) = value.parts();
    match kind {
        Data::R_16F => bytes.copy_from_slice(&narrow::half(real).to_le_bytes()),
        Data::R_16BF => bytes.copy_from_slice(&narrow::brain(real).to_le_bytes()),
        // Sums of 32-bit integers wrap; here they are exact up to 2^53.
        Data::R_32I => bytes.copy_from_slice(&(real as i64 as i32).to_le_bytes()),
        Data::R_64I => bytes.copy_from_slice(&(real as i64).to_le_bytes()),
        Data::R_32F => bytes.copy_from_slice(&(real as f32).to_le_bytes()),
        Data::C_32F => {
            bytes[..4].copy_from_slice(&(real as f32).to_le_bytes());
            bytes[4..].copy_from_slice(&(imaginary as f32).to_le_bytes());
        }
        Data::C_64F => {
            bytes[..8].copy_from_slice(&real.to_le_bytes());
            bytes[8..].copy_from_slice(&imaginary.to_le_bytes());
        }
        // A double: of the others `check_result` knows.
        _ => bytes.copy_from_slice(&real.to_le_bytes()),
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[..N]);
    array
}
