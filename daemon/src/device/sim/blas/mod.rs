//! cuBLAS on the simulated device: plain arithmetic on its memory.
//!
//! What a GPU computes in half precision or TF32 is computed in single precision here, and sums
//! come in another order: results agree as those of two GPUs do, not bit for bit.

mod matrix;
mod number;
mod place;
mod product;
#[cfg(test)]
mod tests;
mod vector;

use num_complex::{Complex32, Complex64};
use vgpu_abi::cublas::cudaDataType_t as Data;
use vgpu_abi::cuda::Error;
use vgpu_link::wire::cublas::{
    AddMatrices, AddOuter, AddSquare, Multiply, MultiplySymmetric, MultiplyTriangular,
    MultiplyVector, Reduce, ReduceToDevice, ScaleLines, Setting, SolveTriangular, Vectors,
};

use super::Sim;
use super::handles::{Kind, Table};

/// Calls a function with the type of the elements of an operand.
macro_rules! typed {
    ($module:ident::$function:ident, $memory:expr, $asked:expr, $operand:ident) => {
        match Data($asked.$operand.kind) {
            Data::R_32F => $module::$function::<f32>($memory, $asked),
            Data::R_64F => $module::$function::<f64>($memory, $asked),
            Data::C_32F => $module::$function::<Complex32>($memory, $asked),
            Data::C_64F => $module::$function::<Complex64>($memory, $asked),
            _ => Err(Error::NOT_SUPPORTED),
        }
    };
}

/// One piece of work of cuBLAS for a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Work {
    /// A product of matrices.
    Multiply(Multiply),
    /// A change of vectors.
    Vectors(Vectors),
    /// A number made of vectors, for the device.
    ReduceToDevice(ReduceToDevice),
    /// A product of a matrix and a vector.
    MultiplyVector(MultiplyVector),
    /// An outer product.
    AddOuter(AddOuter),
    /// A sum of matrices.
    AddMatrices(AddMatrices),
    /// A product with a symmetric matrix.
    MultiplySymmetric(MultiplySymmetric),
    /// A product of a matrix and its transpose.
    AddSquare(AddSquare),
    /// Equations with a triangular matrix.
    SolveTriangular(SolveTriangular),
    /// A product with a triangular matrix.
    MultiplyTriangular(MultiplyTriangular),
    /// Rows or columns times numbers.
    ScaleLines(ScaleLines),
}

// No message of cuBLAS has a field that is unequal to itself: factors travel as bytes.
impl Eq for Work {}

impl Work {
    /// Says with which handle and where.
    pub(super) fn setting(&self) -> &Setting {
        match self {
            Self::Multiply(asked) => &asked.setting,
            Self::Vectors(asked) => &asked.setting,
            Self::ReduceToDevice(asked) => &asked.setting,
            Self::MultiplyVector(asked) => &asked.setting,
            Self::AddOuter(asked) => &asked.setting,
            Self::AddMatrices(asked) => &asked.setting,
            Self::MultiplySymmetric(asked) => &asked.setting,
            Self::AddSquare(asked) => &asked.setting,
            Self::SolveTriangular(asked) => &asked.setting,
            Self::MultiplyTriangular(asked) => &asked.setting,
            Self::ScaleLines(asked) => &asked.setting,
        }
    }
}

/// The handles of cuBLAS, each with the context that it belongs to.
#[derive(Debug)]
pub(crate) struct Handles(Table<u64>);

impl Handles {
    /// Starts without any.
    pub fn new() -> Self {
        Self(Table::new(Kind::Blas))
    }

    /// Makes a handle in a context.
    pub fn create(&mut self, context: u64) -> Result<u64, Error> {
        self.0.insert(context)
    }

    /// Ends a handle.
    pub fn destroy(&mut self, handle: u64) -> Result<(), Error> {
        self.0.remove(handle).map(drop).ok_or(Error::INVALID_HANDLE)
    }

    /// Ends the handles of a context.
    pub fn end_context(&mut self, context: u64) {
        self.0.retain(|owner| *owner != context);
    }
}

impl Sim {
    /// Checks what can be known of cuBLAS's work before it is done.
    pub(super) fn examine_blas(&self, work: &Work) -> Result<(), Error> {
        self.check_blas(work.setting())
    }

    /// Does a piece of work of cuBLAS.
    ///
    /// # Errors
    /// INVALID_HANDLE for a handle that is none, ILLEGAL_ADDRESS where there is no memory.
    pub(super) fn perform_blas(&mut self, work: &Work) -> Result<(), Error> {
        self.examine_blas(work)?;
        let memory = &mut self.memory;
        match work {
            Work::Multiply(asked) => product::multiply(memory, asked),
            Work::Vectors(asked) => vector::change(memory, asked),
            Work::ReduceToDevice(asked) => vector::reduce_to_device(memory, asked),
            Work::MultiplyVector(asked) => typed!(matrix::multiply_vector, memory, asked, a),
            Work::AddOuter(asked) => typed!(matrix::add_outer, memory, asked, a),
            Work::AddMatrices(asked) => typed!(matrix::add_matrices, memory, asked, a),
            Work::MultiplySymmetric(asked) => typed!(matrix::multiply_symmetric, memory, asked, a),
            Work::AddSquare(asked) => typed!(matrix::add_square, memory, asked, a),
            Work::SolveTriangular(asked) => typed!(matrix::solve_triangular, memory, asked, a),
            Work::MultiplyTriangular(asked) => {
                typed!(matrix::multiply_triangular, memory, asked, a)
            }
            Work::ScaleLines(asked) => typed!(matrix::scale_lines, memory, asked, a),
        }
    }

    /// Makes a number of vectors.
    ///
    /// # Errors
    /// As for [`Sim::perform_blas`].
    pub(super) fn number_of(&self, asked: &Reduce) -> Result<[u8; 16], Error> {
        self.check_blas(&asked.setting)?;
        vector::reduce(&self.memory, asked)
    }

    fn check_blas(&self, setting: &Setting) -> Result<(), Error> {
        self.blas.0.find(setting.handle).map(drop).ok_or(Error::INVALID_HANDLE)
    }
}
