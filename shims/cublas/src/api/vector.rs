//! Changes of vectors (cuBLAS Library, "cuBLAS Level-1 Function Reference").

use vgpu_abi::cublas::{Error, cublasHandle_t, cudaDataType_t as Data, form, operation};
use vgpu_guest::convert::Memory;
use vgpu_guest::wire::cublas::{Scalar, Vectors};

use super::Kind;
use super::argument::{compute_of, no_operand, no_scalar, operand, scalar};
use crate::handles::State;
use crate::{driver, handles};

/// A vector: where it lies, its type and its increment.
type Vector<'call> = (Memory<'call>, Data, i64);

fn send(
    handle: cublasHandle_t,
    state: &State,
    (operation, form): (u32, u32),
    n: i64,
    alpha: Scalar,
    (x, y): (Vector<'_>, Option<Vector<'_>>),
) -> Result<(), Error> {
    if n <= 0 {
        return Ok(());
    }
    let compute = compute_of(x.1)?.0;
    let of = |(memory, kind, step): &Vector<'_>| operand(memory, *kind, *step, 0);
    let y = y.as_ref().map_or_else(no_operand, of);
    let setting = state.setting(handle);
    driver::post(&Vectors { setting, operation, form, n, alpha, x: of(&x), y, compute })
}

/// Adds `alpha x` to y.
///
/// # Errors
/// NOT_INITIALIZED for a handle that is none, INVALID_VALUE if `alpha` is NULL.
#[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
pub fn axpy(
    kind: Kind,
    handle: cublasHandle_t,
    n: i64,
    alpha: Memory<'_>,
    x: Memory<'_>,
    incx: i64,
    y: Memory<'_>,
    incy: i64,
) -> Result<(), Error> {
    let state = handles::state(handle)?;
    let alpha = scalar(&state, kind.scalar, alpha)?;
    let vectors = ((x, kind.element, incx), Some((y, kind.element, incy)));
    send(handle, &state, (operation::AXPY, form::TYPED), n, alpha, vectors)
}

/// As [`axpy`], with the types as arguments.
///
/// # Errors
/// Those of [`axpy`], and NOT_SUPPORTED for types that do not belong together.
#[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
pub fn axpy_ex(
    handle: cublasHandle_t,
    n: i64,
    alpha: Memory<'_>,
    alpha_kind: Data,
    x: Memory<'_>,
    x_kind: Data,
    incx: i64,
    y: Memory<'_>,
    y_kind: Data,
    incy: i64,
    compute: Data,
) -> Result<(), Error> {
    let state = handles::state(handle)?;
    if x_kind != y_kind || compute != compute_of(x_kind)? || alpha_kind != compute {
        return Err(Error::NOT_SUPPORTED);
    }
    let alpha = scalar(&state, alpha_kind, alpha)?;
    let vectors = ((x, x_kind, incx), Some((y, y_kind, incy)));
    send(handle, &state, (operation::AXPY, form::EXTENDED), n, alpha, vectors)
}

/// Multiplies a vector by `alpha`.
///
/// # Errors
/// NOT_INITIALIZED for a handle that is none, INVALID_VALUE if `alpha` is NULL.
pub fn scal(
    kind: Kind,
    handle: cublasHandle_t,
    n: i64,
    alpha: Memory<'_>,
    x: Memory<'_>,
    incx: i64,
) -> Result<(), Error> {
    let state = handles::state(handle)?;
    let alpha = scalar(&state, kind.scalar, alpha)?;
    let vectors = ((x, kind.element, incx), None);
    send(handle, &state, (operation::SCAL, form::TYPED), n, alpha, vectors)
}

/// As [`scal`], with the types as arguments.
///
/// # Errors
/// Those of [`scal`], and NOT_SUPPORTED for types that do not belong together.
#[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
pub fn scal_ex(
    handle: cublasHandle_t,
    n: i64,
    alpha: Memory<'_>,
    alpha_kind: Data,
    x: Memory<'_>,
    x_kind: Data,
    incx: i64,
    compute: Data,
) -> Result<(), Error> {
    let state = handles::state(handle)?;
    if compute != compute_of(x_kind)? || alpha_kind != compute {
        return Err(Error::NOT_SUPPORTED);
    }
    let alpha = scalar(&state, alpha_kind, alpha)?;
    let vectors = ((x, x_kind, incx), None);
    send(handle, &state, (operation::SCAL, form::EXTENDED), n, alpha, vectors)
}

/// Copies x to y.
///
/// # Errors
/// NOT_INITIALIZED for a handle that is none.
pub fn copy(
    kind: Kind,
    handle: cublasHandle_t,
    n: i64,
    x: Memory<'_>,
    incx: i64,
    y: Memory<'_>,
    incy: i64,
) -> Result<(), Error> {
    let state = handles::state(handle)?;
    let vectors = ((x, kind.element, incx), Some((y, kind.element, incy)));
    send(handle, &state, (operation::COPY, form::TYPED), n, no_scalar(), vectors)
}

/// Lets x and y change places.
///
/// # Errors
/// NOT_INITIALIZED for a handle that is none.
pub fn swap(
    kind: Kind,
    handle: cublasHandle_t,
    n: i64,
    x: Memory<'_>,
    incx: i64,
    y: Memory<'_>,
    incy: i64,
) -> Result<(), Error> {
    let state = handles::state(handle)?;
    let vectors = ((x, kind.element, incx), Some((y, kind.element, incy)));
    send(handle, &state, (operation::SWAP, form::TYPED), n, no_scalar(), vectors)
}
