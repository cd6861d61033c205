//! Matrices and vectors in device memory: where their elements lie, read and written whole.

use ndarray::{Array2, ShapeBuilder as _};
use vgpu_abi::cublas::cudaDataType_t as Data;
use vgpu_abi::cuda::Error;
use vgpu_link::wire::cublas::{Operand, Scalar};

use super::super::memory::Memory;
use super::number::{self, Number};

/// Most elements of one matrix or vector: 2^28, a gigabyte of single precision. The simulated
/// device holds them a second time while it computes.
const ELEMENTS_MAX: i64 = 1 << 28;

/// Most times that one element stands for a vector: 2^24, since there is no memory behind them.
const REPEATED_MAX: i64 = 1 << 24;

/// Most products of one call: 2^40, some minutes' work, after which nobody waits any more.
const PRODUCTS_MAX: u128 = 1 << 40;

/// What each matrix of a batch counts at least, in products.
const PRODUCTS_MIN: u128 = 1 << 20;

/// Checks that a call ends: so many matrices, each of three lengths that are multiplied. Where one
/// of them is zero there is still memory to read or write along the others.
///
/// # Errors
/// NOT_SUPPORTED for what is beyond the simulated device.
pub(super) fn check_work(count: i64, lengths: [i64; 3]) -> Result<(), Error> {
    let length = |length: i64| u128::from(length.max(1).unsigned_abs());
    let each = lengths.into_iter().map(length).fold(1, u128::saturating_mul);
    let count = u128::from(count.max(0).unsigned_abs());
    let all = each.max(PRODUCTS_MIN).saturating_mul(count);
    if all > PRODUCTS_MAX { Err(Error::NOT_SUPPORTED) } else { Ok(()) }
}

/// A matrix in device memory, column by column; a vector is a matrix of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    address: u64,
    kind: Data,
    rows: usize,
    columns: usize,
    /// Elements from one column to the next.
    step: usize,
    /// Whether the columns are counted from the last.
    backwards: bool,
}

impl Place {
    /// Finds a matrix of `rows` and `columns`.
    ///
    /// # Errors
    /// INVALID_VALUE for sizes that cannot be right, NOT_SUPPORTED for those beyond the simulated
    /// device.
    pub fn matrix(operand: &Operand, rows: i64, columns: i64) -> Result<Self, Error> {
        if rows < 0 || columns < 0 || operand.step < rows.max(1) {
            return Err(Error::INVALID_VALUE);
        }
        if rows.checked_mul(columns).is_none_or(|elements| elements > ELEMENTS_MAX) {
            return Err(Error::NOT_SUPPORTED);
        }
        number::check_operand(Data(operand.kind))?;
        let size = |size: i64| usize::try_from(size).map_err(|_| Error::INVALID_VALUE);
        Ok(Self {
            address: operand.address,
            kind: Data(operand.kind),
            rows: size(rows)?,
            columns: size(columns)?,
            step: size(operand.step)?,
            backwards: false,
        })
    }

    /// Finds a vector of `n` elements. With a negative increment it is read from its end (BLAS
    /// Technical Forum, "Representation of vectors").
    ///
    /// # Errors
    /// As for [`Place::matrix`].
    pub fn vector(operand: &Operand, n: i64) -> Result<Self, Error> {
        let step = operand.step.checked_abs().ok_or(Error::INVALID_VALUE)?;
        if step == 0 && n > REPEATED_MAX {
            return Err(Error::NOT_SUPPORTED);
        }
        let forwards = Operand { step: step.max(1), ..operand.clone() };
        let place = Self::matrix(&forwards, 1, n)?;
        // An increment of 0 names one element n times.
        Ok(Self {
            step: if step == 0 { 0 } else { place.step },
            backwards: operand.step < 0,
            ..place
        })
    }

    /// Moves to the matrix that lies at another address.
    pub fn at(self, address: u64) -> Self {
        Self { address, ..self }
    }

    /// Lists the addresses of the matrices of a batch, whose strides count elements.
    pub fn strided(&self, stride: i64, at: i64) -> Result<u64, Error> {
        let bytes = number::size_of_kind(self.kind)? as i64;
        let offset = stride.checked_mul(at).and_then(|elements| elements.checked_mul(bytes));
        let address = offset.and_then(|offset| self.address.checked_add_signed(offset));
        address.ok_or(Error::ILLEGAL_ADDRESS)
    }

