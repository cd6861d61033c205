//! Copies of vectors and matrices between the program and the device (cuBLAS Library,
//! `cublasSetVector` and following): rows of bytes for the driver API.

use vgpu_abi::cublas::{Error, cudaStream_t};
use vgpu_guest::convert::Memory;

use super::argument::require;
use crate::driver::{self, Rows};

/// Which way a copy goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToDevice,
    FromDevice,
}

/// Multiplies counts of elements; what no memory can hold is INVALID_VALUE.
fn bytes(count: i64, element_bytes: i64) -> Result<usize, Error> {
    let bytes = count.checked_mul(element_bytes).filter(|bytes| *bytes <= isize::MAX as i64);
    bytes.and_then(|bytes| usize::try_from(bytes).ok()).ok_or(Error::INVALID_VALUE)
}

/// Copies columns of `rows` elements, whose beginnings lie `steps` elements apart.
fn copy(
    way: Way,
    [rows, columns, element_bytes]: [i64; 3],
    (source, source_step): (Memory<'_>, i64),
    (target, target_step): (Memory<'_>, i64),
    stream: Option<cudaStream_t>,
) -> Result<(), Error> {
    require(rows >= 0 && columns >= 0 && element_bytes > 0)?;
    require(source_step > 0 && target_step > 0)?;
    if rows == 0 || columns == 0 {
        return Ok(());
    }
    require(columns == 1 || (source_step >= rows && target_step >= rows))?;
    require(source.address() != 0 && target.address() != 0)?;
    let to_device = way == Way::ToDevice;
    // What lies together on both sides is one row.
    let together = source_step == rows && target_step == rows;
    let (rows, columns) =
        if together { (rows.saturating_mul(columns), 1) } else { (rows, columns) };
    let (source_step, target_step) =
        if columns == 1 { (rows, rows) } else { (source_step, target_step) };
    let pitch = |step| bytes(step, element_bytes);
    let source = Rows { memory: source, pitch: pitch(source_step)?, on_device: !to_device };
    let target = Rows { memory: target, pitch: pitch(target_step)?, on_device: to_device };
    let height = usize::try_from(columns).map_err(|_| Error::INVALID_VALUE)?;
    let width_bytes = bytes(rows, element_bytes)?;
    driver::copy(&target, &source, width_bytes, height, stream.map(|stream| stream.0))
}

macro_rules! vectors {
    ($($(#[$doc:meta])* $name:ident $way:ident $(, $stream:ident: $kind:ty)?;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// INVALID_VALUE for counts that cannot be right or NULL, and those of the copy.
        pub fn $name(
            n: i64,
            element_bytes: i64,
            x: Memory<'_>,
            incx: i64,
            y: Memory<'_>,
            incy: i64,
            $($stream: $kind,)?
        ) -> Result<(), Error> {
            let stream: Option<cudaStream_t> = [$($stream)?].first().copied();
            copy(Way::$way, [1, n, element_bytes], (x, incx), (y, incy), stream)
        }
    )*};
}

vectors! {
    /// Copies a vector to the device.
    set_vector ToDevice;
    /// Copies a vector from the device.
    get_vector FromDevice;
    /// Copies a vector to the device in stream order.
    set_vector_async ToDevice, stream: cudaStream_t;
    /// Copies a vector from the device in stream order.
    get_vector_async FromDevice, stream: cudaStream_t;
}

macro_rules! matrices {
    ($($(#[$doc:meta])* $name:ident $way:ident $(, $stream:ident: $kind:ty)?;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// INVALID_VALUE for counts that cannot be right or NULL, and those of the copy.
        #[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
        pub fn $name(
            rows: i64,
            columns: i64,
            element_bytes: i64,
            a: Memory<'_>,
            lda: i64,
            b: Memory<'_>,
            ldb: i64,
            $($stream: $kind,)?
        ) -> Result<(), Error> {
            let stream: Option<cudaStream_t> = [$($stream)?].first().copied();
            copy(Way::$way, [rows, columns, element_bytes], (a, lda), (b, ldb), stream)
        }
    )*};
}

matrices! {
    /// Copies a matrix to the device.
    set_matrix ToDevice;
    /// Copies a matrix from the device.
    get_matrix FromDevice;
    /// Copies a matrix to the device in stream order.
    set_matrix_async ToDevice, stream: cudaStream_t;
    /// Copies a matrix from the device in stream order.
    get_matrix_async FromDevice, stream: cudaStream_t;
}