    /// Counts the bytes from the first element to the last.
    fn extent(&self) -> Result<u64, Error> {
        if self.rows == 0 || self.columns == 0 {
            return Ok(0);
        }
        let size = number::size_of_kind(self.kind)?;
        let elements = (self.columns - 1).checked_mul(self.step);
        let elements = elements.and_then(|elements| elements.checked_add(self.rows));
        let bytes = elements.and_then(|elements| elements.checked_mul(size));
        bytes.map(|bytes| bytes as u64).ok_or(Error::ILLEGAL_ADDRESS)
    }

    /// Says where the elements of a column begin, in elements from the first.
    fn column(&self, at: usize) -> usize {
        let at = if self.backwards { self.columns - 1 - at } else { at };
        at * self.step
    }

    /// Checks that there is memory, before anything is computed for it.
    ///
    /// # Errors
    /// As for [`Place::load`].
    pub fn present(self, memory: &Memory) -> Result<Self, Error> {
        memory.read(self.address, self.extent()?).map_err(|_| Error::ILLEGAL_ADDRESS)?;
        Ok(self)
    }

    /// Reads all elements.
    ///
    /// # Errors
    /// ILLEGAL_ADDRESS where there is no memory, as for a kernel that reads there.
    pub fn load<T: Number>(&self, memory: &Memory) -> Result<Array2<T>, Error> {
        let size = number::size_of_kind(self.kind)?;
        if self.rows == 0 {
            // However far its columns lie from each other.
            return Ok(Array2::from_elem((0, self.columns), T::of(0.0, 0.0)));
        }
        let bytes =
            memory.read(self.address, self.extent()?).map_err(|_| Error::ILLEGAL_ADDRESS)?;
        let mut elements = Vec::with_capacity(self.rows * self.columns);
        for column in 0..self.columns {
            let first = self.column(column) * size;
            let column = bytes.get(first..first + self.rows * size).unwrap_or_default();
            elements.extend(column.chunks_exact(size).map(|one| number::read::<T>(self.kind, one)));
        }
        let shape = (self.rows, self.columns).f();
        Array2::from_shape_vec(shape, elements).map_err(|_| Error::ILLEGAL_ADDRESS)
    }

    /// Writes the elements that `keep` chooses by row and column.
    ///
    /// # Errors
    /// As for [`Place::load`].
    pub fn store_where<T: Number>(
        &self,
        memory: &mut Memory,
        values: &Array2<T>,
        keep: impl Fn(usize, usize) -> bool,
    ) -> Result<(), Error> {
        number::check_result(self.kind)?;
        let size = number::size_of_kind(self.kind)?;
        let extent = self.extent()?;
        let bytes = memory.write(self.address, extent).map_err(|_| Error::ILLEGAL_ADDRESS)?;
        for ((row, column), value) in values.indexed_iter() {
            if keep(row, column) {
                let first = (self.column(column) + row) * size;
                number::write(self.kind, *value, &mut bytes[first..first + size]);
            }
        }
        Ok(())
    }

    /// Writes all elements.
    ///
    /// # Errors
    /// As for [`Place::load`].
    pub fn store<T: Number>(&self, memory: &mut Memory, values: &Array2<T>) -> Result<(), Error> {
        self.store_where(memory, values, |_, _| true)
    }
}

/// Reads a factor.
///
/// # Errors
/// ILLEGAL_ADDRESS if it lies on the device where there is no memory.
pub(super) fn factor<T: Number>(memory: &Memory, scalar: &Scalar) -> Result<T, Error> {
    let kind = Data(scalar.kind);
    number::check_operand(kind)?;
    let size = number::size_of_kind(kind)?;
    if scalar.device == 0 {
        return Ok(number::read(kind, &scalar.value[..size]));
    }
    let bytes = memory.read(scalar.device, size as u64).map_err(|_| Error::ILLEGAL_ADDRESS)?;
    Ok(number::read(kind, bytes))
}
